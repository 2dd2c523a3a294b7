"""A whole network K -> H1 -> H2 -> O and its summed cost in one launch, all gradients in another.

    forward     a1 = s(x W1' + b1)   a2 = s(a1 W2' + b2)   a3 = s(a2 W3' + b3)   cost = sum (a3 - target)^2
    deltas      d3 = 2 (a3 - target) a3 (1 - a3)    d2 = d3 W3 a2 (1 - a2)    d1 = d2 W2 a1 (1 - a1)
    backward    dWi = g di' a(i-1)    dbi = g sum_b di    dx = g d1 W1,    g the gradient of the cost, a0 = x

The deltas need nothing of what follows the cost but its factor g, so the forward pass leaves them ready with the
activations: `saved`, float32, holds a1, d1 [B, H1] each, a2, d2 [B, H2] each and d3 [B, O], one after another.

Forward grid: B / BLOCK_B programs, each with all layers of its rows. Its part of the cost goes to memory, and the
program that finishes last adds the parts in their order: which one that is does not change a bit. Backward grid: per
split of the batch a program for BLOCK_K columns of dW1, for CHUNK columns of dW2 and one for the rest, then those of
dx. Every split writes a flat row of gradients (`jobs.Shape`), and `ordered_sum` adds them where there are several.
Cost: B (K H1 + 2 H1 H2 + 2 H2 O) FMAs forward with gradients, B (2 K H1 + H1 H2 + H2 O) backward with dx; for a small
batch, two launches.
"""

from dataclasses import replace
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from breaknet.kernels._launching import Build, launch
from breaknet.kernels._triton import capability_of, jit, tl
from breaknet.kernels.device_functions import MANY_COLUMNS, ordered_sum, sigmoid, sigmoid_derivative
from breaknet.kernels.jobs import MAX_OUTPUTS, Shape, padded
from breaknet.kernels.linear_sigmoid import as_rows

#: By the wider padded hidden layer: rows and inputs a tile of the forward pass, of the backward pass, and warps.
TILES = {16: (16, 64, 64, 32, 4), 32: (16, 64, 64, 32, 4), 64: (16, 32, 32, 32, 8), 128: (16, 32, 32, 32, 8)}
CHUNK = 32  # hidden units that a product over a wide layer takes at a time
ROWS_PER_SPLIT = 256
MAX_PROGRAMS = 512  # enough to fill any GPU


@jit
def load_matrix(ptr, row, column, height, width, stride):
    """The tile at row x column of a matrix [height, width] whose rows are `stride` apart, zero outside."""
    inside = (row < height)[:, None] & (column < width)[None, :]
    return tl.load(ptr + row.to(tl.int64)[:, None] * stride + column[None, :], mask=inside, other=0.0)


@jit
def store_matrix(ptr, value, row, column, height, width):
    """The tile at row x column of a contiguous matrix [height, width]."""
    inside = (row < height)[:, None] & (column < width)[None, :]
    tl.store(ptr + row.to(tl.int64)[:, None] * width + column[None, :], value, mask=inside)


@jit
def load_bias(ptr, unit, units):
    return tl.load(ptr + unit, mask=unit < units, other=0.0)[None, :]


@jit
def saved_parts(saved_ptr, batch, hidden1, hidden2):
    """The beginnings of a1, d1, a2, d2 and d3."""
    rows = tl.cast(batch, tl.int64)
    d1_ptr = saved_ptr + rows * hidden1
    a2_ptr = d1_ptr + rows * hidden1
    d2_ptr = a2_ptr + rows * hidden2
    return saved_ptr, d1_ptr, a2_ptr, d2_ptr, d2_ptr + rows * hidden2


@jit
def differences(a3, target_ptr, row, digit, batch, outputs, stride_tb, stride_tc, LABELS: tl.constexpr):
    """a3 - target [rows, 16], zero outside of the batch and the outputs; NaN where a label is no class."""
    inside = (row < batch)[:, None] & (digit < outputs)[None, :]
    rows = row.to(tl.int64)
    if LABELS:
        label = tl.load(target_ptr + rows * stride_tb, mask=row < batch, other=0).to(tl.int64)
        known = (label >= 0) & (label < outputs)
        target = tl.where(label[:, None] == digit[None, :], 1.0, 0.0)
        target = tl.where(known[:, None], target, float("nan"))
    else:
        place = target_ptr + rows[:, None] * stride_tb + digit.to(tl.int64)[None, :] * stride_tc
        target = tl.load(place, mask=inside, other=0.0)
    return tl.where(inside, a3 - target, 0.0)


