"""Compiling the CPU kernels: kept on disk, announced once, right for other processors."""

import logging
import pickle
from pathlib import Path

import pytest
from checks import run_python

pytest.importorskip("numba")
from breaknet.backends.numba_cpu import compiling

HERE = Path(__file__)

_FIRST_RUN = """
import logging
logging.basicConfig(level=logging.INFO, format="%(message)s")
import numba_jobs as here
(trained,) = here.train(here.job(here.examples(30), here.examples(10, 1)))
here.assert_follows(here.job(here.examples(30), here.examples(10, 1)), trained)
print(trained.seconds["compile"])
"""


def _in_a_new_process(cache: Path, **environment: str) -> tuple[float, str]:
    done = run_python("-c", _FIRST_RUN, paths=(HERE,), NUMBA_CACHE_DIR=str(cache), **environment)
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


def test_a_change_in_any_part_makes_the_stored_code_stale(tmp_path, monkeypatch):
    """Code that other sources left is not unpickled either: its classes may have moved."""
    from breaknet.backends.numba_cpu.training import train_epochs

    stored = train_epochs._cache._cache_file
    numba_version, sources = stored._version
    assert sources == compiling._sources_digest()
    monkeypatch.setattr(stored, "_index_path", str(tmp_path / "index"))
    (tmp_path / "index").write_bytes(pickle.dumps((numba_version, "other sources")) + b"cgone\nClass\n.")
    assert stored.load("signature") is None


def test_the_notice_comes_once_and_only_where_something_is_compiled(monkeypatch, caplog):
    from numba import njit

    monkeypatch.setattr(compiling, "_notice", compiling._Notice())
    caplog.set_level(logging.INFO, "breaknet")
    ours = njit(lambda x: x + 1)
    with compiling.announced():
        ours(1)
        ours(1.5)
    assert [record.getMessage()[:25] for record in caplog.records] == ["compiling the CPU kernels"]
    monkeypatch.setattr(compiling, "_notice", compiling._Notice())
    caplog.clear()
    with compiling.announced():
        ours(2)
    assert not caplog.records


_SIGNATURES = """
import numba_jobs as here, torch
from breaknet.backends.numba_cpu import evaluation, scheduler, sparse_images, training
modules = evaluation, sparse_images, training
found = [function for module in modules for function in vars(module).values()]
kernels = [function for function in found if getattr(function, "targetoptions", {}).get("nogil")]
for dtype in (torch.uint8, torch.float32):
    scheduler.compile_kernels({dtype}, training=True)
    before = [len(kernel.signatures) for kernel in kernels]
    for density in (0.2, 0.9):
        data = here.examples(40, 0, density, floating=dtype == torch.float32)
        (trained,) = here.train(here.job(data, data))
        here.backend.evaluate(trained.parameters, data, here.CPU, True)
    print(len(kernels), min(before), [len(kernel.signatures) for kernel in kernels] == before)
"""


def test_nothing_is_compiled_once_work_has_begun():
    """A few images go through all seven kernels first, so that no thread compiles while others wait."""
    done = run_python("-c", _SIGNATURES, paths=(HERE,))
    assert done.stdout.splitlines() == ["7 1 True"] * 2


def test_it_works_where_nothing_can_be_stored(monkeypatch):
    from numba.core import caching

    def double(x):
        return 2 * x

    monkeypatch.setattr(caching.CacheImpl, "_locator_classes", [])
    assert compiling.kernel(double)(21) == 42
