"""Synthetic digits: a substitute for MNIST that needs no network, drawn from the fonts that matplotlib ships.

Each digit of each font is reduced to the middle line of its strokes and kept as a field of distances to that
line. An image reads the field at coordinates bent by a random affine map and a random smooth (elastic)
displacement, and a pen of random width turns distance into antialiased ink. The steps on whole images
are single float32 additions, multiplications and table look-ups, which every processor rounds alike: the same
versions of numpy, scipy, pillow and matplotlib give the same bits, whatever the number of threads.

The elastic displacement follows Simard, Steinkraus and Platt (ICDAR 2003), with a spline through a coarse
grid of random values in the place of smoothed noise.
"""

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError
from ..versions import versions
from . import cache
from .splits import Digits, Split

SOURCE = "synthetic digits"

#: Raise it with any change that alters an image: it is part of the cached file's name.
RECIPE = 1

TRAIN, VALID, TEST = 50_000, 10_000, 10_000

_SLANTED = ("", "-Bold", "-Oblique", "-BoldOblique")
#: matplotlib's fonts that hold the digits 0 to 9; its others hold symbols.
FONTS = (
    *(f"DejaVuSans{mono}{style}.ttf" for mono in ("", "Mono") for style in _SLANTED),
    *(f"DejaVuSerif{style}.ttf" for style in ("", "-Bold", "-Italic", "-BoldItalic")),
    *(f"STIXGeneral{style}.ttf" for style in ("", "Bol", "Italic", "BolIta")),
    *(f"cm{style}10.ttf" for style in ("b", "mi", "r", "ss", "ti", "tt")),
)

SIDE = 28  # pixels of an image's side
BOX = 20  # pixels of the longer side of an undistorted digit, as in MNIST
FINE = 4  # cells of a distance field per pixel
FIELD = 160  # cells of a field's side, 40 pixels; beyond, everything is as empty as the border
CHUNK = 500  # images drawn at a time; each chunk has a random generator of its own

# How much the digits are distorted: tuned so that the lesson's network ends, and over-fits, about as on MNIST.
ROTATION = 0.16  # radians, standard deviation
SHEAR = 0.2  # columns per row, standard deviation
ASPECT = 0.16  # of the logarithm of width over height, standard deviation
SIZE = 0.09  # of the logarithm of the scale, standard deviation
SHIFT = 0.65  # pixels, standard deviation in each direction
KNOTS = 4  # cells of the elastic grid along a side
ELASTIC = 1.95  # pixels, standard deviation at a knot
PEN = (0.45, 1.2)  # pixels: half the width of a stroke, lowest and highest
EDGE = 1.25  # pixels from no ink to full ink


def synthetic_digits(cache_dir: str | os.PathLike[str] | None = None) -> Digits:
    """60,000 + 10,000 synthetic digits in splits of MNIST's sizes, the same every time.

    Args:
        cache_dir: where they are kept once drawn; None: the user's cache folder.

    Raises:
        DataError: where matplotlib came without its fonts.
    """
    path = cache.folder(cache_dir) / f"synthetic-{_recipe_name()}.digits"
    return cache.opened_or_made(path, SOURCE, _draw_all)


def _draw_all() -> Digits:
    every = draw(TRAIN + VALID + TEST)
    return Digits(every[:TRAIN], every[TRAIN : TRAIN + VALID], every[TRAIN + VALID :], SOURCE)


def _recipe_name() -> str:
    """A short name for all that determines the bits: this recipe and the versions of the libraries it uses."""
    found = versions("pillow")
    parts = [found.get(library, "?") for library in ("numpy", "scipy", "pillow", "matplotlib")]
    return f"{RECIPE}-{hashlib.sha256(' '.join(parts).encode()).hexdigest()[:12]}"


