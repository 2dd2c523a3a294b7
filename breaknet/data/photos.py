"""`read_image`: one's own digit, drawn or photographed, in the form that the network knows."""

import os
import warnings
from importlib import import_module
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError
from ..files import cannot_be, open_plain
from ..views import DIGIT_SIDE, centre_digit

#: What is read: other decoders of Pillow's are never tried.
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP")

MAX_BYTES = 64 * 2**20
MAX_PIXELS = 100_000_000
#: Pictures are made this small first, in pixels of the longer side: fast, and the grain of a photo averages out.
WORKING_SIDE = 400

#: Of 255: where ink and paper differ by less than this, there is no ink.
LEAST_CONTRAST = 20
#: Strokes thinner than this, when the digit is 20 pixels long, are thickened: a ball pen's would nearly vanish.
THINNEST = 2.5
#: Specks smaller than this share of the largest stroke are dust.
DUST = 0.04


def read_image(path: str | os.PathLike[str]) -> NDArray[np.uint8]:
    """A digit from a picture file as MNIST has it: uint8 [28, 28], ink bright on black, centred by mass.

    A photo of a digit on paper will do. Where the paper is light the picture is inverted; uneven light, grain and
    specks are taken out; thin strokes are thickened; what is left is cropped, scaled to 20 x 20 keeping its shape, and
    centred by its mass. Look at what comes out before you use it: `breaknet.plot_digit(image)` shows it.

    Args:
        path: a PNG, JPEG, WebP, BMP or GIF file, of at most 64 MiB and 100 million pixels.

    Raises:
        DataError: for a file that is missing, too large, broken, of another kind, or without a digit in it.
        TypeError: for something else than a path.
    """
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(f"path: the name of a picture file, not a {type(path).__name__}")
    grey = _read_grey(Path(path))
    ink = _as_thick_as_mnist(_without_specks(_ink(grey)))
    if not ink.any():
        raise DataError(f"{path}: no digit to be seen; it should be dark on light paper, or light on dark")
    return centre_digit(ink)


def _read_grey(path: Path) -> NDArray[np.float32]:
    """The picture in shades of grey, 0 to 255, upright, its longer side at most `WORKING_SIDE`."""
    from PIL import Image, ImageOps, UnidentifiedImageError

    with open_plain(path) as file:
        try:
            content = file.read(MAX_BYTES + 1)
        except OSError as error:
            raise cannot_be("read", path, error) from error
    if len(content) > MAX_BYTES:
        raise DataError(f"{path}: over {MAX_BYTES // 2**20} MiB, too large for a picture of a digit")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of sizes, which are looked at next, and of odd metadata
            with Image.open(BytesIO(content), formats=FORMATS) as picture:
                width, height = picture.size
                if width * height > MAX_PIXELS:
                    raise DataError(
                        f"{path}: {width:,} x {height:,} pixels; at most {MAX_PIXELS:,} in all are read"
                    )
                picture.draft(
                    "L", (2 * WORKING_SIDE, 2 * WORKING_SIDE)
                )  # a JPEG is decoded that small at once
                upright = _on_paper(ImageOps.exif_transpose(picture))
                upright.thumbnail((WORKING_SIDE, WORKING_SIDE))
                return np.asarray(upright, np.float32)
    except DataError:
        raise
    except UnidentifiedImageError as error:
        raise DataError(f"{path}: no picture that is known here; save it as PNG or JPEG") from error
    except (Image.DecompressionBombError, MemoryError) as error:
        raise DataError(f"{path}: too many pixels for a picture of a digit") from error
    except Exception as error:  # broken files end in nearly any kind of error
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{path}: broken picture ({reason})") from error


def _on_paper(picture: Any) -> Any:
    """The picture in shades of grey; what is transparent shows paper that is light where the ink is dark."""
    from PIL import Image

    if not picture.has_transparency_data:
        return picture.convert("L")
    with_alpha = picture.convert("LA")
    grey, alpha = with_alpha.split()
    opaque = np.asarray(grey)[np.asarray(alpha) > 127]
    light_ink = opaque.size > 0 and opaque.mean() > 127
    paper = Image.new("L", picture.size, 0 if light_ink else 255)
    paper.paste(grey, mask=alpha)
    return paper


