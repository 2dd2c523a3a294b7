"""`f16_parts` and `f16_weights`: parts and rest are the weight, whatever its size; other columns change nothing."""

import sys

import numpy as np
import pytest
import torch
from torch import Tensor

from breaknet.kernels import evaluation_tensor
from breaknet.kernels._triton import HAVE_TRITON, jit, tl
from breaknet.kernels.evaluation_tensor import f16_images, f16_weights

pytestmark = [
    pytest.mark.skipif(not HAVE_TRITON, reason="needs Triton"),
    pytest.mark.filterwarnings("ignore:invalid value encountered", "ignore:overflow encountered"),
]
BLOCK = 256


@jit
def f16_parts_kernel(x_ptr, parts_ptr, rest_ptr, BLOCK: tl.constexpr):
    place = tl.arange(0, BLOCK)
    high, middle, low, rest = evaluation_tensor.f16_parts(tl.load(x_ptr + place))
    tl.store(parts_ptr + place, high)
    tl.store(parts_ptr + BLOCK + place, middle)
    tl.store(parts_ptr + 2 * BLOCK + place, low)
    tl.store(rest_ptr + place, rest)


def assert_split(x: Tensor, device: torch.device) -> None:
    """x float32 [BLOCK], finite numbers at most 2^15."""
    parts = torch.empty(3, BLOCK, dtype=torch.float16, device=device)
    rest = torch.empty(BLOCK, device=device)
    f16_parts_kernel[(1,)](x.to(device), parts, rest, BLOCK=BLOCK)
    parts, rest = parts.cpu().double(), rest.cpu()
    finite = x.isfinite()
    assert torch.equal((parts.sum(0) + rest.double())[finite], x[finite].double())
    assert (rest[finite].abs() <= 2.0**-25).all()
    assert (rest[finite & (x.abs() >= 1)] == 0).all(), "33 bits hold 24"
    infinite = x.isinf()
    assert torch.equal(parts[0, infinite].float(), x[infinite])
    assert (parts[1:, infinite] == 0).all()
    assert (rest[infinite] == 0).all()
    assert torch.equal(parts[0].isnan(), x.isnan())


def bits(*numbers: int) -> Tensor:
    patterns = np.zeros(BLOCK, np.uint32)
    patterns[: len(numbers)] = numbers
    return torch.from_numpy(patterns.view(np.float32))


def test_every_exponent_up_to_2_to_the_15(device):
    """Both signs, with few bits of the significand set, all of them, and some at random; infinities and NaN."""
    random = np.random.default_rng(0)
    for significand in (0, 1, 0xFFF, 0x1000, 0x1001, 0x7FFFFF, *random.integers(0, 2**23, 5).tolist()):
        numbers = [exponent << 23 | significand for exponent in range(142)]
        numbers += [0xC7000000, 0x47000000, 0x7F800000, 0xFF800000, 0x7FC00000, 0x7F800001]
        assert_split(bits(*numbers), device)
        assert_split(-bits(*numbers), device)


COLUMNS = {
    "usual": lambda w: w, "one is largest": lambda w: w.index_fill_(0, torch.tensor(3), 1e6),
    "huge": lambda w: w * 1e38, "subnormal": lambda w: w * 1e-40, "zero": lambda w: w * 0,
    "a NaN": lambda w: w.index_fill_(0, torch.tensor(5), float("nan")),
    "an infinity": lambda w: w.index_fill_(0, torch.tensor(5), float("-inf")),
    "many sizes": lambda w: w * 10.0 ** torch.linspace(-30, 8, len(w)),
}  # fmt: skip