@jit(do_not_specialize=["batch"])
def fused_network_forward_kernel(
    x_ptr, target_ptr, w1_ptr, b1_ptr, w2_ptr, b2_ptr, w3_ptr, b3_ptr, cost_ptr, partial_ptr, ticket_ptr, saved_ptr,
    batch, inputs, hidden1, hidden2, outputs, stride_xb, stride_xk, stride_tb, stride_tc,
    LABELS: tl.constexpr, WITH_GRADIENT: tl.constexpr, BLOCK_B: tl.constexpr, BLOCK_K: tl.constexpr,
    WIDTH1: tl.constexpr, WIDTH2: tl.constexpr, OUTPUTS: tl.constexpr, CHUNK: tl.constexpr, PARTS: tl.constexpr,
):  # fmt: skip
    program = tl.program_id(0)
    row = program * BLOCK_B + tl.arange(0, BLOCK_B)
    unit1, unit2, digit = tl.arange(0, WIDTH1), tl.arange(0, WIDTH2), tl.arange(0, OUTPUTS)
    k = tl.arange(0, BLOCK_K)
    a1_ptr, d1_ptr, a2_ptr, d2_ptr, d3_ptr = saved_parts(saved_ptr, batch, hidden1, hidden2)

    z1 = tl.zeros([BLOCK_B, WIDTH1], tl.float32)
    x_tile = x_ptr + row.to(tl.int64)[:, None] * stride_xb + k.to(tl.int64)[None, :] * stride_xk
    x_step = tl.cast(stride_xk, tl.int64) * BLOCK_K
    for first in range(0, inputs, BLOCK_K):
        x = tl.load(x_tile, mask=(row < batch)[:, None] & (k < inputs - first)[None, :], other=0.0)
        w1 = load_matrix(w1_ptr, unit1, first + k, hidden1, inputs, inputs)
        z1 = tl.dot(x, tl.trans(w1), z1, input_precision="ieee")
        x_tile += x_step
    a1 = sigmoid(z1 + load_bias(b1_ptr, unit1, hidden1))

    if WIDTH1 <= CHUNK:
        w2 = load_matrix(w2_ptr, unit2, unit1, hidden2, hidden1, hidden1)
        z2 = tl.dot(a1, tl.trans(w2), input_precision="ieee")
    else:
        # all of W2 is too much for the registers, and of a1 no part can be taken but from memory
        store_matrix(a1_ptr, a1, row, unit1, batch, hidden1)
        tl.debug_barrier()
        z2 = tl.zeros([BLOCK_B, WIDTH2], tl.float32)
        for first in range(0, hidden1, CHUNK):
            some = first + tl.arange(0, CHUNK)
            part = load_matrix(a1_ptr, row, some, batch, hidden1, hidden1)
            w2_part = load_matrix(w2_ptr, unit2, some, hidden2, hidden1, hidden1)
            z2 = tl.dot(part, tl.trans(w2_part), z2, input_precision="ieee")
    a2 = sigmoid(z2 + load_bias(b2_ptr, unit2, hidden2))
    w3 = load_matrix(w3_ptr, digit, unit2, outputs, hidden2, hidden2)
    a3 = sigmoid(tl.dot(a2, tl.trans(w3), input_precision="ieee") + load_bias(b3_ptr, digit, outputs))
    difference = differences(a3, target_ptr, row, digit, batch, outputs, stride_tb, stride_tc, LABELS)

    if WITH_GRADIENT:
        d3 = 2.0 * difference * sigmoid_derivative(a3)
        d2 = tl.dot(d3, w3, input_precision="ieee") * sigmoid_derivative(a2)
        store_matrix(a2_ptr, a2, row, unit2, batch, hidden2)
        store_matrix(d2_ptr, d2, row, unit2, batch, hidden2)
        store_matrix(d3_ptr, d3, row, digit, batch, outputs)
        if WIDTH1 <= CHUNK and WIDTH2 <= CHUNK:
            store_matrix(a1_ptr, a1, row, unit1, batch, hidden1)
            sums = tl.dot(d2, w2, input_precision="ieee")
        else:
            if WIDTH1 <= CHUNK:
                store_matrix(a1_ptr, a1, row, unit1, batch, hidden1)
            tl.debug_barrier()
            sums = tl.zeros([BLOCK_B, WIDTH1], tl.float32)
            for first in range(0, hidden2, CHUNK):
                some = first + tl.arange(0, CHUNK)
                part = load_matrix(d2_ptr, row, some, batch, hidden2, hidden2)
                w2_part = load_matrix(w2_ptr, some, unit1, hidden2, hidden1, hidden1)
                sums = tl.dot(part, w2_part, sums, input_precision="ieee")
        store_matrix(d1_ptr, sums * sigmoid_derivative(a1), row, unit1, batch, hidden1)

    tl.store(partial_ptr + program, tl.sum(tl.sum(difference * difference, 1), 0))
    tl.debug_barrier()
    # release: this program's part is seen by the last; acquire: the last sees everybody's
    programs = tl.cdiv(batch, BLOCK_B)
    if tl.atomic_add(ticket_ptr, 1, sem="acq_rel", scope="gpu") == programs - 1:
        part = tl.arange(0, PARTS)
        total = tl.zeros([PARTS], tl.float64)
        for first in range(0, programs, PARTS):
            inside = part < programs - first
            total += tl.load(partial_ptr + first + part, mask=inside, other=0.0).to(tl.float64)
        tl.store(cost_ptr, tl.sum(total, 0).to(tl.float32))
        tl.store(ticket_ptr, 0)  # as the next launch must find it