def _ink(grey: NDArray[np.float32]) -> NDArray[np.float32]:
    """Each pixel's difference from the paper, brighter or darker, 0 where it is paper; all 0 where there is no ink."""
    ndimage = _ndimage()
    smooth = ndimage.gaussian_filter(grey, 1) if grey.size > 10_000 else grey  # without most of the grain
    low, high = np.percentile(smooth, (0.1, 99.9))
    if high - low < LEAST_CONTRAST:
        return np.zeros_like(grey)
    frame = np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]])
    if np.median(frame) < (low + high) / 2:  # the paper is dark: as if it were light
        grey = 255 - grey
    # The paper's own brightness, which differs over a photo: the brightest near by, further away than a stroke is wide.
    reach = 2 * (max(grey.shape) // 6) + 1
    paper = ndimage.gaussian_filter(ndimage.maximum_filter(grey, reach), reach / 4)
    ink = np.clip(paper - grey, 0, None)
    threshold = _otsu(ink)
    background = ink[ink <= threshold]
    # grain and shade of the paper: from its level to what nearly all of it stays under
    noise = float(np.percentile(background, 90)) if background.size else 0.0
    full = float(np.percentile(ink[ink > threshold], 75)) if (ink > threshold).any() else 0.0
    if full - noise < LEAST_CONTRAST:
        return np.zeros_like(grey)
    clean = np.clip((ink - noise) / (full - noise), 0, 1)
    clean[ink <= min(threshold, noise + 0.25 * (full - noise))] *= (
        noise == 0
    )  # soft edges stay where paper is clean
    return np.asarray(255 * clean, np.float32)


def _ndimage() -> Any:
    """scipy's filters of pictures, whose names its types leave out."""
    return import_module("scipy.ndimage")


def _otsu(values: NDArray[np.float32]) -> float:
    """The value that splits the histogram into two classes of least variance within."""
    counts, edges = np.histogram(values, 256)
    centres = (edges[1:] + edges[:-1]) / 2
    below = np.cumsum(counts)
    above = below[-1] - below
    sums = np.cumsum(counts * centres)
    with np.errstate(divide="ignore", invalid="ignore"):
        between = below * above * (sums / below - (sums[-1] - sums) / above) ** 2
    return float(centres[int(np.nanargmax(np.where(above > 0, between, -1)))])


def _without_specks(ink: NDArray[np.float32]) -> NDArray[np.float32]:
    """The ink without dust, and without what reaches in from the edge (a shadow, the table) beside a whole digit."""
    ndimage = _ndimage()
    parts, count = ndimage.label(ink > 64, np.ones((3, 3)))
    if count < 2:
        return ink
    sizes = np.bincount(parts.ravel(), minlength=count + 1)
    sizes[0] = 0
    at_edge = np.zeros(count + 1, bool)
    at_edge[np.unique(np.concatenate([parts[0], parts[-1], parts[:, 0], parts[:, -1]]))] = True
    inside = ~at_edge & (sizes > 0.1 * sizes.max())
    candidates = ~at_edge if inside.any() else np.ones(count + 1, bool)
    candidates[0] = False
    kept = candidates & (sizes >= DUST * sizes[candidates].max())
    near = ndimage.binary_dilation(
        kept[parts], iterations=max(2, max(ink.shape) // 60)
    )  # soft edges belong to a stroke
    return np.where(near, ink, 0).astype(np.float32)


def _as_thick_as_mnist(ink: NDArray[np.float32]) -> NDArray[np.float32]:
    """The ink with strokes of `THINNEST` at least; those of MNIST are mostly 2 to 4 pixels wide."""
    ndimage = _ndimage()
    stroke = ink > 127
    if not stroke.any():
        return ink
    rows, columns = np.flatnonzero(stroke.any(1)), np.flatnonzero(stroke.any(0))
    longer = float(max(rows[-1] - rows[0], columns[-1] - columns[0])) + 1
    pixel = max(1.0, longer / DIGIT_SIDE)  # one of MNIST's, in pixels of this picture
    inside = ndimage.distance_transform_edt(np.pad(stroke, 1))[1:-1, 1:-1][stroke]
    width = 4 * float(inside.mean()) - 1  # of a strip with this mean distance to its edge
    radius = round((THINNEST * pixel - width) / 2)
    if radius < 1:
        return ink
    padded = np.pad(ink, radius)
    y, x = np.ogrid[-radius : radius + 1, -radius : radius + 1]
    return np.asarray(ndimage.maximum_filter(padded, footprint=x * x + y * y <= radius * radius), np.float32)
