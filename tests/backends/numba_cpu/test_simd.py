"""The building blocks of the CPU kernels: errors of the sigmoid, and the same code on other processors."""

from pathlib import Path

import numpy as np
import pytest
import torch
from checks import run_python

pytest.importorskip("numba")
import numba_vectors as small
from numba import njit

from breaknet.backends.numba_cpu.evaluation import compare
from breaknet.backends.numba_cpu.simd import load, store

HERE = Path(__file__)
SPECIAL = np.array(
    [np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-45, -1e-45, 3e38, -3e38, 88.72283, 88.72284, 89, -87.3, -103.9, -104.1, 1],
    np.float32,
)  # fmt: skip


def test_the_sigmoids_error_over_all_magnitudes():
    small.check_sigmoid(SPECIAL)
    every_8192nd = np.arange(5, 2**32, 1 << 13, dtype=np.uint64).astype(np.uint32).view(np.float32)
    small.check_sigmoid(every_8192nd)
    small.check_sigmoid(np.linspace(-104, 89, 1 << 20, dtype=np.float32))
    small.check_sigmoid(np.linspace(-2, 2, 1 << 20, dtype=np.float32))


@pytest.mark.slow
@pytest.mark.parametrize("part", range(32))
def test_the_sigmoids_error_for_every_number_of_interest(part):
    """All float32 with magnitudes 2^-25 to 128: below, sigmoid is 1/2 + x/4 to the last place."""
    low, high = (np.float32(edge).view(np.uint32) for edge in (2.0**-25, 128.0))
    edges = np.linspace(low, high, 33).astype(np.uint64) // 16 * 16
    positive = np.arange(edges[part], edges[part + 1], dtype=np.uint64).astype(np.uint32).view(np.float32)
    small.check_sigmoid(positive)
    small.check_sigmoid(-positive)


def test_compressed_products():
    small.check_products()


@njit
def compared(outputs, labels, valid, out):
    squares, predicted, hits = compare(outputs, load(labels, 0), load(valid, 0))
    store(out, 0, squares)
    store(out, 16, predicted)
    store(out, 32, hits)


def test_predictions_are_torchs_with_nan_too():
    random = np.random.default_rng(2)
    for _ in range(50):
        outputs = random.integers(0, 3, (10, 16)).astype(np.float32)
        outputs[random.random((10, 16)) < 0.1] = np.nan
        labels, valid = random.integers([[10], [2]], size=(2, 16)).astype(np.float32)
        out = np.full(48, -1, np.float32)
        compared(outputs.ravel(), labels, valid, out)
        squares, predicted, hits = out.reshape(3, 16)
        assert (predicted == torch.from_numpy(outputs).argmax(0).numpy()).all()
        assert (hits == (predicted == labels) * valid).all()
        errors = outputs - (np.arange(10)[:, None] == labels)
        assert np.array_equal(squares, (errors**2).sum(0) * valid, equal_nan=True)


def test_wide_sums_are_float64():
    sums = np.full(16, 1e9)
    small.widened(np.full(16, 0.1, np.float32), sums)
    assert (sums == 1e9 + np.float64(np.float32(0.1))).all()


def _run_for(processor: str, folder: Path) -> str:
    # no features but the named processor's: numba would add those of the one at hand
    program = str(HERE.with_name("numba_vectors.py"))
    done = run_python(program, NUMBA_CPU_NAME=processor, NUMBA_CPU_FEATURES="", NUMBA_CACHE_DIR=str(folder))
    assert done.stdout.startswith("right")
    return done.stdout


def _host_has_fma() -> bool:
    import llvmlite.binding as llvm

    return llvm.get_host_cpu_features().get("fma", False)


def test_it_is_right_without_avx(tmp_path):
    assembly = _run_for("generic", tmp_path)
    assert "%ymm" not in assembly
    assert "vfmadd" not in assembly


@pytest.mark.skipif(not _host_has_fma(), reason="the processor has no AVX2 and FMA")
def test_it_is_right_with_avx2(tmp_path):
    assembly = _run_for("haswell", tmp_path)
    assert "%zmm" not in assembly
    assert assembly.count("vfmadd") >= 16  # eight registers of sums in a compressed row, and the polynomial
    assert "call" not in assembly.split("vfmadd")[1]


_CROSS = """
import re
import llvmlite.binding as llvm
import numba_vectors as small
from numba import float32, int64, njit, types, uint16

bare = njit(no_cpython_wrapper=True, no_cfunc_wrapper=True, _nrt=False)(small.compressed_row.py_func)
floats = float32[::1]
bare.compile((uint16[::1], floats, floats, floats, floats))
(text,) = bare.inspect_llvm().values()
text = re.sub("target (triple|datalayout) = .*", "", text)
llvm.initialize_all_targets()
llvm.initialize_all_asmprinters()
module = llvm.parse_assembly(text)
for triple, cpu in (("x86_64-linux-gnu", "icelake-server"), ("aarch64-linux-gnu", "neoverse-n1")):
    module.triple = triple
    machine = llvm.Target.from_triple(triple).create_target_machine(cpu=cpu, opt=3)
    print(machine.emit_assembly(module))
"""


@pytest.mark.slow
def test_it_compiles_for_avx512_and_neon(tmp_path):
    done = run_python("-c", _CROSS, paths=(HERE,), NUMBA_CACHE_DIR=str(tmp_path))
    assert "vfmadd" in done.stdout
    assert "fmla" in done.stdout
