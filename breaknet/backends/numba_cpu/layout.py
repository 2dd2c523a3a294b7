"""One model as one row of float32, laid out for vectors of sixteen.

A layer's outputs lie in `planes` of sixteen lanes, the last one padded, so that the sixteen weights of one input
are one vector. With V(n) = ceil(n / 16) planes for n outputs, a row holds

    W1 [V(h1)][784][16]   b1 [V(h1)][16]   W2 [V(h2)][16 V(h1)][16]   b2 [V(h2)][16]   W3 [16 V(h2)][16]   b3 [16]

W[plane][k][lane] is torch's weight[16 plane + lane, k]. Padding starts at zero and training leaves it there.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numba.extending import register_jitable
from numpy.typing import NDArray

from ...model import INPUTS, PARAMETER_NAMES, parameter_shapes
from ..interface import Parameters
from .simd import LANES

Floats = NDArray[np.float32]

#: Parameters of one plane of the first layer.
PLANE = INPUTS * LANES


@register_jitable
def planes(width):
    """The number of vectors that hold `width` numbers."""
    return (width + LANES - 1) // LANES


@register_jitable
def offsets(hidden1, hidden2):
    """Offsets of b1, W2, b2, W3 and b3 in a row (W1's is 0), and the row's length."""
    v1, v2 = planes(hidden1), planes(hidden2)
    b1 = v1 * PLANE
    w2 = b1 + v1 * LANES
    b2 = w2 + v2 * v1 * LANES * LANES
    w3 = b2 + v2 * LANES
    b3 = w3 + v2 * LANES * LANES
    return b1, w2, b2, w3, b3, b3 + LANES


def aligned_zeros(*shape: int, dtype: Any = np.float32) -> NDArray[Any]:
    """Zeros beginning at a cache line: rows that are whole vectors never straddle two.

    What lies up to a cache line past their end may be read.
    """
    count = int(np.prod(shape))
    memory: NDArray[Any] = np.zeros(count + 64, dtype)
    skip = (-memory.ctypes.data // memory.itemsize) % (64 // memory.itemsize)
    return memory[skip : skip + count].reshape(shape)


def _counterparts(
    rows: Floats, parameters: Parameters, hidden: tuple[int, int]
) -> Iterator[tuple[NDArray[Any], NDArray[Any]]]:
    """Views of packed rows [C, P], each with the view of torch's parameters [C, ...] that holds the same numbers."""
    begin = 0
    for name, end in zip(PARAMETER_NAMES, offsets(*hidden), strict=True):
        packed, plain = rows[:, begin:end], parameters[name].numpy()
        begin = end
        if plain.ndim == 2:
            yield packed[:, : plain.shape[1]], plain
            continue
        outputs, inputs = plain.shape[1:]
        packed = packed.reshape(
            len(rows), planes(outputs), packed.shape[1] // (planes(outputs) * LANES), LANES
        )
        for plane in range(planes(outputs)):
            lanes = plain[:, plane * LANES : (plane + 1) * LANES].transpose(0, 2, 1)
            yield packed[:, plane, :inputs, : lanes.shape[2]], lanes


def pack(parameters: Parameters, hidden: tuple[int, int]) -> Floats:
    """Rows [C, P] of torch's parameters [C, ...]."""
    rows = aligned_zeros(len(parameters["hidden1.bias"]), offsets(*hidden)[-1])
    for packed, plain in _counterparts(rows, parameters, hidden):
        packed[:] = plain
    return rows


def unpack_into(parameters: Parameters, rows: Floats, hidden: tuple[int, int]) -> None:
    """Write packed rows [C, P] into torch's parameters [C, ...], CPU float32."""
    for packed, plain in _counterparts(rows, parameters, hidden):
        plain[:] = packed


def unpack(rows: Floats, hidden: tuple[int, int]) -> Parameters:
    """Torch's parameters [C, ...], CPU float32, of packed rows [C, P]."""
    parameters = {
        name: torch.empty(len(rows), *shape, dtype=torch.float32, device="cpu")
        for name, shape in parameter_shapes(hidden).items()
    }
    unpack_into(parameters, rows, hidden)
    return parameters
