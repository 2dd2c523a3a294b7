"""Digits cached in one file that opens in a few milliseconds.

The file holds a header of 64 bytes (a mark with the format's version, then the number of rows of each
split), the images of all splits row after row, and their labels: N x 784 + N bytes. It is written beside its
place, flushed to the disk and put in place as a whole, so a file of that name is complete however a process
or the machine ended; two processes at once write the same bytes, and either may win. Opening checks the mark, the
size, a hash of the counts and labels, and a sum over the images, whose 55 MB would take 0.1 s to hash at every start:
content was checked when it was written. A file that does not pass is made again.
"""

import hashlib
import mmap
import os
import struct
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError
from ..files import open_plain, written_whole
from .splits import Digits, Split

MARK = b"breaknet digits2"
HEADER = struct.Struct("<16s3QQ16s")
PIXELS = 784


def folder(cache_dir: str | os.PathLike[str] | None) -> Path:
    """`cache_dir`, or the user's cache folder for breaknet.

    Raises:
        TypeError: for something that is no path.
    """
    if cache_dir is None:
        import platformdirs

        return Path(platformdirs.user_cache_dir("breaknet", appauthor=False))
    if not isinstance(cache_dir, (str, os.PathLike)):
        raise TypeError(f"cache_dir: a folder or None, not {cache_dir!r}")
    return Path(cache_dir).expanduser()


def opened_or_made(
    path: Path,
    source: str,
    make: Callable[[], Digits],
    genuine: Callable[[Digits], bool] = lambda digits: True,
) -> Digits:
    """The digits in the file `path`; where it is missing or broken, those that `make` returns, which are cached.

    Where the folder cannot be written, a RuntimeWarning says that the next start repeats the work.
    """
    digits = opened(path, source)
    if digits is not None and genuine(digits):
        return digits
    digits = make()
    try:
        save(path, digits)
    except DataError as error:
        # on Windows a file that another process has open cannot be replaced, nor need it be
        if opened(path, source) is None:
            warnings.warn(f"{source}: not kept for the next start: {error}", RuntimeWarning, stacklevel=3)
    return digits


def opened(path: Path, source: str) -> Digits | None:
    """The digits in the file `path`, or None where it is missing, unreadable or not whole.

    The arrays are a private view of the file: pages load when read, writes to them never reach the file.
    """
    try:
        with open_plain(path) as file:
            size = os.fstat(file.fileno()).st_size
            header = file.read(HEADER.size)
            if len(header) < HEADER.size:
                return None
            mark, *counts, checksum, digest = HEADER.unpack(header)
            rows = sum(counts)
            if mark != MARK or size != HEADER.size + rows * (PIXELS + 1):
                return None
            content = np.frombuffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY), np.uint8)
    except (OSError, ValueError):
        return None
    images = content[HEADER.size : HEADER.size + rows * PIXELS].reshape(rows, PIXELS)
    labels = content[HEADER.size + rows * PIXELS :]
    first, second = counts[0], counts[0] + counts[1]
    if _digest(counts, labels) != digest or _checksum(images) != checksum:
        return None
    parts = (slice(None, first), slice(first, second), slice(second, None))
    try:
        train, valid, test = (Split(images[part], labels[part]) for part in parts)
    except ValueError:  # labels over 9
        return None
    return Digits(train, valid, test, source)


def save(path: Path, digits: Digits) -> None:
    """Write the digits to `path`, whole or not at all.

    Raises:
        DataError: where the folder cannot be written or the disk is full.
    """
    splits = (digits.train, digits.valid, digits.test)
    with written_whole(path) as unfinished, open(unfinished, "wb") as file:
        counts = [len(split) for split in splits]
        checksum = sum(_checksum(split.images) for split in splits) % 2**64
        digest = _digest(counts, *(split.labels for split in splits))
        file.write(HEADER.pack(MARK, *counts, checksum, digest))
        for split in splits:
            file.write(np.ascontiguousarray(split.images).data)
        for split in splits:
            file.write(np.ascontiguousarray(split.labels).data)
        file.flush()
        os.fsync(file.fileno())


def _digest(counts: list[int], *labels: NDArray[np.uint8]) -> bytes:
    digest = hashlib.blake2b(struct.pack("<3Q", *counts), digest_size=16)
    for part in labels:
        digest.update(np.ascontiguousarray(part).data)
    return digest.digest()


def _checksum(images: NDArray[np.uint8]) -> int:
    """The sum of the images as numbers of eight bytes: it changes with any single one, and takes milliseconds."""
    words = np.ascontiguousarray(images).reshape(-1).view("<u8")
    return int(np.add.reduce(words, dtype=np.uint64))
