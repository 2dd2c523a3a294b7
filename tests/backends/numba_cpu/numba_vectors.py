"""Small compiled functions over the building blocks, shared by the tests and by the processes they start.

Run as a program it checks them for the processor that NUMBA_CPU_NAME names, and prints "right" and what it compiled to.
"""

import sys

import numpy as np
from numba import njit

from breaknet.backends.numba_cpu import simd as v
from breaknet.backends.numba_cpu import simd_math as f
from breaknet.backends.numba_cpu.layers import sparse_chain, sparse_quad, sparse_row, store4


@njit
def sigmoid_all(x, out):
    for i in range(0, x.size, 16):
        v.store(out, i, f.sigmoid(v.load(x, i)))


@njit
def widened(x, sums):
    f.add_wide(sums, 0, v.load(x, 0))


@njit
def compressed_row(place, value, matrix, start, out):
    v.store(out, 0, sparse_row(0, value.size, place, value, matrix, 0, v.load(start, 0)))
    v.store(out, 16, sparse_chain(0, value.size, place, value, matrix, 32, v.load(start, 32)))
    store4(out, 32, 16, sparse_quad(0, value.size, place, value, matrix, 0, 16, start, 0, 16))


def check_sigmoid(x: np.ndarray) -> None:
    """Within 2.5 units in the last place of float64's where that is a normal float32, and NaN where x is."""
    found = np.full_like(x, -1)
    sigmoid_all(x, found)
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        exact = 1 / (1 + np.exp(-x.astype(np.float64)))
    assert (np.isnan(found) == np.isnan(x)).all()
    inside, outside = np.abs(x) <= 86.9, np.abs(x) > 86.9
    errors = np.abs(found - exact)
    assert (errors[inside] / np.spacing(exact[inside].astype(np.float32))).max() < 2.5
    assert (errors[outside] <= 2e-38).all()  # there 0 and 1 but for 1e-38


def check_products() -> None:
    """Compressed products against float64, to a few roundings of the sum's terms."""
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


if __name__ == "__main__":
    check_products()
    check_sigmoid(np.linspace(-87, 88, 1 << 20, dtype=np.float32))
    print("right")
    for function in (compressed_row, sigmoid_all):
        (assembly,) = function.inspect_asm().values()
        print(assembly)
    sys.stdout.flush()