def draw(count: int) -> Split:
    """`count` random synthetic digits; of two counts, the smaller gives the first images of the larger."""
    fields = distance_fields()
    with ThreadPoolExecutor(max_workers=min(4, os.cpu_count() or 1)) as pool:
        images, labels = zip(*pool.map(partial(_draw_chunk, fields), range(-(-count // CHUNK))), strict=True)
    return Split(np.concatenate(images), np.concatenate(labels))[:count]


# ---- from fonts to distance fields


def distance_fields() -> NDArray[np.float32]:
    """All digits of all fonts, float32 [fonts x 10, FIELD, FIELD], a font's ten digits one after the other.

    A cell holds the distance in pixels to the middle line of the digit's strokes.

    Raises:
        DataError: where one of matplotlib's fonts is missing or cannot be read.
    """
    import matplotlib

    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    fields = []
    for name in FONTS:
        try:
            # read here: pillow would take a font of this name from elsewhere in the place of a missing one
            font = (folder / name).read_bytes()
            fields += [_field(font, digit) for digit in "0123456789"]
        except OSError as error:
            raise DataError(
                f"{folder / name}: matplotlib's font cannot be read, so no digits can be drawn"
            ) from error
    return np.stack(fields)


def _field(content: bytes, digit: str) -> NDArray[np.float32]:
    """One digit of the font in `content`, BOX pixels long, its centre of mass in the middle of the field."""
    from PIL import Image, ImageDraw, ImageFont
    from scipy.ndimage import distance_transform_edt, gaussian_filter  # type: ignore[attr-defined]

    font = ImageFont.truetype(BytesIO(content), 100, layout_engine=ImageFont.Layout.BASIC)
    left, top, right, bottom = font.getbbox(digit)
    points = round(100 * BOX * FINE / max(right - left, bottom - top))
    font = ImageFont.truetype(BytesIO(content), points, layout_engine=ImageFont.Layout.BASIC)
    left, top, right, bottom = font.getbbox(digit)
    image = Image.new("L", (FIELD, FIELD))
    corner = (round((FIELD - left - right) / 2), round((FIELD - top - bottom) / 2))
    ImageDraw.Draw(image).text(corner, digit, fill=255, font=font)
    inside = np.asarray(image) > 127

    # the distance to the outline rises with slope 1 up to the middle line, where it turns
    depth = distance_transform_edt(inside) - distance_transform_edt(~inside)
    slope = np.hypot(*np.gradient(gaussian_filter(depth, 1.5)))
    middle = (depth > 0.8) & (slope < 0.72)
    rows, columns = np.nonzero(inside)
    centre = (FIELD - 1) / 2
    move = (round(centre - rows.mean()), round(centre - columns.mean()))
    return (distance_transform_edt(~np.roll(middle, move, axis=(0, 1))) / FINE).astype(np.float32)


# ---- from distance fields to images


def _draw_chunk(fields: NDArray[np.float32], chunk: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """CHUNK images [CHUNK, 784] and their labels, decided by the number `chunk` alone."""
    random = np.random.default_rng([0, chunk])
    labels = random.integers(0, 10, CHUNK)
    glyphs = random.integers(0, len(FONTS), CHUNK) * 10 + labels
    angle = random.normal(0, ROTATION, CHUNK)
    shear = random.normal(0, SHEAR, CHUNK)
    stretch = np.exp(random.normal(0, ASPECT, CHUNK) / 2)
    size = np.exp(random.normal(0, SIZE, CHUNK))
    pen = random.uniform(*PEN, CHUNK)
    shift = random.normal(0, SHIFT, (2, CHUNK))

    pixels = np.arange(SIDE, dtype=np.float32) - np.float32((SIDE - 1) / 2)
    x = pixels[None, None, :] + _per_image(shift[0]) + _displacement(random)
    y = pixels[None, :, None] + _per_image(shift[1]) + _displacement(random)

    # from the image back to the digit: undo rotation, shear and scale, and go from pixels to cells
    cos, sin = np.cos(angle), np.sin(angle)
    across, down = FINE / (size * stretch), FINE * stretch / size
    middle = np.float32((FIELD - 1) / 2)
    column = _per_image(across * (cos + shear * sin)) * x
    column += _per_image(across * (sin - shear * cos)) * y + middle
    row = _per_image(-down * sin) * x
    row += _per_image(down * cos) * y + middle

    ink = _per_image(pen) - _per_image(size) * _look_up(fields, glyphs, row, column)
    ink *= np.float32(255 / EDGE)
    ink += np.float32(127.5)
    np.rint(np.clip(ink, 0, 255, out=ink), out=ink)
    return ink.astype(np.uint8).reshape(CHUNK, -1), labels.astype(np.uint8)


def _per_image(values: NDArray[np.float64]) -> NDArray[np.float32]:
    return values.astype(np.float32)[:, None, None]


def _displacement(random: np.random.Generator) -> NDArray[np.float32]:
    """Smooth random displacements in pixels, [CHUNK, SIDE, SIDE]: uniform cubic B-splines with random knots."""
    place = (np.arange(SIDE) + 0.5) * KNOTS / SIDE
    distance = np.abs(place[:, None] - np.arange(-1, KNOTS + 2)[None, :])
    near, far = 2 / 3 - distance**2 + distance**3 / 2, np.maximum(2 - distance, 0) ** 3 / 6
    basis = np.where(distance < 1, near, far).astype(np.float32)  # [SIDE, KNOTS + 3]

    knots = random.normal(0, ELASTIC, (CHUNK, KNOTS + 3, KNOTS + 3)).astype(np.float32)
    # product by product, since the rounding of a matrix product depends on the processor
    rows = np.zeros((CHUNK, SIDE, KNOTS + 3), np.float32)
    field = np.zeros((CHUNK, SIDE, SIDE), np.float32)
    for k in range(KNOTS + 3):
        rows += basis[None, :, k, None] * knots[:, None, k, :]
    for k in range(KNOTS + 3):
        field += rows[:, :, k, None] * basis[None, None, :, k]
    return field


def _look_up(
    fields: NDArray[np.float32],
    glyphs: NDArray[np.int64],
    row: NDArray[np.float32],
    column: NDArray[np.float32],
) -> NDArray[np.float32]:
    """The fields of `glyphs` [N] at fractional rows and columns [N, SIDE, SIDE], bilinear; both are overwritten."""
    cells = fields.reshape(-1)
    last = np.float32(FIELD - 1.001)
    np.clip(row, 0, last, out=row)
    np.clip(column, 0, last, out=column)
    top, left = row.astype(np.int32), column.astype(np.int32)
    row -= top
    column -= left
    corner = top * FIELD + left + (glyphs * FIELD * FIELD).astype(np.int32)[:, None, None]
    upper = cells[corner]
    upper += column * (cells[corner + 1] - upper)
    corner += FIELD
    lower = cells[corner]
    lower += column * (cells[corner + 1] - lower)
    return upper + row * (lower - upper)
