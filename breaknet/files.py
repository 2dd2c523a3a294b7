"""Output files and folders: decided before anything is computed, written whole or not at all."""

import errno
import os
import secrets
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from .errors import DataError

#: What a picture says of its maker, by the ending of its name, in the words of matplotlib's `savefig`.
MADE_BY: dict[str, dict[str, str | None]] = {
    ".png": {"Software": "breaknet"},
    ".svg": {"Creator": "breaknet", "Date": None},
}
#: The same as a file has it.
_SIGNATURES = (b"tEXtSoftware\0breaknet", b"<dc:title>breaknet</dc:title>")

_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
)


def real_path(path: str | os.PathLike[str], name: str) -> Path:
    """`path` with its ~ and its links resolved, whether something is there or not; `name` is the argument's.

    Raises:
        ValueError: for an empty path, or one that no file can have.
        DataError: for links that lead in a circle.
    """
    text = os.fspath(path)
    if not text or "\0" in text:
        raise ValueError(f"{name}: the name of a file or folder, not {text!r}")
    try:
        expanded = Path(text).expanduser()
    except RuntimeError as error:  # no such user
        raise ValueError(f"{name}: {text!r} has no home folder to begin with") from error
    resolved = Path(os.path.realpath(expanded))
    if resolved.is_symlink():
        raise DataError(f"{text}: its links lead in a circle")
    return resolved


def kind_of(path: Path) -> str | None:
    """ "a file", or what else stands at `path`; None for nothing.

    Raises:
        DataError: where that cannot be found out.
    """
    try:
        mode = path.lstat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise cannot_be("written", path, error) from error
    return next((kind for is_kind, kind in _KINDS if is_kind(mode)), "a file")


def cannot_be(done: str, path: str | os.PathLike[str], error: OSError) -> DataError:
    """The one line for a file or folder that cannot be read or written."""
    return DataError(f"{os.fspath(path)}: cannot be {done} ({error.strerror or error})")


def check_output_file(
    path: str | os.PathLike[str],
    is_ours: Callable[[Path], bool],
    force: bool | None = False,
    name: str = "out",
) -> tuple[Path, bool]:
    """The place where a file will be written, and whether one of ours is replaced there; leaves nothing behind.

    A plain file is replaced only where it is empty, `is_ours`, or with `force`; None: there is no such option.

    Raises:
        ValueError: for a folder.
        DataError: for anything else that must not be replaced, and where the folder cannot be written.
    """
    target = real_path(path, name)
    kind = kind_of(target)
    if kind == "a folder":
        raise ValueError(f"{name}: a file, but {os.fspath(path)} is a folder")
    if kind not in (None, "a file"):
        raise DataError(f"{os.fspath(path)}: {kind}, which is never replaced; name a file")
    if os.path.ismount(target):
        raise DataError(f"{os.fspath(path)}: a mount point, which cannot be replaced; name a file")
    empty = kind is None or target.stat().st_size == 0
    ours = not empty and is_ours(target)
    if not (empty or ours or force):
        option = "" if force is None else ", or replace it with -f"
        raise DataError(f"{os.fspath(path)}: another file than breaknet writes; name another{option}")
    made = make_parents(target)
    try:
        with written_whole(target.with_name(f".{target.name}.probe")) as unfinished:
            unfinished.touch()
        target.with_name(f".{target.name}.probe").unlink()
    except OSError as error:
        raise DataError(str(error).replace(f".{target.name}.probe", target.name)) from error
    finally:
        remove_empty(made)
    return target, ours


def is_picture_file(path: Path) -> bool:
    """Whether breaknet drew a PNG or an SVG, by what the file says of its maker."""
    try:
        with open_plain(path) as file:
            head = file.read(4096)
    except DataError:
        return False
    return head.startswith((b"\x89PNG", b"<?xml")) and any(signature in head for signature in _SIGNATURES)


def make_parents(path: Path) -> list[Path]:
    """Make the folders above `path`; returns those that were missing, outermost first.

    Raises:
        DataError: where they cannot be made.
    """
    missing = [parent for parent in path.parents if not parent.exists()][::-1]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        remove_empty(missing)
        raise cannot_be("written", path, error) from error
    return missing


