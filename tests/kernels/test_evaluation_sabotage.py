"""Evaluation with a line of its kernel broken: the checks against float64 must notice."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from evaluation_cases import BREAKS, check, check_infinite_parameter, check_maximum
from kernel_checks import mutated

from breaknet.kernels import evaluation
from breaknet.kernels._triton import HAVE_TRITON

pytestmark = pytest.mark.skipif(not HAVE_TRITON, reason="needs triton")


@pytest.fixture
def replace_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str, str], None]:
    """Give it a piece of the kernel's source and what shall stand there until the end of the test."""

    def replace(old: str, new: str) -> None:
        mutant = mutated(evaluation.evaluation_forward_kernel, old, new, tmp_path)
        monkeypatch.setattr(evaluation, "evaluation_forward_kernel", mutant)

    return replace


def check_ragged(device: torch.device) -> None:
    """No size a multiple of a tile; floating images too, whose surroundings are NaN."""
    check(device, (5, 70, 20, (7, 18), 6, False), confusion=True)
    check(device, (5, 70, 20, (7, 18), 6, True))
    check(device, (5, 70, 4, (7, 18), 6, True))


@pytest.mark.filterwarnings("ignore:overflow encountered in exp")
@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("ahead * stride_column", "0"),
        ("ahead * stride_weight", "0"),
        ("first + BLOCK_K < INPUTS", "first + BLOCK_K < INPUTS - BLOCK_K"),
        ("stride_column + image[None, :]", "stride_column + tl.arange(0, BLOCK_M)[None, :]"),
        ("n = tl.program_id(1)", "n = 0"),
        ("z + b1", "z - b1"),
        ("* scale", "* 1.0"),
        ("(h2 < HIDDEN2)[None, :]", "(h2 < HIDDEN2 - 1)[None, :]"),
        ("range(0, BLOCK_H2, BLOCK_H)", "range(0, BLOCK_H, BLOCK_H)"),
        ("first + tl.arange(0, BLOCK_H)", "tl.arange(0, BLOCK_H)"),
        ("+ b2)", ")"),
        ("[0, 2, 1]), a3,", "[0, 2, 1]), a3 * 0,"),
        ("a3 + b3", "a3"),
        ("image_inside[None, :, None] & o_inside, difference", "o_inside, difference"),
        ("image_inside[None, :, None] & o_inside, difference", "image_inside[None, :, None], difference"),
        ("other=-1).to(tl.int32)", "other=0).to(tl.int32)"),
        ("tl.store(cost_ptr + part, cost, mask=checkpoint_inside)", "tl.store(cost_ptr + part, cost)"),
        ("label[None, :] * OUTPUTS + predicted", "predicted * OUTPUTS + label[None, :]"),
        ("mask=counted", "mask=checkpoint_inside[:, None]"),
        ("tl.program_id(0).to(tl.int64) * checkpoints", "0 * checkpoints"),
        ("tl.program_id(1) * BLOCK_C +", "0 +"),
    ],
)  # fmt: skip
def test_sabotage_is_noticed(
    device: torch.device, replace_line: Callable[[str, str], None], old: str, new: str
) -> None:
    replace_line(old, new)
    with pytest.raises(AssertionError):
        check_ragged(device)


def check_every_maximum(device: torch.device) -> None:
    for broken in BREAKS.values():
        check_maximum(device, broken)


@pytest.mark.filterwarnings("ignore:overflow encountered in exp")
@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("tl.where(a3 == a3, a3, 2.0)", "a3"),
        ("tl.where(o_inside, tl.where(a3 == a3, a3, 2.0), -1.0)", "tl.where(a3 == a3, a3, 2.0)"),
        ("tl.min(tl.where(rank == best[:, :, None], o[None, None, :], BLOCK_O), 2)",
         "tl.max(tl.where(rank == best[:, :, None], o[None, None, :], -1), 2)"),
    ],
)  # fmt: skip
def test_sabotaged_maximum_is_noticed(
    device: torch.device, replace_line: Callable[[str, str], None], old: str, new: str
) -> None:
    replace_line(old, new)
    with pytest.raises(AssertionError):
        check_every_maximum(device)


@pytest.mark.filterwarnings(
    "ignore:overflow encountered in exp", "ignore:invalid value encountered in matmul"
)
def test_sabotaged_weight_mask_is_noticed(
    device: torch.device, replace_line: Callable[[str, str], None]
) -> None:
    old, new = "mask=h2_inside[:, :, None] & h1_inside", "mask=h2_inside[:, :, None]"
    replace_line(old, new)
    with pytest.raises(AssertionError):
        check_infinite_parameter(device)
