"""Compiling the CPU kernels: kept on disk, announced once, right for other processors."""

import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("numba")
from breaknet.backends.numba_cpu import compiling

_FIRST_RUN = """
import logging, sys, time
sys.path[:0] = {paths!r}
logging.basicConfig(level=logging.INFO, format="%(message)s")
import numba_jobs as here
(trained,) = here.train(here.job(here.examples(30), here.examples(10, 1)))
here.assert_follows(here.job(here.examples(30), here.examples(10, 1)), trained)
print(trained.seconds["compile"])
"""


def _in_a_new_process(cache: Path, **environment: str) -> tuple[float, str]:
    here = Path(__file__)
    program = _FIRST_RUN.format(paths=[str(here.parents[depth]) for depth in (0, 2, 3)])
    done = subprocess.run(
        [sys.executable, "-c", program], env=dict(os.environ, NUMBA_CACHE_DIR=str(cache), **environment),
        capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return float(done.stdout), done.stderr


@pytest.mark.slow
def test_the_second_process_loads_what_the_first_compiled(tmp_path):
    first, notice = _in_a_new_process(tmp_path)
    assert notice.count("compiling the CPU kernels") == 1
    second, silence = _in_a_new_process(tmp_path)
    assert second < first / 4
    assert "compiling" not in silence


@pytest.mark.slow
@pytest.mark.parametrize("processor", ["generic", "haswell"])
def test_the_kernels_are_right_for_other_processors(processor, tmp_path):
    import llvmlite.binding as llvm

    if processor == "haswell" and not llvm.get_host_cpu_features().get("fma", False):
        pytest.skip("the processor has no AVX2 and FMA")
    features = {"NUMBA_CPU_FEATURES": ""} if processor == "generic" else {}
    _in_a_new_process(tmp_path, NUMBA_CPU_NAME=processor, **features)


def test_a_change_in_any_part_makes_the_stored_code_stale():
    from breaknet.backends.numba_cpu.training import train_epochs

    stamp = train_epochs._cache._cache_file._source_stamp
    assert stamp[-1] == compiling._sources_digest()


def test_the_notice_comes_once_and_only_where_something_is_compiled(monkeypatch, caplog):
    from numba import njit, types

    monkeypatch.setattr(compiling, "_notice", compiling._Notice())
    caplog.set_level(logging.INFO, "breaknet")
    ours = njit(lambda x: x + 1)
    assert compiling.ready([(ours, (types.int64,)), (ours, (types.float32,))]) > 0
    assert [record.getMessage()[:25] for record in caplog.records] == ["compiling the CPU kernels"]
    assert compiling.ready([(ours, (types.int64,))]) == 0
    monkeypatch.setattr(compiling, "_notice", compiling._Notice())
    caplog.clear()
    compiling.ready([(ours, (types.int64,))])
    assert not caplog.records


def test_it_works_where_nothing_can_be_stored(monkeypatch):
    from numba.core import caching

    def double(x):
        return 2 * x

    monkeypatch.setattr(caching.CacheImpl, "_locator_classes", [])
    assert compiling.kernel(double)(21) == 42