@jit
def outer_products(
    delta_ptr, left, deltas, value_ptr, right, values, stride_b, stride_v, first_row, rows, batch,
    ROWS: tl.constexpr,
):  # fmt: skip
    """delta' value over `rows` rows from first_row on: [left, right], of matrices `deltas` and `values` wide."""
    total = tl.zeros([left.shape[0], right.shape[0]], tl.float32)
    for step in range(0, rows, ROWS):
        row = first_row + step + tl.arange(0, ROWS)
        delta = load_matrix(delta_ptr, row, left, batch, deltas, deltas)
        inside = (row < batch)[:, None] & (right < values)[None, :]
        place = value_ptr + row.to(tl.int64)[:, None] * stride_b + right.to(tl.int64)[None, :] * stride_v
        value = tl.load(place, mask=inside, other=0.0)
        total = tl.dot(tl.trans(delta), value, total, input_precision="ieee")
    return total


@jit
def row_sums(delta_ptr, unit, units, first_row, rows, batch, ROWS: tl.constexpr):
    """The sums over `rows` rows from first_row on of a matrix `units` wide: [unit]."""
    total = tl.zeros([unit.shape[0]], tl.float32)
    for step in range(0, rows, ROWS):
        row = first_row + step + tl.arange(0, ROWS)
        total += tl.sum(load_matrix(delta_ptr, row, unit, batch, units, units), 0)
    return total


