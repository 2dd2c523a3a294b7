"""Lesson 2, cost and gradient in one pass over the outputs.

    cost            sum over rows and classes of (prediction[b, c] - target[b, c])^2, not averaged
    gradient        2 (prediction[b, c] - target[b, c]), written by the same pass
    target          given as it is, or as class labels: 1 where c is the label, else 0; no one-hot is built

prediction [..., C]; target floating [..., C] or integer [...] (uint8 to int64); any strides, empty batches too; cost
0-d. float32 runs in Triton on CUDA; float64 (for checks) and every other device take torch: `cost_by_torch` in ordinary
calls, `summed_mse_spec` in the operator.

Grid: (B / BLOCK_B). A program holds one tile BLOCK_B x BLOCK_C at a time and walks over C; its sum of squares goes to
one partial per program, and `ordered_sum` adds those up in a fixed order: no atomics, the same bits every time.
Cost: prediction and target are read once and the gradient written once; memory bandwidth is the limit.
"""

from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn

from breaknet.kernels._launching import Build, launch
from breaknet.kernels._operators import FLOATS, check_plain, eager, forward_mode, on_kernel, register
from breaknet.kernels._triton import jit, tl
from breaknet.kernels.device_functions import ONE_COLUMN, ordered_sum
from breaknet.kernels.jobs import padded

#: BLOCK_B and BLOCK_C by the padded number of classes (64 stands for every larger one), for all GPUs.
TILES = {16: (128, 16), 32: (64, 32), 64: (32, 64)}
#: Without maxnreg the assembler may stop at 168 a thread for the sake of occupancy, and spill (Triton 3.6, sm_120).
OPTIONS = {"num_warps": 4, "num_stages": 1, "maxnreg": 255}
_LABEL_TYPES = (torch.int64, torch.int32, torch.int16, torch.uint8, torch.int8)


