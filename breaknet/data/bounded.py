"""A whole file, gzipped or not, in memory whose size is bounded before it is read."""

import gzip
import os
import zlib
from pathlib import Path

from ..errors import DataError
from ..files import cannot_be, open_plain

#: A gzipped file may expand to this much, and to so many times its size beyond. Digits shrink to a tenth or a fifth.
_FREE = 64 * 2**20
_TIMES = 100

GZIP = b"\x1f\x8b"


def read_bounded(path: Path, most: int) -> bytes:
    """The content of a plain file; gzip (its first bytes tell) is undone, and its checksum compared.

    Raises:
        DataError: for a file that is missing, no plain file, broken, or larger than `most` bytes or than a gzipped
            file of its size should be.
    """
    with open_plain(path) as file:
        try:
            size = os.fstat(file.fileno()).st_size
            zipped = file.read(2) == GZIP
            file.seek(0)
            limit = min(most, _FREE + _TIMES * size) if zipped else most
            if not zipped and size > limit:
                raise DataError(f"{path}: {size:,} bytes; at most {limit:,} are read")
            if zipped:
                with gzip.GzipFile(fileobj=file) as stream:
                    content = stream.read(limit + 1)
            else:
                content = file.read(size + 1)  # a file that still grows is too long as well
        except EOFError as error:
            raise DataError(f"{path}: truncated: its gzip stream ends early") from error
        except (gzip.BadGzipFile, zlib.error) as error:
            raise DataError(f"{path}: broken gzip stream ({error})") from error
        except OSError as error:
            if isinstance(error, DataError):
                raise
            raise cannot_be("read", path, error) from error
    if len(content) > limit:
        raise DataError(f"{path}: expands to over {limit:,} bytes, more than a file of digits of its size")
    return content


def first_bytes(path: Path, count: int = 4) -> bytes:
    """The first bytes of a plain file, or of what it is the gzip of.

    Raises:
        DataError: as `read_bounded` does.
    """
    with open_plain(path) as file:
        try:
            start = file.read(count)
            if start[:2] != GZIP:
                return start
            file.seek(0)
            with gzip.GzipFile(fileobj=file) as stream:
                return stream.read(count)
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise DataError(f"{path}: truncated or broken gzip stream") from error
        except OSError as error:
            raise cannot_be("read", path, error) from error
