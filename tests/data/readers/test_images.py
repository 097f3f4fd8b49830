import io

import numpy as np
import pytest
import torch
from later import Later
from PIL import Image

from gantrain.data.pixels import opaque
from gantrain.data.readers.images import Geometry, load, load_all
from gantrain.data.readers.windows import RandomWindows
from gantrain.errors import UserError

COLOUR = np.random.default_rng(0).integers(0, 256, (6, 5, 3), dtype=np.uint8)
GREY = COLOUR[:, :, 0]


def encoded(image, kind="PNG", **settings):
    file = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(file, kind, **settings)
    return file.getvalue()


def test_colour_comes_out_as_it_went_in():
    assert np.array_equal(load(encoded(COLOUR), 3), COLOUR)
    assert np.array_equal(load(encoded(COLOUR, "BMP"), 3), COLOUR)
    assert np.array_equal(load(encoded(COLOUR, "WEBP", lossless=True), 3), COLOUR)


def test_a_jpeg_is_what_pillow_makes_of_it():
    content = encoded(COLOUR, "JPEG", quality=95)
    assert np.array_equal(load(content, 3), np.asarray(Image.open(io.BytesIO(content))))
    cmyk = encoded(Image.fromarray(COLOUR).convert("CMYK"), "JPEG", quality=100, subsampling=0)
    assert np.abs(load(cmyk, 3).astype(int) - COLOUR).mean() < 4


def test_grey_becomes_three_equal_channels_and_colour_becomes_luma():
    assert np.array_equal(load(encoded(GREY), 3), np.repeat(GREY[:, :, None], 3, axis=2))
    assert np.array_equal(load(encoded(GREY), 1), GREY[:, :, None])
    luma = COLOUR.astype(float) @ [0.299, 0.587, 0.114]
    assert np.abs(load(encoded(COLOUR), 1)[:, :, 0] - luma).max() <= 1


def test_black_and_white():
    bits = GREY > 128
    assert np.array_equal(load(encoded(Image.fromarray(bits)), 1)[:, :, 0], bits * np.uint8(255))


def test_a_palette_is_looked_up():
    palette = Image.fromarray(GREY % 4).convert("P")
    palette.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90, 255, 0, 1])
    colours = np.array([[10, 20, 30], [40, 50, 60], [70, 80, 90], [255, 0, 1]])
    assert np.array_equal(load(encoded(palette), 3), colours[np.asarray(palette)])
    see_through = load(encoded(palette, transparency=2), 3)
    colours[2] = 255
    assert np.array_equal(see_through, colours[np.asarray(palette)]), "the transparent colour is white"


def test_transparent_pixels_lie_over_white():
    alpha = np.random.randint(0, 256, (6, 5, 1), dtype=np.uint8)
    expected = (COLOUR * (alpha / 255.0) + 255 * (1 - alpha / 255.0)).round()
    out = load(encoded(np.concatenate([COLOUR, alpha], axis=2)), 3)
    assert np.abs(out - expected).max() <= 1
    grey = load(encoded(np.concatenate([GREY[:, :, None], alpha], axis=2)), 1)
    assert np.abs(grey - (GREY[:, :, None] * (alpha / 255.0) + 255 * (1 - alpha / 255.0))).max() <= 1.5


def test_alpha_stays_where_four_channels_are_asked_for():
    alpha = np.random.randint(0, 256, (6, 5, 1), dtype=np.uint8)
    alpha[0] = 0
    out = load(encoded(np.concatenate([COLOUR, alpha], axis=2)), 4)
    assert np.array_equal(out[..., 3:], alpha)
    assert np.array_equal(out[1:, :, :3][alpha[1:, :, 0] > 0], COLOUR[1:][alpha[1:, :, 0] > 0])
    assert (out[0, :, :3] == 255).all(), "the colour of what cannot be seen is white"
    assert (load(encoded(COLOUR), 4)[..., 3] == 255).all()


