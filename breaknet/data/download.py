"""MNIST from the first mirror that has it, through pooch, in bounded time.

Each file is transferred in a thread of its own while the caller's thread waits, because an HTTP library's time-outs
do not bind all waiting: a name look-up, or trying each of a server's addresses in turn, can take longer. A thread that
is given up ends by itself and can write only to a temporary folder.
"""

import logging
import os
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError
from ..files import Lock
from . import archives, idx
from .splits import Digits

#: Within this many seconds, divided among the mirrors, one must begin to answer. Documented as 10.
ANSWER_SECONDS = 9.0
#: A transfer ends after so many seconds without a byte.
SILENCE_SECONDS = 5.0
#: ... and in any case after so many in all, or with so many bytes: the largest of MNIST's files has 16 million.
TRANSFER_SECONDS = 900.0
MOST_BYTES = 64 * 2**20

_PREFIX = "breaknet-download-"
_LOCK = "lock"
#: A folder of another process may not have its lock yet before it is so many seconds old.
_YOUNG_SECONDS = 60.0

PICKLE = "mnist.pkl.gz"

WAYS_OUT = (
    "name a folder or file that holds it, as the argument or in BREAKNET_DATA; "
    "or name other servers in BREAKNET_MIRRORS; "
    'or take "synthetic" digits'
)


class _NoAnswerError(DataError):
    """Nothing came back in the `waited` seconds."""

    def __init__(self, waited: float) -> None:
        super().__init__("no answer")
        self.waited = waited


def download(mirrors: Sequence[str]) -> Digits:
    """MNIST from the first of `mirrors` that has it, every file checked against its published hash.

    A file that a mirror lacks, breaks off or alters is requested from the next.

    Args:
        mirrors: addresses of folders that hold the four gzipped IDX files, or of an `mnist.pkl.gz`.

    Raises:
        DataError: where no mirror gave all files; one line with the reasons and the ways out.
    """
    files: dict[str, NDArray[np.uint8]] = {}
    failures = []
    patience = ANSWER_SECONDS
    with _temporary_folder() as folder, _quiet_pooch():
        for place, mirror in enumerate(mirrors):
            address = urlsplit(mirror)
            try:
                _ask(mirror, files, folder / str(place), patience / (len(mirrors) - place))
                return idx.assembled([files[name] for name in idx.NAMES], Path(mirror), "MNIST")
            except DataError as failure:
                text = str(failure).replace(f"{folder / str(place)}{os.sep}", "")
                failures.append(f"{address.netloc}: {text}")
                patience -= failure.waited if isinstance(failure, _NoAnswerError) else 0.0
    raise DataError(f"MNIST could not be downloaded ({'; '.join(failures)}): {WAYS_OUT}")


def _ask(mirror: str, files: dict[str, NDArray[np.uint8]], folder: Path, patience: float) -> None:
    """Add to `files` what is missing there and the mirror has, under the published names.

    Raises:
        DataError: for the first file that the mirror does not give as published.
    """
    if urlsplit(mirror).path.endswith(PICKLE):
        path = _transfer(mirror, folder, PICKLE, patience)
        digits = archives.read_pickle(path, PICKLE)
        if not idx.is_mnist(digits):
            raise DataError(f"{PICKLE} does not hold MNIST (SHA-256)")
        both = (digits.train, digits.valid)
        images, labels = (
            np.concatenate([getattr(split, name) for split in both]) for name in ("images", "labels")
        )
        files.update(zip(idx.NAMES, (images, labels, digits.test.images, digits.test.labels), strict=True))
        return
    for name in idx.NAMES:
        if name not in files:
            path = _transfer(f"{mirror.rstrip('/')}/{name}.gz", folder, f"{name}.gz", patience)
            content = idx.read(path, idx.kind_of(name))
            if idx.sha256(idx.kind_of(name), content) != idx.PUBLISHED[name]:
                raise DataError(f"{path.name} is not MNIST's (SHA-256)")
            files[name] = content


