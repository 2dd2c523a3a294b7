"""A whole network and its summed cost as one operator, and as a module: `fused_network_kernels` made torch's.

    cost = fused_network_cost(x, labels, parameters)       any optimizer of torch on top

On CUDA, float32 networks of three layers within `jobs.MAX_HIDDEN` and its neighbours run in one launch forward and one
or two backward. Other widths or numbers of layers go layer by layer through lessons 1 and 2 with the same results, and
so does a target that wants a gradient. On other devices and in float64 the same formulas run in torch's own operations.
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from breaknet.kernels._operators import (
    FLOATS,
    check_plain,
    eager,
    forward_mode,
    on_kernel,
    register,
    transformed,
)
from breaknet.kernels.fused_network_kernels import (
    launch_backward,
    launch_forward,
    saved_sizes,
    shape_of,
    unsupported,
)
from breaknet.kernels.jobs import Shape
from breaknet.kernels.linear_sigmoid import LinearSigmoid, as_rows, linear_sigmoid, linear_sigmoid_spec
from breaknet.kernels.summed_mse import check_target, cost_by_torch, summed_mse, summed_mse_spec


def fused_network_spec(x: Tensor, target: Tensor, *parameters: Tensor) -> Tensor:
    """x [..., K], target [..., O] or labels [...], then weight and bias of each layer -> cost 0-d."""
    for weight, bias in zip(parameters[::2], parameters[1::2], strict=True):
        x = linear_sigmoid_spec(x, weight, bias)
    return summed_mse_spec(x, target)[0]


def _check(x: Tensor, target: Tensor, parameters: tuple[Tensor, ...]) -> None:
    dtype, device = x.dtype, x.device
    if dtype not in FLOATS:
        raise ValueError(f"x: float32 or float64, not {dtype}")
    if x.ndim < 1:
        raise ValueError("x: at least one axis, the inputs, not a 0-d tensor")
    width = x.shape[-1]
    for number, tensor in enumerate(parameters):
        if tensor.dtype != dtype or tensor.device != device:
            raise ValueError(
                f"parameters[{number}]: {dtype} on {device} as x is, not {tensor.dtype} on {tensor.device}"
            )
        is_bias, shape = number % 2 == 1, tensor.shape
        if len(shape) != 2 - is_bias or shape[-1] != width:
            kind = f"a bias [{width}]" if is_bias else f"a weight [N, {width}]"
            raise ValueError(f"parameters[{number}]: {kind}, not {list(shape)}")
        width = shape[0]
    check_target("labels", target, (*x.shape[:-1], width), dtype, device)


def _forward_by_torch(x: Tensor, target: Tensor, *rest: Any) -> tuple[Tensor, Tensor]:
    *parameters, with_gradient = rest
    _check(x, target, tuple(parameters))
    w1, b1, w2, b2, w3, b3 = parameters
    a1 = linear_sigmoid_spec(as_rows(x), w1, b1)
    a2 = linear_sigmoid_spec(a1, w2, b2)
    a3 = linear_sigmoid_spec(a2, w3, b3)
    rows = as_rows(target) if target.is_floating_point() else target.reshape(-1)
    cost = cost_by_torch(a3, rows, "labels")
    if not with_gradient:
        return cost, x.new_empty(0)
    d3 = summed_mse_spec(a3, rows)[1] * (a3 * (1 - a3))
    d2 = d3 @ w3 * (a2 * (1 - a2))
    d1 = d2 @ w2 * (a1 * (1 - a1))
    return cost, torch.cat([part.flatten() for part in (a1, d1, a2, d2, d3)])


def _again(inputs: list[Tensor], wanted: tuple[bool, ...], grad: Tensor) -> tuple[Tensor | None, ...]:
    """The gradients by torch's autograd, to be differentiated themselves where gradients are enabled."""
    create_graph = torch.is_grad_enabled()
    with torch.enable_grad():
        cost = fused_network_spec(*inputs)
        leaves = [one for one, is_wanted in zip(inputs, wanted, strict=True) if is_wanted]
        found = iter(torch.autograd.grad(cost, leaves, grad, create_graph=create_graph))
    return tuple(next(found) if is_wanted else None for is_wanted in wanted)


