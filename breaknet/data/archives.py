"""MNIST's other two common files: the pickle `mnist.pkl.gz` and Keras's `mnist.npz`.

Loading a pickle can run any program. The unpickler here admits only numpy's array and data type, and replaces both by
plain classes of its own, which collect bytes, shape and type code. That also avoids numpy's warnings about pickles
from Python 2.
"""

import pickle
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError
from .idx import CLASSES, MAX_ROWS, SIDE, assembled, opened
from .splits import Digits, Split

KERAS_NAMES = ("x_train", "y_train", "x_test", "y_test")


def read_pickle(path: Path, source: str) -> Digits:
    """The three pairs (images, labels) of an `mnist.pkl` file, gzipped or not, written by Python 2 or 3.

    Images are uint8, or floats that are a byte / 256 each; labels are whole numbers.

    Raises:
        DataError: for a file that is missing, broken, holds anything but arrays, or holds other arrays.
    """
    try:
        with opened(path) as file:
            # Python 2 wrote an array's content as a byte string; "bytes" hands it over uncopied
            content = _ArrayUnpickler(file, encoding="bytes").load()
    except DataError:
        raise
    except pickle.UnpicklingError as error:
        raise DataError(f"{path}: {_one_line(error)}") from error
    except Exception as error:  # a broken pickle ends in nearly any kind of error
        raise DataError(f"{path}: broken pickle ({_one_line(error) or type(error).__name__})") from error
    parts = []
    for name, pair in zip(("training", "validation", "test"), _sequence(content, 3, path), strict=True):
        images, labels = _sequence(pair, 2, path)
        if not isinstance(images, _Array) or not isinstance(labels, _Array):
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
        with np.load(path, allow_pickle=False) as archive:
            missing = [name for name in KERAS_NAMES if name not in archive.files]
            if missing:
                raise DataError(
                    f"{path}: lacks the array {missing[0]!r}; it holds {', '.join(archive.files)}"
                )
            arrays = [archive[name] for name in KERAS_NAMES]
    except DataError:
        raise
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise DataError(f"{path}: broken npz archive ({_one_line(error)})") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from error
    except Exception as error:  # numpy's reader answers broken members with nearly any kind of error
        raise DataError(f"{path}: broken or foreign npz archive ({_one_line(error)})") from error
    train = _split(arrays[0], arrays[1], f"{path}: training")
    test = _split(arrays[2], arrays[3], f"{path}: test")
    return assembled((train.images, train.labels, test.images, test.labels), path, source)


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
                f"{where} images hold pixels that are not a byte / 256, the scale of mnist.pkl.gz"
            )
        values[start : start + 1000] = part
    return values


def _sequence(value: object, length: int, path: Path) -> list[Any] | tuple[Any, ...]:
    if not isinstance(value, (list, tuple)) or len(value) != length:
        raise DataError(f"{path}: not the three pairs (images, labels) of an mnist.pkl.gz")
    return value


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


# ---- the unpickler, and its classes in place of numpy's


class _DataType:
    """In place of numpy.dtype: a type code such as "f4" and a byte order."""

    def __init__(self, code: str | bytes, align: object = False, copy: object = False) -> None:
        code = code.decode("ascii") if isinstance(code, bytes) else code
        if code not in {"f4", "f8", "u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8"}:
            raise pickle.UnpicklingError(f"holds an array of type {code!r}, not of plain numbers")
        self.numpy = np.dtype(code)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        order = state[1].decode("ascii") if isinstance(state[1], bytes) else state[1]
        if order in {"<", ">"}:
            self.numpy = np.dtype(order + self.numpy.str[1:])


class _Array:
    """In place of numpy.ndarray."""

    def __init__(self, *unused: object) -> None:
        self.array: NDArray[Any] = np.empty(0)

    def fill(self, shape: tuple[int, ...], kind: object, fortran: bool, content: Any) -> None:
        if not isinstance(kind, _DataType):
            raise pickle.UnpicklingError("holds an array without a data type")
        if isinstance(content, str):  # Python 2 bytes that were passed on as latin-1 text
            content = content.encode("latin1")
        flat = np.frombuffer(content, kind.numpy)
        self.array = flat.reshape(shape, order="F" if fortran else "C")

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _version, shape, kind, fortran, content = state
        self.fill(shape, kind, fortran, content)


def _reconstruct(*unused: object) -> _Array:
    return _Array()


def _from_buffer(content: Any, kind: object, shape: tuple[int, ...], order: str) -> _Array:
    array = _Array()
    array.fill(shape, kind, order == "F", content)
    return array


def _encode(text: str, encoding: str) -> bytes:
    """In place of _codecs.encode, by which Python 3 writes bytes into old pickle formats."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"holds text encoded as {encoding!r}, not an array")
    return text.encode("latin1")


_ADMITTED: dict[tuple[str, str], Callable[..., Any]] = {
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _DataType,
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy.core.numeric", "_frombuffer"): _from_buffer,
    ("numpy._core.numeric", "_frombuffer"): _from_buffer,
    ("_codecs", "encode"): _encode,
}


class _ArrayUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ADMITTED[module, name]
        except KeyError:
            raise pickle.UnpicklingError(
                f"refused: this pickle asks for {module}.{name}, where only numpy arrays are admitted"
            ) from None
