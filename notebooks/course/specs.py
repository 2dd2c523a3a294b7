"""Each exercise's specification: a few lines of torch, with shapes in the annotations.

`F32[B, K]` is a float32 tensor of B rows and K columns. Every spec works in any floating dtype, so that float64 can be
the reference; the kernels get float32.
"""

import inspect
from collections.abc import Callable
from typing import Annotated, Any

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from breaknet.lesson.notebook_display import Markdown

# The letters of the shapes.
B, C, E, H, K, M, N, P, R, W = "BCEHKMNPRW"


class F32:
    """`F32[B, K]`: a tensor annotated with its dtype and shape."""

    def __class_getitem__(cls, shape: Any) -> Any:
        return Annotated[Tensor, cls, shape if isinstance(shape, tuple) else (shape,)]


class U8(F32):
    """Bytes."""


class I32(F32):
    """int32."""


def shown(spec: Callable[..., Any]) -> Markdown:
    """The source of a spec, for a notebook."""
    return Markdown(f"```python\n{inspect.getsource(spec).strip()}\n```")


def scale_bytes_spec(pixels: U8[N]) -> F32[N]:
    """A byte of an image as the network sees it; exact in float32."""
    return pixels / 256


def linear_sigmoid_spec(x: F32[B, K], weight: F32[N, K], bias: F32[N]) -> F32[B, N]:
    """A layer."""
    return torch.sigmoid(x @ weight.T + bias)


def linear_sigmoid_backward_spec(grad: F32[B, N], y: F32[B, N], x: F32[B, K]) -> tuple[F32[N, K], F32[N]]:
    """The gradients of its parameters, from `grad`, the derivative of the cost by y."""
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
    image: F32[E, K], label: I32[M, E], learning_rate: F32[M], weight: F32[M, N, K], batch: int
) -> F32[M, N, K]:
    """One epoch of plain SGD for M one-layer networks on the same images, each with its own labels."""
    weight = weight.clone()
    for network in range(len(weight)):
        target = one_hot(label[network].long(), weight.shape[1]).to(weight.dtype)
        for x, t in zip(image.split(batch), target.split(batch), strict=True):
            y = torch.sigmoid(x @ weight[network].T)
            weight[network] -= learning_rate[network] * (2 * (y - t) * y * (1 - y)).T @ x
    return weight


def first_maximum_spec(output: F32[M, B, C]) -> I32[M, B]:
    """The class with the largest output, the first of several, for M checkpoints and B images."""
    return output.argmax(2).to(torch.int32)


def split_product_spec(a: F32[B, K], b: F32[K, N]) -> F32[B, N]:
    """A product with float32's accuracy."""
    return a @ b
