"""`bf16_parts` splits every float32 without loss, whatever its bits."""

import sys

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from breaknet.kernels import device_functions
from breaknet.kernels._triton import HAVE_TRITON, jit, tl

pytestmark = [
    pytest.mark.skipif(not HAVE_TRITON, reason="needs Triton"),
    pytest.mark.filterwarnings("ignore:invalid value encountered", "ignore:overflow encountered"),
]

BLOCK = 256
#: Bit patterns: signed zeros, the least and largest subnormal, both sides of 2^-110, 1, the largest, infinities, NaNs
#: whose payload lies high, in the middle, low, and signalling ones.
EDGES = [
    0x00000000, 0x80000000, 0x00000001, 0x807FFFFF, 0x00012345, 0x08800000, 0x087FFFFF, 0x88FFFFFF, 0x3F800000,
    0x7F7FFFFF, 0xFF7FFFFF, 0x7F7F8000, 0x7F800000, 0xFF800000, 0x7FC00000, 0x7F800001, 0xFF80FFFF, 0x7FC00001,
]  # fmt: skip


@jit
def parts_kernel(x_ptr, parts_ptr, BLOCK: tl.constexpr):
    place = tl.arange(0, BLOCK)
    high, middle, low = device_functions.bf16_parts(tl.load(x_ptr + place))
    tl.store(parts_ptr + place, high)
    tl.store(parts_ptr + BLOCK + place, middle)
    tl.store(parts_ptr + 2 * BLOCK + place, low)


def parts_of(bits: list[int], device: torch.device) -> tuple[Tensor, Tensor]:
    """Numbers of these bits as float32 [BLOCK], zeros at the end, and their parts [3, BLOCK]."""
    patterns = np.zeros(BLOCK, np.uint32)
    patterns[: len(bits)] = bits
    x = torch.from_numpy(patterns.view(np.float32))
    # the interpreter's are float32
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    parts = torch.empty(3, BLOCK, dtype=dtype, device=device)
    parts_kernel[(1,)](x.to(device), parts, BLOCK=BLOCK)
    return x, parts.cpu()


def assert_split(bits: list[int], device: torch.device) -> None:
    x, parts = parts_of(bits, device)
    whole = ~parts.isnan()
    assert torch.equal(parts.bfloat16().to(parts.dtype)[whole], parts[whole]), "parts are bfloat16"
    total = parts.double().sum(0)
    finite, size = x.isfinite(), x.double().abs()
    exact = finite & ((size >= 2.0**-110) | (size == 0))
    assert parts[:, finite].isfinite().all(), "finite parts of all that is finite"
    assert torch.equal(total[exact], x[exact].double())
    tiny = finite & ~exact
    assert ((total - x.double())[tiny].abs() < 2.0**-133).all()
    assert total[x.isnan()].isnan().all(), "NaN stays NaN"
    infinite = x.isinf()
    assert torch.equal(parts[0, infinite].float(), x[infinite])
    assert (parts[1:, infinite] == 0).all()
    # as three products with a number that is exact in bfloat16 add up: zero at the others, never NaN
    assert torch.equal(parts[0].float().isnan() | parts[1:].isnan().any(0), x.isnan())


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(st.integers(0, 2**32 - 1), max_size=BLOCK))
@example(EDGES)
def test_every_bit_pattern(bits):
    assert_split(bits, torch.device("cuda" if torch.cuda.is_available() else "cpu"))


def test_every_exponent(device):
    """All 256 exponents, with few bits of the significand set, all of them, and some at random."""
    random = np.random.default_rng(0)
    for significand in (0, 1, 0x8000, 0xFFFF, 0x7FFFFF, *random.integers(0, 2**23, 3).tolist()):
        assert_split([exponent << 23 | significand for exponent in range(256)], device)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("rest - middle", "rest - rest"),
        ("0.0, x - high", "0.0, 0.0 * high"),
        ('tl.abs(x) == float("inf")', "x != x"),
        ('tl.abs(x) == float("inf")', "tl.abs(high) == float('inf')"),
        ("high = _first_bits(x)", "high = _first_bits(x * 1.00390625)"),
        ("middle = _first_bits(rest)", "middle = rest"),
    ],
    ids=["no low part", "no middle part", "infinity", "NaN", "rounded", "middle too long"],
)
def test_a_broken_split_is_noticed(device, mutate, old, new):
    mutate(device_functions, "bf16_parts", old, new)
    mutate(sys.modules[__name__], "parts_kernel")  # compiled again
    with pytest.raises(AssertionError):
        assert_split(EDGES + list(range(0x40490FDB, 0x40490FDB + 99)), device)
