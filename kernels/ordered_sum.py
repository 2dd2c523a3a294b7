"""Sums of partial results in a fixed order, the kernels' replacement for floating-point atomics.

    total[m] = sum over s of partial[s, m]

partial: float32 [S, M] contiguous. total: float32 or float64 [M]. Accumulated in float64.
Grid: (M / BLOCK_M). A program holds BLOCK_S running sums for each of its BLOCK_M columns: running sum i takes
the parts i, i + BLOCK_S, i + 2 BLOCK_S, ... in that order, and a fixed tree adds the running sums at the end. The
order depends on S and BLOCK_S alone, never on M or on timing.
"""

import torch
from torch import Tensor

from breaknet.kernels._triton import jit, tl, triton

#: (BLOCK_S, BLOCK_M): few columns with many parts each, or many columns. A caller always names the same one, so
#: that its bits do not depend on how many columns happen to stand side by side.
ONE_COLUMN = (1024, 1)
MANY_COLUMNS = (16, 32)
WARPS = 4


def ordered_sum_spec(partial: Tensor) -> Tensor:
    """What the kernel computes: the column sums [M] of float32 [S, M], accumulated in float64."""
    return partial.double().sum(0)


@jit(do_not_specialize=["parts", "columns"])
def ordered_sum_forward_kernel(
    partial_ptr, total_ptr, parts, columns, BLOCK_S: tl.constexpr, BLOCK_M: tl.constexpr
):
    column = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    part = tl.arange(0, BLOCK_S)
    sums = tl.zeros([BLOCK_S, BLOCK_M], tl.float64)
    for first in range(0, parts, BLOCK_S):
        row = first + part
        inside = (row < parts)[:, None] & (column < columns)[None, :]
        offset = row.to(tl.int64)[:, None] * columns + column[None, :]
        sums += tl.load(partial_ptr + offset, mask=inside, other=0.0).to(tl.float64)
    total = tl.sum(sums, 0).to(total_ptr.dtype.element_ty)
    tl.store(total_ptr + column, total, mask=column < columns)


def ordered_sum(partial: Tensor, dtype: torch.dtype, tile: tuple[int, int]) -> Tensor:
    """The sums [M] over the first axis of `partial`, contiguous float32 [S, M], as float32 or float64."""
    parts, columns = partial.shape
    total = torch.empty(columns, dtype=dtype, device=partial.device)
    block_s, block_m = tile
    if columns:
        grid = (triton.cdiv(columns, block_m),)
        ordered_sum_forward_kernel[grid](
            partial, total, parts, columns, BLOCK_S=block_s, BLOCK_M=block_m, num_warps=WARPS, num_stages=1
        )
    return total