def summed_mse_spec(prediction: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """prediction [..., C], target [..., C] or integer labels [...] -> cost 0-d, gradient [..., C]."""
    if not target.is_floating_point():
        target = nn.functional.one_hot(target.long(), prediction.shape[-1])
    difference = prediction - target
    return (difference * difference).sum(), 2 * difference


@jit(do_not_specialize=["batch"])
def summed_mse_forward_kernel(
    prediction_ptr, target_ptr, gradient_ptr, partial_ptr, batch, classes,
    stride_pb, stride_pc, stride_tb, stride_tc,
    LABELS: tl.constexpr, WITH_GRADIENT: tl.constexpr, BLOCK_B: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64) * BLOCK_B + tl.arange(0, BLOCK_B)
    if LABELS:
        label = tl.load(target_ptr + row * stride_tb, mask=row < batch, other=0).to(tl.int64)
        known = (label >= 0) & (label < classes)
    squares = tl.zeros([BLOCK_B, BLOCK_C], tl.float32)
    for first in range(0, classes, BLOCK_C):
        column = first + tl.arange(0, BLOCK_C)
        columns = column.to(tl.int64)[None, :]
        inside = (row < batch)[:, None] & (column < classes)[None, :]
        prediction = tl.load(
            prediction_ptr + row[:, None] * stride_pb + columns * stride_pc, mask=inside, other=0.0
        )
        if LABELS:
            # a label that is no class cannot raise here; NaN makes the cost show it
            target = tl.where(label[:, None] == columns, 1.0, 0.0)
            target = tl.where(known[:, None], target, float("nan"))
        else:
            target = tl.load(
                target_ptr + row[:, None] * stride_tb + columns * stride_tc, mask=inside, other=0.0
            )
        difference = tl.where(inside, prediction - target, 0.0)
        squares += difference * difference
        if WITH_GRADIENT:
            tl.store(gradient_ptr + row[:, None] * classes + columns, 2.0 * difference, mask=inside)
    tl.store(partial_ptr + tl.program_id(0), tl.sum(tl.sum(squares, 1), 0))


def tile_config(classes: int) -> tuple[dict[str, int], dict[str, int]]:
    """The blocks and the compiler options for so many classes."""
    block_b, block_c = TILES[min(padded(classes), 64)]
    return {"BLOCK_B": block_b, "BLOCK_C": block_c}, OPTIONS


@lru_cache
def _build(classes: int, **constants: bool) -> Build:
    blocks, options = tile_config(classes)
    return Build(constants | blocks, options)


def _check(prediction: Tensor, target: Tensor) -> None:
    if prediction.dtype not in FLOATS:
        raise ValueError(f"prediction: float32 or float64, not {prediction.dtype}")
    if prediction.ndim < 1:
        raise ValueError("prediction: at least one axis, the classes, not a 0-d tensor")
    check_target("target", target, prediction.shape, prediction.dtype, prediction.device)


def check_target(
    name: str, target: Tensor, shape: tuple[int, ...], dtype: torch.dtype, device: torch.device
) -> None:
    """Raise ValueError where a target, named so, does not fit a prediction of this shape, dtype and device."""
    if target.device != device:
        raise ValueError(f"{name}: on {device} as the prediction is, not on {target.device}")
    found, wanted = list(target.shape), list(shape)
    if target.is_floating_point():
        if target.dtype != dtype or found != wanted:
            raise ValueError(f"{name}: {dtype} {wanted} as the prediction is, not {target.dtype} {found}")
    elif target.dtype not in _LABEL_TYPES:
        raise ValueError(f"{name}: values of the prediction's dtype or integer labels, not {target.dtype}")
    elif found != wanted[:-1]:
        raise ValueError(
            f"{name}: labels {wanted[:-1]} for a prediction {wanted}, not {found} (a one-hot target must be floating)"
        )


def check_labels(name: str, labels: Tensor, classes: int) -> None:
    """Raise ValueError where a label is no class; waits for the device."""
    least, most = int(labels.min()), int(labels.max())
    if least < 0 or most >= classes:
        raise ValueError(f"{name}: labels 0 to {classes - 1}, not {least if least < 0 else most}")


def launch_forward(prediction: Tensor, target: Tensor, with_gradient: bool) -> tuple[Tensor, Tensor]:
    """float32 [..., C], and float32 [..., C] or integer [...], any strides -> cost 0-d, gradient [..., C] or [0].

    On one GPU, or on the CPU under the interpreter. A label outside 0..C-1 makes the cost NaN.
    """
    check_plain(prediction=prediction, target=target)
    _check(prediction, target)
    shape, labels = prediction.shape, not target.is_floating_point()
    batch, classes = shape[:-1].numel(), shape[-1]
    gradient = torch.empty(shape if with_gradient else (0,), dtype=torch.float32, device=prediction.device)
    if prediction.numel() == 0:
        return prediction.new_zeros(()), gradient
    rows = prediction.reshape(batch, classes)
    target = target.reshape(batch) if labels else target.reshape(batch, classes)
    build = _build(classes, LABELS=labels, WITH_GRADIENT=with_gradient)
    programs = -(-batch // build.constants["BLOCK_B"])
    partial = torch.empty((programs, 1), dtype=torch.float32, device=prediction.device)
    tensors = rows, target, gradient if with_gradient else partial, partial
    numbers = batch, classes, *rows.stride(), target.stride(0), 0 if labels else target.stride(1)
    launch(summed_mse_forward_kernel, (programs, 1, 1), tensors, numbers, build)
    if programs == 1:
        return partial.view(()), gradient
    with torch.cuda.device_of(prediction):
        cost = ordered_sum(partial, torch.float32, ONE_COLUMN)
    return cost.view(()), gradient


# ---- the operator: torch.ops.breaknet.summed_mse


def _by_torch(prediction: Tensor, target: Tensor, with_gradient: bool) -> tuple[Tensor, Tensor]:
    check_plain(prediction=prediction, target=target)
    _check(prediction, target)
    if prediction.device.type == "cpu" and not target.is_floating_point() and target.numel():
        check_labels("target", target, prediction.shape[-1])
    cost, gradient = summed_mse_spec(prediction, target)
    return cost, gradient.contiguous() if with_gradient else prediction.new_empty(0)


def cost_by_torch(prediction: Tensor, target: Tensor, name: str) -> Tensor:
    """The cost alone, its derivatives torch's own; the target, named so, is checked, but for the labels' range."""
    if not target.is_floating_point():
        try:
            target = torch.zeros_like(prediction).scatter_(-1, target.long().unsqueeze(-1), 1)
        except RuntimeError:
            check_labels(name, target, prediction.shape[-1])
            raise
    return nn.functional.mse_loss(prediction, target, reduction="sum")


def _fake(prediction: Tensor, target: Tensor, with_gradient: bool) -> tuple[Tensor, Tensor]:
    check_plain(prediction=prediction, target=target)
    _check(prediction, target)
    return prediction.new_empty(()), prediction.new_empty(prediction.shape if with_gradient else 0)


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    prediction, target, _ = inputs
    ctx.mark_non_differentiable(output[1])
    ctx.set_materialize_grads(False)  # or the gradient's own would be filled with zeros by a launch
    ctx.save_for_backward(prediction, target, output[1])


def _backward(ctx: Any, grad: Tensor | None, *_: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
    if grad is None:  # nothing is materialized, see `_save`
        return None, None, None
    prediction, target, gradient = ctx.saved_tensors
    for_prediction, for_target, _ = ctx.needs_input_grad
    # a saved gradient is a constant to autograd: compute it again where it is to be differentiated itself
    if torch.is_grad_enabled() or forward_mode() or gradient.shape != prediction.shape:
        gradient = summed_mse_spec(prediction, target)[1]
    gradient = grad * gradient
    return gradient if for_prediction else None, -gradient if for_target else None, None


_around_dispatcher = register(
    "summed_mse(Tensor prediction, Tensor target, bool with_gradient) -> (Tensor, Tensor)",
    by_torch=_by_torch, by_kernel=launch_forward, fake=_fake, backward=_backward, save=_save,
)  # fmt: skip


def summed_mse(prediction: Tensor, target: Tensor) -> Tensor:
    """The sum of squared errors, 0-d: prediction [..., C] against target floating [..., C] or integer labels [...].

    float32 or float64, on one device; any strides. Differentiable in both, under `torch.compile` too; the forward
    pass leaves the gradient ready, and only where one is asked for. Labels are checked on the CPU; on a GPU one
    that is no class makes the cost NaN, since a check would have to wait for the device.

    Raises:
        ValueError: a dtype, a device, a shape or (on the CPU) a label that does not fit, naming the argument.
    """
    wanted = torch.is_grad_enabled() and (prediction.requires_grad or target.requires_grad)
    if not eager(prediction, target):
        check_plain(prediction=prediction, target=target)
        return torch.ops.breaknet.summed_mse(prediction, target, wanted)[0]
    if on_kernel(prediction):
        return _around_dispatcher(prediction, target, wanted)[0]
    _check(prediction, target)
    return cost_by_torch(prediction, target, "target")
