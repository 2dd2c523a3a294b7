"""Images of ten classes in arrays, from a library or a table: of any square size, made 28 x 28."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError
from .idx import CLASSES, SIDE
from .splits import Digits, Split

#: The longer side of images that are made larger or smaller, in the middle of 28 x 28, as MNIST's digits are.
INNER = 20
#: No larger images are taken.
MAX_SIDE = 1_000


def from_arrays(data: Any, source: str = "arrays") -> Digits:
    """Digits of a pair (images, labels), or of a pair of such pairs, to train on and to test on.

    Args:
        data: as scikit-learn's `load_digits(return_X_y=True)` or Keras's `load_data()` gives it. Images [N, S * S] or
            [N, S, S], of which the brightest pixel of all is 255 (bytes stay as they are); labels [N], 0 to 9. Images
            of other sizes than 28 x 28 are scaled to 20 x 20 and stand in the middle.
        source: the name.

    The last sixth of the training rows validates; of a single pair, the last sixth of all tests.

    Raises:
        DataError: for arrays of another shape or kind, or too few of them.
    """
    first, second = data
    if isinstance(first, (tuple, list)) and len(first) == 2:
        (images, labels), (test_images, test_labels) = first, second
        train, test = _split(images, labels, "training"), _split(test_images, test_labels, "test")
    else:
        whole = _split(first, second, "all")
        edge = len(whole) - len(whole) // 6
        train, test = whole[:edge], whole[edge:]
    if len(train) < 6 or not len(test):
        raise DataError(
            f"{source}: {len(train)} training and {len(test)} test images; at least 6 and 1 are needed"
        )
    edge = len(train) - len(train) // 6
    return Digits(train[:edge], train[edge:], test, source)


def _split(images: Any, labels: Any, part: str) -> Split:
    pixels, classes = np.asarray(images), np.asarray(labels)
    if classes.ndim == 2 and classes.shape[1] == 1:  # a column, as some libraries have it
        classes = classes[:, 0]
    if classes.dtype.kind in "OUS":  # as OpenML gives digits
        classes = _numbers(classes, part)
    if pixels.dtype.kind not in "biuf" or pixels.ndim not in (2, 3):
        raise DataError(f"{part} images: numbers [N, S * S] or [N, S, S], not {_kind(pixels)}")
    if classes.shape != pixels.shape[:1] or not np.issubdtype(classes.dtype, np.integer):
        raise DataError(f"{part} labels: whole numbers [{len(pixels)}], not {_kind(classes)}")
    if len(classes) and not (classes.min() >= 0 and classes.max() < CLASSES):
        raise DataError(f"{part} labels: 0 to {CLASSES - 1}, not {classes.min()} to {classes.max()}")
    side = round(pixels[0].size ** 0.5) if len(pixels) else SIDE
    if not 1 <= side <= MAX_SIDE or pixels.shape[1:] not in ((side * side,), (side, side)):
        raise DataError(f"{part} images: square ones, [N, S * S] or [N, S, S], not {_kind(pixels)}")
    return Split(_scaled(_bytes(pixels.reshape(-1, side, side), part), side), classes.astype(np.uint8))


def _numbers(labels: NDArray[Any], part: str) -> NDArray[np.int64]:
    try:
        return labels.astype(np.int64)
    except (TypeError, ValueError) as error:
        raise DataError(
            f"{part} labels: whole numbers 0 to {CLASSES - 1}, not {labels[:1].tolist()}"
        ) from error


def _bytes(pixels: NDArray[Any], part: str) -> NDArray[np.uint8]:
    """Bytes as they are; anything else so that its largest value is 255."""
    if pixels.dtype == np.uint8 and (not pixels.size or pixels.max() > 16):
        return pixels
    low, high = (float(pixels.min()), float(pixels.max())) if pixels.size else (0.0, 1.0)
    if not (np.isfinite(low) and np.isfinite(high)) or low < 0:
        raise DataError(f"{part} images: finite pixels of 0 or more, not {low:g} to {high:g}")
    full = 255 if 16 < high <= 255 else high or 1.0  # of bytes none need be so bright
    values = np.empty(pixels.shape, np.uint8)
    for start in range(0, len(pixels), 1000):  # in pieces, to save memory
        values[start : start + 1000] = np.rint(pixels[start : start + 1000] * (255 / full))
    return values


def _scaled(pixels: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """Images [N, S, S] as [N, 784]: of another size, scaled to `INNER` and in the middle."""
    if side == SIDE:
        return pixels.reshape(len(pixels), SIDE * SIDE)
    import torch

    from ..model import torch_settings

    framed = np.zeros((len(pixels), SIDE, SIDE), np.uint8)
    edge = (SIDE - INNER) // 2
    with torch_settings():
        for start in range(0, len(pixels), 1000):
            part = torch.from_numpy(pixels[start : start + 1000].astype(np.float32))[:, None]
            small = torch.nn.functional.interpolate(
                part, (INNER, INNER), mode="bilinear", antialias=True, align_corners=False
            )[:, 0]
            inner = np.rint(small.numpy()).clip(0, 255)
            framed[start : start + 1000, edge : edge + INNER, edge : edge + INNER] = inner
    return framed.reshape(len(framed), SIDE * SIDE)


def _kind(array: NDArray[Any]) -> str:
    return f"{array.dtype} {list(array.shape)}"


def is_pair(value: object) -> bool:
    """Whether a value may be data for `from_arrays`."""
    return isinstance(value, Sequence) and not isinstance(value, (str, bytes)) and len(value) == 2
