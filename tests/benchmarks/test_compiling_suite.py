"""The rows of a GPU's first use on the host: the lesson's kernels, each once, from an empty cache or a filled one."""

from pathlib import Path

import pytest

from benchmarks.measure import Context, measure
from benchmarks.problem import size_of
from benchmarks.processes import CONFIGURATIONS
from benchmarks.suites import compiling


def made(cache: Path) -> dict[str, int]:
    """When each compiled kernel in a cache was written."""
    return {path.stem: path.stat().st_mtime_ns for path in cache.rglob("*.cubin")}


def test_the_lessons_kernels_are_compiled_once(tmp_path: Path) -> None:
    compiling.compile_lesson("sm_75", tmp_path)
    kept = made(tmp_path)
    assert len(kept) == len(CONFIGURATIONS)
    assert all(any(kernel.startswith(name) for kernel in kept) for name in CONFIGURATIONS)
    compiling.compile_lesson("sm_75", tmp_path)
    assert made(tmp_path) == kept


def test_rows() -> None:
    context = Context("cpu", size_of("rehearse"))
    cold, warm = measure(compiling.contenders(context), context)
    assert (cold.name, warm.name) == ("compiling/cpu/sm_75/cold", "compiling/cpu/sm_75/warm")
    assert (cold.conditions["cold"], warm.conditions["cold"]) == (True, False)
    for row in (cold, warm):
        seconds = row.conditions["phases"]
        assert seconds.keys() == {"imports", "compiling"}
        assert sum(seconds.values()) <= row.median


def test_what_fails_is_told(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"compiling for sm_10 ended with 1: .*sm_10"):
        compiling.compile_lesson("sm_10", tmp_path)


def test_every_target_has_its_rows_on_a_cpu_only() -> None:
    names = [one.name for one in compiling.contenders(Context("cpu", size_of("full")))]
    assert len(names) == len(set(names)) == 14
    assert {"compiling/cpu/sm_75/cold", "compiling/cpu/sm_120/warm"} <= set(names)
    assert compiling.contenders(Context("cuda", size_of("full"))) == []