def remove_empty(folders: list[Path]) -> None:
    """Remove those of `folders` (outermost first) that are empty."""
    for folder in reversed(folders):
        with suppress(OSError):
            folder.rmdir()


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Give a path beside `path` to write to; it takes the place of `path` once the block ends without error.

    A link at `path` stays and what it leads to is replaced; a file that was there hands on its mode.

    Raises:
        DataError: where the folder cannot be written or the disk is full, and for a device, a pipe or a socket;
            `path` then stays as it was.
    """
    target = real_path(path, "path")
    kind = kind_of(target)
    if kind not in (None, "a file"):
        raise DataError(f"{path}: cannot be written ({kind}, not a file)")
    unfinished = target.with_name(f".{target.name[:200]}.{secrets.token_hex(4)}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield unfinished
        if kind is not None:
            _keep_mode(target, unfinished)
        unfinished.replace(target)
    except DataError:
        raise
    except OSError as error:
        raise cannot_be("written", path, error) from error
    finally:
        with suppress(OSError):
            unfinished.unlink()


def _keep_mode(old: Path, new: Path) -> None:
    with suppress(OSError):
        found = old.stat()
        if hasattr(os, "chown") and (found.st_uid, found.st_gid) != (os.geteuid(), os.getegid()):
            os.chown(new, found.st_uid, found.st_gid)
        new.chmod(stat.S_IMODE(found.st_mode))


def open_plain(path: str | os.PathLike[str]) -> IO[bytes]:
    """Open a plain file to read; a pipe or a device in its place could block a reader without end.

    Raises:
        DataError: for anything else than a plain file, and for one that cannot be read.
    """
    flags = getattr(os, "O_NONBLOCK", 0)  # without it opening a pipe waits for a writer
    try:
        file = open(path, "rb", opener=lambda name, mode: os.open(name, mode | flags))  # noqa: SIM115
    except OSError as error:
        raise cannot_be("read", path, error) from error
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise DataError(f"{os.fspath(path)}: cannot be read (not a plain file)")
    return file


class Lock:
    """One process at a time holds the lock file `path`, which is removed when it is released.

    That of a killed process stays, unlocked.

    Raises:
        BlockingIOError: where another process, or another part of this one, holds it.
        OSError: where the file cannot be made.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        while True:
            self._file: IO[Any] | None = open(path, "ab")  # noqa: SIM115, open for as long as it is held
            try:
                _lock(self._file)
                if os.path.samestat(os.fstat(self._file.fileno()), path.stat()):
                    return
            except FileNotFoundError:
                pass  # its holder has just removed it: the next one is ours to make
            except BaseException:
                self._file.close()
                raise
            self._file.close()

    def release(self) -> None:
        if self._file is not None:
            # before it is let go, or another holder's would be removed; on Windows only afterwards
            with suppress(OSError):
                self._path.unlink()
            self._file.close()
            with suppress(OSError):
                if os.name == "nt":
                    self._path.unlink()
            self._file = None


def _lock(file: IO[Any]) -> None:
    """Lock an open file or raise BlockingIOError; a file system without locks lets everybody in."""
    try:
        if os.name == "nt":
            import msvcrt

            getattr(msvcrt, "locking")(file.fileno(), getattr(msvcrt, "LK_NBLCK"), 1)  # noqa: B009
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EAGAIN, errno.EDEADLK):
            raise BlockingIOError(error.errno, error.strerror) from error


def replace_folder(new: Path, old: Path, aside: Path) -> None:
    """Put folder `new` in the place of `old`, which is moved to `aside` meanwhile; `old` hands on its mode.

    Killed between the two moves, `old` is missing and `aside` holds it: see `put_back`.
    """
    if old.exists():
        _keep_mode(old, new)
        old.rename(aside)
    try:
        new.rename(old)
    except OSError:
        if aside.exists():
            aside.rename(old)
        raise
    shutil.rmtree(aside, ignore_errors=True)


def put_back(old: Path, aside: Path) -> bool:
    """After a kill within `replace_folder`: give `old` its place again; returns whether it had lost it."""
    if aside.exists() and not old.exists():
        aside.rename(old)
        return True
    return False