def test_levels_with_alpha_over_white_are_those_of_reading_the_file_in_colour():
    image = np.random.randint(0, 256, (40, 50, 4), dtype=np.uint8)
    levels = torch.from_numpy(load(encoded(image), 4).copy()).permute(2, 0, 1)[None]
    assert np.array_equal(opaque(levels)[0].permute(1, 2, 0).numpy(), load(encoded(image), 3))


def test_a_size_may_be_a_height_and_a_width():
    wide = np.zeros((20, 60, 3), np.uint8)
    wide[:, 15:45] = 255
    assert load(encoded(wide), 3, Geometry((10, 15))).shape == (10, 15, 3)
    assert (load(encoded(wide), 3, Geometry((10, 15)))[:, 1:-1] == 255).all(), (
        "the largest part of this shape around the centre"
    )
    assert (load(encoded(wide), 3, Geometry((10, 30)))[:, :5] == 0).all()


def test_sixteen_bits_are_scaled_and_not_clipped():
    deep = np.array([[0, 257, 256 * 128, 65535]], dtype=np.uint16)
    assert load(encoded(deep), 1)[0, :, 0].tolist() == [0, 1, 128, 255]
    with pytest.raises(ValueError, match="32 bits"):
        load(encoded(Image.fromarray(np.ones((2, 2), dtype=np.float32)), "TIFF"), 3)


