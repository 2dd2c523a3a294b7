"""Digits in local files: a folder of IDX files, an `mnist.pkl.gz`, or Keras's `mnist.npz`."""

import os
import stat
from dataclasses import replace
from pathlib import Path

from ..errors import DataError
from . import archives, idx
from .splits import Digits

FORMS = "the four IDX files of MNIST (gzipped or not), mnist.pkl.gz or mnist.npz"


def open_local(path: Path) -> Digits:
    """Read the digits in a folder or file, of any size and content as long as they are well-formed.

    `.source` is "MNIST" where all four files hash to the published values, else "local: " and the name.

    Raises:
        DataError: for files that are missing, unreadable, broken, or of another kind; one line that names
            the file and its defect.
    """
    try:
        mode = path.stat().st_mode
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such folder or file; it should hold {FORMS}") from error
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read ({getattr(error, 'strerror', None) or error})") from error
    source = f"local: {path.name or path.resolve().name}"
    if stat.S_ISDIR(mode):
        digits = _from_folder(path, source)
    elif stat.S_ISREG(mode):
        digits = _from_file(path, source)
    else:
        raise DataError(f"{path}: neither a folder nor a plain file")
    return replace(digits, source="MNIST") if idx.is_mnist(digits) else digits


def _from_folder(folder: Path, source: str) -> Digits:
    try:
        present = set(os.listdir(folder))
    except OSError as error:
        raise DataError(f"{folder}: cannot be read ({error.strerror or error})") from error
    found: dict[str, Path] = {}
    for name in idx.NAMES:
        for spelling in (name, name.replace("-idx", ".idx")):
            for ending in ("", ".gz"):
                if spelling + ending in present:
                    found.setdefault(name, folder / (spelling + ending))
    if len(found) == len(idx.NAMES):
        arrays = [idx.read(found[name], idx.kind_of(name)) for name in idx.NAMES]
        return idx.assembled(arrays, folder, source)
    for name, read in (("mnist.pkl.gz", archives.read_pickle), ("mnist.npz", archives.read_npz)):
        if name in present:
            return read(folder / name, source)
    if found:
        missing = ", ".join(name for name in idx.NAMES if name not in found)
        raise DataError(f"{folder}: lacks {missing} (with or without .gz)")
    raise DataError(f"{folder}: holds none of: {FORMS}")


def _from_file(path: Path, source: str) -> Digits:
    """The digits in one file, whose kind its first bytes tell, not its name."""
    with idx.opened(path) as file:
        start = file.read(4)
    if start[:2] == b"PK":
        return archives.read_npz(path, source)
    if start[:2] == b"\0\0":
        raise DataError(f"{path}: a single IDX file; name the folder that holds all four")
    if start[:1] in {b"\x80", b"("}:
        return archives.read_pickle(path, source)
    raise DataError(f"{path}: not a file of digits; known are {FORMS}")