def check_weights(device):
    weights = torch.randn(48, 32, generator=torch.Generator().manual_seed(0))
    for column, change in enumerate(COLUMNS.values()):
        weights[:, column] = change(weights[:, column].clone())
    parts, rests = f16_weights(weights.clone().to(device))
    # [N / 8, K / 16, part, pair, column, pairs, 2]
    laid = parts.view(4, 3, 3, 2, 8, 4, 2).permute(2, 1, 5, 3, 6, 0, 4).reshape(3, 48, 32).cpu().double()
    undo, most, rest = rests[0].cpu().double(), rests[1].cpu(), rests[2:].cpu().double()
    assert torch.equal(torch.frexp(undo).mantissa, torch.full((32,), 0.5, dtype=torch.float64)), (
        "powers of two"
    )
    assert undo.float().ge(torch.finfo().smallest_normal).all()
    finite = weights.isfinite()
    assert torch.equal(((laid.sum(0) + rest) * undo)[finite], weights.double()[finite])
    assert torch.equal(laid[0].float()[weights.isinf()], weights[weights.isinf()])
    assert laid[0][weights.isnan()].isnan().all()
    sums = (255 * rest.abs().sum(0) * undo).float()
    assert (most >= sums)[~sums.isnan()].all(), "what rests add up to"
    assert (most[[0, 1, 4]] / 256 < 2.0**-24).tolist() == [True, False, True]


def test_columns_of_weights(device):
    check_weights(device)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("rest - low.to(tl.float32)", "rest"),
        ("low = rest.to(tl.float16)", "low = (0 * rest).to(tl.float16)"),
        ("rest -= middle.to(tl.float32)", "rest = rest * 1"),
        ('tl.abs(x) == float("inf")', "x != x"),
    ],
)
def test_a_broken_split_is_noticed(device, mutate, old, new):
    mutate(evaluation_tensor, "f16_parts", old, new)
    mutate(sys.modules[__name__], "f16_parts_kernel")  # compiled again
    with pytest.raises(AssertionError):
        assert_split(bits(0x7F800000, *range(0x40490FDB, 0x40490FDB + 99)), device)


def cut(x, exponent):
    """Towards zero to 24 bits, the first of them 2^exponent."""
    unit = np.ldexp(1.0, exponent - 23)
    return np.trunc(x / unit) * unit


def added_and_cut(z, products):
    """z [N] plus products [4, N], aligned to the largest of all and cut, as published tests found of tensor cores."""
    largest = np.abs(np.concatenate([z[None], products])).max(0)
    exponent = np.frexp(largest)[1] - 1
    total = cut(z, exponent) + cut(products, exponent).sum(0)
    return cut(total, np.frexp(total)[1] - 1)


@pytest.mark.parametrize("seed", range(2))
def test_sums_that_are_cut(seed):
    """By steps from zero they are as exact as float32 products of torch; in one long sum they are not."""
    random = np.random.default_rng(seed)
    pixels = random.integers(0, 256, (784, 500)) * (random.random((784, 500)) < 0.2)
    weights = random.normal(0, 0.5, 784).astype(np.float32)
    exact = pixels.T @ weights.astype(np.float64)
    steps, straight = np.zeros(500, np.float32), np.zeros(500)
    parts, rest = [], weights * np.float32(2**13)
    for _ in range(3):
        parts.append(rest.astype(np.float16).astype(np.float64))
        rest = rest - parts[-1].astype(np.float32)
    for first in range(0, 784, 16):
        y = np.zeros(500)
        for part in reversed(parts):
            for k in range(first, first + 16, 4):
                products = part[k : k + 4, None] * pixels[k : k + 4]
                y, straight = added_and_cut(y, products), added_and_cut(straight, products)
        steps += y.astype(np.float32)
    of_torch = torch.from_numpy(pixels.T).float() @ torch.from_numpy(weights)
    errors = [
        float(np.abs(z - exact).mean()) for z in (steps / 2.0**13, straight / 2.0**13, of_torch.numpy())
    ]
    assert errors[0] < 3 * errors[2]
    assert errors[1] > 3 * errors[0]


def test_every_pixel_has_its_place():
    images = torch.randint(0, 256, (32, 48), dtype=torch.uint8)
    laid = f16_images(images).view(2, 3, 2, 8, 16)
    for row, column in ((0, 0), (9, 17), (31, 47), (16, 5)):
        at = row // 16, column // 16, row // 8 % 2, row % 8, column % 16
        assert laid[at] == images[row, column]
