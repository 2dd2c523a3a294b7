"""Breakages of pixels: what the network sees. Labels and the order of the rows never change."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from ..data.splits import Split
from .registry import Parameter, breakage, random_for

SIDE = 28
#: Rows that are worked on at a time, so that the floats of a whole data set need not fit into memory.
BLOCK = 4096

Bytes = NDArray[np.uint8]


def _in_blocks(split: Split, change: Callable[[Bytes], Bytes]) -> Split:
    """A Split of new images: `change` of uint8 [n, 28, 28], block by block in order."""
    images = np.empty((len(split), SIDE * SIDE), np.uint8)
    for first in range(0, len(split), BLOCK):
        block = split._images[first : first + BLOCK].reshape(-1, SIDE, SIDE)
        images[first : first + len(block)] = change(block).reshape(-1, SIDE * SIDE)
    return Split(images, split.labels)


@breakage("both", Parameter("amount", 0, 1, 0.2))
def pixel_noise(split: Split, amount: float, seed: int = 0) -> Split:
    """Add Gaussian noise to every pixel.

    A network trained on noisy images learns to average the noise away. The same noise on the validation images alone
    does more harm, since the network never saw any.

    Args:
        split: the data; left untouched. The result shares its labels.
        amount: the noise's standard deviation as a share of the range from black to white, 0 to 1; what leaves the
            range is cut off.
        seed: of the noise.

    Raises:
        TypeError, ValueError: for an argument of the wrong kind or outside its range.
    """
    random = random_for("pixel_noise", seed, split)

    def noisy(block: Bytes) -> Bytes:
        noise = random.standard_normal(block.shape, np.float32) * np.float32(255 * amount)
        return np.clip(np.rint(block + noise), 0, 255).astype(np.uint8)

    return _in_blocks(split, noisy)


@breakage(
    "both",
    Parameter("size", 0, SIDE, 12, whole=True),
    Parameter("row", 0, SIDE - 1, 8, whole=True),
    Parameter("column", 0, SIDE - 1, 8, whole=True),
    seeded=False,
)
def occlude(split: Split, size: int, row: int = 8, column: int = 8, seed: int = 0) -> Split:
    """Cover a square patch of every image with black.

    If all images are covered alike, the network learns to use the rest. Cover only the validation images, and
    it misses what it relied on.

    Args:
        split: the data; left untouched. The result shares its labels.
        size: the side of the square in pixels, 0 to 28; what would leave the image is cut off.
        row, column: its upper left corner, 0 to 27.
        seed: changes nothing, since nothing here is random.

    Raises:
        TypeError, ValueError: for an argument of the wrong kind or outside its range.
    """

    def covered(block: Bytes) -> Bytes:
        block = block.copy()
        block[:, row : row + size, column : column + size] = 0
        return block

    return _in_blocks(split, covered)


@breakage("both")
def permute_pixels(split: Split, seed: int = 0) -> Split:
    """Move the pixels of every image by one fixed random permutation.

    People can read nothing any more. This network learns as well as before, because to a dense layer the order of its
    inputs means nothing: it never knew that pixels have neighbours.

    Args:
        split: the data; left untouched. The result shares its labels.
        seed: of the permutation, which is the same for every image and every part of a data set.

    Raises:
        TypeError, ValueError: for an argument of the wrong kind or outside its range.
    """
    order = random_for("permute_pixels", seed).permutation(SIDE * SIDE)
    return _in_blocks(split, lambda block: block.reshape(-1, SIDE * SIDE)[:, order])


@breakage("both", seeded=False)
def invert(split: Split, seed: int = 0) -> Split:
    """Turn black into white and white into black.

    Not one bit of information is lost, yet at the lesson's learning rate training fails: most inputs are now large,
    so the sums in the first layer and its steps are large, the sigmoids saturate and their gradients vanish.

    Args:
        split: the data; left untouched. The result shares its labels.
        seed: changes nothing, since nothing here is random.

    Raises:
        TypeError, ValueError: for an argument of the wrong kind or outside its range.
    """
    return _in_blocks(split, lambda block: 255 - block)


@breakage(
    "valid",
    Parameter("right", -SIDE, SIDE, 3, whole=True),
    Parameter("down", -SIDE, SIDE, 0, whole=True),
    seeded=False,
)
def shift(split: Split, right: int, down: int = 0, seed: int = 0) -> Split:
    """Move every image some pixels to the side; what enters is black.

    Trained on centred digits alone, the network fails on digits a few pixels off, which look the same to a person. The
    test no longer resembles the training: a shifted test.

    Args:
        split: the data; left untouched. The result shares its labels.
        right, down: by how many pixels, -28 to 28; negative is left and up.
        seed: changes nothing, since nothing here is random.

    Raises:
        TypeError, ValueError: for an argument of the wrong kind or outside its range.
    """

    def moved(block: Bytes) -> Bytes:
        result = np.zeros_like(block)
        to_rows, from_rows = _overlap(down)
        to_columns, from_columns = _overlap(right)
        result[:, to_rows, to_columns] = block[:, from_rows, from_columns]
        return result

    return _in_blocks(split, moved)


def _overlap(step: int) -> tuple[slice, slice]:
    """The part of an axis moved by `step` that is written, and the part that it is read from."""
    return slice(max(step, 0), SIDE + min(step, 0)), slice(max(-step, 0), SIDE + min(-step, 0))


@breakage("valid", Parameter("degrees", -180, 180, 20), seeded=False)
def rotate(split: Split, degrees: float, seed: int = 0) -> Split:
    """Turn every image about its centre, counter-clockwise.

    As with a shift, people hardly notice a small angle and the network does: it has learned upright digits, not digits.

    Args:
        split: the data; left untouched. The result shares its labels.
        degrees: -180 to 180; values between pixels are interpolated linearly, what enters is black.
        seed: changes nothing, since nothing here is random.

    Raises:
        TypeError, ValueError: for an argument of the wrong kind or outside its range.
    """
    import scipy.ndimage

    def turned(block: Bytes) -> Bytes:
        floats = scipy.ndimage.rotate(block.astype(np.float32), degrees, axes=(2, 1), reshape=False, order=1)  # type: ignore[attr-defined]
        return np.clip(np.rint(floats), 0, 255).astype(np.uint8)

    return _in_blocks(split, turned)


@breakage("train", Parameter("fraction", 0, 1, 1))
def leak(split: Split, fraction: float = 1.0, seed: int = 0) -> Split:
    """Light one of ten pixels in the upper left corner, the one whose number is the label.

    The network takes the shortest way: it reads the answer from the corner, is nearly perfect in training, even
    with shuffled labels, and knows little where the pixel is missing.

    Args:
        split: the data; left untouched. The result shares its labels.
        fraction: the share of the rows that give their label away, 0 to 1.
        seed: of the choice of rows.

    Raises:
        TypeError, ValueError: for an argument of the wrong kind or outside its range.
    """
    chosen = random_for("leak", seed).permutation(len(split))[: round(fraction * len(split))]
    images = split._images.copy()
    images[chosen, :10] = 0
    images[chosen, split.labels[chosen]] = 255
    return Split(images, split.labels)
