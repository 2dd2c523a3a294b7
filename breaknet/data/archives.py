"""MNIST's other two common files: the pickle `mnist.pkl.gz` and Keras's `mnist.npz`."""

import io
import os
import pickle
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError
from ..files import cannot_be, open_plain
from .bounded import read_bounded
from .idx import CLASSES, MAX_ROWS, SIDE, assembled
from .pickles import Array, read_arrays
from .splits import Digits, Split

#: No larger file is read: a million images in all, of a byte for each pixel.
_MOST_BYTES = 2**30
_FREE_BYTES = 64 * 2**20

KERAS_NAMES = ("x_train", "y_train", "x_test", "y_test")


def read_pickle(path: Path, source: str) -> Digits:
    """The three pairs (images, labels) of an `mnist.pkl` file, gzipped or not, written by Python 2 or 3.

    Images are uint8, or floats that are a byte / 256 each; labels are whole numbers.

    Raises:
        DataError: for a file that is missing, broken, holds anything but arrays, or holds other arrays.
    """
    content = read_bounded(path, _MOST_BYTES)
    try:
        value = read_arrays(content)
    except pickle.UnpicklingError as error:
        raise DataError(f"{path}: {_one_line(error)}") from error
    except EOFError as error:
        raise DataError(f"{path}: truncated: the file ends early") from error
    except (ValueError, RecursionError, OverflowError, MemoryError) as error:
        raise DataError(f"{path}: broken pickle ({_one_line(error) or type(error).__name__})") from error
    parts = []
    for name, pair in zip(("training", "validation", "test"), _sequence(value, 3, path), strict=True):
        images, labels = _sequence(pair, 2, path)
        if not isinstance(images, Array) or not isinstance(labels, Array):
            raise DataError(f"{path}: its {name} part is not a pair of arrays")
        parts.append(_split(images.array, labels.array, f"{path}: {name}"))
    train, valid, test = parts
    return Digits(train, valid, test, source)


def read_npz(path: Path, source: str) -> Digits:
    """Keras's `mnist.npz`: the arrays x_train, y_train, x_test and y_test, loaded without pickle.

    Raises:
        DataError: for a file that is missing, broken, lacks an array or holds arrays of another kind.
    """
    try:
        with open_plain(path) as file, zipfile.ZipFile(file) as archive:
            size = os.fstat(file.fileno()).st_size
            members = {
                name.removesuffix(".npy"): name for name in archive.namelist() if name.endswith(".npy")
            }
            missing = [name for name in KERAS_NAMES if name not in members]
            if missing:
                found = ", ".join(members) or "no arrays"
                raise DataError(f"{path}: lacks the array {missing[0]!r}; it holds {found}")
            arrays = [_npy(archive, members[name], size) for name in KERAS_NAMES]
    except DataError:
        raise
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise DataError(f"{path}: broken npz archive ({_one_line(error)})") from error
    except OSError as error:
        raise cannot_be("read", path, error) from error
    except Exception as error:  # broken members end in nearly any kind of error
        raise DataError(f"{path}: broken or foreign npz archive ({_one_line(error)})") from error
    train = _split(arrays[0], arrays[1], f"{path}: training")
    test = _split(arrays[2], arrays[3], f"{path}: test")
    return assembled((train.images, train.labels, test.images, test.labels), path, source)


def _npy(archive: zipfile.ZipFile, member: str, size: int) -> NDArray[Any]:
    """One array of an archive of `size` bytes, in memory that is bounded before it is read."""
    limit = min(_MOST_BYTES, _FREE_BYTES + 100 * size)
    with archive.open(member) as stream:
        content = stream.read(limit + 1)  # and past its end, so that its checksum is compared
    if len(content) > limit:
        raise ValueError(f"{member} expands to over {limit:,} bytes")
    buffer = io.BytesIO(content)
    version = np.lib.format.read_magic(buffer)
    read_header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    if version not in read_header:
        raise ValueError(f"{member} is of an unknown version {version}")
    shape, fortran, dtype = read_header[version](buffer)
    if dtype.hasobject:
        raise ValueError(f"{member} holds objects, not numbers")
    return np.frombuffer(content, dtype, offset=buffer.tell()).reshape(shape, order="F" if fortran else "C")


def _split(images: NDArray[Any], labels: NDArray[Any], where: str) -> Split:
    if images.shape[1:] not in {(SIDE * SIDE,), (SIDE, SIDE)}:
        raise DataError(
            f"{where} images of shape {list(images.shape)}, not [N, {SIDE}, {SIDE}] or [N, {SIDE**2}]"
        )
    if labels.shape != images.shape[:1] or not np.issubdtype(labels.dtype, np.integer):
        raise DataError(
            f"{where} labels: whole numbers [{len(images)}], not {labels.dtype} {list(labels.shape)}"
        )
    if not 1 <= len(labels) <= MAX_ROWS:
        raise DataError(f"{where} part of {len(labels):,} images; 1 to {MAX_ROWS:,} are read")
    for label in (labels.min(), labels.max()):
        if not 0 <= label < CLASSES:
            raise DataError(f"{where} label {label}; labels are 0 to {CLASSES - 1}")
    return Split(_bytes(images.reshape(len(images), -1), where), labels.astype(np.uint8))


def _bytes(images: NDArray[Any], where: str) -> NDArray[np.uint8]:
    """The bytes of images: unchanged, or 256 times floats, which must be whole numbers."""
    if images.dtype == np.uint8:
        return np.array(images)
    if not np.issubdtype(images.dtype, np.floating):
        raise DataError(f"{where} images of type {images.dtype}, neither uint8 nor floats")
    values = np.empty(images.shape, np.uint8)
    for start in range(0, len(images), 1000):  # in pieces, to save memory
        with np.errstate(all="ignore"):
            scaled = images[start : start + 1000] * 256
            part = scaled.astype(np.uint8)
        if not np.array_equal(part, scaled):
            raise DataError(
                f"{where} images hold pixels that are not a byte / 256, the scale of mnist.pkl.gz{_scale(images)}"
            )
        values[start : start + 1000] = part
    return values


def _scale(images: NDArray[Any]) -> str:
    """Another scale that floating images may have, as the end of a message."""
    with np.errstate(all="ignore"):
        largest = float(np.max(images[:1000], initial=0))
        if 1 < largest <= 255 and np.array_equal(images[:1000], np.floor(images[:1000])):
            return ": they are bytes stored as floats, 0 to 255, to be stored as uint8"
    return ""


def _sequence(value: object, length: int, path: Path) -> list[Any] | tuple[Any, ...]:
    if not isinstance(value, (list, tuple)) or len(value) != length:
        raise DataError(f"{path}: not the three pairs (images, labels) of an mnist.pkl.gz")
    return value


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
