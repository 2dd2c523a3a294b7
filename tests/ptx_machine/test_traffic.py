"""Memory transactions, counted by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ptx_kernels import THREADS, module

from tools.ptx_machine.machine import Machine
from tools.ptx_machine.traffic import Count, Traffic, bank_transactions, lines

LANES = np.arange(32)


@pytest.mark.parametrize(
    ("count", "addresses", "size", "transactions"),
    [
        (bank_transactions, 4 * LANES, 4, 1),
        (bank_transactions, 0 * LANES, 4, 1),  # one word for all
        (bank_transactions, 4 * (LANES % 2), 4, 1),
        (bank_transactions, 8 * LANES, 4, 2),
        (bank_transactions, 64 * LANES, 4, 16),
        (bank_transactions, 128 * LANES, 4, 32),
        (bank_transactions, LANES, 1, 1),  # four threads to a word
        (bank_transactions, 8 * LANES, 8, 2),
        (bank_transactions, 16 * LANES, 16, 4),
        (bank_transactions, 64 * LANES, 16, 16),  # in each quarter eight threads, four to a bank
        (bank_transactions, 0 * LANES, 16, 4),
        (lines, 4 * LANES, 4, 1),
        (lines, 16 * LANES, 16, 4),
        (lines, 784 * LANES, 4, 32),
        (lines, 1 + LANES, 1, 1),
        (lines, 120 + 4 * LANES, 4, 2),
    ],
)
def test_transactions_of_a_warp(count, addresses, size, transactions):
    assert count(LANES, addresses, size) == transactions
    two_warps = np.concatenate([LANES, LANES + 32]), np.concatenate([addresses, addresses])
    assert count(*two_warps, size) == 2 * transactions


def traffic_of(body, blocks=1, threads=THREADS):
    machine = Machine(module(body, 1, threads), 1024)
    machine.traffic = Traffic()
    machine.run((blocks, 1, 1), [torch.zeros(THREADS)])
    return machine.traffic


def test_a_launch_counts_the_threads_that_take_part():
    body = """
        mul.lo.u32 %r4, %r0, 8;
        st.shared.b32 [ %r4 + 0 ], { %r0 };
        setp.lt.u32 %p1, %r0, 40;
        @%p1 ld.shared.b32 { %r5 }, [ %r4 + 0 ];
        mul.wide.u32 %rd9, %r0, 4;
        add.s64 %rd4, %rd1, %rd9;
        st.global.b32 [ %rd4 + 0 ], { %r0 };
    """
    traffic = traffic_of(body)
    counts = {opcode: count for (_, _, opcode), count in traffic.counts.items()}
    assert counts["st.shared.b32"] == Count(requests=2, transactions=4)  # two threads to a bank
    assert counts["ld.shared.b32"] == Count(requests=2, transactions=3)  # eight threads of the second warp
    assert counts["st.global.b32"].requests == 2
    assert traffic.total("shared") == Count(4, 7)


def test_a_launch_counts_the_instructions_of_its_warps():
    """Two warps of two blocks; a loop's instructions as often as it turns, and the FMA in it."""
    body = """
        mov.u32 %r4, 0;
        $again:
        fma.rn.f32 %r5, %r5, %r5, %r5;
        add.s32 %r4, %r4, 1;
        setp.lt.s32 %p1, %r4, 10;
        @%p1 bra $again;
    """
    counts = []
    for text in ("", body):
        traffic = traffic_of(text, blocks=2)
        counts.append((traffic.instructions, traffic.fmas))
    (other, _), (all_of_them, fmas) = counts
    assert all_of_them - other == 2 * 2 * (1 + 10 * 4)
    assert fmas == 2 * 2 * 10


def test_rows_of_a_matrix_are_served_together():
    body = """
        mul.lo.u32 %r4, %r0, 16;
        ldmatrix.sync.aligned.m8n8.x4.shared.b16 { %r5, %r6, %r7, %r8 }, [ %r4 + 0 ];
    """
    assert traffic_of(body, threads=32).total("shared") == Count(requests=4, transactions=4)
