"""Small compiled functions over the building blocks, shared by the tests and by the processes they start.

Run as a program it checks them for the processor that NUMBA_CPU_NAME names, and prints "right" and what it compiled to.
"""

from __future__ import annotations

import sys

import numpy as np
from numba import float32, njit

from breaknet.backends.numba_cpu import simd as v
from breaknet.backends.numba_cpu import simd_math as f
from breaknet.backends.numba_cpu.layers import four_rows, sparse_chain, sparse_quad, sparse_row


@njit
def sigmoid_all(x, out):
    for i in range(0, x.size, 16):
        v.store(out, i, f.sigmoid(v.load(x, i)))


@njit
def arithmetic(x, y, out):
    a, b = v.load(x, 0), v.load(y, 0)
    v.store(out, 0, a + b)
    v.store(out, 16, a - b)
    v.store(out, 32, a * b)
    v.store(out, 48, a / b)
    v.store(out, 64, v.fma(a, b, v.spread(y, 3)))
    v.store(out, 80, f.equal(a, b))
    v.store(out, 96, v.fill(float32(2.5)))


@njit
def turned(x, step, out):
    f.transpose(x, 0, step, out, 0)


@njit
def largest(outputs, out):
    """out[0] = the index of the first largest of outputs [10][16], lane by lane."""
    best = v.load(outputs, 0)
    index = v.fill(float32(0.0))
    for j in range(1, 10):
        x = v.load(outputs, 16 * j)
        index = f.exceeds(x, best, v.fill(float32(j)), index)
        best = f.exceeds(x, best, x, best)
    v.store(out, 0, index)


@njit
def widened(x, sums):
    f.add_wide(sums, 0, v.load(x, 0))


@njit
def compressed_row(place, value, matrix, start, out):
    v.store(out, 0, sparse_row(0, value.size, place, value, matrix, 0, v.load(start, 0)))
    v.store(out, 16, sparse_chain(0, value.size, place, value, matrix, 32, v.load(start, 32)))
    sum0, sum1, sum2, sum3 = sparse_quad(0, value.size, place, value, matrix, 0, 16, start, 0, 16)
    v.store(out, 32, sum0)
    v.store(out, 48, sum1)
    v.store(out, 64, sum2)
    v.store(out, 80, sum3)


@njit
def dense_rows(x, matrix, terms, start, out):
    starts = (v.load(start, 0), v.load(start, 16), v.load(start, 32), v.load(start, 48))
    s0, s1, s2, s3 = four_rows(x, 0, terms, 1, matrix, 0, 16, terms, starts)
    v.store(out, 0, s0)
    v.store(out, 16, s1)
    v.store(out, 32, s2)
    v.store(out, 48, s3)


@njit
def masks(numbers, start, out):
    out[0] = v.lit64(numbers, start)
    out[1] = v.level64(numbers, start)


@njit
def bits_of(mask):
    return v.ones(mask), v.lowest(mask)


def units_off(found: np.ndarray, exact: np.ndarray) -> np.ndarray:
    """The error in units in the last place of the exact value's float32 neighbour."""
    unit = np.spacing(np.abs(exact).astype(np.float32)).astype(np.float64)
    return np.abs(found.astype(np.float64) - exact) / unit


def check_products() -> None:
    """Compressed and dense products against float64, to a few roundings of the sum's terms."""
    random = np.random.default_rng(0)
    matrix = random.standard_normal((784, 16)).astype(np.float32)
    start = random.standard_normal((4, 16)).astype(np.float32)
    places = np.zeros(156, np.uint16)  # four more, which are read and not used
    places[:152] = 16 * np.sort(random.choice(781, 152, replace=False))
    value = random.random(152).astype(np.float32)
    rows = np.full((6, 16), np.nan, np.float32)
    compressed_row(places, value, matrix.reshape(-1), start.reshape(-1), rows.reshape(-1))
    column = places[:152] // 16
    assert (rows[1] == rows[4]).all(), "one model and four side by side have the same bits"
    for found, first, weights in zip(rows, start[[0, 2, 0, 1, 2, 3]], (0, 2, 0, 1, 2, 3), strict=True):
        terms = value[:, None].astype(np.float64) * matrix[column + weights]
        scale = np.abs(first) + np.abs(terms).sum(0)
        assert (np.abs(found - (first + terms.sum(0))) < 3e-7 * scale).all()
    x = random.standard_normal((4, 784)).astype(np.float32)
    out = np.full(64, np.nan, np.float32)
    dense_rows(x.reshape(-1), matrix.reshape(-1), 784, start.reshape(-1), out)
    exact = start + x.astype(np.float64) @ matrix
    scale = np.abs(start) + np.abs(x).astype(np.float64) @ np.abs(matrix)
    assert (np.abs(out.reshape(4, 16) - exact) < 1e-6 * scale).all()


def check_functions() -> None:
    """The sigmoid against float64 on a million points, and the shuffles."""
    x = np.linspace(-87, 88, 1 << 20, dtype=np.float32)
    out = np.full_like(x, np.nan)
    sigmoid_all(x, out)
    assert units_off(out, 1 / (1 + np.exp(-x.astype(np.float64)))).max() < 3
    square = np.arange(16 * 20, dtype=np.float32)
    found = np.full(256, np.nan, np.float32)
    turned(square, 20, found)
    assert (found.reshape(16, 16) == square.reshape(16, 20)[:, :16].T).all()
    outputs = np.random.default_rng(1).integers(0, 4, (10, 16)).astype(np.float32)
    index = np.full(16, np.nan, np.float32)
    largest(outputs.reshape(-1), index)
    assert (index == outputs.argmax(0)).all()


def check_masks() -> None:
    """Bytes and floats, at places of any alignment."""
    for dtype in (np.uint8, np.float32):
        numbers = np.random.default_rng(0).integers(0, 3, 200).astype(dtype)
        for start in (0, 1, 77, 135):
            found = np.zeros(2, np.int64)
            masks(numbers, start, found)
            part, after = numbers[start : start + 64], numbers[start + 1 : start + 65]
            for mask, exact in zip(found, (part != 0, part == after), strict=True):
                assert [mask >> bit & 1 for bit in range(64)] == exact.tolist()
    for mask in (1, 2, -1, 1 << 62, -(1 << 63), 0x5500, 12):
        bits = [bit for bit in range(64) if mask >> bit & 1]
        assert bits_of(mask) == (len(bits), bits[0])


if __name__ == "__main__":
    check_products()
    check_functions()
    check_masks()
    print("right")
    for function in (compressed_row, sigmoid_all):
        (assembly,) = function.inspect_asm().values()
        print(assembly)
    sys.stdout.flush()
