"""Device functions that several kernels share: activation, pixels, operands of products, and sums in a fixed order.

All arithmetic is float32: products are IEEE float32 on every GPU or, on tensor cores, of operands that `bf16_parts`
splits without loss. Only sums of programs' parts are float64 (`ordered_sum`, and a fused network's last program).
"""

import torch
from torch import Tensor

from breaknet.kernels import jobs
from breaknet.kernels._triton import INTERPRETED as _INTERPRETED
from breaknet.kernels._triton import jit, tl, triton

#: Tiles (BLOCK_S, BLOCK_M) of `ordered_sum`: few columns with many parts each, or many columns. A caller always names
#: the same one, so that its bits do not depend on how many columns happen to stand side by side.
ONE_COLUMN = (1024, 1)
MANY_COLUMNS = (16, 32)
SUM_OPTIONS = {"num_warps": 4, "num_stages": 1}

INTERPRETED = tl.constexpr(_INTERPRETED)
JOB_COLUMNS = tl.constexpr(jobs.JOB_COLUMNS)


@jit
def sigmoid(z):
    """y = 1 / (1 + exp(-z)); exp may overflow to inf, which gives the right 0. NaN stays NaN."""
    return 1.0 / (1.0 + tl.exp(-z))


@jit
def sigmoid_derivative(y):
    """dy/dz from the output alone: y (1 - y), so that z need not be kept."""
    return y * (1.0 - y)


@jit
def keep_float32(x):
    """x, float32 or int32, with its origin hidden from the compiler; no instruction is added.

    For sm_100 Triton computes a product in TF32, whatever its input_precision says, where it sees that an operand
    was made from bytes in memory (https://github.com/triton-lang/triton/issues/10176). It does not look behind
    inline assembly. The interpreter knows no assembly and needs none.
    """
    if not INTERPRETED:
        if x.dtype.is_floating():
            x = tl.inline_asm_elementwise(
                "mov.f32 $0, $1;", "=f,f", [x], dtype=tl.float32, is_pure=False, pack=1
            )
        else:
            x = tl.inline_asm_elementwise(
                "mov.b32 $0, $1;", "=r,r", [x], dtype=tl.int32, is_pure=False, pack=1
            )
    return x


@jit
def rounded_product(a, b):
    """a b for float32, rounded before anything is added to it.

    Threads that sum what they hold add their own to another's, and each ends with a copy of the sum. Were a thread's
    own part of an FMA, a product not rounded, the copies would differ, and which is stored would be left to chance.
    """
    if INTERPRETED:
        return a * b
    else:
        return tl.inline_asm_elementwise(
            "mul.rn.f32 $0, $1, $2;", "=f,f,f", [a, b], dtype=tl.float32, is_pure=True, pack=1
        )


@jit
def pixels_to_float32(x):
    """float32 of loaded pixels: uint8 means byte / 256, float32 stays as it is. Evaluation does this by its `scale`."""
    if x.dtype == tl.uint8:
        x = keep_float32(x.to(tl.float32)) * (1.0 / 256)
    return x


@jit
def _first_bits(x):
    """float32 x cut to the first 8 bits of its significand."""
    return (x.to(tl.int32, bitcast=True) & -65536).to(tl.float32, bitcast=True)


@jit
def as_bf16(x):
    """float32 x, cut likewise, as bfloat16. The interpreter, whose products of bfloat16 are wrong, keeps float32."""
    if INTERPRETED:
        return _first_bits(x)
    else:
        return (x.to(tl.int32, bitcast=True) >> 16).to(tl.int16).to(tl.bfloat16, bitcast=True)


@jit
def bf16_parts(x):
    """Three bfloat16 (high, middle, low) whose sum is float32 x: 8 bits of its significand each.

    A tensor core multiplies bfloat16 exactly and adds in float32, so three products with an operand that is itself
    exact in bfloat16, such as a byte or byte / 256, are one of float32. Exact for 0 and |x| >= 2^-110; below, low ends
    before x does, and the sum is less than 2^-133 from it. Cut, not rounded, parts of the largest float32 are finite.
    Parts of an infinity are itself, 0 and 0; some part of a NaN is NaN, even if its payload is in the low bits alone.
    """
    high = _first_bits(x)
    rest = tl.where(tl.abs(x) == float("inf"), 0.0, x - high)
    middle = _first_bits(rest)
    return as_bf16(high), as_bf16(middle), as_bf16(rest - middle)