class _Watched:
    """One transfer, shared by both threads. To pooch it is a progress bar, whose `total` is set at the answer."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.answered = threading.Event()
        self.ended = threading.Event()
        self.given_up = False
        self.error: BaseException | None = None
        self._bar: Any = None
        self._received = 0

    @property
    def total(self) -> int:
        return 0

    @total.setter
    def total(self, size: int) -> None:
        if not self.given_up and sys.stderr is not None and sys.stderr.isatty():
            from tqdm import tqdm

            self._bar = tqdm(total=size or None, desc=self.name, unit="B", unit_scale=True, ascii=True)
        self.answered.set()

    def update(self, size: int) -> None:
        self._received += size
        if self._received > MOST_BYTES:
            self.given_up = True
            raise InterruptedError(f"over {MOST_BYTES:,} bytes")
        if self.given_up:
            raise InterruptedError("given up")
        if self._bar is not None:
            self._bar.update(size)

    def reset(self) -> None:
        if self._bar is not None:
            self._bar.reset()

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()


def _transfer(url: str, folder: Path, name: str, patience: float) -> Path:
    """Fetch `url` to `folder`/`name`; the server has `patience` seconds to begin its answer.

    Raises:
        _NoAnswerError: after `patience` seconds.
        DataError: for any other failure.
    """
    import pooch

    watched = _Watched(name)

    def work() -> None:
        try:
            fetch = pooch.HTTPDownloader(
                progressbar=watched, chunk_size=1 << 16, timeout=(patience, SILENCE_SECONDS)
            )
            pooch.retrieve(url, known_hash=None, fname=name, path=folder, downloader=fetch)
        except BaseException as error:
            watched.error = error
        finally:
            watched.close()
            watched.ended.set()
            watched.answered.set()

    began = time.monotonic()
    try:
        threading.Thread(target=work, name=f"breaknet download {name}", daemon=True).start()
        if not watched.answered.wait(patience):
            raise _NoAnswerError(time.monotonic() - began)
        while not watched.ended.wait(0.2):  # in short waits: Windows hears Ctrl-C only between them
            if time.monotonic() - began > TRANSFER_SECONDS:
                raise DataError(f"{name}: not whole after {TRANSFER_SECONDS:g} s")
    finally:
        watched.given_up = True
    if watched.error is not None:
        raise DataError(_reason(watched.error, name)) from watched.error
    return folder / name


def _reason(error: BaseException, name: str) -> str:
    """The reason why a transfer failed, in a few words."""
    from requests import exceptions

    text = str(error)
    if isinstance(error, exceptions.HTTPError) and error.response is not None:
        return f"{name}: status {error.response.status_code}"
    if isinstance(error, exceptions.SSLError):
        return "its certificate is not trusted"
    if isinstance(error, exceptions.ConnectTimeout):
        return "no answer"
    if isinstance(error, exceptions.Timeout) or "timed out" in text:
        return f"{name}: {SILENCE_SECONDS:g} s without a byte"
    if isinstance(error, exceptions.ChunkedEncodingError):
        return f"{name}: broke off"
    if isinstance(error, exceptions.ConnectionError):
        return "no connection"
    return f"{name}: {' '.join(text.split()) or type(error).__name__}"


@contextmanager
def _temporary_folder() -> Iterator[Path]:
    """A folder to download to. Those of processes that were killed are removed: nobody holds their locks any more.

    Raises:
        DataError: where there is none.
    """
    for left in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with suppress(OSError):
            if abs(time.time() - left.stat().st_mtime) < _YOUNG_SECONDS:
                continue
            lock = Lock(left / _LOCK)
            shutil.rmtree(left, ignore_errors=True)
            lock.release()
    try:
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
        lock = Lock(folder / _LOCK)
    except OSError as error:
        raise DataError(f"no temporary folder to download MNIST to ({error.strerror or error})") from error
    try:
        yield folder
    finally:
        lock.release()
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _quiet_pooch() -> Iterator[None]:
    """Keep pooch from announcing each file and its hash on standard error."""
    import pooch

    logger = pooch.get_logger()
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)
