"""What each exercise is to compute: a few lines of torch, with shapes in the annotations.

`F32[B, K]` is a float32 tensor of B rows and K columns; the checkers bind the letters to the sizes of the inputs and
allocate the outputs by the return annotation. Every spec works in any floating dtype, so that float64 can judge.
"""

from __future__ import annotations

from typing import Annotated, Any

import torch
from torch import Tensor
from torch.nn.functional import one_hot

# The letters of the shapes.
B, C, E, H, K, M, N, P, R, W = "BCEHKMNPRW"


class _Shaped:
    """`F32[B, K]`: a tensor of one dtype, annotated with its shape."""

    dtype: torch.dtype

    def __class_getitem__(cls, shape: Any) -> Any:
        letters = shape if isinstance(shape, tuple) else (shape,)
        return Annotated[Tensor, cls.dtype, letters]


class F32(_Shaped):
    """float32 in the kernels; whatever dtype the spec is given."""

    dtype = torch.float32


class U8(_Shaped):
    """Bytes."""

    dtype = torch.uint8


class I32(_Shaped):
    """int32."""

    dtype = torch.int32


def scale_bytes_spec(pixels: U8[N]) -> F32[N]:
    """A byte of an image as the network sees it; exact in float32."""
    return pixels / 256


def linear_sigmoid_spec(x: F32[B, K], weight: F32[N, K], bias: F32[N]) -> F32[B, N]:
    """A layer."""
    return torch.sigmoid(x @ weight.T + bias)


def linear_sigmoid_backward_spec(grad: F32[B, N], y: F32[B, N], x: F32[B, K]) -> tuple[F32[N, K], F32[N]]:
    """Its parameters' gradients, from `grad`, the cost's derivative by y."""
    dz = grad * y * (1 - y)
    return dz.T @ x, dz.sum(0)


def summed_cost_spec(prediction: F32[B, C], label: I32[B], rows: int) -> tuple[F32[B, C], F32[P]]:
    """The gradient of the cost, and its sum over each run of `rows` rows."""
    difference = prediction - one_hot(label.long(), prediction.shape[1])
    return 2 * difference, torch.stack([part.square().sum() for part in difference.split(rows)])


def rounds_spec(value: F32[P, W], rounds: int) -> F32[P, W]:
    """Every round, each program's row moves half way to the mean of all rows."""
    for _ in range(rounds):
        value = 0.5 * value + 0.5 * value.mean(0)
    return value


def train_many_spec(
    image: F32[E, K], label: I32[M, E], rate: F32[M], weight: F32[M, N, K], batch: int
) -> F32[M, N, K]:
    """One epoch of plain gradient descent for M one-layer networks on the same images, each with its own labels."""
    weight = weight.clone()
    for model in range(len(weight)):
        target = one_hot(label[model].long(), weight.shape[1]).to(weight.dtype)
        for x, t in zip(image.split(batch), target.split(batch), strict=True):
            y = torch.sigmoid(x @ weight[model].T)
            weight[model] -= rate[model] * (2 * (y - t) * y * (1 - y)).T @ x
    return weight


def first_maximum_spec(output: F32[M, B, C]) -> I32[M, B]:
    """The class with the largest output, the first of several, for M checkpoints and B images."""
    return output.argmax(2).to(torch.int32)


def split_product_spec(a: F32[B, K], b: F32[K, N]) -> F32[B, N]:
    """A product whose result must be as good as float32's."""
    return a @ b


def blocks_per_sm_spec(registers: int, warps: int, shared_bytes: int, sm: Any) -> int:
    """How many blocks fit one multiprocessor: `sm` is a `breaknet.kernels.host.targets.Target`."""
    return sm.blocks_per_sm(registers, warps, shared_bytes)
