"""Images in local files: a folder of IDX files, an `mnist.pkl.gz`, Keras's `mnist.npz`, or CSV tables."""

import logging
import os
import stat
from dataclasses import replace
from pathlib import Path

import numpy as np

from ..errors import DataError
from ..files import cannot_be
from . import archives, idx, tables
from .bounded import first_bytes
from .splits import Digits

FORMS = (
    "the four IDX files of MNIST (gzipped or not), mnist.pkl.gz, mnist.npz or a CSV file of labels and pixels"
)

#: Where torchvision puts the files, below the folder that it is given.
BELOW = ("raw", "MNIST/raw", "FashionMNIST/raw", "EMNIST/raw", "MNIST")

#: EMNIST's sets of digits; its other ones have letters as well.
EMNIST_SETS = ("mnist", "digits")

_log = logging.getLogger("breaknet")


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
    return recognised(digits, path)


def recognised(digits: Digits, path: Path | str) -> Digits:
    """The digits under their published name, where their content is published under one."""
    if idx.is_mnist(digits):
        return replace(digits, source="MNIST")
    if idx.is_fashion(digits):
        _log.warning("%s: this is Fashion-MNIST, pictures of clothes under the names of MNIST's files", path)
        return replace(digits, source="Fashion-MNIST", names=idx.FASHION_NAMES)
    return digits


def _from_folder(folder: Path, source: str) -> Digits:
    digits = _from_this_folder(folder, source)
    if digits is not None:
        return digits
    below = [found for name in BELOW for found in [folder / name] if found.is_dir()]
    for found in below:  # as torchvision keeps it
        digits = _from_this_folder(found, source)
        if digits is not None:
            return digits
    raise DataError(f"{folder}: holds none of: {FORMS}")


def _from_this_folder(folder: Path, source: str) -> Digits | None:
    """The digits in the files of a folder; None where none of them is one of digits."""
    try:
        present = set(os.listdir(folder))
    except OSError as error:
        raise cannot_be("read", folder, error) from error
    found = {name: path for name in idx.NAMES if (path := _idx_file(folder, name, present)) is not None}
    if len(found) == len(idx.NAMES):
        return _from_idx(found, folder, source)
    for name, read in (("mnist.pkl.gz", archives.read_pickle), ("mnist.pkl", archives.read_pickle),
                       ("mnist.npz", archives.read_npz)):  # fmt: skip
        if name in present and not (folder / name).is_dir():
            return read(folder / name, source)
    tabled = _from_tables(folder, source, present)
    if tabled is not None:
        return tabled
    if found:
        missing = ", ".join(name for name in idx.NAMES if name not in found)
        raise DataError(f"{folder}: lacks {missing} (with or without .gz)")
    return _from_emnist(folder, source, present)


def _from_tables(folder: Path, source: str, present: set[str]) -> Digits | None:
    """The digits in a folder's tables, NAMEtrain.csv and, if its rows have labels, NAMEtest.csv; None without any."""
    trains = sorted(name for name in present if name.removesuffix(".gz").endswith("train.csv"))
    if not trains:
        return None
    if len(trains) > 1:
        raise DataError(f"{folder}: holds {' and '.join(trains)}; name one of them, or keep one")
    train = folder / trains[0]
    test = folder / trains[0].replace("train.csv", "test.csv")
    if test.name not in present:
        return tables.read_csv(train, source)
    if not tables.has_labels(test):
        _log.info("%s: its rows have no labels, so the last sixth of %s tests", test, train.name)
        return tables.read_csv(train, source)
    return tables.read_csv_pair(train, test, source)


def _from_idx(files: dict[str, Path], folder: Path, source: str, transposed: bool = False) -> Digits:
    arrays = {name: idx.read(path, idx.kind_of(name)) for name, path in files.items()}
    if transposed:
        for name in (idx.NAMES[0], idx.NAMES[2]):
            upright = arrays[name].reshape(-1, idx.SIDE, idx.SIDE).transpose(0, 2, 1)
            arrays[name] = np.ascontiguousarray(upright).reshape(-1, idx.SIDE**2)
    return idx.assembled([arrays[name] for name in idx.NAMES], folder, source)


def _from_emnist(folder: Path, source: str, present: set[str]) -> Digits | None:
    """The digits of EMNIST, whose images are stored column by column; None where there are none of its files."""
    sets = {}
    for kind in EMNIST_SETS:
        names = {name: f"emnist-{kind}-{name.replace('t10k', 'test')}" for name in idx.NAMES}
        found = {name: _idx_file(folder, other, present) for name, other in names.items()}
        whole = {name: path for name, path in found.items() if path is not None}
        if len(whole) == len(idx.NAMES):
            sets[kind] = whole
    if not sets:
        return None
    if len(sets) > 1:
        raise DataError(
            f"{folder}: holds {' and '.join(f'emnist-{kind}' for kind in sets)}; keep the files of one"
        )
    [(kind, files)] = sets.items()
    _log.info("%s: EMNIST stores its images transposed; they are transposed back", folder)
    return _from_idx(files, folder, f"{source} (emnist-{kind})", transposed=True)


def _idx_file(folder: Path, name: str, present: set[str]) -> Path | None:
    """A folder's IDX file, by any of its spellings, or a folder of that name that holds it.

    What is empty stands back behind what is not: unpacking that breaks off leaves an empty file beside a whole one.
    """
    spellings = [name, name.replace("-idx", ".idx")]
    candidates = [folder / (spelling + ending) for spelling in spellings for ending in ("", ".gz")
                  if spelling + ending in present]  # fmt: skip
    inside = [path / spelling for path in candidates if path.is_dir() for spelling in spellings]
    files = [path for path in candidates if not path.is_dir()] + [path for path in inside if path.is_file()]
    return next(
        (path for path in files if not path.is_file() or path.stat().st_size), files[0] if files else None
    )


def _from_file(path: Path, source: str) -> Digits:
    """The digits in one file, whose kind its first bytes tell, not its name."""
    start = first_bytes(path, 100)
    if start[:2] == b"PK":
        return archives.read_npz(path, source)
    if start[:2] == b"\0\0":
        raise DataError(f"{path}: a single IDX file; name the folder that holds all four")
    if start[:1] in {b"\x80", b"("}:
        return archives.read_pickle(path, source)
    if b"," in start and start.isascii():
        return tables.read_csv(path, source)
    raise DataError(f"{path}: not a file of digits; known are {FORMS}")
