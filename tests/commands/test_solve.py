"""gantrain solve: the shipped games show what their comments say, and the table is the mathematics."""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import numpy as np
import pytest
from cases import few

from gantrain.commands.solve import solve_config
from gantrain.config.loading import load_solve
from gantrain.config.registry import kind
from gantrain.errors import UserError
from gantrain.games.toy import RandomQuadratic
from gantrain.plotting import figures
from gantrain.plotting.images import load_png

TOY = Path(__file__).parents[2] / "configs" / "toy"
FORSAKEN = np.array([0.0780267, 0.4119339])


def bilinear(z):
    return np.array([z[1], -z[0]])


def quadratic(z):
    a, b = np.sqrt(1 - 0.09), -0.3
    return np.array([a * z[1] + b * z[0], b * z[1] - a * z[0]])


def forsaken(z):
    x, y = z
    return np.array([y - 0.45 + x / 2 - 2 * x**3 + x**5, -(x - y / 2 + 2 * y**3 - y**5)])


def global_forsaken(z):
    x, y = z
    return np.array([y + 2 * x / 3 - 4 * x**3 / 3 + 4 * x**5 / 7, -(x - 2 * y / 3 + 4 * y**3 / 3 - 4 * y**5 / 7)])


def lower_bound(z):
    return np.array([np.sqrt(8) * z[1] - z[0], -z[1] - np.sqrt(8) * z[0]])


def dirac(z, r1=0.3):
    x, y = z
    return np.array([-y / (1 + np.exp(x * y)), x / (1 + np.exp(-x * y)) + r1 * y])


def polar(z):
    s = z @ z
    t = (s - 1) * (16 * s - 9) / 48
    return np.array([t * z[0] - z[1], t * z[1] + z[0]])


FIELDS = ("bilinear", "quadratic", "lower_bound", "forsaken", "global_forsaken", "polar", "dirac")


def clipped(z):
    return np.clip(z, -1.5, 1.5)


def in_ball(z):
    return z * min(1.0, 4 / 3 / np.linalg.norm(z))


def proximal(field, z, lr, inner, relaxation, steps, resolvent=lambda z: z):
    """RAPP; gradient descent ascent is its case of one inner step, extragradient of two."""
    path = [np.array(z)]
    for _ in range(steps):
        z = w = path[-1]
        for _ in range(inner):
            w = resolvent(z - lr * field(w))
        path.append((1 - relaxation) * z + relaxation * w)
    return np.array(path)


@pytest.fixture(autouse=True)
def quick(request, monkeypatch):
    """Streamlines are drawn of one game, and with the long tests of each."""
    case = request.node.callspec.params.get("case", "") if hasattr(request.node, "callspec") else ""
    if case != "forsaken" and "streamlines" not in request.node.name:
        monkeypatch.setattr(figures, "_stream", lambda axes, field: None)


def solved(folder, name, *overrides):
    line = solve_config(load_solve(TOY / f"{name}.yaml", overrides), folder)
    with (folder / "trajectory.csv").open() as stream:
        header, *rows = csv.reader(stream)
    assert header == ["step", "x", "y", "distance"] and [row[0] for row in rows] == [str(t) for t in range(len(rows))]
    return line.splitlines(), np.array([[float(v) for v in row[1:]] for row in rows])


