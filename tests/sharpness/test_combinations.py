"""Every oracle under every outer loop, with constraints and optimizers of all kinds."""

import pytest
import torch
from torch.nn.functional import cross_entropy

import gantrain as gt
from gantrain.config.registry import kind

ORACLES = {
    "sam": {"name": "sam", "rho": 0.1},
    "asam": {"name": "sam", "rho": 0.1, "geometry": "elementwise"},
    "optsam": {"name": "sam", "rho": 0.1, "direction": "previous"},
    "vasso": {"name": "sam", "rho": 0.1, "direction": "smoothed", "theta": 0.5},
    "looksam": {"name": "sam", "rho": 0.1, "every": 2},
    "bisam": {"name": "sam", "rho": 0.1, "climb": "log"},
    "sampa": {"name": "sampa", "rho": 0.1, "mix": 0.2},
    "sampa_tanh": {"name": "sampa", "rho": 0.1, "mix": 0.0, "climb": "tanh"},
    "gsam": {"name": "gsam", "rho": 0.1},
    "esam": {"name": "esam", "rho": 0.1, "gamma": 0.25, "climb": "tanh"},
    "ae_sam": {"name": "ae_sam", "rho": 0.1, "threshold": -0.2},
    "gradient_norm": {"name": "gradient_norm", "rho": 0.1, "ascent": "global"},
}
RIVALS = ("gsam", "esam", "ae_sam", "gradient_norm")
LOOPS = {
    "gda": "gda",
    "extragradient": {"name": "extragradient", "samples": "same"},
    "rapp": {"name": "rapp", "inner_steps": 3, "relaxation": 0.8},
    "optimistic": "optimistic",
    "ceg_plus": "ceg_plus",
    "critics": {"name": "optimistic", "critic_steps": 2},
    "fast_extragradient": {"name": "fast_extragradient", "comonotonicity": -0.01},
    "rampage": {"name": "rampage", "antithetic": True},
    "corrected_proximal_point": {"name": "corrected_proximal_point", "inner_steps": 2},
    "nested": {
        "name": "lookahead",
        "inner_steps": 2,
        "base": {"name": "lookahead", "inner_steps": 2, "base": {"name": "extragradient"}},
    },
}
# The oracles that are not tried by default under a loop; under the others they are RIVALS.
RARE = dict.fromkeys(("gda", "nested"), ()) | dict.fromkeys(
    ("fast_extragradient", "rampage", "corrected_proximal_point", "critics"),
    tuple(oracle for oracle in ORACLES if oracle != "sampa_tanh"),
)
# Gradients of an outer step; with critic steps x takes twice as many.
COST = {"gda": 1, "extragradient": 2, "rapp": 3, "optimistic": 1, "ceg_plus": 2, "critics": 1, "nested": 8}
COST |= {"fast_extragradient": 2, "rampage": 3, "corrected_proximal_point": 3}


def batches():
    source = torch.Generator().manual_seed(0)
    return [
        (torch.randn(8, 2, generator=source, dtype=torch.float64), torch.randint(2, (8,), generator=source))
        for _ in range(4)
    ]


def game():
    def logits(x, y, inputs):
        return torch.stack([inputs @ x, inputs @ y], dim=1)

    def first(x, y, batch):
        scores = logits(x, y, batch[0])
        return gt.Objective(cross_entropy(scores, batch[1]) + (x * y).sum(), scores, batch[1])

    def second(x, y, batch):
        scores = logits(x, y, batch[0])
        return gt.Objective(cross_entropy(scores, 1 - batch[1]) - (x * y).sum(), scores, 1 - batch[1])

    start = {"x": torch.tensor([0.5, -0.4]).double(), "y": torch.tensor([-0.3, 0.2]).double()}
    return Both({"x": first, "y": second}, start)


class Both(gt.games.GeneralSum):
    """A general-sum game whose objectives have logits."""

    def objective(self, player, batch):
        return self.fs[player](*self.strategies(), batch)