@jit(do_not_specialize=["batch", "rows_per_split", "parameter_programs"])
def fused_network_backward_kernel(
    grad_ptr, x_ptr, saved_ptr, w1_ptr, dx_ptr, gradient_ptr,
    batch, inputs, hidden1, hidden2, outputs, rows_per_split, parameter_programs, stride_xb, stride_xk,
    ROWS: tl.constexpr, BLOCK_K: tl.constexpr,
    WIDTH1: tl.constexpr, WIDTH2: tl.constexpr, OUTPUTS: tl.constexpr, CHUNK: tl.constexpr,
):  # fmt: skip
    program = tl.program_id(0)
    along = tl.cdiv(inputs, BLOCK_K)
    chunks = tl.cdiv(hidden1, CHUNK)
    grad = tl.load(grad_ptr)
    a1_ptr, d1_ptr, a2_ptr, d2_ptr, d3_ptr = saved_parts(saved_ptr, batch, hidden1, hidden2)
    unit1, unit2, digit = tl.arange(0, WIDTH1), tl.arange(0, WIDTH2), tl.arange(0, OUTPUTS)
    if program < parameter_programs:
        split, role = program // (along + chunks + 1), program % (along + chunks + 1)
        first_row = split * rows_per_split
        b1 = hidden1 * inputs
        w2 = b1 + hidden1
        b2 = w2 + hidden2 * hidden1
        w3 = b2 + hidden2
        b3 = w3 + outputs * hidden2
        gradient_ptr += split.to(tl.int64) * (b3 + outputs)
        if role < along:
            k = role * BLOCK_K + tl.arange(0, BLOCK_K)
            dw1 = outer_products(
                d1_ptr, unit1, hidden1, x_ptr, k, inputs, stride_xb, stride_xk, first_row, rows_per_split, batch, ROWS
            )  # fmt: skip
            store_matrix(gradient_ptr, grad * dw1, unit1, k, hidden1, inputs)
        elif role < along + chunks:
            some = (role - along) * CHUNK + tl.arange(0, CHUNK)
            dw2 = outer_products(
                d2_ptr, unit2, hidden2, a1_ptr, some, hidden1, hidden1, 1, first_row, rows_per_split, batch, ROWS
            )  # fmt: skip
            store_matrix(gradient_ptr + w2, grad * dw2, unit2, some, hidden2, hidden1)
        else:
            dw3 = outer_products(
                d3_ptr, digit, outputs, a2_ptr, unit2, hidden2, hidden2, 1, first_row, rows_per_split, batch, ROWS
            )  # fmt: skip
            store_matrix(gradient_ptr + w3, grad * dw3, digit, unit2, outputs, hidden2)
            db1 = row_sums(d1_ptr, unit1, hidden1, first_row, rows_per_split, batch, ROWS)
            tl.store(gradient_ptr + b1 + unit1, grad * db1, mask=unit1 < hidden1)
            db2 = row_sums(d2_ptr, unit2, hidden2, first_row, rows_per_split, batch, ROWS)
            tl.store(gradient_ptr + b2 + unit2, grad * db2, mask=unit2 < hidden2)
            db3 = row_sums(d3_ptr, digit, outputs, first_row, rows_per_split, batch, ROWS)
            tl.store(gradient_ptr + b3 + digit, grad * db3, mask=digit < outputs)
    else:
        program -= parameter_programs
        row = program // along * ROWS + tl.arange(0, ROWS)
        k = program % along * BLOCK_K + tl.arange(0, BLOCK_K)
        d1 = load_matrix(d1_ptr, row, unit1, batch, hidden1, hidden1)
        w1 = load_matrix(w1_ptr, unit1, k, hidden1, inputs, inputs)
        store_matrix(dx_ptr, grad * tl.dot(d1, w1, input_precision="ieee"), row, k, batch, inputs)


# ---- launchers: float32 tensors on one GPU, or on the CPU under the interpreter; x and target of any strides


def tile_config(shape: Shape, capability: int) -> tuple[dict[str, int], dict[str, int], dict[str, int]]:
    """Compile-time arguments of the forward kernel and of the backward one, and the compiler options of both."""
    widths = {"WIDTH1": padded(shape.hidden1), "WIDTH2": padded(shape.hidden2)}
    block_b, block_k, rows, back_k, warps = TILES[max(widths.values())]
    widths |= {"OUTPUTS": MAX_OUTPUTS, "CHUNK": CHUNK}
    forward = {"BLOCK_B": block_b, "BLOCK_K": block_k} | widths | {"PARTS": 64}
    stages = 1 if capability < 80 else 3  # asynchronous copies came with 80
    options = {"num_warps": warps, "num_stages": stages}
    if warps == 8:  # else the assembler may stop at 64 or 80 registers, for the sake of occupancy, and spill
        options["maxnreg"] = 255
    return forward, {"ROWS": rows, "BLOCK_K": back_k} | widths, options


@lru_cache
def _builds(shape: Shape, device: torch.device, **constants: bool) -> tuple[Build, Build]:
    forward, backward, options = tile_config(shape, capability_of(device))
    return Build(constants | forward, options), Build(backward, options)


_free_tickets: dict[torch.device, list[Tensor]] = {}
_tickets: dict[Any, Tensor] = {}


def _ticket(device: torch.device) -> Tensor:
    """A zero that a launch counts its programs with and leaves zero.

    Launches that may run at the same time have different ones: every stream its own, every captured launch its own.
    """
    if device.type != "cuda":
        return torch.zeros(1, dtype=torch.int32, device=device)
    stream, captured = torch.cuda.current_stream(device), torch.cuda.is_current_stream_capturing()
    if not captured and stream in _tickets:
        return _tickets[stream]
    free = _free_tickets.setdefault(device, [])
    if not free:
        many = torch.zeros(4 if captured else 1024, dtype=torch.int32, device=device)
        if captured:  # it belongs to the graph, which fills it with zero at each replay
            return many
        free.extend(many.split(4))  # 16 bytes apart, or kernels would be compiled for other addresses
    ticket = free.pop()
    if not captured:
        _tickets[stream] = ticket
    return ticket


