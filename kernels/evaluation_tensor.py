"""Lesson 3, the first layer on tensor cores: products of bytes with float32 weights, split into parts.

From sm_80 on `tl.dot` multiplies bfloat16, and `bf16_parts` splits a weight into three without loss. sm_75 multiplies
float16, for which Triton makes FMAs there, so that its instructions stand here as assembly:

    w scaled by a power of two = high + middle + low (float16) + rest (float32)
    x w = (x low + x middle + x high + x rest) / scale,  the last product only where it counts

A byte is exact in both, and products with parts are exact in float32; `f16_parts` says what is left for rest. How sm_75
rounds sums is not documented; tests that others published found them cut, not rounded. So each step of 16 inputs is
summed from zero, in 12 products, and added as float32.

mma.m16n8k8 says which thread has which numbers. A tensor with one element for each thread of a program is, element by
element, what its threads hold: products are made of such tensors, and in memory operands lie in the threads' order, so
that a warp loads 128 bytes side by side and nothing goes through shared memory. No GPU has run this form yet; the PTX
machine does (docs/testing.md). The interpreter, which knows no assembly, multiplies the same operands by `tl.dot`.
"""

import itertools
from typing import Any

import torch
from torch import Tensor

from breaknet.kernels._triton import INTERPRETED as _INTERPRETED
from breaknet.kernels._triton import jit, tl, triton
from breaknet.kernels.device_functions import as_bf16, bf16_parts

INTERPRETED = tl.constexpr(_INTERPRETED)
#: Inputs of a step.
BF16_INPUTS, F16_INPUTS = 32, 16
_BF16_INPUTS = tl.constexpr(BF16_INPUTS)
#: Images, and columns, of a warp on sm_75.
F16_WARP = 32
SPLIT_BLOCK, SPLIT_OPTIONS = 1024, {"num_warps": 4, "num_stages": 1}


# ---- bfloat16 ------------------------------------------------------------------------------------------------------


