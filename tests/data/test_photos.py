"""One's own digit from a picture file: as MNIST has it, whatever paper, light and format; and nothing hostile."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw
from scipy.ndimage import gaussian_filter

import breaknet
from breaknet.data.photos import read_image
from breaknet.views import centre_digit


def seven(height: int = 400, width: int = 300, stroke: int = 26) -> Image.Image:
    """A seven, bright on black, right of the middle."""
    picture = Image.new("L", (width, height))
    ImageDraw.Draw(picture).line([(130, 120), (250, 120), (170, 320)], fill=255, width=stroke, joint="curve")
    return picture


def photo(ink: Image.Image, seed: int = 0) -> Image.Image:
    """The ink dark on paper that is lit from one side, with grain, dust and a shadow at the edge."""
    random = np.random.default_rng(seed)
    share = np.asarray(ink) / 255
    height, width = share.shape
    light = 215 - 60 * np.arange(width) / width - 40 * (np.arange(height) / height)[:, None]
    grey = gaussian_filter(light * (1 - 0.7 * share), 1) + random.normal(0, 5, share.shape)
    grey[60:64, 40:44] = 90  # dust
    grey[:, :6] = 60  # the table beside the paper
    return Image.fromarray(np.clip(grey, 0, 255).astype(np.uint8))


def difference(one: np.ndarray, other: np.ndarray) -> float:
    """Mean difference of the pixels, up to a shift by one: a centre of mass may be rounded either way."""
    shifts = [(down, right) for down in (-1, 0, 1) for right in (-1, 0, 1)]
    return min(float(np.abs(np.roll(one, shift, (0, 1)).astype(int) - other).mean()) for shift in shifts)


@pytest.fixture
def expected() -> np.ndarray:
    return centre_digit(np.asarray(seven()))


@pytest.mark.parametrize("kind", ["png", "jpg", "webp", "bmp", "gif"])
@pytest.mark.parametrize("inverted", [False, True])
def test_every_format_dark_or_light(tmp_path, expected, kind, inverted):
    picture = seven()
    picture = picture.point(lambda value: 255 - value) if inverted else picture
    picture.save(tmp_path / f"seven.{kind}")
    found = read_image(tmp_path / f"seven.{kind}")
    assert (found.shape, found.dtype) == ((28, 28), np.uint8)
    assert difference(found, expected) < 3


def test_a_photo_of_paper(tmp_path, expected):
    photo(seven()).convert("RGB").save(tmp_path / "photo.jpg", quality=80)
    found = breaknet.read_image(str(tmp_path / "photo.jpg"))
    assert difference(found, expected) < 5
    assert not found[:2].any(), "what is beside the digit was taken for ink"
    assert not found[:, :2].any()


def test_a_thin_stroke_is_thickened(tmp_path):
    photo(seven(stroke=4)).save(tmp_path / "ball_pen.png")
    assert (read_image(tmp_path / "ball_pen.png") > 127).sum() > 50
    assert (centre_digit(np.asarray(seven(stroke=4))) > 127).sum() < 30, "the test draws too thick a line"


def test_a_telephone_held_sideways(tmp_path, expected):
    turned = Image.Exif()
    turned[0x0112] = 6  # to be turned by 90 degrees clockwise
    photo(seven()).transpose(Image.Transpose.ROTATE_90).save(tmp_path / "turned.jpg", exif=turned, quality=90)
    assert difference(read_image(tmp_path / "turned.jpg"), expected) < 5


@pytest.mark.parametrize("colour", [0, 255])
def test_ink_on_nothing(tmp_path, expected, colour):
    ink = seven()
    picture = Image.new("LA", ink.size, (255 - colour, 0))
    picture.paste(Image.merge("LA", (Image.new("L", ink.size, colour), ink)), mask=ink)
    picture.convert("RGBA").save(tmp_path / "transparent.png")
    assert difference(read_image(tmp_path / "transparent.png"), expected) < 2


@pytest.mark.mnist
def test_mnists_own_pictures_stay_as_they_are(mnist, tmp_path):
    changes = []
    for number, image in enumerate(mnist.valid.images[:40].reshape(-1, 28, 28)):
        Image.fromarray(image).save(tmp_path / f"{number}.png")
        changes.append(difference(read_image(tmp_path / f"{number}.png"), image))
    assert np.median(changes) < 2, "of 255"


def huge_png(width: int, height: int) -> bytes:
    """A PNG of a few bytes that promises many pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


def png_of(picture: Image.Image, path: Path) -> bytes:
    picture.save(path, format="png")
    return path.read_bytes()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: b"", "no picture that is known here"),
        (lambda path: b"%PDF-1.7 and more", "no picture that is known here"),
        (lambda path: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "no picture that is known here"),
        (lambda path: huge_png(20_000, 20_000), "400000000|20,000 x 20,000 pixels|too many pixels"),
        (lambda path: huge_png(9_000, 9_000), "broken picture"),
        (lambda path: png_of(seven(), path)[:300], "broken picture"),
        (lambda path: png_of(Image.new("L", (300, 300), 200), path), "no digit to be seen"),
        (lambda path: png_of(Image.new("L", (1, 1), 0), path), "no digit to be seen"),
    ],
)
def test_what_is_no_picture_of_a_digit(tmp_path, make, message):
    path = tmp_path / "given"
    path.write_bytes(make(path))
    with pytest.raises(breaknet.DataError, match=message) as caught:
        read_image(path)
    assert "\n" not in str(caught.value)


def test_files_that_cannot_be_read(tmp_path, monkeypatch):
    with pytest.raises(breaknet.DataError, match="cannot be read"):
        read_image(tmp_path / "missing.png")
    with pytest.raises(breaknet.DataError, match="not a plain file"):
        read_image("/dev/zero")
    with pytest.raises(TypeError, match="path: the name of a picture file, not a int"):
        read_image(7)
    monkeypatch.setattr("breaknet.data.photos.MAX_BYTES", 100)
    seven().save(tmp_path / "seven.png")
    with pytest.raises(breaknet.DataError, match="too large for a picture"):
        read_image(tmp_path / "seven.png")


def test_noise_alone_is_no_digit(tmp_path):
    grain = np.clip(np.random.default_rng(0).normal(180, 6, (400, 300)), 0, 255).astype(np.uint8)
    Image.fromarray(grain).save(tmp_path / "paper.png")
    with pytest.raises(breaknet.DataError, match="no digit to be seen"):
        read_image(tmp_path / "paper.png")
