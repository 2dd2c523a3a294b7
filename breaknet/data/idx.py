"""IDX, the format that MNIST is published in: decoding, and the hashes of the published files.

A file is a header of big-endian 32-bit numbers (what it holds, how many; for images also rows and columns)
and then one byte per label or pixel. The format is described at http://yann.lecun.com/exdb/mnist/.
"""

import gzip
import hashlib
import struct
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError
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


@contextmanager
def opened(path: Path) -> Iterator[IO[bytes]]:
    """A file's content as a stream, decompressed where it is gzipped (its first bytes tell).

    Raises:
        DataError: for a file that is missing, unreadable, truncated or a broken gzip, also while it is being read.
    """
    what = "the file"
    try:
        with open(path, "rb") as file:
            zipped = file.read(2) == b"\x1f\x8b"
            file.seek(0)
            if zipped:
                what = "its gzip stream"
                with gzip.GzipFile(fileobj=file) as stream:
                    yield cast(IO[bytes], stream)
            else:
                yield file
    except DataError:
        raise
    except EOFError as error:
        raise DataError(f"{path}: truncated: {what} ends early") from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{path}: broken gzip stream ({error})") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from error


def read(path: Path, kind: int) -> NDArray[np.uint8]:
    """The images [N, 784] or labels [N] of one IDX file, gzipped or not (its first bytes tell).

    Args:
        kind: IMAGES or LABELS.

    Raises:
        DataError: for a file that is missing, unreadable, truncated, too long, or holds something else.
    """
    with opened(path) as file:
        return _decode(file, path, kind)


def _decode(file: IO[bytes], path: Path, kind: int) -> NDArray[np.uint8]:
    what, row = ("images", SIDE * SIDE) if kind == IMAGES else ("labels", 1)
    fields = 4 if kind == IMAGES else 2
    header = file.read(4 * fields)
    if len(header) < 4 * fields:
        raise DataError(f"{path}: truncated: {len(header)} bytes are no IDX header")
    magic, count, *sides = struct.unpack(f">{fields}I", header)
    if magic != kind:
        raise DataError(f"{path}: no IDX file of {what}: it begins with 0x{magic:08x}, not 0x{kind:08x}")
    if sides and sides != [SIDE, SIDE]:
        raise DataError(f"{path}: images of {sides[0]} x {sides[1]} pixels, not {SIDE} x {SIDE}")
    if count > MAX_ROWS:
        raise DataError(f"{path}: its header promises {count:,} {what}; at most {MAX_ROWS:,} are read")
    body = file.read(count * row + 1)
    if len(body) < count * row:
        raise DataError(f"{path}: truncated: {len(body):,} bytes for {count:,} {what}, not {count * row:,}")
    if len(body) > count * row:
        raise DataError(f"{path}: longer than the {count:,} {what} of its header")
    values = np.frombuffer(body, np.uint8).copy()  # writable: torch warns of arrays that are not
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


def is_mnist(digits: Digits) -> bool:
    """Whether all four files rebuilt from the digits are the published ones; labels first, they are short."""
    train, valid, test = digits.train, digits.valid, digits.test
    return (
        sha256(LABELS, train.labels, valid.labels) == PUBLISHED[NAMES[1]]
        and sha256(LABELS, test.labels) == PUBLISHED[NAMES[3]]
        and sha256(IMAGES, test.images) == PUBLISHED[NAMES[2]]
        and sha256(IMAGES, train.images, valid.images) == PUBLISHED[NAMES[0]]
    )


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
    return Digits(train[:first], train[first:], Split(test_images, test_labels), source)
