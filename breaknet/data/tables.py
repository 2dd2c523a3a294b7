"""Images in tables: Kaggle's `train.csv` and its like, a row an image."""

import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError
from .arrays import from_arrays
from .bounded import read_bounded
from .idx import MAX_ROWS, SIDE
from .splits import Digits

MAX_BYTES = 2**30
#: Bytes of text that become numbers at once.
_BLOCK = 8 * 2**20

#: Numbers in a row -> where its label stands: before the pixels of 28 x 28; behind scikit-learn's of 8 x 8.
LABEL_AT = {1 + SIDE * SIDE: 0, 8 * 8 + 1: -1}


def read_csv(path: Path, source: str) -> Digits:
    """One table with all images, gzipped or not; the last sixth tests, and the last sixth of the others validates.

    Raises:
        DataError: for a file that is missing, broken, too large or no such table.
    """
    return from_arrays(_pair(path), source)


def read_csv_pair(train: Path, test: Path, source: str) -> Digits:
    """Two tables: of images to train and to validate on, and of images to test on; errors as of `read_csv`."""
    return from_arrays((_pair(train), _pair(test)), source)


def has_labels(path: Path) -> bool:
    """Whether the table's rows have a label: Kaggle's test.csv has none."""
    lines = read_bounded(path, MAX_BYTES)[:100_000].splitlines()
    return bool(lines) and lines[-1 if len(lines) < 2 else 1].count(b",") + 1 in LABEL_AT


def _pair(path: Path) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    content = read_bounded(path, MAX_BYTES).strip()
    head, _, rest = content.partition(b"\n")
    if any(chr(byte).isalpha() for byte in head[:100]):  # names of the columns
        head, content = rest.partition(b"\n")[0], rest
    columns = head.count(b",") + 1
    if columns not in LABEL_AT:
        raise DataError(
            f"{path}: rows of {columns} numbers; known are 785 (label, 28 x 28 pixels) and 65 (8 x 8 pixels, label)"
        )
    blocks, start = [], 0
    while start < len(content):
        end = len(content) if start + _BLOCK >= len(content) else content.find(b"\n", start + _BLOCK)
        end = len(content) if end < 0 else end
        blocks.append(_numbers(content[start:end], columns, path))
        start = end + 1
    rows = np.concatenate(blocks) if blocks else np.empty((0, columns), np.uint8)
    if len(rows) > MAX_ROWS:
        raise DataError(f"{path}: {len(rows):,} rows; at most {MAX_ROWS:,} are read")
    at = LABEL_AT[columns] % columns
    return np.delete(rows, at, axis=1), rows[:, at]


def _numbers(text: bytes, columns: int, path: Path) -> NDArray[np.uint8]:
    """Rows of whole numbers 0 to 255."""
    lines = [line for line in text.replace(b"\r", b"").split(b"\n") if line.strip()]
    uneven = next((number for number, line in enumerate(lines) if line.count(b",") + 1 != columns), None)
    if uneven is not None:
        raise DataError(f"{path}: a row of {lines[uneven].count(b',') + 1} numbers among rows of {columns}")
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # numpy warns of what is no number, and gives the numbers before it
        try:
            found: NDArray[np.float64] = np.fromstring(b",".join(lines).decode("ascii", "replace"), sep=",")
            values = found.reshape(len(lines), columns)
        except (ValueError, DeprecationWarning) as error:
            raise DataError(f"{path}: holds something else than numbers") from error
    with np.errstate(invalid="ignore"):
        whole = values.astype(np.uint8)
    if not np.array_equal(whole, values):
        raise DataError(f"{path}: numbers that are no whole ones from 0 to 255")
    return whole
