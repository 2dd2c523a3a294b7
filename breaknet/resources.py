"""Whether a training fits into memory, onto the disk and into a year: estimates before anything starts."""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from .errors import DataError
from .model import parameter_bytes

#: Of the memory that is free; data and libraries need some of it, and a backend may hold an epoch twice.
_SHARE = 0.9
_YEAR = 365 * 86400.0
#: Seconds of a step besides its arithmetic, and of an FMA: two cores for torch and numba, a T4 for triton. Another
#: backend is taken for as fast as numba.
_SECONDS = {"torch": (4e-4, 1e-11), "numba": (5e-6, 1e-11), "triton": (1e-5, 1e-12)}
ALWAYS_THERE = 2**28  # bytes that are not worth a look at the system


def check_memory(runs: Sequence[tuple[int, tuple[int, int]]]) -> None:
    """Raise ValueError, naming the argument, where runs of so many epochs with such hidden widths cannot be kept."""
    sizes = [(epochs, parameter_bytes(hidden)) for epochs, hidden in runs]
    needed = _checkpoint_bytes(runs)
    free = available() if needed > ALWAYS_THERE else None
    if free is None or needed <= _SHARE * free:
        return
    epochs, size = max(sizes, key=lambda one: one[0] * one[1])
    if 4 * size > _SHARE * free:
        raise ValueError(
            f"hidden: widths whose parameters fit into memory; these take {_bytes(size)} of {_bytes(free)}"
        )
    raise ValueError(
        f"epochs: as many as memory can keep checkpoints of; {epochs:,} take {_bytes(needed)} of {_bytes(free)}"
    )


def check_disk(target: Path, runs: Sequence[tuple[int, tuple[int, int]]]) -> None:
    """Raise DataError where the checkpoints of such runs are more than the disk of `target` has free."""
    folder = next(parent for parent in target.parents if parent.is_dir())
    needed = _checkpoint_bytes(runs)
    try:
        free = shutil.disk_usage(folder).free
    except OSError:
        return
    if needed > free:
        raise DataError(
            f"{target}: {_bytes(needed)} of checkpoints, but its disk has {_bytes(free)} free; "
            "keep fewer of them, or name a folder on another disk"
        )


def check_time(backend: str, runs: Sequence[tuple[int, tuple[int, int], int, int]]) -> None:
    """Raise ValueError where runs of (epochs, hidden widths, examples, batch size) would take over a year.

    Examples are those to train and to validate on. The estimate is good to a small factor.
    """
    step, fma = _seconds(backend)
    seconds = 0.0
    for epochs, hidden, examples, batch_size in runs:
        # for each parameter and example an FMA forward, two backward and one in the evaluation; four bytes each
        seconds += epochs * (step * -(-examples // batch_size) + fma * examples * parameter_bytes(hidden))
    if seconds > _YEAR:
        most = max(epochs for epochs, *_ in runs)
        raise ValueError(
            f"epochs: as many as can be run in a year; {most:,} would take about {seconds / _YEAR:,.1f} years with "
            f"the {backend} backend; ask for fewer epochs, fewer examples or larger batches"
        )


def evaluation_seconds(backend: str, models: int, hidden: tuple[int, int], examples: int) -> float:
    """About how long so many models of such widths take on so many examples."""
    return _seconds(backend)[1] * models * examples * parameter_bytes(hidden) / 4


def _seconds(backend: str) -> tuple[float, float]:
    return _SECONDS.get(backend, _SECONDS["numba"])


def _checkpoint_bytes(runs: Sequence[tuple[int, tuple[int, int]]]) -> int:
    return sum(epochs * parameter_bytes(hidden) for epochs, hidden in runs)


def available() -> int | None:
    """Bytes of memory that this process could still be given; None where the system does not say."""
    found = [size for size in (_of_the_system(), _of_the_group()) if size is not None]
    return min(found, default=None)


def _of_the_system() -> int | None:
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return None


def _of_the_group() -> int | None:
    """Bytes that a container's limit leaves."""
    group = Path("/sys/fs/cgroup")
    try:
        limit, used = (int((group / name).read_text()) for name in ("memory.max", "memory.current"))
        reclaimable = 0
        for line in (group / "memory.stat").read_text().splitlines():
            if line.startswith(("inactive_file ", "active_file ")):
                reclaimable += int(line.split()[1])
    except (OSError, ValueError):  # no such files, or "max"
        return None
    return max(0, limit - used + reclaimable)


def _bytes(size: int) -> str:
    return f"{size / 2**30:,.1f} GiB"
