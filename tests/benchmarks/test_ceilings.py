"""The loops behind the ceilings compute what they are counted to compute, interpreted and as compiled code."""

import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from benchmarks.contenders import kernel_trainers
from benchmarks.microbenchmarks import ceilings
from benchmarks.microbenchmarks.barrier import BarrierLoop
from benchmarks.problem import Problem
from breaknet.kernels._triton import HAVE_TRITON

needs_triton = pytest.mark.skipif(not HAVE_TRITON, reason="needs Triton")


def test_ceilings_are_measured_once():
    ceilings.measured.cache_clear()
    found = ceilings.measured("cpu", True)
    assert set(found) == {"bytes_per_s", "flop_per_s"}
    assert all(value > 1e6 for value in found.values())
    assert ceilings.measured("cpu", True) is found


@pytest.mark.parametrize(("loop", "expected"), [(5.0, 5.0), (1.0, 3.0), (0.0, 3.0)])
def test_the_faster_of_product_and_loop_is_the_ceiling(loop, expected, monkeypatch):
    for name, rate in (("_product_rate", 3.0), ("_copy_rate", 2.0), ("_loop_rate", loop)):
        monkeypatch.setattr(ceilings, name, lambda *_, rate=rate: rate)
    assert ceilings.measured.__wrapped__("cpu") == {"bytes_per_s": 2.0, "flop_per_s": expected}


def test_the_least_of_the_calls_after_the_first_counts(monkeypatch):
    clock = iter([0.0, 0.1, 1.0, 5.0, 6.0, 9.0, 10.0, 12.0, 13.0, 18.0, 20.0, 26.0])
    monkeypatch.setattr(ceilings, "perf_counter", lambda: next(clock))
    assert ceilings._least_seconds(lambda: None, torch.device("cpu")) == 2.0


@needs_triton
def test_the_gpus_loop_does_its_fmas(device, monkeypatch):
    made = []
    real = torch.empty
    monkeypatch.setattr(torch, "empty", lambda *size, **named: made.append(real(*size, **named)) or made[-1])
    call, operations = ceilings.triton_loop(device, small=True)
    call()
    programs = len(made[0]) // 64
    rounds = 10 * ceilings.UNROLLED
    assert operations == 2 * 4 * 64 * programs * rounds
    expected = np.zeros(64)
    for chain in range(4):
        x = np.arange(64) * 1e-9 + 0.5 + 0.01 * chain
        for _ in range(rounds):
            x = x * 0.75 + 0.125
        expected += x
    torch.testing.assert_close(made[0][:64].double().cpu(), torch.from_numpy(expected), rtol=1e-6, atol=0)


COMPILE = """
import sys, triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from benchmarks.microbenchmarks.barrier import barrier_loop_kernel
from benchmarks.microbenchmarks.ceilings import fma_kernel
from breaknet.kernels.host.trainers import OPTIONS
for kernel, types, constexprs, options in (
    (fma_kernel, {"out_ptr": "*fp32", "steps": "i32"}, {"BLOCK": 1024, "UNROLLED": 4}, {}),
    (barrier_loop_kernel, {"arrivals_ptr": "*i32", "seen_ptr": "*i32", "rounds": "i32"},
     {"PROGRAMS": 26}, OPTIONS | {"launch_cooperative_grid": True}),
):
    signature = {name: types.get(name, "constexpr") for name in kernel.arg_names}
    source = ASTSource(kernel, signature, constexprs=constexprs)
    print(triton.compile(source, target=GPUTarget("cuda", int(sys.argv[1]), 32), options=options).asm["ptx"])
"""


@needs_triton
@pytest.mark.parametrize("capability", [75, 90])
def test_the_loops_compile_for_gpus(capability, repository: Path):
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    environment["PYTHONPATH"] = str(repository)
    command = [sys.executable, "-c", COMPILE, str(capability)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]
    # 8 values a thread in 4 chains, 4 rounds a turn of the loop, every one an FMA; and x0, a, b before it
    assert len(re.findall(r"fma\.rn\.f32", done.stdout)) == 8 * (4 * 4 + 3)
    assert "ld.acquire.gpu.global.s32" in done.stdout


@needs_triton
def test_the_barrier_loop_counts_every_arrival(device):
    loop = BarrierLoop(16 if device.type == "cuda" else 1, 5, device)
    for _ in range(2):
        loop.run()
        loop.check()
    loop._arrivals += 1
    with pytest.raises(AssertionError, match="arrivals, not"):
        loop.check()


def test_the_interpreter_cannot_hold_two_programs_at_a_barrier():
    with pytest.raises(ValueError, match="programs: 1 under the interpreter, not 2"):
        BarrierLoop(2, 5, torch.device("cpu"))


@needs_triton
@pytest.mark.parametrize(("capability", "sms"), [((7, 5), 40), ((9, 0), 132)])
def test_on_a_gpu_the_backends_own_plans_are_taken(capability, sms, monkeypatch):
    """No GPU is needed to see which."""
    facts = SimpleNamespace(major=capability[0], minor=capability[1], multi_processor_count=sms)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: facts)
    images = np.zeros((100, 784), np.uint8)
    problem = Problem(images, np.zeros(100, np.int64), torch.device("cuda"))
    forms = kernel_trainers.packed_forms(10 * capability[0] + capability[1], 100)
    assert list(forms) == (["tensor-4x32", "fma"] if sms == 132 else ["fma"])
    assert next(iter(forms.values())) == kernel_trainers.tiles(problem, "packed")
    assert kernel_trainers.packed_capacity(problem) == sms * (4 if sms == 132 else 1)
    assert kernel_trainers.packed_capacity(problem, forms["fma"]) == sms
    assert 1 < kernel_trainers.tiles(problem, "cooperative").programs <= sms
