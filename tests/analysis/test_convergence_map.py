"""gantrain map: the table is the mathematics, the picture shows it."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from gantrain.analysis.convergence_map import convergence_map, label
from gantrain.commands.map import map_config, require_unfixed
from gantrain.config.loading import load_map
from gantrain.errors import UserError
from gantrain.plotting.images import load_png

THEORY = Path(__file__).parents[2] / "configs" / "theory"
SMALL = ["x.count=7", "y.count=4", "steps=8"]


def rapp_rate(rho, gamma, inner_steps, relaxation):
    """On the quadratic game a simultaneous loop is a complex number: ``m = gamma L e^(i phi)``, ``cos phi = rho L``."""
    m = gamma * np.exp(1j * np.arccos(rho))
    w = (1 - (-m) ** (inner_steps + 1)) / (1 + m)
    return np.abs(1 + relaxation * (w - 1))


def rows(folder):
    with (folder / "map.csv").open() as stream:
        return list(csv.DictReader(stream))


def test_the_table_is_the_mathematics(tmp_path):
    config = load_map(THEORY / "map.yaml", [*SMALL, "outers=[{name: rapp, inner_steps: 6}]"])
    text = map_config(config, tmp_path / "out")
    table = rows(tmp_path / "out")
    x, y, exact, measured = (
        np.array([float(row[key]) for row in table]) for key in ("rho", "relaxation", "spectral_radius", "measured")
    )
    np.testing.assert_allclose(np.unique(x), np.linspace(-0.7, 0.1, 7))
    np.testing.assert_allclose(exact, rapp_rate(x, 0.8, 6, y), rtol=1e-12)
    np.testing.assert_allclose(measured, exact, rtol=1e-10)
    assert [row["guaranteed"] for row in table] == [str(int(v)) for v in y < 2 * (1 + x / 0.8)]
    share = f"{(exact < 1).mean():.0%}"
    assert text.splitlines()[0].startswith(f"rapp inner_steps=6: contracts on {share} of the map, is guaranteed to on ")
    assert text.splitlines()[-1] == str(tmp_path / "out" / "map.png")
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["config.yaml", "map.csv", "map.png"]
    again = load_map(tmp_path / "out" / "config.yaml")
    before = (tmp_path / "out" / "map.csv").read_bytes()
    map_config(again, tmp_path / "out")
    assert (tmp_path / "out" / "map.csv").read_bytes() == before


@pytest.mark.parametrize("name", [path.stem for path in sorted(THEORY.glob("*.yaml"))])
def test_of_the_shipped_maps_runs_and_matrices_agree(name):
    config = load_map(THEORY / f"{name}.yaml", ["x.count=9", "y.count=2", "steps=16"])
    for i, outer in enumerate(config.outers):
        found = convergence_map(config, i)
        # Optimistic gradients have two eigenvalues, whose beat fades as 1 / steps.
        tolerance = 0.1 if outer.name == "optimistic" else 1e-9
        finite = np.isfinite(found.measured) & (found.measured > 0)
        assert finite.mean() > 0.4
        np.testing.assert_allclose(found.measured[finite], found.exact[finite], rtol=tolerance)
        assert (found.exact[~finite] > 1).all()


def test_axes_of_the_loop_and_of_the_game():
    overrides = ["outers=[rapp]", "y={key: inner_steps, low: 1, high: 4, count: 4}", "x.key=gamma", "x.low=0.1"]
    config = load_map(THEORY / "map.yaml", [*overrides, "x.high=0.9", "x.count=5", "rho=-0.2", "steps=6"])
    found = convergence_map(config, 0)
    gamma, tau = np.meshgrid(np.linspace(0.1, 0.9, 5), np.arange(1, 5))
    np.testing.assert_allclose(found.exact, rapp_rate(-0.2, gamma, tau, 0.9))
    np.testing.assert_allclose(found.measured, found.exact)


def test_an_axis_may_lie_in_the_base():
    outer = "outers=[{name: lookahead, inner_steps: 1, relaxation: 1.0, base: {name: rapp, inner_steps: 2}}]"
    axis = "y={key: base.relaxation, low: 0.2, high: 0.8, count: 3}"
    found = convergence_map(load_map(THEORY / "map.yaml", [outer, axis, "x.count=3", "steps=4"]), 0)
    rho, relaxation = np.meshgrid(np.linspace(-0.7, 0.1, 3), np.linspace(0.2, 0.8, 3))
    np.testing.assert_allclose(found.exact, rapp_rate(rho, 0.8, 2, relaxation))
    assert found.label == "lookahead_rapp inner_steps=1 relaxation=1 base.inner_steps=2"


def test_theorems_are_of_simultaneous_moves():
    config = load_map(THEORY / "map.yaml", [*SMALL, "order=alternating", "outers=[extragradient_plus]"])
    found = convergence_map(config, 0)
    assert found.guaranteed is None
    simultaneous = convergence_map(load_map(THEORY / "map.yaml", [*SMALL, "outers=[extragradient_plus]"]), 0)
    assert np.abs(found.exact - simultaneous.exact).max() > 0.01


def test_contraction_is_blue_and_expansion_red(tmp_path):
    config = load_map(THEORY / "map.yaml", ["steps=8", "outers=[extragradient_plus]", "x.count=12", "y.count=12"])
    map_config(config, tmp_path / "out")
    picture = load_png(tmp_path / "out" / "map.png").permute(1, 2, 0).numpy().astype(int)
    red, blue = picture[..., 0] - picture[..., 2] > 60, picture[..., 2] - picture[..., 0] > 60
    left, right = np.split(np.arange(picture.shape[1]), [picture.shape[1] // 2])
    assert red.sum() > 1000 and blue.sum() > 1000
    columns = np.arange(picture.shape[1])
    assert (red.sum(0) @ columns) / red.sum() < (blue.sum(0) @ columns) / blue.sum()


def test_a_loop_in_words():
    config = load_map(THEORY / "map.yaml", ["outers=[gda, {name: lookahead, relaxation: 0.3, base: optimistic}]"])
    assert [label(outer) for outer in config.outers] == ["gda", "lookahead_optimistic relaxation=0.3"]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["outers=[gda]"], "y.key: relaxation of outers.0, gda: unknown key; expected one of name, order"),
        (["outers=[rapp]", "y.key=relaxatio"], "y.key: relaxatio of outers.0, rapp: unknown key; expected one of"),
        (
            ["outers=[{name: lookahead, base: gda}]", "y.key=rho", "x={key: base.oder, low: 0, high: 1, count: 2}"],
            "x.key: base.oder of outers.0, lookahead: unknown key; expected one of",
        ),
        (["x.key=relaxation"], "y.key: relaxation is on the other axis already"),
        (["x.low=-1.5"], "rho must lie between -1 and 1"),
        (
            ["y={key: inner_steps, low: 1, high: 2, count: 4}"],
            "y.key: inner_steps of outers.0, rapp: expected a whole number",
        ),
        (["outers=[{name: ceg_plus, adaptive: true}]"], "outer: CEGPlus as configured is not linear or is random"),
        (["outers=[]"], "map.yaml: outers: expected at least 1"),
        (["x.kye=rho"], "x.kye: unknown key; expected one of key, low, high, count"),
    ],
)
def test_what_cannot_be_mapped(tmp_path, overrides, message):
    with pytest.raises(UserError) as error:
        map_config(load_map(THEORY / "map.yaml", overrides), tmp_path / "out")
    assert message in str(error.value).replace("command line: outers", "map.yaml: outers")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["rho=-0.1"], "rho: varies along the axis x, .*; leave it out, or change x.low and x.high"),
        (["outers.0.relaxation=0.5"], "outers.0.relaxation: varies along the axis y"),
        (["outers=[gda, {name: rapp, relaxation: 0.5}]"], "outers.1.relaxation: varies along the axis y"),
        (["y.key=base.relaxation", "outers.3.base.relaxation=0.5"], "outers.3.base.relaxation: varies along"),
        (["x.key=gamma", "gamma=0.5"], "gamma: varies along the axis x"),
    ],
)
def test_a_fixed_value_of_an_axis_is_refused(overrides, message):
    with pytest.raises(UserError, match=f"^{message}"):
        require_unfixed(load_map(THEORY / "map.yaml", overrides), overrides)


def test_what_no_axis_varies_may_be_fixed():
    for overrides in (["x.key=gamma", "rho=-0.1"], ["outers.0.inner_steps=5", "gamma=0.7"], ["x.low=-0.1"]):
        require_unfixed(load_map(THEORY / "map.yaml", overrides), overrides)


def test_a_map_replaces_an_earlier_one_and_nothing_else(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes").write_text("mine")
    config = load_map(THEORY / "map.yaml", [*SMALL, "outers=[rapp]"])
    with pytest.raises(UserError, match="mine: exists and is not a map"):
        map_config(config, tmp_path / "mine")
    with pytest.raises(UserError, match="notes: is a file, and the map would lie there"):
        map_config(config, tmp_path / "mine" / "notes")
