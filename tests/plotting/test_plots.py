from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from forked import SECONDS
from matplotlib.colors import to_hex, to_rgb
from PIL import Image

from gantrain.plotting import figures
from gantrain.plotting.images import (
    figure_to_png,
    grid,
    load_png,
    magnification,
    quantised,
    rendered,
    row_height,
    save_png,
    timeline,
)


def test_pixels_are_rounded_not_truncated():
    levels = torch.arange(256, dtype=torch.uint8)
    exact = levels.double() / 127.5 - 1
    for nudge in (-0.003, 0.0, 0.003):
        assert torch.equal(quantised(exact + nudge), levels)
    assert quantised(torch.tensor([-5.0, -1.0, 1.0, 5.0])).tolist() == [0, 0, 255, 255]


def test_a_grid_holds_each_image_at_its_place():
    images = torch.arange(5.0).view(5, 1, 1, 1).expand(5, 1, 8, 8) / 4 * 2 - 1
    picture = grid(images)
    assert picture.dtype == torch.uint8 and picture.shape == (3, 2 + 2 * 50, 2 + 3 * 50)
    for i, level in enumerate(quantised(images)[:, 0, 0, 0]):
        top, left = 2 + i // 3 * 50, 2 + i % 3 * 50
        assert (picture[:, top : top + 48, left : left + 48] == level).all()
        assert (picture[:, top - 2 : top, left : left + 48] == 255).all()  # the line above
        assert (picture[:, top : top + 48, left - 2 : left] == 255).all()  # and on the left


def test_small_images_are_enlarged_by_whole_pixels():
    images = torch.rand(2, 3, 8, 8) * 2 - 1
    picture = grid(images, columns=2)
    assert torch.equal(picture[:, 2:50:6, 2:50:6], quantised(images[0]))
    assert [magnification(h) for h in (8, 16, 28, 32, 64, 256)] == [6, 3, 2, 2, 1, 1]
    assert grid(images, columns=1, scale=1).shape == (3, 22, 12)


@pytest.mark.parametrize(("count", "expected"), [(1, 1), (2, 2), (16, 4), (20, 5), (64, 8)])
def test_grids_are_nearly_square(count, expected):
    assert grid(torch.zeros(count, 1, 4, 4), scale=1).shape[2] == 2 + 6 * expected


def test_the_first_row_ends_where_row_height_says():
    images = torch.full((4, 1, 8, 8), -1.0)
    height = row_height(8)
    picture = grid(images)
    assert (picture[:, height - 1, 2:50] == 0).all() and (picture[:, height, 2:50] == 255).all()


def test_a_timeline_has_a_row_for_each_time_with_its_step():
    steps = (0, 500, 12000)
    rows = [
        (step, torch.full((3, 52, 152), level, dtype=torch.uint8))
        for step, level in zip(steps, (9, 90, 200), strict=True)
    ]
    picture = timeline(rows)
    margin = picture.shape[2] - 152
    assert picture.shape[1] == 3 * 52
    for i, (_, row) in enumerate(rows):
        assert torch.equal(picture[:, i * 52 : (i + 1) * 52, margin:], row)
        assert (picture[:, i * 52 : (i + 1) * 52, :margin] < 128).any()  # the step is written
    assert not torch.equal(picture[:, :52, :margin], picture[:, 52:104, :margin])


def test_pictures_of_images_with_alpha_keep_it(tmp_path):
    images = torch.rand(4, 4, 48, 64) * 2 - 1
    picture = grid(images, columns=2)
    assert picture.shape == (4, 102, 134)
    assert torch.equal(picture[:, 2:50, 2:66], quantised(images)[0])
    assert (picture[:, :2] == 255).all(), "the lines are white and opaque"
    rows = timeline([(0, picture), (100, picture)])
    assert torch.equal(rows[:, 102:, -134:], picture) and (rows[3, :, :-134] == 255).all()
    save_png(picture, tmp_path / "a.png")
    assert torch.equal(load_png(tmp_path / "a.png"), picture)


@pytest.mark.parametrize("channels", [1, 3])
def test_pictures_survive_the_file(tmp_path, channels):
    image = torch.randint(0, 256, (channels, 5, 7), dtype=torch.uint8)
    save_png(image, tmp_path / "a.png")
    assert torch.equal(load_png(tmp_path / "a.png"), image.expand(3, 5, 7))
    save_png(image.flip(2), tmp_path / "a.png")
    assert torch.equal(load_png(tmp_path / "a.png"), image.flip(2).expand(3, 5, 7))
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.png"]


def shows(picture: torch.Tensor, colour: str) -> int:
    """How many pixels have the colour."""
    wanted = torch.tensor(to_rgb(colour)).mul(255).round().view(3, 1, 1)
    return int(((picture.float() - wanted).abs() <= 2).all(dim=0).sum())


def test_a_scatter_shows_points_data_and_modes():
    generator = torch.Generator().manual_seed(0)
    points, real = torch.randn(2, 300, 2, generator=generator)
    figure = figures.scatter(points, modes=torch.tensor([[0.0, 0.0], [1.0, 1.0]]), real=real)
    (axes,) = figure.axes
    assert axes.get_aspect() == 1.0
    data, generated, modes = (c.get_offsets() for c in axes.collections)
    np.testing.assert_array_equal(data, real)
    np.testing.assert_array_equal(generated, points)
    np.testing.assert_array_equal(modes, [[0, 0], [1, 1]])
    picture = rendered(figure)
    assert picture.dtype == torch.uint8 and picture.shape == (3, 450, 450)
    assert shows(picture, figures.LIGHT_GREY) > 100 and shows(picture, figures.COLOURS["gda"]) > 20