def test_sixteen_bits_of_a_pgm_are_scaled():
    levels = np.array([[0, 257, 256 * 128, 65535]], dtype=">u2")
    assert load(b"P5 4 1 65535\n" + levels.tobytes(), 1)[0, :, 0].tolist() == [0, 1, 128, 255]
    assert load(b"P2 4 1 65535\n0 257 32768 65535", 3)[0, :, 2].tolist() == [0, 1, 128, 255]
    twelve = np.array([[0, 4095]], dtype=">u2")
    assert load(b"P5 2 1 4095\n" + twelve.tobytes(), 1)[0, :, 0].tolist() == [0, 255]
    for deep in (np.ones((2, 2), dtype=np.int32), np.ones((2, 2), dtype=np.float32)):
        with pytest.raises(ValueError, match="32 bits or with a sign"):
            load(encoded(Image.fromarray(deep), "TIFF"), 3)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "it is no image but an empty file"),
        (bytes(100), "it is no image but a file of zeros"),
        (b"notes about the images\n", "it is no image but text"),
        (b"<html><body>Not found</body></html>", "it is no image but a web page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "it is no image but a pointer of Git LFS"),
        (b"PK\x03\x04 and so on", "it is no image but a zip archive"),
        (b"\x89PNG\r\n\x1a\n and no more", "it begins like a PNG image; it is damaged, or Pillow cannot read it"),
        (b"\x01\x02\x03", "it is no image, or is damaged"),
        (b"P5 100000 100000 255\n", "it has more than [0-9]* pixels, the most that an image may have"),
        (b"P5 12000 12000 255\n", "it has 12000 x 12000 pixels, more than the [0-9]* that an image may have"),
    ],
)
def test_what_is_no_image_is_said_in_words(content, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        load(content, 3)


def test_the_cameras_orientation_is_applied():
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise by 90 degrees
    turned = load(encoded(COLOUR, "PNG", exif=exif), 3)
    assert np.array_equal(turned, np.rot90(COLOUR, -1))


def test_resizing_takes_the_middle_square():
    wide = np.random.randint(0, 256, (8, 24, 3), dtype=np.uint8)
    scaled = Image.fromarray(wide).resize((12, 4), Image.Resampling.BICUBIC)
    assert np.array_equal(load(encoded(wide), 3, Geometry(4)), np.asarray(scaled)[:, 4:8])
    tall = np.rot90(wide).copy()
    scaled = Image.fromarray(tall).resize((4, 12), Image.Resampling.BICUBIC)
    assert np.array_equal(load(encoded(tall), 3, Geometry(4)), np.asarray(scaled)[4:8])
    same = np.random.randint(0, 256, (8, 8, 3), dtype=np.uint8)
    assert np.array_equal(load(encoded(same), 3, Geometry(8)), same)
    big = Image.fromarray(np.kron(GREY[:5, :5], np.ones((8, 8), dtype=np.uint8)))
    assert np.array_equal(load(encoded(big), 1, Geometry(10))[:, :, 0], np.asarray(big.resize((10, 10), Image.BICUBIC)))


@pytest.mark.parametrize("pixels", [4, 100])
def test_many_files_come_in_order_with_what_is_wrong_with_them(pixels):
    """Small files by one thread, large ones by several."""
    arrays = [np.random.randint(0, 256, (pixels, pixels, 3), dtype=np.uint8) for _ in range(70)]
    contents = [encoded(array) for array in arrays]
    contents[3] = b"no image"
    contents[66] = contents[66][: len(contents[66]) // 2]
    contents[9] = OSError("gone")
    found = list(load_all([(str(i), content) for i, content in enumerate(contents)], 3))
    assert [name for name, _ in found] == [str(i) for i in range(70)]
    for i, (_, image) in enumerate(found):
        if i in (3, 9, 66):
            assert isinstance(image, Exception), i
        else:
            assert np.array_equal(image, arrays[i])


functional = Later("torchvision.transforms.functional")
transforms = Later("torchvision.transforms")


@pytest.mark.parametrize(("height", "width"), [(50, 31), (31, 50), (40, 40), (24, 60)])
def test_the_shorter_side_is_scaled_and_the_centre_cut_out_as_by_torchvision(height, width):
    image = Image.fromarray(np.random.default_rng(1).integers(0, 256, (height, width, 3), dtype=np.uint8))
    scaled = functional.resize(image, 20, transforms.InterpolationMode.BICUBIC)
    for size in (16, (12, 20), (20, 9)):
        expected = np.asarray(functional.center_crop(scaled, size))
        assert np.array_equal(load(encoded(image), 3, Geometry(size, resize=20)), expected), size


def test_a_size_that_no_memory_holds_is_refused():
    for settings, key in (({"size": 10**5}, "size"), ({"size": 16, "resize": 10**5}, "resize")):
        with pytest.raises(UserError, match=f"^data.{key}: expected images of at most 134217728 pixels, got 100000$"):
            Geometry(**settings)
    with pytest.raises(ValueError, match=r"^data.resize scales it to 3000000 x 1000 pixels, more than 134217728$"):
        load(encoded(np.zeros((1, 3000), np.uint8)), 1, Geometry(8, resize=1000))


@pytest.mark.parametrize(
    ("scale", "ratio"), [((0.08, 1.0), (3 / 4, 4 / 3)), ((0.5, 0.5), (2.0, 2.0)), ((1, 1), (8, 9))]
)
def test_a_random_window_is_that_of_torchvision_for_the_same_numbers(scale, ratio, monkeypatch):
    rng = np.random.default_rng(2)
    content = encoded(Image.fromarray(rng.integers(0, 256, (40, 61, 3), dtype=np.uint8)))
    image = Image.open(io.BytesIO(content))
    windows = RandomWindows(scale, ratio)
    drawn = []
    # torchvision draws area and ratio of each try, and then the upper and the left edge of what fits.
    monkeypatch.setattr(torch.Tensor, "uniform_", lambda t, low, high: t.fill_(low + drawn.pop(0) * (high - low)))
    monkeypatch.setattr(torch, "randint", lambda low, high, size: torch.tensor([int(places.pop(0) * high)]))
    for _ in range(50):
        numbers = rng.random(RandomWindows.NUMBERS).tolist()
        drawn[:], places = numbers[:-2], [numbers[-1], numbers[-2]]
        top, left, height, width = transforms.RandomResizedCrop.get_params(image, scale, ratio)
        assert windows.box(61, 40, numbers) == (left, top, left + width, top + height)
        cut = functional.resized_crop(image, top, left, height, width, [16, 24], transforms.InterpolationMode.BICUBIC)
        geometry = Geometry((16, 24), windows=windows)
        assert np.array_equal(load(content, 3, geometry, numbers), np.asarray(cut))
    assert np.array_equal(load(content, 3, geometry), load(content, 3, Geometry((16, 24)))), (
        "without numbers, the centre"
    )