@jit
def load_images(batch_ptr, pitch, row, valid, column, BY_FOURS: tl.constexpr = False):
    """Pixels as float32 [rows, columns] of images `pitch` elements apart; zero where not `valid` and past the pitch.

    batch_ptr points to the batch's first image; row, valid [rows] and column [columns] are int32, bool and int32.

    BY_FOURS has a thread load 4 bytes, not 16: eight neighbours then hold 32 inputs of one row, which they can
    store side by side in shared memory. With 16 bytes each, those that store at a time hold four rows, and four
    wait for one bank.
    """
    x_ptr = batch_ptr + row[:, None] * pitch + column[None, :]
    if BY_FOURS:
        # true of more than 4, but given only this hint Triton loads no more than 4 bytes at a time
        x_ptr = tl.multiple_of(x_ptr, [4, 4])
    return pixels_to_float32(tl.load(x_ptr, mask=valid[:, None] & (column < pitch)[None, :], other=0))


@jit
def load_job(jobs_ptr, job):
    """Row `job` of the job table: the columns that are fields of `jobs.JobRow`, row numbers int64, counts int32."""
    row = jobs_ptr + job * JOB_COLUMNS
    examples = tl.load(row + 2).to(tl.int32)
    batch = tl.load(row + 3).to(tl.int32)
    epochs = tl.load(row + 4).to(tl.int32)
    return tl.load(row), tl.load(row + 1), examples, batch, epochs, tl.load(row + 5), tl.load(row + 6)


@jit
def sum_groups(x):
    """The sum over the first axis of x [GROUPS, M, N], GROUPS a power of two: halves are added until one is left.

    `tl.sum` would send every group through shared memory side by side, with bank conflicts of up to 16 threads;
    a half is moved by a change of layout, which has none.
    """
    if x.shape[0] == 1:
        return tl.reshape(x, [x.shape[1], x.shape[2]])
    else:
        halves = tl.reshape(x, [2, x.shape[0] // 2, x.shape[1], x.shape[2]])
        first, second = tl.split(tl.permute(halves, [1, 2, 3, 0]))
        return sum_groups(first + second)


@jit
def grouped_dot(a, b, GROUPS: tl.constexpr):
    """a b for a [M, K], b [K, N]: [M, N]. K is summed in GROUPS equal runs, then the runs are added.

    A thread then has a 4 x 4 tile of one group's product even where M x N alone is too small for that, which means
    fewer loads for each FMA, and holds operands of no more than K / GROUPS rows at a time.
    """
    if GROUPS == 1:
        return tl.dot(a, b, input_precision="ieee")
    else:
        LENGTH: tl.constexpr = a.shape[1] // GROUPS
        a3 = tl.permute(tl.reshape(a, [a.shape[0], GROUPS, LENGTH]), [1, 0, 2])
        b3 = tl.reshape(b, [GROUPS, LENGTH, b.shape[1]])
        return sum_groups(tl.dot(a3, b3, input_precision="ieee"))


@jit(do_not_specialize=["parts", "columns"])
def ordered_sum_forward_kernel(
    partial_ptr, total_ptr, parts, columns, BLOCK_S: tl.constexpr, BLOCK_M: tl.constexpr
):
    """Grid (M / BLOCK_M): a program holds BLOCK_S running sums for each of its BLOCK_M columns.

    Running sum i takes the parts i, i + BLOCK_S, i + 2 BLOCK_S, ... in that order, and a fixed tree adds the running
    sums at the end. The order depends on S and BLOCK_S alone, never on M or on timing.
    """
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
    """The sums [M] over the first axis of `partial`, contiguous float32 [S, M], as float32 or float64.

    Added in float64 and in a fixed order: the kernels' replacement for floating-point atomics.
    """
    parts, columns = partial.shape
    total = torch.empty(columns, dtype=dtype, device=partial.device)
    block_s, block_m = tile
    if columns:
        grid = (triton.cdiv(columns, block_m),)
        ordered_sum_forward_kernel[grid](
            partial, total, parts, columns, BLOCK_S=block_s, BLOCK_M=block_m, **SUM_OPTIONS
        )
    return total
