"""One model as one row of float32, laid out for vectors of sixteen.

A layer's outputs lie in `planes` of sixteen lanes, the last one padded, so that the sixteen weights of one input
are one vector. With V(n) = ceil(n / 16) planes for n outputs, a row holds

    W1 [V(h1)][784][16]   b1 [V(h1)][16]   W2 [V(h2)][16 V(h1)][16]   b2 [V(h2)][16]   W3 [16 V(h2)][16]   b3 [16]

W[plane][k][lane] is torch's weight[16 plane + lane, k]. Padding starts at zero and training leaves it there.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numba.extending import register_jitable
from numpy.typing import NDArray
from torch import Tensor

from ...model import INPUTS, OUTPUTS, PARAMETER_NAMES
from .simd import LANES

Floats = NDArray[np.float32]

#: Parameters of one plane of the first layer.
PLANE = INPUTS * LANES


@register_jitable
def planes(width):
    """How many vectors hold `width` numbers."""
    return (width + LANES - 1) // LANES


@register_jitable
def offsets(hidden1, hidden2):
    """Where b1, W2, b2, W3 and b3 begin in a row (W1 begins at 0), and the row's length."""
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


def _layer_views(rows: Floats, hidden: tuple[int, int]) -> dict[str, Floats]:
    """The six parameters as views of packed rows [C, P]: weights [C, planes, inputs, 16], biases [C, planes 16]."""
    v1, v2 = map(planes, hidden)
    shapes = (
        (v1, INPUTS, LANES),
        (v1 * LANES,),
        (v2, v1 * LANES, LANES),
        (v2 * LANES,),
        (1, v2 * LANES, LANES),
        (LANES,),
    )
    ends = offsets(*hidden)
    return {
        name: rows[:, begin:end].reshape(len(rows), *shape)
        for name, begin, end, shape in zip(PARAMETER_NAMES, (0, *ends), ends, shapes, strict=False)
    }


def _weight_shapes(hidden: tuple[int, int]) -> dict[str, tuple[int, int]]:
    first, second = hidden
    return {
        "hidden1.weight": (first, INPUTS),
        "hidden2.weight": (second, first),
        "output.weight": (OUTPUTS, second),
    }


def pack(parameters: dict[str, Tensor], hidden: tuple[int, int]) -> Floats:
    """Rows [C, P] of torch's parameters [C, ...]."""
    rows = aligned_zeros(len(parameters["hidden1.bias"]), offsets(*hidden)[-1])
    views = _layer_views(rows, hidden)
    for name, (outputs, inputs) in _weight_shapes(hidden).items():
        weight = parameters[name].numpy()  # [C, outputs, inputs]
        for plane in range(planes(outputs)):
            lanes = weight[:, plane * LANES : (plane + 1) * LANES]
            views[name][:, plane, :inputs, : lanes.shape[1]] = lanes.transpose(0, 2, 1)
        bias = name.replace("weight", "bias")
        views[bias][:, :outputs] = parameters[bias].numpy()
    return rows


def unpack(rows: Floats, hidden: tuple[int, int]) -> dict[str, Tensor]:
    """Torch's parameters [C, ...], CPU float32, of packed rows [C, P]."""
    views = _layer_views(rows, hidden)
    parameters: dict[str, Tensor] = {}
    for name, (outputs, inputs) in _weight_shapes(hidden).items():
        weight = np.empty((len(rows), outputs, inputs), np.float32)
        for plane in range(planes(outputs)):
            lanes = weight[:, plane * LANES : (plane + 1) * LANES]
            lanes[:] = views[name][:, plane, :inputs, : lanes.shape[1]].transpose(0, 2, 1)
        bias = name.replace("weight", "bias")
        parameters[name] = torch.from_numpy(weight)
        parameters[bias] = torch.from_numpy(views[bias][:, :outputs].copy())
    return parameters
