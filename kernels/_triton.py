"""The one place that imports Triton, so that every kernel module also imports where Triton is missing.

With Triton 3.5 or newer `triton`, `tl` and `jit` are Triton's own. Without it (macOS, Windows, torch's CPU wheels),
below 3.5, or where its interpreter is asked for and fails with the NumPy at hand, `HAVE_TRITON` is False, `why_not()`
says why in one line, `tl` answers any attribute so that annotations such as `tl.constexpr` still evaluate, and a
kernel decorated with `jit` raises that line when it is launched.
"""

import atexit
import logging
import os
import re
import shutil
import tempfile
import threading
from collections import deque
from collections.abc import Callable
from functools import cache, lru_cache, partial
from pathlib import Path
from typing import Any

import numpy
import torch

OLDEST = (3, 5)  # dots with fewer than 16 rows came with 3.5


class _Absent:
    """Stands for `triton` and `triton.language`: any attribute, call or index of it is itself."""

    def __getattr__(self, name: str) -> "_Absent":
        if name.startswith("__"):
            raise AttributeError(name)
        return self

    def __call__(self, *args: Any, **kwargs: Any) -> "_Absent":
        return self

    def __getitem__(self, key: Any) -> "_Absent":
        return self


class _AbsentKernel:
    """Stands for a kernel where there is no Triton: keeps its function, refuses to launch."""

    def __init__(self, fn: Any) -> None:
        self.fn = fn
        self.__name__ = fn.__name__
        self.__doc__ = fn.__doc__

    def _refuse(self, *args: Any, **kwargs: Any) -> Any:
        raise RuntimeError(f"{self.__name__} needs Triton: {why_not()}")

    __getitem__ = __call__ = _refuse


def _version(text: str) -> tuple[int, int]:
    """The first two numbers of a version such as "3.7.1+git1234" or "4.0a1"."""
    major, minor = re.match(r"(\d+)\.(\d+)", text).groups()  # type: ignore[union-attr]
    return int(major), int(minor)


def _interpreter_requested() -> bool:
    return os.environ.get("TRITON_INTERPRET", "0") not in ("", "0", "false", "off")


def _problem(of_triton: str, of_numpy: str, interpreted: bool) -> str | None:
    """Why these versions cannot be used, in one line; None if they can."""
    if _version(of_triton) < OLDEST:
        return f"triton {of_triton} is too old, {OLDEST[0]}.{OLDEST[1]} or newer is needed"
    if interpreted and _version(of_triton) < (3, 7) and _version(of_numpy) >= (2, 4):
        # its interpreter takes an array of one element for a number, as NumPy did before its 2.4
        return (
            f"the interpreter of triton {of_triton} fails with NumPy {of_numpy}: "
            "NumPy below 2.4 is needed, or triton 3.7 or newer"
        )
    return None


def _load() -> tuple[Any, Any, str | None]:
    try:
        import triton
        import triton.language
    except ImportError as error:
        reason: str | None = f"triton is not installed ({error})"
    except Exception as error:  # a broken installation must not take the CPU operators down with it
        reason = f"triton does not import: {type(error).__name__}: {error}"
    else:
        reason = _problem(triton.__version__, numpy.__version__, _interpreter_requested())
        if reason is None:
            if not _interpreter_requested():
                _settle_cache()
            return triton, triton.language, None
    return _Absent(), _Absent(), reason


def _settle_cache() -> None:
    """Move Triton's cache to a temporary folder where it cannot be written (a read-only home, say)."""
    home = os.environ.get("TRITON_HOME") or os.path.expanduser("~")
    wanted = Path(os.environ.get("TRITON_CACHE_DIR") or Path(home) / ".triton" / "cache")
    existing = next((folder for folder in (wanted, *wanted.parents) if folder.is_dir()), None)
    try:
        with tempfile.TemporaryFile(dir=existing):
            return
    except OSError:
        pass
    try:
        own = tempfile.mkdtemp(prefix="breaknet-triton-")
    except OSError:  # Triton will say so when it compiles
        return
    os.environ["TRITON_CACHE_DIR"] = own
    process = os.getpid()
    atexit.register(lambda: shutil.rmtree(own, ignore_errors=True) if os.getpid() == process else None)
    logging.getLogger("breaknet").info(
        "%s cannot be written: what Triton compiles is not kept (TRITON_CACHE_DIR names another folder)",
        wanted,
    )


triton, tl, _reason = _load()

HAVE_TRITON: bool = _reason is None
#: Whether kernels run under Triton's interpreter, on CPU tensors: what the environment said when they were decorated.
INTERPRETED: bool = HAVE_TRITON and _interpreter_requested()


def why_not() -> str | None:
    """Why Triton cannot be used, in one line; None when it can."""
    return _reason


class _Keys:
    """The names of functions in Triton's cache, made in the order in which the functions were decorated.

    Triton leaves a compile-time value of a module out of a kernel's name if a function that uses it has no name of its
    own yet: left to itself it names, and compiles, a kernel twice, by what was launched before it, and by chance where
    threads compile.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._waiting: deque[Any] = deque()
        self._naming = False
        self._classes: dict[type, type] = {}

    def own(self, function: Any) -> Any:
        """A function of `triton.jit`, whose first look at any name makes all of them."""
        base = type(function)
        if base not in self._classes:
            given: Any = base.cache_key  # type: ignore[attr-defined]
            self._classes[base] = type(
                base.__name__, (base,), {"cache_key": property(lambda one: self._key(one, given.fget))}
            )
        function.__class__ = self._classes[base]
        self._waiting.append(function)
        return function

    def _key(self, function: Any, key_of: Callable[[Any], str]) -> str:
        with self._lock:
            if not self._naming:
                self._naming = True
                try:
                    while self._waiting:
                        key_of(self._waiting.popleft())
                finally:
                    self._naming = False
            return key_of(function)


_keys = _Keys()


def jit(fn: Any = None, **options: Any) -> Any:
    """`triton.jit`, with or without options; without Triton a kernel that refuses to launch."""
    if not HAVE_TRITON:
        return _AbsentKernel if fn is None else _AbsentKernel(fn)
    if fn is None:
        return partial(jit, **options)
    function = triton.jit(fn, **options)
    return function if INTERPRETED else _keys.own(function)


@cache
def reading() -> threading.Thread:
    """The thread in which Triton reads itself, half a gigabyte, to name what its cache holds; begun by the first call.

    Triton does so once a process, before it finds or compiles a kernel. Threads that compile wait for this one: each
    would read all of it again.
    """
    key = getattr(triton.runtime.cache, "triton_key", lambda: None)
    thread = threading.Thread(target=key, daemon=True)
    thread.start()
    return thread


@lru_cache
def capability_of(device: torch.device) -> int:
    """The compute capability (major * 10 + minor) of a GPU; 75 for the CPU.

    The CPU runs kernels under the interpreter only, and then in the configuration of a T4.
    """
    if device.type != "cuda":
        return 75
    major, minor = torch.cuda.get_device_capability(device)
    return 10 * major + minor
