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
}
LOOPS = {
    "gda": "gda",
    "extragradient": {"name": "extragradient", "samples": "same"},
    "rapp": {"name": "rapp", "inner_steps": 3, "relaxation": 0.8},
    "optimistic": "optimistic",
    "ceg_plus": "ceg_plus",
    "nested": {
        "name": "lookahead",
        "inner_steps": 2,
        "base": {"name": "lookahead", "inner_steps": 2, "base": {"name": "extragradient"}},
    },
}
# Gradients of an outer step.
COST = {"gda": 1, "extragradient": 2, "rapp": 3, "optimistic": 1, "ceg_plus": 2, "nested": 8}


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


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("oracle", ORACLES)
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
        if loop != "ceg_plus":  # whose z need not lie in the set
            assert (path[player] <= 0.5).all() and (path[player] >= -0.45).all()
        assert path.evaluations[player] == 4 * COST[loop] * each + (name == "sampa")


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


def test_a_game_of_one_has_no_critics_to_move():
    settings = {"sharpness": ORACLES["sam"], "steps": 2, "batches": [torch.ones(2).double(), torch.zeros(2).double()]}
    game = gt.games.Minimize(lambda x, b: ((x - b) ** 2).sum(), x=torch.ones(2).double())
    path = gt.solve(game, outer={"name": "gda", "critic_steps": 2}, **settings)
    assert path.evaluations == {"x": 4}
    # No batch is drawn in vain.
    assert torch.equal(path["x"], gt.solve(game, outer="gda", **settings)["x"])