# (config, overrides): the path written by hand, and how near the solution it ends.
SHOWN = {
    "bilinear": ("bilinear", [], lambda: proximal(bilinear, [0.8, 0], 0.3, 2, 1, 100), 0, (0, 0.02)),
    "bilinear gda": ("bilinear", ["outer=gda"], lambda: proximal(bilinear, [0.8, 0], 0.3, 1, 1, 100), 0, (50, 70)),
    "quadratic": ("quadratic", [], lambda: proximal(quadratic, [0.8, 0], 0.9, 2, 0.2, 200), 0, (0, 1e-3)),
    "quadratic extragradient": (
        "quadratic",
        ["outer=extragradient", "steps=20"],
        lambda: proximal(quadratic, [0.8, 0], 0.9, 2, 1, 20),
        0,
        (100, 2000),
    ),
    "lower_bound": ("lower_bound", [], lambda: proximal(lower_bound, [0.8, 0], 1 / 3, 2, 0.2, 200), 0, (0, 1e-3)),
    "lower_bound beyond": (
        "lower_bound",
        ["outer.relaxation=0.35"],
        lambda: proximal(lower_bound, [0.8, 0], 1 / 3, 2, 0.35, 200),
        0,
        (2, 6),
    ),
    "dirac": ("dirac", [], lambda: proximal(dirac, [1, 0], 0.2, 1, 1, 300), 0, (0, 1e-3)),
    "dirac without r1": (
        "dirac",
        ["game.r1=0"],
        lambda: proximal(lambda z: dirac(z, 0), [1, 0], 0.2, 1, 1, 300),
        0,
        (0.5, 1),
    ),
    "forsaken": (
        "forsaken",
        [],
        lambda: proximal(forsaken, [1, -0.8], 0.5, 10, 0.5, 200, clipped),
        FORSAKEN,
        (0, 1e-5),
    ),
    "forsaken gda": (
        "forsaken",
        ["outer=gda", "optimizer.lr=0.05"],
        lambda: proximal(forsaken, [1, -0.8], 0.05, 1, 1, 200, clipped),
        FORSAKEN,
        (1, 2),
    ),
    "global_forsaken": (
        "global_forsaken",
        [],
        lambda: proximal(global_forsaken, [1.2, 1.2], 0.33, 5, 0.9, 100, in_ball),
        0,
        (0, 1e-6),
    ),
    "global_forsaken gda": (
        "global_forsaken",
        ["outer=gda", "optimizer.lr=0.05"],
        lambda: proximal(global_forsaken, [1.2, 1.2], 0.05, 1, 1, 100, in_ball),
        0,
        (1.2, 1.34),
    ),
    "polar": ("polar", [], lambda: proximal(polar, [1, 0.5], 0.15, 5, 0.9, 300), 0, (0, 1e-3)),
    "polar gda": (
        "polar",
        ["outer=gda", "optimizer.lr=0.05"],
        lambda: proximal(polar, [1, 0.5], 0.05, 1, 1, 300),
        0,
        (1, 1.1),
    ),
}


# By default each as it is shipped, and one with another loop; the long tests have the others with other settings.
@pytest.mark.parametrize("case", few(SHOWN, *FIELDS, "bilinear gda"))
def test_the_table_is_the_method_written_by_hand_and_shows_what_the_comment_says(tmp_path, case):
    name, overrides, by_hand, solution, (low, high) = SHOWN[case]
    (line, where), table = solved(tmp_path / "out", name, *overrides)
    path = by_hand()
    # The paths amplify rounding errors while they are far from the solution.
    np.testing.assert_allclose(table[:, :2], path, rtol=1e-7, atol=1e-7)
    np.testing.assert_allclose(table[:, 2], np.linalg.norm(table[:, :2] - solution, axis=1), rtol=1e-7, atol=1e-7)
    assert low <= table[-1, 2] <= high
    assert line.endswith(f"{table[0, 2]:.3g} at the start, {table[-1, 2]:.3g} at the end")
    assert where == str(tmp_path / "out" / "trajectory.png")
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["config.yaml", "trajectory.csv", "trajectory.png"]


@pytest.mark.slow
@pytest.mark.parametrize("name", FIELDS)
def test_streamlines_are_drawn_of_every_shipped_game(tmp_path, name):
    solved(tmp_path / "out", name, "steps=2")
    assert load_png(tmp_path / "out" / "trajectory.png").shape[0] in (3, 4)


def test_every_shipped_game_is_shown_above():
    planar = {path.stem for path in TOY.glob("*.yaml")} - {"random_quadratic", *kind("outer").parts}
    assert set(FIELDS) == planar and set(FIELDS) <= set(SHOWN)