def _forward_fake(
    x: Tensor, target: Tensor, w1: Tensor, b1: Tensor, w2: Tensor, b2: Tensor, w3: Tensor, b3: Tensor,
    with_gradient: bool,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    _check(x, target, (w1, b1, w2, b2, w3, b3))
    size = sum(saved_sizes(shape_of(w1, w2, w3), x.shape[:-1].numel())) if with_gradient else 0
    return x.new_empty(()), x.new_empty(size)


def _backward_by_torch(
    grad: Tensor, x: Tensor, saved: Tensor, w1: Tensor, hidden2: int, outputs: int, for_x: bool, for_parameters: bool
) -> tuple[Tensor, Tensor]:  # fmt: skip
    shape, rows = Shape(w1.shape[1], w1.shape[0], hidden2, outputs), as_rows(x)
    parts = saved.split(saved_sizes(shape, len(rows)))
    a1, d1, a2, d2, d3 = (part.view(len(rows), -1) for part in parts)
    dx = (d1 @ w1).mul_(grad).view(x.shape) if for_x else x.new_empty(0)
    if not for_parameters:
        return dx, x.new_empty(0)
    gradients = x.new_empty(shape.parameters)
    dw1, db1, dw2, db2, dw3, db3 = _unpack(gradients, shape)
    for delta, value, weight, bias in ((d1, rows, dw1, db1), (d2, a1, dw2, db2), (d3, a2, dw3, db3)):
        torch.mm(delta.mT, value, out=weight)
        torch.sum(delta, 0, out=bias)
    return dx, gradients.mul_(grad)


def _unpack(row: Tensor, shape: Shape) -> list[Tensor]:
    """Views of the six parameters in a flat row."""
    sizes = shape.tensor_shapes()
    parts = row.split([size[0] * size[-1] if len(size) == 2 else size[0] for size in sizes])
    return [part.view(size) for part, size in zip(parts, sizes, strict=True)]


def _backward_fake(
    grad: Tensor, x: Tensor, saved: Tensor, w1: Tensor, hidden2: int, outputs: int, for_x: bool, for_parameters: bool
) -> tuple[Tensor, Tensor]:  # fmt: skip
    shape = Shape(w1.shape[1], w1.shape[0], hidden2, outputs)
    return x.new_empty(x.shape if for_x else 0), x.new_empty(shape.parameters if for_parameters else 0)


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    ctx.mark_non_differentiable(output[1])
    ctx.set_materialize_grads(False)  # or that of `saved` would be filled with zeros by a launch
    ctx.save_for_backward(*inputs[:-1], output[1])


def _backward(ctx: Any, grad: Tensor | None, *_: Tensor) -> tuple[Tensor | None, ...]:
    if grad is None:  # nothing is materialized, see `_save`
        return (None,) * 9
    *inputs, saved = ctx.saved_tensors
    wanted = ctx.needs_input_grad[:8]
    # what is saved is a constant to autograd, and holds nothing for a target's gradient
    if torch.is_grad_enabled() or forward_mode() or wanted[1] or not saved.numel():
        return *_again(inputs, wanted, grad), None
    x, _, w1, _, w2, _, w3, _ = inputs
    shape = shape_of(w1, w2, w3)
    by_kernel = on_kernel(x) and eager(grad, saved, *inputs)
    function: Any = launch_backward if by_kernel else torch.ops.breaknet.fused_network_backward
    dx, row = function(grad, x, saved, w1, shape.hidden2, shape.outputs, wanted[0], any(wanted[2:]))
    gradients = _unpack(row, shape) if row.numel() else [None] * 6
    results = dx, None, *gradients
    return *(one if is_wanted else None for one, is_wanted in zip(results, wanted, strict=True)), None


def _launch(x: Tensor, target: Tensor, *rest: Any) -> tuple[Tensor, Tensor]:
    _check(x, target, rest[:-1])
    return launch_forward(x, target, *rest)


_around_dispatcher = register(
    "fused_network_cost(Tensor x, Tensor target, Tensor w1, Tensor b1, Tensor w2, Tensor b2, Tensor w3, Tensor b3, "
    "bool with_gradient) -> (Tensor, Tensor)",
    by_torch=_forward_by_torch, by_kernel=_launch, fake=_forward_fake, backward=_backward, save=_save,
)  # fmt: skip
register(
    "fused_network_backward(Tensor grad, Tensor x, Tensor saved, Tensor w1, int hidden2, int outputs, bool for_x, "
    "bool for_parameters) -> (Tensor, Tensor)",
    by_torch=_backward_by_torch, by_kernel=launch_backward, fake=_backward_fake,
)  # fmt: skip


def _whole(x: Tensor, labels: Tensor, parameters: tuple[Tensor, ...]) -> bool:
    """Whether the operator takes such a network; else it goes layer by layer."""
    if len(parameters) != 6 or labels.requires_grad or any(one.ndim != 2 for one in parameters[::2]):
        return False
    return not x.is_cuda or unsupported(shape_of(*parameters[::2])) is None


def fused_network_cost(x: Tensor, labels: Tensor, parameters: Iterable[Tensor]) -> Tensor:
    """The summed squared error, 0-d, of a network with a sigmoid after every layer.

    Differentiable in x, the parameters and floating labels, any number of times, in forward mode and under
    `torch.func` and `torch.compile` too. The same inputs give the same bits.

    Args:
        x: [..., K], float32 or float64, of any strides.
        labels: integer classes [...] (uint8 to int64), or values [..., O] of x's dtype.
        parameters: weight [N, K] and bias [N] of each layer in turn, of x's dtype, on its device.

    Raises:
        ValueError: a dtype, a device, a shape or (on the CPU) a label that does not fit, naming the argument.
    """
    parameters = tuple(parameters)
    if not parameters or len(parameters) % 2:
        raise ValueError(f"parameters: weight and bias of each layer, not {len(parameters)} tensors")
    ordinary = eager(x, labels, *parameters)
    if ordinary and not on_kernel(x):
        _check(x, labels, parameters)
        for weight, bias in zip(parameters[::2], parameters[1::2], strict=True):
            x = linear_sigmoid_spec(x, weight, bias)
        return cost_by_torch(x, labels, "labels")
    if not ordinary:
        check_plain(x=x, labels=labels, **{f"parameters[{n}]": one for n, one in enumerate(parameters)})
        if transformed():
            _check(x, labels, parameters)
            return fused_network_spec(x, labels, *parameters)
    if not _whole(x, labels, parameters):
        _check(x, labels, parameters)
        for weight, bias in zip(parameters[::2], parameters[1::2], strict=True):
            x = linear_sigmoid(x, weight, bias)
        return summed_mse(x, labels)
    wanted = torch.is_grad_enabled() and (x.requires_grad or any(one.requires_grad for one in parameters))
    function = _around_dispatcher if ordinary else torch.ops.breaknet.fused_network_cost
    return function(x, labels, *parameters, wanted)[0]


class FusedNetwork(nn.Module):
    """The lesson's network, or one of other widths, whose cost is one operator; parameters are named as the MLP's.

    `network(x)` gives the outputs [..., O], `network(x, labels)` the summed cost.
    """

    def __init__(self, inputs: int = 784, hidden: tuple[int, int] = (16, 16), outputs: int = 10) -> None:
        super().__init__()
        self.hidden1 = LinearSigmoid(inputs, hidden[0])
        self.hidden2 = LinearSigmoid(hidden[0], hidden[1])
        self.output = LinearSigmoid(hidden[1], outputs)

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        layers = self.hidden1, self.hidden2, self.output
        if labels is not None:
            return fused_network_cost(
                x, labels, [one for layer in layers for one in (layer.weight, layer.bias)]
            )
        for layer in layers:
            x = layer(x)
        return x