def test_stray_points_do_not_change_the_view():
    real = torch.rand(100, 2)
    views = [figures.scatter(points, real=real).axes[0].get_xlim() for points in (real, real * 1000)]
    assert views[0] == views[1]
    assert figures.scatter(real * 1000).axes[0].get_xlim()[1] > 900


VIEW = (-1.1, 1.1, -1.0, 1.0)


def spiral(rate: float, steps: int) -> tuple[np.ndarray, np.ndarray]:
    z = (rate * np.exp(0.2j)) ** np.arange(steps)
    return z.real, z.imag


def test_trajectories_have_the_colour_of_their_method():
    paths = {
        "rapp": spiral(0.9, 20),
        "lookahead 5": spiral(0.95, 100),
        "lookahead 10": spiral(0.97, 100),
        "mine": tuple(torch.tensor(p) for p in spiral(0.8, 10)),
    }
    figure = figures.trajectory(paths, VIEW, field=lambda x, y: (-y, x), solution=(0.0, 0.0))
    lines = {line.get_label(): line for line in figure.axes[0].lines}
    assert to_hex(lines["rapp"].get_color()).upper() == figures.COLOURS["rapp"]
    assert lines["lookahead 5"].get_color() == lines["lookahead 10"].get_color() == figures.COLOURS["lookahead"]
    assert lines["lookahead 5"].get_linestyle() != lines["lookahead 10"].get_linestyle()
    np.testing.assert_array_equal(lines["mine"].get_xdata(), paths["mine"][0])
    assert lines["solution"].get_xydata().tolist() == [[0.0, 0.0]]
    assert shows(rendered(figure), figures.COLOURS["rapp"]) > 50


def test_a_path_that_diverges_leaves_the_others_visible():
    with np.errstate(all="ignore"):
        away = spiral(2.0, 3000)
    assert not np.isfinite(away[0]).all()
    figure = figures.trajectory({"gda": away, "rapp": spiral(0.9, 50)}, VIEW, solution=(0.0, 0.0))
    assert figure.axes[0].get_xlim() == VIEW[:2] and figure.axes[0].get_ylim() == VIEW[2:]
    picture = rendered(figure)
    assert shows(picture, figures.COLOURS["gda"]) > 20 and shows(picture, figures.COLOURS["rapp"]) > 50


def test_figures_are_written_as_files(tmp_path):
    figure_to_png(figures.scatter(torch.rand(10, 2)), tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as image:
        assert image.format == "PNG" and image.width > 400
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.png"]


def test_the_colours_are_distinct_also_to_the_colour_blind():
    # Machado, Oliveira & Fernandes (2009), severity 1.0: protanopia and deuteranopia, on linear RGB.
    deficiencies = [
        np.eye(3),
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    ]
    linear = np.array([to_rgb(colour) for colour in figures.COLOURS.values()]) ** 2.2
    for matrix in deficiencies:
        seen = np.clip(linear @ np.array(matrix).T, 0, 1) ** (1 / 2.2)
        distances = np.linalg.norm(seen[:, None] - seen[None], axis=2) + np.eye(len(seen))
        assert distances.min() > 0.15


@pytest.mark.slow
def test_pyplot_stays_out():
    source = (
        "import sys, torch; from gantrain.plotting import figures, images; assert 'matplotlib' not in sys.modules;"
        "images.rendered(figures.scatter(torch.rand(3, 2))); assert 'matplotlib.pyplot' not in sys.modules"
    )
    assert subprocess.run([sys.executable, "-c", source], timeout=SECONDS).returncode == 0


def test_numbers_are_drawn_as_histograms_of_the_same_intervals():
    figure = figures.histogram(torch.tensor([[0.5], [0.6], [99.0]]), torch.linspace(0, 1, 50))
    *bars, generated = figure.axes[0].patches
    assert len(bars) == 40 and [bar.get_x() for bar in bars][:2] == pytest.approx([0, 1 / 40])
    assert generated.get_xy().max() > 1 and figure.axes[0].get_xlim()[1] < 2
    assert len(figures.histogram(torch.tensor([float("nan")]), torch.zeros(3)).axes[0].patches) == 40


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("diverged", [(), (0.004,)], ids=["whole", "diverged"])
def test_panels_over_a_grid_fill_their_figure(diverged):
    lines = [figures.GridLine("gda", "gda", [0.001, 0.002, 0.004], [5.0, 4.0, 150.0], [1.0, 1.0, 200.0], diverged)]
    picture = rendered(figures.grid({"live": lines, "ema": lines}, "learning rate", log=True))
    inked = (picture < 255).any(0).any(0).nonzero()
    assert inked.min() < 0.05 * picture.shape[2] and inked.max() > 0.95 * picture.shape[2]
    # A frame and lines in each panel, so that no part of the width is empty.
    assert inked.diff(dim=0).max() < 0.05 * picture.shape[2]