@pytest.mark.parametrize(
    "oracle, loop",
    [
        pytest.param(oracle, loop, marks=[pytest.mark.slow] * (oracle in RARE.get(loop, RIVALS)))
        for oracle in ORACLES
        for loop in LOOPS
    ],
)
def test_oracles_under_loops_with_constraints(oracle, loop):
    settings = {
        "outer": LOOPS[loop],
        "batches": batches(),
        "steps": 4,
        "constraint": {"name": "box", "low": -0.45, "high": 0.5},
    }
    path = gt.solve(game(), sharpness=ORACLES[oracle], **settings)
    plain = gt.solve(game(), **settings)
    name = ORACLES[oracle]["name"]
    each = {"optsam": 1, "looksam": 1.5}.get(oracle, 2)
    for player in ("x", "y"):
        assert path[player].isfinite().all() and not torch.equal(path[player], plain[player])
        if loop not in ("ceg_plus", "corrected_proximal_point"):  # whose z need not lie in the set
            assert (path[player] <= 0.5).all() and (path[player] >= -0.45).all()
        cost = COST[loop] * (2 if loop == "critics" and player == "x" else 1)
        if oracle == "ae_sam":
            assert 4 * cost <= path.evaluations[player] <= 8 * cost
        else:
            assert path.evaluations[player] == 4 * cost * each + (name == "sampa")


def test_an_oracle_for_one_player_leaves_the_others_plain():
    path = gt.solve(game(), sharpness={"y": ORACLES["sampa"]}, batches=batches(), steps=3)
    assert path.evaluations == {"x": 3, "y": 7}
    plain = gt.solve(game(), batches=batches(), steps=3)
    assert torch.equal(path["x"][1], plain["x"][1]) and not torch.equal(path["y"][1], plain["y"][1])


def test_an_infinitesimal_radius_is_plain_under_every_optimizer():
    for name in kind("optimizer").parts.keys() - {"mirror"}:  # which moves mixed strategies
        settings = {"optimizer": {"name": name, "lr": 1e-2}, "batches": batches(), "steps": 3}
        plain = gt.solve(game(), **settings)
        for sharpness in ({"name": "sam", "rho": 0.0}, {"name": "sampa", "rho": 0.0, "mix": 0.0}):
            path = gt.solve(game(), sharpness=sharpness, **settings)
            assert torch.equal(path["x"], plain["x"]) and torch.equal(path["y"], plain["y"]), name


@pytest.mark.parametrize(
    "outer, oracle",
    [("optimistic", None), ({"name": "optimistic", "critic_steps": 2}, None), ("gda", "optsam"), ("gda", "sampa")],
)
def test_an_optimizer_may_write_into_the_gradient_that_it_follows(outer, oracle):
    """torch's SGD with foreach adds Nesterov's momentum to the gradient itself."""
    paths = []
    for foreach in (False, True):
        optimizer = {"name": "sgd", "lr": 0.1, "momentum": 0.9, "nesterov": True, "foreach": foreach}
        paths.append(gt.solve(game(), outer, optimizer, sharpness=ORACLES.get(oracle), batches=batches(), steps=6))
    torch.testing.assert_close(dict(paths[0]), dict(paths[1]), rtol=0, atol=1e-14)


def test_a_game_of_one_has_no_critics_to_move():
    settings = {"sharpness": ORACLES["sam"], "steps": 2, "batches": [torch.ones(2).double(), torch.zeros(2).double()]}
    game = gt.games.Minimize(lambda x, b: ((x - b) ** 2).sum(), x=torch.ones(2).double())
    for outer, cost in (("gda", 4), ("optimistic", 4), ("extragradient", 8)):
        path = gt.solve(game, outer={"name": outer, "critic_steps": 2}, **settings)
        assert path.evaluations == {"x": cost}
        # No batch is drawn in vain.
        assert torch.equal(path["x"], gt.solve(game, outer=outer, **settings)["x"])
