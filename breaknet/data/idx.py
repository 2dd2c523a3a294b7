"""IDX, the format that MNIST is published in: decoding, and the hashes of the published files.

A file is a header of big-endian 32-bit numbers (what it holds, how many; for images also rows and columns)
and then one byte per label or pixel. The format is described at http://yann.lecun.com/exdb/mnist/.
"""

import hashlib
import logging
import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError
from .bounded import read_bounded
from .splits import Digits, Split

IMAGES, LABELS = 0x0803, 0x0801
SIDE, CLASSES = 28, 10

#: No more rows than this are read: a broken header may promise billions.
MAX_ROWS = 1_000_000

#: SHA-256 of MNIST's four files, decompressed, under their published names.
PUBLISHED = {
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
NAMES = tuple(PUBLISHED)

#: The first labels of Fashion-MNIST's two files, which have MNIST's names; each class is as frequent as any other.
_FASHION = ((9, 0, 0, 3, 0, 2, 7, 2, 5, 5), (9, 2, 1, 1, 6, 1, 4, 6, 5, 7))

FASHION_NAMES = (
    "T-shirt", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip

_log = logging.getLogger("breaknet")


def read(path: Path, kind: int) -> NDArray[np.uint8]:
    """The images [N, 784] or labels [N] of one IDX file, gzipped or not (its first bytes tell).

    Args:
        kind: IMAGES or LABELS.

    Raises:
        DataError: for a file that is missing, unreadable, truncated, too long, or holds something else.
    """
    what, row = ("images", SIDE * SIDE) if kind == IMAGES else ("labels", 1)
    fields = 4 if kind == IMAGES else 2
    content = read_bounded(path, 4 * fields + MAX_ROWS * row)
    if len(content) < 4 * fields:
        raise DataError(f"{path}: truncated: {len(content)} bytes are no IDX header")
    magic, count, *sides = struct.unpack_from(f">{fields}I", content)
    if magic != kind:
        raise DataError(f"{path}: no IDX file of {what}: it begins with 0x{magic:08x}, not 0x{kind:08x}")
    if sides and sides != [SIDE, SIDE]:
        raise DataError(f"{path}: images of {sides[0]} x {sides[1]} pixels, not {SIDE} x {SIDE}")
    if count > MAX_ROWS:
        raise DataError(f"{path}: its header promises {count:,} {what}; at most {MAX_ROWS:,} are read")
    found = len(content) - 4 * fields
    if found < count * row:
        raise DataError(f"{path}: truncated: {found:,} bytes for {count:,} {what}, not {count * row:,}")
    if found > count * row:
        raise DataError(f"{path}: longer than the {count:,} {what} of its header")
    # a copy can be written to: torch warns of arrays that cannot
    values = np.frombuffer(content, np.uint8, offset=4 * fields).copy()
    if kind == IMAGES:
        return values.reshape(count, row)
    if count and values.max() >= CLASSES:
        raise DataError(f"{path}: label {values.max()}; labels are 0 to {CLASSES - 1}")
    return values


def sha256(kind: int, *parts: NDArray[np.uint8]) -> str:
    """SHA-256 of the IDX file that would hold these images or labels, one part after the other."""
    count = sum(len(part) for part in parts)
    numbers = (kind, count, SIDE, SIDE) if kind == IMAGES else (kind, count)
    digest = hashlib.sha256(struct.pack(f">{len(numbers)}I", *numbers))
    for part in parts:
        digest.update(np.ascontiguousarray(part).data)
    return digest.hexdigest()


def kind_of(name: str) -> int:
    """IMAGES or LABELS, by a file's published name."""
    return IMAGES if "images" in name else LABELS


def has_mnist_labels(digits: Digits) -> bool:
    """Whether both files of labels, rebuilt from the digits, are the published ones."""
    return (
        sha256(LABELS, digits.train.labels, digits.valid.labels) == PUBLISHED[NAMES[1]]
        and sha256(LABELS, digits.test.labels) == PUBLISHED[NAMES[3]]
    )


def is_mnist(digits: Digits) -> bool:
    """Whether all four files rebuilt from the digits are the published ones; labels first, they are short."""
    train, valid, test = digits.train, digits.valid, digits.test
    return (
        has_mnist_labels(digits)
        and sha256(IMAGES, test.images) == PUBLISHED[NAMES[2]]
        and sha256(IMAGES, train.images, valid.images) == PUBLISHED[NAMES[0]]
    )


def is_fashion(digits: Digits) -> bool:
    """Whether the labels are Fashion-MNIST's: 70,000 pictures of clothes in ten classes of equal size."""
    whole = (np.concatenate([digits.train.labels, digits.valid.labels]), digits.test.labels)
    return all(
        len(labels) == count
        and tuple(labels[: len(first)].tolist()) == first
        and bool((np.bincount(labels, minlength=CLASSES) == count // CLASSES).all())
        for labels, first, count in zip(whole, _FASHION, (60_000, 10_000), strict=True)
    )


def _warn_of_order(labels: NDArray[np.uint8], first: int, path: Path) -> None:
    """Say so where the rows are in the order of their labels: then the last ones cannot stand for all."""
    for_training, for_validation = (np.unique(part) for part in (labels[:first], labels[first:]))
    steps = np.diff(labels.astype(np.int16))
    in_order = bool((steps >= 0).all() or (steps <= 0).all())
    few = len(labels) - first >= 20 and 2 * len(for_validation) <= len(for_training)
    if len(np.unique(labels)) > 1 and (in_order or few):
        _log.warning(
            "%s: its rows are sorted by label, and the last sixth, on which training is validated, shows %s only; "
            "shuffle the rows for curves that say something",
            path, ", ".join(map(str, for_validation)),
        )  # fmt: skip


def assembled(arrays: Sequence[NDArray[np.uint8]], path: Path, source: str) -> Digits:
    """Digits of the arrays of `NAMES`, whose validation part is the last sixth of the training rows: 10,000 of MNIST's.

    Raises:
        DataError: where images and labels differ in number or are too few; it names `path`.
    """
    train_images, train_labels, test_images, test_labels = arrays
    parts = (("training", train_images, train_labels), ("test", test_images, test_labels))
    for part, images, labels in parts:
        if len(images) != len(labels):
            raise DataError(f"{path}: {len(images):,} {part} images but {len(labels):,} {part} labels")
    if len(train_labels) < 6 or not len(test_labels):
        raise DataError(
            f"{path}: {len(train_labels)} training and {len(test_labels)} test images; "
            "at least 6 and 1 are needed"
        )
    train = Split(train_images, train_labels)
    first = len(train) - len(train) // 6
    _warn_of_order(train_labels, first, path)
    return Digits(train[:first], train[first:], Split(test_images, test_labels), source)
