"""Lesson 1, a layer in one kernel: y = sigmoid(x W^T + b), and its backward from the saved output.

    forward     y[b, n] = 1 / (1 + exp(-(sum_k x[b, k] weight[n, k] + bias[n])))
    backward    dz = grad y (1 - y);  dx = dz W;  dweight = dz^T x;  dbias = sum_b dz
    so z is never stored: the sigmoid's derivative comes from y, and dz lives in registers only.

x [..., K], weight [N, K], bias [N] or None, y [..., N]; any strides, empty batches too. float32 runs in Triton on
CUDA; float64 (for checks) and every other device take `linear_sigmoid_spec`. All devices are deterministic.

Grids: forward (B / BLOCK_B, N / BLOCK_N), a y tile in registers over a loop on K. Backward is one launch of programs of
two kinds: K / BLOCK_K x N / BLOCK_N x splits with a dweight tile over a loop on one split's rows, one partial tile per
split, added up in a fixed order by `ordered_sum`; and K / BLOCK_K x B / BLOCK_B with a dx tile over a loop on N. Rows
beyond B, N or K are loaded as zeros.
Cost: B N K FMAs each; what a tile needs of its operands is read once for each tile.
"""

from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn

from breaknet.kernels._launching import Build, launch
from breaknet.kernels._operators import FLOATS, check_plain, eager, forward_mode, on_kernel, register
from breaknet.kernels._triton import capability_of, jit, tl
from breaknet.kernels.device_functions import MANY_COLUMNS, ordered_sum, sigmoid, sigmoid_derivative
from breaknet.kernels.jobs import padded

#: BLOCK_B, BLOCK_N, BLOCK_K and warps by the padded width N (64 stands for every wider layer), for all GPUs.
TILES = {16: (32, 16, 32, 4), 32: (32, 32, 32, 4), 64: (32, 64, 32, 4)}
ROWS_PER_SPLIT = 256  # below this many rows a second program costs more than it brings
MAX_PROGRAMS = 512  # enough to fill any GPU once the tiles alone do not


def linear_sigmoid_spec(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """x [..., K], weight [N, K], bias [N] -> y [..., N]."""
    return torch.sigmoid(nn.functional.linear(x, weight, bias))


@jit(do_not_specialize=["batch"])
def linear_sigmoid_forward_kernel(
    x_ptr, weight_ptr, bias_ptr, y_ptr, batch, outputs, inputs,
    stride_xb, stride_xk, stride_wn, stride_wk, stride_bias,
    HAS_BIAS: tl.constexpr, BLOCK_B: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64) * BLOCK_B + tl.arange(0, BLOCK_B)
    column = tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)
    k = tl.arange(0, BLOCK_K)
    row_inside = (row < batch)[:, None]
    column_inside = (column < outputs)[:, None]
    x_step = tl.cast(stride_xk, tl.int64) * BLOCK_K
    weight_step = tl.cast(stride_wk, tl.int64) * BLOCK_K
    x_tile = x_ptr + row[:, None] * stride_xb + k.to(tl.int64)[None, :] * stride_xk
    weight_tile = weight_ptr + column.to(tl.int64)[:, None] * stride_wn + k.to(tl.int64)[None, :] * stride_wk

    z = tl.zeros([BLOCK_B, BLOCK_N], tl.float32)
    for first in range(0, inputs, BLOCK_K):
        k_inside = (k < inputs - first)[None, :]
        x = tl.load(x_tile, mask=row_inside & k_inside, other=0.0)
        weight = tl.load(weight_tile, mask=column_inside & k_inside, other=0.0)
        z = tl.dot(x, tl.trans(weight), z, input_precision="ieee")
        x_tile += x_step
        weight_tile += weight_step
    if HAS_BIAS:
        bias = tl.load(bias_ptr + column.to(tl.int64) * stride_bias, mask=column < outputs, other=0.0)
        z += bias[None, :]
    y_tile = y_ptr + row[:, None] * outputs + column[None, :]
    tl.store(y_tile, sigmoid(z), mask=row_inside & (column < outputs)[None, :])


