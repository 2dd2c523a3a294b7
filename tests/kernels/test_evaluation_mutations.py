"""Evaluation with a line of its kernel changed: the checks against float64 must notice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from evaluation_cases import BREAKS, check, check_infinite_parameter, check_maximum

from breaknet.kernels import evaluation
from breaknet.kernels._triton import HAVE_TRITON

pytestmark = [
    pytest.mark.skipif(not HAVE_TRITON, reason="needs triton"),
    pytest.mark.filterwarnings(
        "ignore:overflow encountered in exp", "ignore:invalid value encountered in matmul"
    ),
]


def check_ragged(device: torch.device) -> None:
    """No size a multiple of a tile; floating images too, whose surroundings are NaN."""
    check(device, (5, 70, 20, (7, 18), 6, False), confusion=True)
    check(device, (5, 70, 20, (7, 18), 6, True))
    check(device, (5, 70, 4, (7, 18), 6, True))


def check_every_maximum(device: torch.device) -> None:
    for broken in BREAKS.values():
        check_maximum(device, broken)


MUTATIONS: dict[Callable[[torch.device], None], list[tuple[str, str]]] = {
    check_ragged: [
        ("ahead * stride_column", "0"),
        ("ahead * stride_weight", "0"),
        ("first + BLOCK_K < NET.inputs", "first + BLOCK_K < NET.inputs - BLOCK_K"),
        ("stride_column + image[None, :]", "stride_column + tl.arange(0, BLOCK_M)[None, :]"),
        ("n = tl.program_id(1)", "n = 0"),
        ("z + b1", "z - b1"),
        ("* scale", "* 1.0"),
        ("(h2 < NET.hidden2)[None, :]", "(h2 < NET.hidden2 - 1)[None, :]"),
        ("range(0, WIDTH, BLOCK_H)", "range(0, BLOCK_H, BLOCK_H)"),
        ("first + tl.arange(0, BLOCK_H)", "tl.arange(0, BLOCK_H)"),
        ("+ b2)", ")"),
        ("[0, 2, 1]), a3,", "[0, 2, 1]), a3 * 0,"),
        ("a3 + b3", "a3"),
        ("image_inside[None, :, None] & o_inside, difference", "o_inside, difference"),
        ("image_inside[None, :, None] & o_inside, difference", "image_inside[None, :, None], difference"),
        ("other=-1).to(tl.int32)", "other=0).to(tl.int32)"),
        ("tl.store(cost_ptr + part, cost, mask=checkpoint_inside)", "tl.store(cost_ptr + part, cost)"),
        ("label[None, :] * NET.outputs + predicted", "predicted * NET.outputs + label[None, :]"),
        ("mask=counted", "mask=checkpoint_inside[:, None]"),
        ("tl.program_id(0).to(tl.int64) * checkpoints", "0 * checkpoints"),
        ("tl.program_id(1) * BLOCK_C +", "0 +"),
    ],
    check_every_maximum: [
        ("tl.where(a3 == a3, a3, 2.0)", "a3"),
        ("tl.where(o_inside, tl.where(a3 == a3, a3, 2.0), -1.0)", "tl.where(a3 == a3, a3, 2.0)"),
        ("tl.min(tl.where(rank == best[:, :, None], o[None, None, :], BLOCK_O), 2)",
         "tl.max(tl.where(rank == best[:, :, None], o[None, None, :], -1), 2)"),
    ],
    check_infinite_parameter: [
        ("mask=h2_inside[:, :, None] & h1_inside", "mask=h2_inside[:, :, None]"),
    ],
}  # fmt: skip


@pytest.mark.parametrize(
    ("notices", "old", "new"),
    [(notices, old, new) for notices, changes in MUTATIONS.items() for old, new in changes],
)
def test_mutations_are_noticed(
    device: torch.device,
    mutate: Callable[..., Any],
    notices: Callable[[torch.device], None],
    old: str,
    new: str,
) -> None:
    mutate(evaluation, "evaluation_forward_kernel", old, new)
    with pytest.raises(AssertionError):
        notices(device)