def test_a_game_of_several_players_is_a_table_of_all_numbers_and_a_picture_of_the_distance(tmp_path):
    line = solve_config(load_solve(TOY / "random_quadratic.yaml", ["steps=60"]), tmp_path / "out")
    game = RandomQuadratic(4, 3, 1.0, -0.02, 0)
    assert -0.5 < game.rho < 0
    field, start = game.matrix.numpy(), np.concatenate([p.module.value.detach() for p in game.players.values()])
    path = proximal(lambda z: field @ z, start, 0.9, 10, 0.9, 60)
    with (tmp_path / "out" / "trajectory.csv").open() as stream:
        header, *rows = csv.reader(stream)
    assert header == ["step", *(f"x{i}.{j}" for i in range(1, 5) for j in range(3)), "distance"]
    table = np.array(rows, float)
    np.testing.assert_allclose(table[:, 1:-1], path, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(table[:, -1], np.linalg.norm(path, axis=1), rtol=1e-9)
    assert table[-1, -1] < 0.05 and "rapp: 60 steps, 600 gradients a player" in line
    green = np.array([0x00, 0x9E, 0x73])
    picture = load_png(tmp_path / "out" / "trajectory.png")[:3].permute(1, 2, 0).numpy().astype(int)
    assert (np.abs(picture - green).max(axis=2) < 10).sum() > 200


def test_the_config_written_repeats_the_run(tmp_path):
    _, table = solved(tmp_path / "a", "bilinear", "outer={name: rapp, relaxation: 0.7}", "steps=5")
    config = load_solve(tmp_path / "a" / "config.yaml")
    assert (config.steps, config.outer.relaxation) == (5, 0.7)
    solve_config(config, tmp_path / "b")
    assert (tmp_path / "b" / "trajectory.csv").read_text() == (tmp_path / "a" / "trajectory.csv").read_text()


def test_the_path_is_in_the_picture(tmp_path):
    solved(tmp_path / "a", "bilinear", "outer=gda", "steps=5")
    picture = load_png(tmp_path / "a" / "trajectory.png")[:3].permute(1, 2, 0)
    orange = np.array([0xD5, 0x5E, 0x00])
    assert (np.abs(picture.numpy().astype(int) - orange).max(axis=2) < 10).sum() > 200


def test_in_alternating_order_the_second_player_sees_the_first_ones_move(tmp_path):
    _, table = solved(tmp_path / "a", "bilinear", "outer=gda", "order=alternating", "steps=10")
    x, y = 0.8, 0.0
    for row in table:
        assert row[:2] == pytest.approx([x, y])
        x = x - 0.3 * y
        y = y + 0.3 * x


NOISY = """
import torch
from gantrain.games.base import Objective
from gantrain.games.toy import Bilinear

class Noisy(Bilinear):
    def __init__(self):
        super().__init__()
        self.batches = [torch.tensor(v, dtype=torch.float64) for v in (0.5, -0.25, 0.125)]

    def objective(self, player, batch):
        return Objective(super().objective(player, batch).loss + batch * self.players[player].module.value)
"""


@pytest.mark.parametrize("samples", ["fresh", "same"])
def test_the_inner_moves_see_fresh_samples_or_the_same(tmp_path, monkeypatch, samples):
    (tmp_path / "noisy_game.py").write_text(NOISY)
    monkeypatch.syspath_prepend(tmp_path)
    overrides = ["game={target: noisy_game:Noisy}", "steps=4", f"samples={samples}"]
    _, table = solved(tmp_path / "a", "bilinear", *overrides)
    sys.modules.pop("noisy_game")
    noise = [0.5, -0.25, 0.125]
    z, draw = np.ones(2), 0
    for row in table:
        assert row[:2] == pytest.approx(z)
        first, second = (draw, draw) if samples == "same" else (draw, draw + 1)
        w = z - 0.3 * (bilinear(z) + noise[first % 3])
        z = z - 0.3 * (bilinear(w) + noise[second % 3])
        draw = second + 1


def test_divergence_is_said(tmp_path):
    (line, _), table = solved(tmp_path / "a", "bilinear", "outer=gda", "optimizer.lr=1e100", "steps=6")
    first = int(np.argmax(~np.isfinite(table[:, 2])))
    assert first == 4 and line == f"gda: 6 steps, 6 gradients a player, which diverged: not finite from step {first} on"


def test_results_are_replaced_and_nothing_else(tmp_path):
    solved(tmp_path / "a", "bilinear", "steps=3")
    _, table = solved(tmp_path / "a", "bilinear", "steps=5")
    assert len(table) == 6
    config = load_solve(TOY / "bilinear.yaml", ["steps=3"])
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").write_text("a run's")
    with pytest.raises(UserError, match="run: exists and is not a solved game; choose another name or --output$"):
        solve_config(config, tmp_path / "run")
    assert [p.name for p in (tmp_path / "run").iterdir()] == ["config.yaml"]
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UserError, match="file: is a file, and the results would lie there"):
        solve_config(config, tmp_path / "file")
    with pytest.raises(UserError, match="file/a: cannot be written: Not a directory$"):
        solve_config(config, tmp_path / "file" / "a")


def test_results_lie_in_folder_and_name_by_default(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    solve_config(load_solve(TOY / "bilinear.yaml", ["steps=2", "name=b", "folder=runs/toy"]))
    assert (tmp_path / "runs" / "toy" / "b" / "trajectory.csv").is_file()


def test_a_target_that_is_no_toy_game():
    with pytest.raises(UserError, match="game.target: gantrain.outer:GDA is no toy game; expected a subclass of .*toy"):
        load_solve(TOY / "bilinear.yaml", ["game={target: gantrain.outer:GDA}"])