@jit
def load_dz(grad_ptr, y_ptr, row, column, batch, outputs, stride_gb, stride_gn, stride_yb, stride_yn):
    """The tile dz = grad y (1 - y) at rows x columns, zero outside the batch and the outputs."""
    inside = (row < batch)[:, None] & (column < outputs)[None, :]
    rows = row.to(tl.int64)[:, None]
    columns = column.to(tl.int64)[None, :]
    grad = tl.load(grad_ptr + rows * stride_gb + columns * stride_gn, mask=inside, other=0.0)
    y = tl.load(y_ptr + rows * stride_yb + columns * stride_yn, mask=inside, other=0.0)
    return grad * sigmoid_derivative(y)


@jit
def input_gradient(
    program, grad_ptr, y_ptr, weight_ptr, dx_ptr, batch, outputs, inputs, along,
    stride_gb, stride_gn, stride_yb, stride_yn, stride_wn, stride_wk,
    BLOCK_B: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    """The dx tile number `program`, `along` of them in a block of rows."""
    row = (program // along).to(tl.int64) * BLOCK_B + tl.arange(0, BLOCK_B)
    k = program % along * BLOCK_K + tl.arange(0, BLOCK_K)
    k_inside = (k < inputs)[None, :]
    dx = tl.zeros([BLOCK_B, BLOCK_K], tl.float32)
    for first in range(0, outputs, BLOCK_N):
        column = first + tl.arange(0, BLOCK_N)
        dz = load_dz(grad_ptr, y_ptr, row, column, batch, outputs, stride_gb, stride_gn, stride_yb, stride_yn)
        weight_tile = (
            weight_ptr + column.to(tl.int64)[:, None] * stride_wn + k.to(tl.int64)[None, :] * stride_wk
        )
        weight = tl.load(weight_tile, mask=(column < outputs)[:, None] & k_inside, other=0.0)
        dx = tl.dot(dz, weight, dx, input_precision="ieee")
    tl.store(dx_ptr + row[:, None] * inputs + k[None, :], dx, mask=(row < batch)[:, None] & k_inside)


@jit
def parameters_gradient(
    program, grad_ptr, y_ptr, x_ptr, dweight_ptr, dbias_ptr, batch, outputs, inputs, rows_per_split, along,
    stride_gb, stride_gn, stride_yb, stride_yn, stride_xb, stride_xk,
    BLOCK_B: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    """The dweight tile number `program`, `along` of them in a block of outputs, and its outputs' part of dbias."""
    across = tl.cdiv(outputs, BLOCK_N)
    column = program // along % across * BLOCK_N + tl.arange(0, BLOCK_N)
    k = program % along * BLOCK_K + tl.arange(0, BLOCK_K)
    split = program // along // across
    k_inside = (k < inputs)[None, :]
    dweight = tl.zeros([BLOCK_N, BLOCK_K], tl.float32)
    dbias = tl.zeros([BLOCK_N], tl.float32)
    for step in range(0, rows_per_split, BLOCK_B):
        # rows_per_split is a multiple of BLOCK_B, so that no row belongs to two splits
        row = split.to(tl.int64) * rows_per_split + step + tl.arange(0, BLOCK_B)
        dz = load_dz(grad_ptr, y_ptr, row, column, batch, outputs, stride_gb, stride_gn, stride_yb, stride_yn)
        x_tile = x_ptr + row[:, None] * stride_xb + k.to(tl.int64)[None, :] * stride_xk
        x = tl.load(x_tile, mask=(row < batch)[:, None] & k_inside, other=0.0)
        dweight = tl.dot(tl.trans(dz), x, dweight, input_precision="ieee")
        dbias += tl.sum(dz, 0)
    part = split.to(tl.int64) * outputs + column
    dweight_tile = dweight_ptr + part[:, None] * inputs + k[None, :]
    tl.store(dweight_tile, dweight, mask=(column < outputs)[:, None] & k_inside)
    biases = tl.where(program % along == 0, outputs, 0)  # the first program of a row has them to store
    tl.store(dbias_ptr + part, dbias, mask=column < biases)


@jit(do_not_specialize=["batch", "rows_per_split", "parameter_programs"])
def linear_sigmoid_backward_kernel(
    grad_ptr, y_ptr, x_ptr, weight_ptr, dx_ptr, dweight_ptr, dbias_ptr,
    batch, outputs, inputs, rows_per_split, parameter_programs,
    stride_gb, stride_gn, stride_yb, stride_yn, stride_xb, stride_xk, stride_wn, stride_wk,
    BLOCK_B: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    """The first `parameter_programs` programs have the parameters' gradients, those that follow the input's."""
    program = tl.program_id(0)
    along = tl.maximum(1, tl.cdiv(inputs, BLOCK_K))
    if program < parameter_programs:
        parameters_gradient(
            program, grad_ptr, y_ptr, x_ptr, dweight_ptr, dbias_ptr, batch, outputs, inputs, rows_per_split, along,
            stride_gb, stride_gn, stride_yb, stride_yn, stride_xb, stride_xk, BLOCK_B, BLOCK_N, BLOCK_K,
        )  # fmt: skip
    else:
        input_gradient(
            program - parameter_programs, grad_ptr, y_ptr, weight_ptr, dx_ptr, batch, outputs, inputs, along,
            stride_gb, stride_gn, stride_yb, stride_yn, stride_wn, stride_wk, BLOCK_B, BLOCK_N, BLOCK_K,
        )  # fmt: skip


# ---- launchers: float32 tensors of any strides on one GPU, or on the CPU under the interpreter


def _check(x: Tensor, weight: Tensor, bias: Tensor | None) -> None:
    dtype, device = x.dtype, x.device
    if dtype not in FLOATS:
        raise ValueError(f"x: float32 or float64, not {dtype}")
    if x.ndim < 1 or weight.ndim != 2 or x.shape[-1] != weight.shape[1]:
        raise ValueError(
            f"x: [..., K] for a weight [N, K], not {list(x.shape)} for a weight {list(weight.shape)}"
        )
    if bias is not None and (bias.ndim != 1 or bias.shape[0] != weight.shape[0]):
        raise ValueError(
            f"bias: [N] for a weight [N, K], not {list(bias.shape)} for a weight {list(weight.shape)}"
        )
    if weight.dtype != dtype or weight.device != device:
        raise ValueError(f"weight: {dtype} on {device} as x is, not {weight.dtype} on {weight.device}")
    if bias is not None and (bias.dtype != dtype or bias.device != device):
        raise ValueError(f"bias: {dtype} on {device} as x is, not {bias.dtype} on {bias.device}")


def as_rows(tensor: Tensor) -> Tensor:
    """`tensor` [..., M] as [B, M], a view where its strides allow one."""
    if tensor.ndim == 2:
        return tensor
    return tensor.reshape(tensor.shape[:-1].numel(), tensor.shape[-1])


def tile_config(outputs: int, capability: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """The blocks and the compiler options for a layer with so many outputs."""
    block_b, block_n, block_k, warps = TILES[min(padded(outputs), 64)]
    stages = 1 if capability < 80 else 3  # asynchronous copies came with 80
    blocks = {"BLOCK_B": block_b, "BLOCK_N": block_n, "BLOCK_K": block_k}
    # no maxnreg: given one of 168 or 255, ptxas hoists more loads than fit and spills
    return blocks, {"num_warps": warps, "num_stages": stages}


@lru_cache
def _build(outputs: int, device: torch.device, **constants: Any) -> Build:
    blocks, options = tile_config(outputs, capability_of(device))
    return Build(constants | blocks, options)


def launch_forward(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """x [..., K], weight [N, K], bias [N] or None -> y [..., N]; ValueError for what does not fit."""
    check_plain(x=x, weight=weight, bias=bias)
    _check(x, weight, bias)
    rows, (outputs, inputs), device = as_rows(x), weight.shape, x.device
    y = torch.empty((*x.shape[:-1], outputs), dtype=torch.float32, device=device)
    if y.numel() == 0:
        return y
    build = _build(outputs, device, HAS_BIAS=bias is not None)
    grid = -(-len(rows) // build.constants["BLOCK_B"]), -(-outputs // build.constants["BLOCK_N"]), 1
    strides = *rows.stride(), *weight.stride(), 0 if bias is None else bias.stride(0)
    tensors = rows, weight, weight if bias is None else bias, y
    numbers = len(rows), outputs, inputs, *strides
    launch(linear_sigmoid_forward_kernel, grid, tensors, numbers, build)
    return y


def launch_backward(
    grad: Tensor, y: Tensor, x: Tensor | None, weight: Tensor | None
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """grad and y [..., N] with weight [N, K] -> dx [..., K]; with x [..., K] -> dweight [N, K] and dbias [N]."""
    leading, device = y.shape[:-1], y.device
    grad, y = as_rows(grad), as_rows(y)
    x_rows = None if x is None else as_rows(x)
    (batch, outputs), inputs = y.shape, (weight if x_rows is None else x_rows).shape[1]  # type: ignore[union-attr]
    dx = None if weight is None else torch.empty((*leading, inputs), dtype=torch.float32, device=device)
    if batch == 0 or outputs == 0:
        dx = None if dx is None else dx.zero_()
        if x is None:
            return dx, None, None
        dweight = torch.zeros((outputs, inputs), dtype=torch.float32, device=device)
        return dx, dweight, dweight.new_zeros(outputs)
    build = _build(outputs, device)
    block_b, block_n, block_k = build.constants.values()
    along, across = max(1, -(-inputs // block_k)), -(-outputs // block_n)
    blocks = -(-batch // block_b)
    splits = min(-(-batch // ROWS_PER_SPLIT), max(1, MAX_PROGRAMS // (across * along)))
    rows_per_split = -(-blocks // splits) * block_b
    splits = -(-batch // rows_per_split)
    # what is not asked for is neither read nor stored, whatever stands in its place
    dweight = dbias = y
    parameter_programs = programs = 0
    if x_rows is not None:
        dweight = torch.empty((splits, outputs * inputs), dtype=torch.float32, device=device)
        dbias = torch.empty((splits, outputs), dtype=torch.float32, device=device)
        parameter_programs = programs = along * across * splits
    if dx is not None and inputs:
        programs += along * blocks
    read = grad, y, y if x_rows is None else x_rows, y if weight is None else weight
    strides = *grad.stride(), *y.stride(), *read[2].stride(), *read[3].stride()
    tensors = *read, y if dx is None else dx, dweight, dbias
    numbers = batch, outputs, inputs, rows_per_split, parameter_programs, *strides
    if programs:
        launch(linear_sigmoid_backward_kernel, (programs, 1, 1), tensors, numbers, build)
    if x_rows is None:
        return dx, None, None
    if splits > 1:
        with torch.cuda.device_of(dweight):
            dweight = ordered_sum(dweight, torch.float32, MANY_COLUMNS)
            dbias = ordered_sum(dbias, torch.float32, MANY_COLUMNS)
    return dx, dweight.view(outputs, inputs), dbias.view(outputs)


def launch_backward_input(grad: Tensor, y: Tensor, weight: Tensor) -> Tensor:
    """grad and y [..., N], weight [N, K] -> dx [..., K]."""
    return launch_backward(grad, y, None, weight)[0]  # type: ignore[return-value]


def launch_backward_parameters(grad: Tensor, y: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """grad and y [..., N], x [..., K] -> dweight [N, K] and dbias [N]."""
    return launch_backward(grad, y, x, None)[1:]  # type: ignore[return-value]


# ---- the operators: torch.ops.breaknet.linear_sigmoid and, of its backward, the input's, the parameters' or both


def _forward_by_torch(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    check_plain(x=x, weight=weight, bias=bias)
    _check(x, weight, bias)
    return linear_sigmoid_spec(x, weight, bias).contiguous()


def _forward_fake(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    check_plain(x=x, weight=weight, bias=bias)
    _check(x, weight, bias)
    return x.new_empty((*x.shape[:-1], weight.shape[0]))


def _backward_by_torch(
    grad: Tensor, y: Tensor, x: Tensor | None, weight: Tensor | None
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """The gradients of `launch_backward` in torch's own operations, differentiable again."""
    dz = grad * (y * (1 - y))
    dx = None if weight is None else (dz @ weight).contiguous()
    if x is None:
        return dx, None, None
    dz = as_rows(dz)
    return dx, (dz.mT @ as_rows(x)).contiguous(), dz.sum(0)


def _backward_fake(grad: Tensor, y: Tensor, x: Tensor, weight: Tensor) -> tuple[Tensor, ...]:
    return y.new_empty(x.shape), y.new_empty(weight.shape), y.new_empty(y.shape[-1])


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, weight, _ = inputs
    ctx.save_for_backward(x, weight, output)


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    x, weight, y = ctx.saved_tensors
    for_x, for_weight, for_bias = ctx.needs_input_grad
    for_parameters = for_weight or for_bias
    dx = dweight = dbias = None
    # a graph of the backward itself is wanted (create_graph=True): only torch's own operations can give it
    by_torch = torch.is_grad_enabled() or forward_mode()
    if by_torch or (on_kernel(y) and eager(grad, y, x, weight)):
        function = _backward_by_torch if by_torch else launch_backward
        dx, dweight, dbias = function(grad, y, x if for_parameters else None, weight if for_x else None)
    elif for_x and for_parameters:
        dx, dweight, dbias = _OPS.linear_sigmoid_backward(grad, y, x, weight)
    elif for_x:
        dx = _OPS.linear_sigmoid_backward_input(grad, y, weight)
    elif for_parameters:
        dweight, dbias = _OPS.linear_sigmoid_backward_parameters(grad, y, x)
    return dx, dweight if for_weight else None, dbias if for_bias else None


_OPS = torch.ops.breaknet
_around_dispatcher = register(
    "linear_sigmoid(Tensor x, Tensor weight, Tensor? bias) -> Tensor",
    by_torch=_forward_by_torch, by_kernel=launch_forward, fake=_forward_fake, backward=_backward, save=_save,
)  # fmt: skip
register(
    "linear_sigmoid_backward(Tensor grad, Tensor y, Tensor x, Tensor weight) -> (Tensor, Tensor, Tensor)",
    by_torch=_backward_by_torch, by_kernel=launch_backward, fake=_backward_fake,
)  # fmt: skip
register(
    "linear_sigmoid_backward_input(Tensor grad, Tensor y, Tensor weight) -> Tensor",
    by_torch=lambda grad, y, weight: _backward_by_torch(grad, y, None, weight)[0],
    by_kernel=launch_backward_input,
    fake=lambda grad, y, weight: y.new_empty((*y.shape[:-1], weight.shape[1])),
)  # fmt: skip
register(
    "linear_sigmoid_backward_parameters(Tensor grad, Tensor y, Tensor x) -> (Tensor, Tensor)",
    by_torch=lambda grad, y, x: _backward_by_torch(grad, y, x, None)[1:],
    by_kernel=launch_backward_parameters,
    fake=lambda grad, y, x: (y.new_empty((y.shape[-1], x.shape[-1])), y.new_empty(y.shape[-1])),
)  # fmt: skip


def linear_sigmoid(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """sigmoid(x W^T + b): x [..., K], weight [N, K], bias [N] or None -> [..., N], contiguous.

    All of one dtype, float32 or float64, and on one device; any strides. Differentiable, under `torch.compile` too.

    Raises:
        ValueError: a dtype, a device or a shape that does not fit, naming the argument.
    """
    if not eager(x, weight, weight if bias is None else bias):
        check_plain(x=x, weight=weight, bias=bias)
        return _OPS.linear_sigmoid(x, weight, bias)
    if on_kernel(x):
        return _around_dispatcher(x, weight, bias)
    _check(x, weight, bias)
    return linear_sigmoid_spec(x, weight, bias).contiguous()


class LinearSigmoid(nn.Linear):
    """`nn.Linear` with the sigmoid behind it, as one operator; parameters, start and state are nn.Linear's."""

    @classmethod
    def from_linear(cls, linear: nn.Linear) -> "LinearSigmoid":
        """A layer that shares the parameters of `linear` (the very same objects, not copies)."""
        layer = cls(linear.in_features, linear.out_features, linear.bias is not None, device="meta")
        layer.weight, layer.bias = linear.weight, linear.bias
        return layer.train(linear.training)

    def forward(self, input: Tensor) -> Tensor:
        return linear_sigmoid(input, self.weight, self.bias)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, activation=sigmoid"
