"""The compilation of this package's functions: `kernel` for entry points, `part` for what they call.

Neither uses numba's fast-math: NaN and infinity must spread, so that a diverged run is seen. The only liberty is
`simd.fma`, which rounds once where the processor has a fused instruction.
"""

import hashlib
import logging
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Any

from llvmlite import binding
from numba import config, njit
from numba.core import event

log = logging.getLogger("breaknet")


def part(function: Callable[..., Any]) -> Any:
    """A function that LLVM inlines into the kernels that call it; it must not allocate arrays, nor does Python call it.

    numba compiles a part again for every set of argument types, and to numba a constant is a type of its own: callers
    pass int64(constant), which halves the compile time; leaving out the wrappers for Python and C saves a sixth of the
    rest. Without `_nrt=False` numba counts references between the loops, which pushes the vectors out of their
    registers. The options have no public names; should they go, only speed is lost.
    """
    lean: dict[str, Any] = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True, "_nrt": False}
    try:
        return njit(error_model="numpy", **lean)(function)
    except (KeyError, TypeError):
        return njit(error_model="numpy")(function)


def kernel(function: Callable[..., Any]) -> Any:
    """Compile on first use, keep the code on disk, and release the interpreter lock while it runs.

    numba keeps it in NUMBA_CACHE_DIR, else beside the source, else in the user's cache folder; where none of them can
    be written, nothing is kept.
    """
    try:
        compiled = njit(nogil=True, cache=True, error_model="numpy")(function)
    except RuntimeError:
        return njit(nogil=True, error_model="numpy")(function)
    _mark_with_all_sources(compiled)
    _survive_broken_files(compiled)
    return compiled


def _survive_broken_files(compiled: Any) -> None:
    """Drop code on disk that cannot be loaded, cut off by a full disk say, and compile it again.

    Without this one broken file would fail every later start. The methods belong to numba's own; should it rename
    them, only this protection is lost.
    """
    cache: Any = getattr(compiled, "_cache", None)
    if not all(hasattr(cache, name) for name in ("load_overload", "save_overload", "flush")):
        return
    load, save = cache.load_overload, cache.save_overload

    def load_or_drop(*arguments: Any) -> Any:
        try:
            return load(*arguments)
        except Exception as error:
            log.info("code kept on disk is broken (%s) and is compiled again", type(error).__name__)
            with suppress(Exception):
                cache.flush()
            return None

    def save_or_not(*arguments: Any) -> None:
        try:
            save(*arguments)
        except Exception as error:  # a full disk: the code is there for this process
            log.info("the compiled code could not be kept on disk (%s)", error)

    cache.load_overload, cache.save_overload = load_or_drop, save_or_not


def _mark_with_all_sources(compiled: Any) -> None:
    """Let a change in any file here make the code on disk stale.

    numba looks at the file of the kernel alone, and would miss a change in the parts that it calls. What is kept for
    another version of numba it does not even unpickle, as classes may have moved: so the sources are made a part of
    that version. It has no public setter; should numba rename it, only this protection is lost.
    """
    cache_file = getattr(getattr(compiled, "_cache", None), "_cache_file", None)
    if cache_file is not None and hasattr(cache_file, "_version"):
        cache_file._version = (cache_file._version, _sources_digest())


def _sources_digest() -> str:
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def has_wide_registers() -> bool:
    """Whether kernels are compiled for AVX-512: 32 registers of sixteen lanes."""
    named = getattr(config, "CPU_FEATURES", None)  # of NUMBA_CPU_FEATURES
    try:
        features = binding.get_host_cpu_features().flatten() if named is None else named
    except RuntimeError:  # the system does not say
        return False
    return "+avx512f" in features.split(",")


class _Notice(event.Listener):
    """A message, once in a process, that kernels are being compiled; none where they are loaded from disk."""

    def __init__(self) -> None:
        self.given = False

    def on_start(self, event: Any) -> None:
        if not self.given:
            self.given = True
            log.info("compiling the CPU kernels: a few seconds, once on this machine")

    def on_end(self, event: Any) -> None:
        pass


_notice = _Notice()


def announced() -> AbstractContextManager[object]:
    """A block that may compile kernels, and says so if it does."""
    context: AbstractContextManager[object] = event.install_listener("numba:compile", _notice)
    return context