def shape_of(w1: Tensor, w2: Tensor, w3: Tensor) -> Shape:
    return Shape(w1.shape[1], w1.shape[0], w2.shape[0], w3.shape[0])


def unsupported(shape: Shape) -> str | None:
    """Why no launch takes such a network, in one line; the trainers' limits, but one output will do."""
    return replace(shape, outputs=max(2, shape.outputs)).unsupported()


def saved_sizes(shape: Shape, batch: int) -> tuple[int, ...]:
    """Elements of a1, d1, a2, d2 and d3."""
    return tuple(batch * units for units in (shape.hidden1,) * 2 + (shape.hidden2,) * 2 + (shape.outputs,))


def launch_forward(
    x: Tensor, target: Tensor, w1: Tensor, b1: Tensor, w2: Tensor, b2: Tensor, w3: Tensor, b3: Tensor,
    with_gradient: bool,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """x [..., K], target [..., O] or labels [...] -> cost 0-d and `saved`, empty where no gradient is wanted."""
    parameters = w1, b1, w2, b2, w3, b3
    shape, device, labels = shape_of(w1, w2, w3), x.device, not target.is_floating_point()
    if reason := unsupported(shape):
        raise ValueError(reason)
    x = as_rows(x)
    target = target.reshape(-1) if labels else as_rows(target)
    batch = len(x)
    build, _ = _builds(shape, device, LABELS=labels, WITH_GRADIENT=with_gradient)
    programs = -(-batch // build.constants["BLOCK_B"])
    wide = build.constants["WIDTH1"] > CHUNK
    cost = torch.empty((), dtype=torch.float32, device=device)
    size = sum(saved_sizes(shape, batch)) if with_gradient else 0
    saved = torch.empty(size, dtype=torch.float32, device=device)
    if batch == 0:
        return cost.zero_(), saved
    memory = saved if with_gradient or not wide else saved.new_empty(batch * shape.hidden1)
    partial = torch.empty(programs, dtype=torch.float32, device=device)
    read = x, target, *(parameter.contiguous() for parameter in parameters)
    tensors = *read, cost, partial, _ticket(device), memory
    sizes = batch, shape.inputs, shape.hidden1, shape.hidden2, shape.outputs
    strides = *x.stride(), target.stride(0), 0 if labels else target.stride(1)
    launch(fused_network_forward_kernel, (programs, 1, 1), tensors, (*sizes, *strides), build)
    return cost, saved


def launch_backward(
    grad: Tensor, x: Tensor, saved: Tensor, w1: Tensor, hidden2: int, outputs: int, for_x: bool, for_parameters: bool
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """grad 0-d, x [..., K], `saved` and w1 [H1, K] -> dx [..., K] and a flat row [P], each empty unless wanted."""
    shape, device = Shape(w1.shape[1], w1.shape[0], hidden2, outputs), x.device
    rows = as_rows(x)
    batch = len(rows)
    _, build = _builds(shape, device, LABELS=False, WITH_GRADIENT=False)
    block, block_k = build.constants["ROWS"], build.constants["BLOCK_K"]
    along, blocks = -(-shape.inputs // block_k), -(-batch // block)
    a_split = along - (-shape.hidden1 // CHUNK) + 1
    splits = min(-(-batch // ROWS_PER_SPLIT), max(1, MAX_PROGRAMS // a_split))
    rows_per_split = -(-blocks // splits) * block
    splits = -(-batch // rows_per_split)
    dx = torch.empty(x.shape if for_x else 0, dtype=torch.float32, device=device)
    size = (splits, shape.parameters) if for_parameters else (1, 0)
    gradients = torch.empty(size, dtype=torch.float32, device=device)
    parameter_programs = splits * a_split if for_parameters else 0
    programs = parameter_programs + (along * blocks if for_x else 0)
    sizes = batch, shape.inputs, shape.hidden1, hidden2, outputs
    numbers = *sizes, rows_per_split, parameter_programs, *rows.stride()
    tensors = grad, rows, saved, w1.contiguous(), dx, gradients
    launch(fused_network_backward_kernel, (programs, 1, 1), tensors, numbers, build)
    if splits == 1 or not for_parameters:
        return dx, gradients.view(-1)
    with torch.cuda.device_of(gradients):
        return dx, ordered_sum(gradients, torch.float32, MANY_COLUMNS)
