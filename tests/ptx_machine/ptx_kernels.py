"""Small kernels in PTX for the tests of the machine: a body of instructions, run on tensors."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from tools.ptx_machine.machine import Machine

THREADS = 64


def module(body: str, parameters: int = 3, threads: int = THREADS) -> str:
    """A kernel whose parameters are tensors; %rd1, %rd2 ... hold their addresses, %r0 the thread."""
    names = [f"kernel_param_{number}" for number in range(parameters)]
    declared = ",\n".join(f"\t.param .u64 .ptr .global .align 1 {name}" for name in names)
    loads = "\n".join(f"\tld.param.b64 \t%rd{number}, [{name}];" for number, name in enumerate(names, 1))
    lines = "\n".join("\t" + line.strip() for line in body.strip().splitlines())
    return f"""
.version 8.7
.target sm_75
.address_size 64
.extern .shared .align 16 .b8 global_smem[];
.visible .entry kernel(
{declared}
)
.reqntid {threads}
{{
\t.reg .pred \t%p<9>;
\t.reg .b16 \t%rs<9>;
\t.reg .b32 \t%r<40>;
\t.reg .b64 \t%rd<20>;
{loads}
\tmov.u32 \t%r0, %tid.x;
{lines}
\tret;
}}
"""


#: Each thread's number of the first two tensors into %r1 and %r2, and %r3 into the third.
LOAD = """
    mul.wide.u32 %rd9, %r0, 4;
    add.s64 %rd4, %rd1, %rd9;
    add.s64 %rd5, %rd2, %rd9;
    add.s64 %rd6, %rd3, %rd9;
    ld.global.b32 { %r1 }, [ %rd4 + 0 ];
    ld.global.b32 { %r2 }, [ %rd5 + 0 ];
"""
STORE = "\nst.global.b32 [ %rd6 + 0 ], { %r3 };"
NUMBERS = torch.arange(THREADS, dtype=torch.int32)


def run(
    body: str, *tensors: Tensor, shared: int = 1024, blocks: int = 1, threads: int = THREADS, **options: Any
) -> None:
    Machine(module(body, len(tensors), threads), shared).run((blocks, 1, 1), tensors, **options)


def result(body: str, a: Tensor = NUMBERS, b: Tensor = NUMBERS, **options: Any) -> Tensor:
    """%r3 of each thread, of a's type, after instructions on its numbers of a in %r1 and of b in %r2."""
    out = torch.zeros_like(a)
    run(LOAD + body + STORE, a, b, out, threads=len(a), **options)
    return out