@jit
def first_layer_by_tensor_cores(
    image_ptr, part_ptr, image, unit, stride_image, stride_weight, scale,
    INPUTS: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    """scale x W1^T [BLOCK_M, N], as by FMAs, for bytes and `bf16_weights`; small parts go first."""
    k = tl.arange(0, BLOCK_K)
    x_tile = image.to(tl.int64)[:, None] * stride_image + k[None, :]
    w_tile = k[:, None] * stride_weight + unit[None, :]
    part = tl.cdiv(INPUTS, _BF16_INPUTS) * _BF16_INPUTS * stride_weight
    z = tl.zeros([image.shape[0], unit.shape[0]], tl.float32)
    for _ in range(0, INPUTS, BLOCK_K):
        x = as_bf16(tl.load(image_ptr + x_tile).to(tl.float32) * (1.0 / 256))
        high = tl.load(part_ptr + w_tile)
        middle = tl.load(part_ptr + part + w_tile)
        low = tl.load(part_ptr + 2 * part + w_tile)
        image_ptr += BLOCK_K
        part_ptr += BLOCK_K * stride_weight
        z = tl.dot(x, low, z, input_precision="ieee")
        z = tl.dot(x, middle, z, input_precision="ieee")
        z = tl.dot(x, high, z, input_precision="ieee")
    return z * (256 * scale)


@jit
def split_bf16_forward_kernel(weight_ptr, part_ptr, count, BLOCK: tl.constexpr):
    """The three parts of `count` float32 numbers, each whole after the one before."""
    place = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = place < count
    high, middle, low = bf16_parts(tl.load(weight_ptr + place, mask=inside, other=0.0))
    tl.store(part_ptr + place, high, mask=inside)
    tl.store(part_ptr + count + place, middle, mask=inside)
    tl.store(part_ptr + 2 * count + place, low, mask=inside)


def bf16_weights(weights: Tensor) -> Tensor:
    """The parts [3, K, N] of float32 weights [K, N]: bfloat16, float32 under the interpreter, which knows no other."""
    dtype = torch.float32 if _INTERPRETED else torch.bfloat16
    return _split(split_bf16_forward_kernel, weights, dtype)


def _split(kernel: Any, weights: Tensor, dtype: torch.dtype) -> Tensor:
    parts = torch.empty((3, *weights.shape), dtype=dtype, device=weights.device)
    grid = (triton.cdiv(weights.numel(), SPLIT_BLOCK),)
    kernel[grid](weights, parts, weights.numel(), BLOCK=SPLIT_BLOCK, **SPLIT_OPTIONS)
    return parts


# ---- float16 on sm_75 ----------------------------------------------------------------------------------------------


@jit
def f16_parts(x):
    """Three float16 (high, middle, low) and the float32 rest, whose sum is float32 x, |x| <= 2^15 or infinite.

    Each is rounded, so that the three would hold 33 bits, but float16 ends at 2^-24: the rest is at most 2^-25.
    Parts of an infinity are itself, 0 and 0; those of NaN are NaN.
    """
    high = x.to(tl.float16)
    rest = tl.where(tl.abs(x) == float("inf"), 0.0, x - high.to(tl.float32))
    middle = rest.to(tl.float16)
    rest -= middle.to(tl.float32)
    low = rest.to(tl.float16)
    return high, middle, low, rest - low.to(tl.float32)


def _f16_products() -> str:
    """PTX for $0 to $7, sums of 32 images and 8 columns: 16 inputs times the low, middle and high parts of weights.

    $8 to $15 are the images' pixels, $16 to $21 the parts. Lane i has numbers 2 (i % 4) and the next of row i / 4 of
    the first operand, of column i / 4 of the second, and of the sums' row i / 4; rows 8 below follow.
    (NVIDIA, PTX ISA, "Matrix Fragments for mma.m16n8k8".)
    """
    lines = []
    for part, half, rows in itertools.product(range(3), range(2), range(2)):
        sums = ", ".join(f"${4 * rows + i}" for i in range(4))
        x, w = 8 + 4 * rows + 2 * half, 16 + 2 * part + half
        opcode = "mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32"
        lines.append(f"{opcode} {{ {sums} }}, {{ ${x}, ${x + 1} }}, {{ ${w} }}, {{ {sums} }};")
    return "\n".join(lines)


_F16_PRODUCTS = tl.constexpr(_f16_products())
_F16_OPERANDS = tl.constexpr(",".join(["=f"] * 8 + ["r"] * 14 + [str(number) for number in range(8)]))


@jit
def _pixel_pairs(word_ptr):
    """Two words of two float16 each for the four pixels of a word: byte b becomes 1024 + b, less 1024."""
    word = tl.load(word_ptr)
    return tl.inline_asm_elementwise(
        "prmt.b32 $0, $2, $3, 0x5150; prmt.b32 $1, $2, $3, 0x5352;"
        " sub.rn.f16x2 $0, $0, $3; sub.rn.f16x2 $1, $1, $3;",
        "=&r,=&r,r,r",
        [word, tl.full(word.shape, 0x64006400, tl.int32)],
        dtype=(tl.int32, tl.int32), is_pure=True, pack=1,
    )  # fmt: skip


@jit
def _add_columns(z, x, w_ptr):
    """z, of 32 images and 8 columns, plus 16 inputs' products, which are summed by themselves, small ones first."""
    zero = tl.zeros_like(z[0])
    y = tl.inline_asm_elementwise(
        _F16_PRODUCTS, _F16_OPERANDS,
        [
            x[0], x[1], x[2], x[3], x[4], x[5], x[6], x[7],
            tl.load(w_ptr + 128), tl.load(w_ptr + 160), tl.load(w_ptr + 64), tl.load(w_ptr + 96),
            tl.load(w_ptr), tl.load(w_ptr + 32), zero, zero, zero, zero, zero, zero, zero, zero,
        ],
        dtype=(tl.float32,) * 8, is_pure=False, pack=1,
    )  # fmt: skip
    return (
        z[0] + y[0], z[1] + y[1], z[2] + y[2], z[3] + y[3], z[4] + y[4], z[5] + y[5], z[6] + y[6], z[7] + y[7],
    )  # fmt: skip


@jit
def _join(z):
    """Eight tensors side by side: [..., 2, 2, 2], the first of these axes for the lowest bit of a number."""
    low, high = tl.join(z[0], z[1]), tl.join(z[4], z[5])
    return tl.join(tl.join(low, tl.join(z[2], z[3])), tl.join(high, tl.join(z[6], z[7])))


@jit
def _products_by_lanes(
    image_ptr, part_ptr, stride_image, stride_part, INPUTS: tl.constexpr, M: tl.constexpr, N: tl.constexpr
):
    """The sums [M, N]: element i of a tensor here is a number of thread i, and a warp has 32 images and 32 columns."""
    ACROSS: tl.constexpr = N // 32
    thread = tl.arange(0, M * ACROSS)
    warp, lane = thread // 32, thread % 32
    below, right = stride_image // 4, stride_part // 2  # in words of 4 bytes
    x_ptr = image_ptr.to(tl.pointer_type(tl.int32)) + (warp // ACROSS * 2 * below + lane)
    w_ptr = part_ptr.to(tl.pointer_type(tl.int32)) + (warp % ACROSS * 4 * right + lane)
    zero = tl.zeros([M * ACROSS], tl.float32)
    z0 = (zero, zero, zero, zero, zero, zero, zero, zero)
    z1, z2, z3 = z0, z0, z0
    for _ in range(0, INPUTS, 16):
        a0, b0 = _pixel_pairs(x_ptr)
        a1, b1 = _pixel_pairs(x_ptr + 32)
        a2, b2 = _pixel_pairs(x_ptr + below)
        a3, b3 = _pixel_pairs(x_ptr + below + 32)
        x = (a0, a1, b0, b1, a2, a3, b2, b3)
        z0 = _add_columns(z0, x, w_ptr)
        z1 = _add_columns(z1, x, w_ptr + right)
        z2 = _add_columns(z2, x, w_ptr + 2 * right)
        z3 = _add_columns(z3, x, w_ptr + 3 * right)
        x_ptr += 64
        w_ptr += 192
    z = tl.join(tl.join(_join(z0), _join(z1)), tl.join(_join(z2), _join(z3)))
    # warps down and across, lanes / 4 and % 4, column, 8 rows below, 16 below, 8 columns right, 16 right
    z = tl.reshape(z, [M // 32, ACROSS, 8, 4, 2, 2, 2, 2, 2])
    return tl.reshape(tl.permute(z, [0, 6, 5, 2, 1, 8, 7, 3, 4]), [M, N])


@jit
def _byte(image_ptr, row, k, stride_image):
    """Pixels k of rows, where `f16_images` puts them."""
    at = row // 16 * stride_image + k // 16 * 256 + row // 8 % 2 * 128 + row % 8 * 16 + k % 16
    return tl.load(image_ptr + at).to(tl.float32)


@jit
def _products_by_dots(
    image_ptr, part_ptr, stride_image, stride_part, INPUTS: tl.constexpr, M: tl.constexpr, N: tl.constexpr
):
    """The same for the interpreter, which knows no assembly."""
    row, column = tl.arange(0, M)[:, None], tl.arange(0, N)[None, :]
    z = tl.zeros([M, N], tl.float32)
    for first in range(0, INPUTS, 16):
        k = first + tl.arange(0, 16)
        x = _byte(image_ptr, row, k[None, :], stride_image)
        k = k[:, None]
        w_tile = column // 8 * stride_part + k // 16 * 384 + k % 4 // 2 * 64
        w_tile += column % 8 * 8 + k % 16 // 4 * 2 + k % 2
        y = tl.zeros([M, N], tl.float32)
        for part in range(2, -1, -1):
            y = tl.dot(x, tl.load(part_ptr + part * 128 + w_tile).to(tl.float32), y, input_precision="ieee")
        z += y
    return z


@jit
def dot_of_bytes(
    image_ptr, part_ptr, rest_ptr, first_image, first_column, stride_image, stride_part, stride_rest, scale,
    INPUTS: tl.constexpr, M: tl.constexpr, N: tl.constexpr,
):  # fmt: skip
    """scale x w [M, N] of images and weights that `f16_images` and `f16_weights` laid out, by M N / 1024 warps.

    A column's weights are scaled by a power of two, its largest to 2^14 or more, so that parts miss at most 2^-39 of
    it, and at most 784 times that in a sum of pixels below 1. Where the column's rests could add up to more than 2^-24,
    half of the last bit of numbers from 1 to 2, their products are added by FMAs; other columns add zeros. Of 784
    inputs that takes a weight of 64 or more.
    """
    image_ptr += (first_image // 16).to(tl.int64) * stride_image
    part_ptr += first_column // 8 * stride_part
    rest_ptr += first_column + tl.arange(0, N)
    products: tl.constexpr = _products_by_dots if INTERPRETED else _products_by_lanes
    z = products(image_ptr, part_ptr, stride_image, stride_part, INPUTS, M, N)
    undo = tl.load(rest_ptr)
    needed = tl.load(rest_ptr + stride_rest) * scale > 2.0**-24
    inputs = tl.max(needed.to(tl.int32), 0) * INPUTS
    for k in range(0, inputs):
        rest_ptr += stride_rest
        rest = tl.load(rest_ptr + stride_rest, mask=needed, other=0.0)
        z += _byte(image_ptr, tl.arange(0, M), k, stride_image)[:, None] * rest[None, :]
    return z * (undo * scale)[None, :]


@jit
def split_f16_forward_kernel(weight_ptr, part_ptr, count, BLOCK: tl.constexpr):
    """The three parts of `count` float32 numbers, each whole after the one before; the rests take their place."""
    place = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = place < count
    high, middle, low, rest = f16_parts(tl.load(weight_ptr + place, mask=inside, other=0.0))
    tl.store(part_ptr + place, high, mask=inside)
    tl.store(part_ptr + count + place, middle, mask=inside)
    tl.store(part_ptr + 2 * count + place, low, mask=inside)
    tl.store(weight_ptr + place, rest, mask=inside)


def f16_images(images: Tensor) -> Tensor:
    """uint8 images [N, K], N and K multiples of 16, as `dot_of_bytes` reads them: [N / 16, 16 K]."""
    count, inputs = images.shape
    return images.view(count // 16, 2, 8, inputs // 16, 16).permute(0, 3, 1, 2, 4).reshape(-1, 16 * inputs)


def f16_weights(weights: Tensor) -> tuple[Tensor, Tensor]:
    """Weights [K, N], K a multiple of 16, N of 32, for `dot_of_bytes`: float16 [N / 8, 24 K] and rests [2 + K, N].

    A column is scaled by a power of two, its largest finite number to 2^14 or more (less, if that is below 2^-100, so
    that all factors are normal numbers). The first rows of rests are what undoes it, and what the sum of 255 times each
    of the column's rests can be at most. Overwrites `weights`.
    """
    inputs, columns = weights.shape
    largest = torch.where(weights.isfinite(), weights, 0.0).abs().amax(0)
    exponent = (largest.view(torch.int32) >> 23).clamp(min=26)  # that of 1 is 127
    weights *= ((268 - exponent) << 23).view(torch.float32)
    undo = ((exponent - 14) << 23).view(torch.float32)
    parts = _split(split_f16_forward_kernel, weights, torch.float16)
    pieces = parts.view(3, inputs // 16, 4, 2, 2, columns // 8, 8).permute(5, 1, 0, 3, 6, 2, 4)
    most = weights.abs().amax(0) * undo * (255 * inputs)
    return pieces.reshape(columns // 8, 24 * inputs), torch.cat([undo[None], most[None], weights])
