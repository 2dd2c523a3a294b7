"""The exchange of tagged words: really polled by processes that share memory, and as compiled code."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from breaknet.kernels._triton import HAVE_TRITON

pytestmark = pytest.mark.skipif(not HAVE_TRITON, reason="needs Triton")

ROUNDS = 5


def _program(words: torch.Tensor, total: torch.Tensor, number: int, programs: int) -> None:
    from benchmarks.tagged_loop import tagged_loop_kernel

    tagged_loop_kernel[(1,)](
        words, total, ROUNDS, number, PROGRAMS=programs, SLOTS=len(words) // 2, INTERPRETED=True
    )


@pytest.mark.skipif(torch.cuda.is_available(), reason="processes of the interpreter")
def test_three_programs_receive_all_words_of_all_rounds():
    from benchmarks.tagged_loop import expected_total

    words = torch.zeros(8, dtype=torch.int64).share_memory_()
    total = torch.zeros(3, dtype=torch.int64).share_memory_()
    context = multiprocessing.get_context("fork")
    programs = [context.Process(target=_program, args=(words, total, number, 3)) for number in range(3)]
    for program in programs:
        program.start()
    for program in programs:
        program.join(60)
    stuck = [program for program in programs if program.is_alive()]
    for program in stuck:
        program.kill()
    assert not stuck
    assert total.tolist() == [expected_total(3, ROUNDS)] * 3


def test_as_many_programs_as_the_device_runs_at_once(device):
    from benchmarks.tagged_loop import TaggedLoop

    loop = TaggedLoop(16 if device.type == "cuda" else 1, ROUNDS, device)
    loop.run()
    loop.check()
    loop.total += 1
    with pytest.raises(AssertionError):
        loop.check()


def test_what_should_come_out():
    from benchmarks.tagged_loop import expected_total

    assert expected_total(3, 2) == sum(program + tag for program in range(3) for tag in (1, 2))


COMPILE = """
import sys, triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from benchmarks.tagged_loop import tagged_loop_kernel as kernel
from breaknet.kernels.host.trainers import OPTIONS
types = {"words_ptr": "*i64", "total_ptr": "*i64", "rounds": "i32", "first_program": "i32"}
constexprs = {"PROGRAMS": 26, "SLOTS": 32, "INTERPRETED": False}
signature = {name: types.get(name, "constexpr") for name in kernel.arg_names}
source = ASTSource(kernel, signature, constexprs=constexprs)
print(triton.compile(source, target=GPUTarget("cuda", 75, 32), options=OPTIONS).asm["ptx"])
"""


def test_a_word_is_stored_and_read_whole(repository: Path):
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    environment["PYTHONPATH"] = str(repository)
    done = subprocess.run([sys.executable, "-c", COMPILE], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "ld.relaxed.gpu.global.b64" in done.stdout
    stores = [line for line in done.stdout.splitlines() if "st.global" in line]
    assert stores
    assert all(".b64" in line for line in stores), stores
