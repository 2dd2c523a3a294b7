"""Lesson 3, every checkpoint on every image in one launch: cost, hits and, if asked, confusion counts.

    a1 = sigmoid(scale x W1^T + b1),  a2 = sigmoid(a1 W2^T + b2),  a3 = sigmoid(a2 W3^T + b3)
    cost = sum over images and outputs of (a3 - one_hot(label))^2,  predicted = first maximum of a3
    hits = images whose predicted class is the label;  confusion[label, predicted] counts them all

checkpoints float32 [C, P], one row each as the trainer writes it: the parameters flat in torch's order, hidden1.weight
[H1, K], hidden1.bias, hidden2.weight [H2, H1], hidden2.bias, output.weight [O, H2], output.bias. images uint8 or
float32 [N, K]. labels integer [N]. Results: cost float64 [C], hits int64 [C], confusion int64 [C, O, O].

Grid: (N / BLOCK_M, C / BLOCK_C). A program takes BLOCK_M images and BLOCK_C checkpoints. The first layer, nearly all
of the work, is one product [BLOCK_M, K] x [K, BLOCK_C * H1]: a tile of sums in registers, K walked in steps of
BLOCK_K whose loads are issued one step ahead, since a T4 has no asynchronous copies. The other two layers are products
batched over the checkpoints, the second in slices of BLOCK_H of its units so that W2 need not fit in shared memory.
Widths are padded to powers of two, 16 or more; loads beyond the real ones are zero, and so are the weights of
padded units. Each program writes its own partial cost and hits; `ordered_sum` adds them in a fixed order.

Both operands of the first layer come with K as the slow axis (`image_columns`, `first_weights`): images and units then
lie side by side in global memory, where a warp's load is one piece, and in shared memory, where threads read four at
once from banks of their own. As the trainer leaves them each thread would read a line of its own. The transposed copies
are padded with zeros to whole tiles, so that the loop needs no masks.
Cost: C N (K H1 + H1 H2 + H2 O) FMAs; FMA throughput is the limit.
"""

from typing import Any

import torch
from torch import Tensor

from breaknet.kernels._triton import jit, tl, triton
from breaknet.kernels.device_functions import MANY_COLUMNS, ordered_sum, sigmoid
from breaknet.kernels.jobs import MAX_HIDDEN, MAX_OUTPUTS, Shape, padded

Tile = tuple[int, int, int, int]  # BLOCK_C, BLOCK_M, warps and the registers a thread may take
#: By the padded wider hidden layer: 64 x 64 sums by 4 warps, two programs to an SM of every generation, T4 included
#: (three, at 168 registers, would spill), or 32 x 128 by 8 for the largest width, where 4 would spill. Both layers are
#: padded alike, which keeps the configurations few enough to compile each for every generation. Nothing depends on the
#: number of checkpoints or images, so no bit of a result does.
TILES: dict[int, Tile] = {16: (4, 64, 4, 255), 32: (2, 64, 4, 255), 64: (1, 64, 4, 255), 128: (1, 32, 8, 255)}
BLOCK_K = 16
BLOCK_H = 16
#: `image_columns` pads to whole multiples of this many images: a multiple of every BLOCK_M.
IMAGE_MULTIPLE = 128
#: More partial results than this are computed in several launches over checkpoints.
PARTIAL_BYTES = 256 * 2**20


# a first checkpoint or label at any address would otherwise be compiled again, to the same machine code
@jit(
    do_not_specialize=["checkpoints", "images"],
    do_not_specialize_on_alignment=["checkpoint_ptr", "label_ptr"],
)
def evaluation_forward_kernel(
    checkpoint_ptr, weight_ptr, column_ptr, label_ptr, cost_ptr, hits_ptr, confusion_ptr,
    checkpoints, images, stride_checkpoint, stride_weight, stride_column, scale,
    NET: tl.constexpr, WIDTH: tl.constexpr, BLOCK_C: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_K: tl.constexpr,
    BLOCK_H: tl.constexpr, BLOCK_O: tl.constexpr, CONFUSION: tl.constexpr,
):  # fmt: skip
    BIAS1: tl.constexpr = NET.hidden1 * NET.inputs
    WEIGHT2: tl.constexpr = BIAS1 + NET.hidden1
    BIAS2: tl.constexpr = WEIGHT2 + NET.hidden2 * NET.hidden1
    WEIGHT3: tl.constexpr = BIAS2 + NET.hidden2
    BIAS3: tl.constexpr = WEIGHT3 + NET.outputs * NET.hidden2

    image = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    checkpoint = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    image_inside = image < images
    checkpoint_inside = checkpoint < checkpoints
    base = checkpoint_ptr + checkpoint.to(tl.int64) * stride_checkpoint

    # first layer: column n of the tile is unit n % WIDTH of checkpoint n // WIDTH
    k = tl.arange(0, BLOCK_K)[:, None]
    x_tile = k * stride_column + image[None, :]
    n = tl.program_id(1) * (BLOCK_C * WIDTH) + tl.arange(0, BLOCK_C * WIDTH)
    w_tile = k * stride_weight + n[None, :]
    x_next = tl.load(column_ptr + x_tile)
    w_next = tl.load(weight_ptr + w_tile)
    z = tl.zeros([BLOCK_M, BLOCK_C * WIDTH], tl.float32)
    for first in range(0, NET.inputs, BLOCK_K):
        x = x_next.to(tl.float32) * scale
        w = w_next
        # at the end, the last tile once more
        ahead = tl.where(first + BLOCK_K < NET.inputs, BLOCK_K, 0)
        column_ptr += ahead * stride_column
        weight_ptr += ahead * stride_weight
        x_next = tl.load(column_ptr + x_tile)
        w_next = tl.load(weight_ptr + w_tile)
        z = tl.dot(tl.trans(x), w, z, input_precision="ieee")
    h1 = tl.arange(0, WIDTH)
    h1_inside = (checkpoint_inside[:, None] & (h1 < NET.hidden1)[None, :])[:, None, :]
    z = tl.permute(tl.reshape(z, [BLOCK_M, BLOCK_C, WIDTH]), [1, 0, 2])
    b1 = tl.load(base[:, None, None] + BIAS1 + h1[None, None, :], mask=h1_inside, other=0.0)
    a1 = sigmoid(z + b1)

    # second layer, BLOCK_H units at a time, each slice passed on to the third at once
    o = tl.arange(0, BLOCK_O)
    a3 = tl.zeros([BLOCK_C, BLOCK_M, BLOCK_O], tl.float32)
    for first in range(0, WIDTH, BLOCK_H):
        h2 = first + tl.arange(0, BLOCK_H)
        h2_inside = checkpoint_inside[:, None] & (h2 < NET.hidden2)[None, :]
        w2_tile = base[:, None, None] + WEIGHT2 + h2[None, :, None] * NET.hidden1 + h1[None, None, :]
        w2 = tl.load(w2_tile, mask=h2_inside[:, :, None] & h1_inside, other=0.0)
        b2 = tl.load(base[:, None, None] + BIAS2 + h2[None, None, :], mask=h2_inside[:, None, :], other=0.0)
        a2 = sigmoid(tl.dot(a1, tl.permute(w2, [0, 2, 1]), input_precision="ieee") + b2)
        w3_tile = base[:, None, None] + WEIGHT3 + o[None, :, None] * NET.hidden2 + h2[None, None, :]
        w3_inside = (o < NET.outputs)[None, :, None] & h2_inside[:, None, :]
        w3 = tl.load(w3_tile, mask=w3_inside, other=0.0)
        a3 = tl.dot(a2, tl.permute(w3, [0, 2, 1]), a3, input_precision="ieee")
    o_inside = (o < NET.outputs)[None, None, :]
    b3_inside = checkpoint_inside[:, None, None] & o_inside
    b3 = tl.load(base[:, None, None] + BIAS3 + o[None, None, :], mask=b3_inside, other=0.0)
    a3 = sigmoid(a3 + b3)

    # cost and first maximum; NaN counts as the largest value, as in argmax
    label = tl.load(label_ptr + image, mask=image_inside, other=-1).to(tl.int32)
    difference = a3 - (label[None, :, None] == o[None, None, :]).to(tl.float32)
    difference = tl.where(image_inside[None, :, None] & o_inside, difference, 0.0)
    cost = tl.sum(tl.sum(difference * difference, 2), 1)
    rank = tl.where(o_inside, tl.where(a3 == a3, a3, 2.0), -1.0)
    best = tl.max(rank, 2)
    predicted = tl.min(tl.where(rank == best[:, :, None], o[None, None, :], BLOCK_O), 2)
    hits = tl.sum((predicted == label[None, :]).to(tl.int32), 1)

    part = tl.program_id(0).to(tl.int64) * checkpoints + checkpoint
    tl.store(cost_ptr + part, cost, mask=checkpoint_inside)
    tl.store(hits_ptr + part, hits, mask=checkpoint_inside)
    if CONFUSION:
        table = checkpoint.to(tl.int64)[:, None] * (NET.outputs * NET.outputs)
        cell = table + label[None, :] * NET.outputs + predicted
        counted = checkpoint_inside[:, None] & ((label >= 0) & (label < NET.outputs))[None, :]
        tl.atomic_add(confusion_ptr + cell, 1, mask=counted, sem="relaxed")


def tile_config(net: Shape, tile: Tile | None = None) -> tuple[dict[str, Any], dict[str, int]]:
    """The kernel's constants for such networks, WIDTH the padded width of both hidden layers, and compiler options."""
    width = padded(max(net.hidden1, net.hidden2))
    block_c, block_m, warps, registers = tile or TILES[width]
    constants = {
        "NET": net, "WIDTH": width, "BLOCK_C": block_c, "BLOCK_M": block_m,
        "BLOCK_K": BLOCK_K, "BLOCK_H": BLOCK_H, "BLOCK_O": MAX_OUTPUTS,
    }  # fmt: skip
    return constants, {"num_warps": warps, "num_stages": 1, "maxnreg": registers}


def _column_shape(images: Tensor) -> list[int]:
    count, inputs = images.shape
    return [triton.cdiv(inputs, BLOCK_K) * BLOCK_K, triton.cdiv(count, IMAGE_MULTIPLE) * IMAGE_MULTIPLE]


def image_columns(images: Tensor) -> Tensor:
    """Images [N, K] transposed to [K, N] and padded with zeros to whole tiles: what the kernel reads of them."""
    columns = images.new_zeros(_column_shape(images))
    columns[: images.shape[1], : len(images)] = images.T
    return columns


def first_weights(checkpoints: Tensor, net: Shape, width: int, block_c: int) -> Tensor:
    """hidden1.weight of checkpoints [C, P] transposed to [K, C * width] and padded likewise."""
    count = len(checkpoints)
    rows = triton.cdiv(net.inputs, BLOCK_K) * BLOCK_K
    weights = checkpoints.new_zeros(rows, triton.cdiv(count, block_c) * block_c, width)
    given = checkpoints[:, : net.hidden1 * net.inputs].unflatten(1, (net.hidden1, net.inputs))
    weights[: net.inputs, :count, : net.hidden1] = given.permute(2, 0, 1)
    return weights.flatten(1)


def _check(
    checkpoints: Tensor, images: Tensor, labels: Tensor, hidden: tuple[int, int], outputs: int
) -> Shape:
    """The networks' shape; ValueError for what the kernel cannot take."""
    if images.ndim != 2 or images.dtype not in (torch.uint8, torch.float32):
        raise ValueError(f"images: uint8 or float32 [N, K], not {images.dtype} {list(images.shape)}")
    if images.shape[1] < 1:
        raise ValueError("inputs: 1 or more, not 0")
    if not all(1 <= width <= MAX_HIDDEN for width in hidden):
        raise ValueError(f"hidden: widths of 1 to {MAX_HIDDEN}, not {tuple(hidden)}")
    if not 2 <= outputs <= MAX_OUTPUTS:
        raise ValueError(f"outputs: 2 to {MAX_OUTPUTS}, not {outputs}")
    net = Shape(images.shape[1], int(hidden[0]), int(hidden[1]), outputs)
    row = net.parameters
    if checkpoints.dtype != torch.float32 or checkpoints.ndim != 2 or checkpoints.shape[1] != row:
        raise ValueError(
            f"checkpoints: float32 [C, {row}] for {net.inputs} inputs, hidden {tuple(hidden)} and {outputs}"
            f" outputs, not {checkpoints.dtype} {list(checkpoints.shape)}"
        )
    if checkpoints.stride(1) != 1:
        raise ValueError("checkpoints: rows whose parameters lie side by side")
    if labels.shape != images.shape[:1] or labels.is_floating_point() or labels.dtype == torch.bool:
        raise ValueError(
            f"labels: integers [{images.shape[0]}], one an image, not {labels.dtype} {list(labels.shape)}"
        )
    if not checkpoints.device == images.device == labels.device:
        raise ValueError(
            f"labels, images and checkpoints: on one device, not {labels.device}, {images.device}"
            f" and {checkpoints.device}"
        )
    return net


def evaluate_checkpoints(
    checkpoints: Tensor,
    images: Tensor,
    labels: Tensor,
    hidden: tuple[int, int],
    outputs: int,
    *,
    scale: float | None = None,
    confusion: bool = False,
    columns: Tensor | None = None,
    partial_bytes: int = PARTIAL_BYTES,
    tile: Tile | None = None,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Summed cost float64 [C], hits int64 [C] and confusion int64 [C, O, O] (or None), on the tensors' device.

    Does not wait for the device. On one GPU, or on the CPU under the interpreter.

    Args:
        checkpoints: float32 [C, P], rows as the trainer writes them; any row stride.
        images: uint8 or float32 [N, K]; labels: integers [N] in 0..O-1 (one that is not counts as no class: its
            target is all zeros, it is never hit and stands in no cell of the confusion counts).
        hidden, outputs: H1, H2 (1 to 128 each) and O (2 to 16).
        scale: what a pixel is multiplied by; by default 1/256 for uint8 images and 1 for float32.
        confusion: also count label against prediction, confusion[c, label, predicted].
        columns: `image_columns(images)`, where it is at hand; else it is made.
        partial_bytes: the most that partial results, and transposed weights, may take; checkpoints are split over
            launches beyond it.
        tile: instead of that of `TILES`, to measure another.

    Raises:
        ValueError: a size beyond the kernel's, or a tensor that does not fit, naming the argument.
    """
    net = _check(checkpoints, images, labels, hidden, outputs)
    if columns is not None:
        made, given = (images.dtype, _column_shape(images)), (columns.dtype, list(columns.shape))
        if given != made or columns.device != images.device or not columns.is_contiguous():
            raise ValueError(
                f"columns: contiguous {made[0]} {made[1]} on {images.device}, as image_columns makes them,"
                f" not {given[0]} {given[1]} on {columns.device}"
            )
    count, device = len(checkpoints), checkpoints.device
    counts = torch.zeros((count if confusion else 0, outputs, outputs), dtype=torch.int32, device=device)
    cost = torch.zeros(count, dtype=torch.float64, device=device)
    hits = torch.zeros(count, dtype=torch.int64, device=device)
    if len(images) == 0 or count == 0:
        return cost, hits, counts.long() if confusion else None
    if scale is None:
        scale = 1 / 256 if images.dtype == torch.uint8 else 1.0
    columns = image_columns(images) if columns is None else columns
    labels = labels.contiguous()
    constants, options = tile_config(net, tile)
    width, block_c = constants["WIDTH"], constants["BLOCK_C"]
    tiles = triton.cdiv(len(images), constants["BLOCK_M"])
    bytes_each = max(8 * tiles, 4 * len(columns) * width)
    at_once = max(1, min(partial_bytes // bytes_each // block_c, 65_535)) * block_c
    with torch.cuda.device_of(checkpoints):
        for first in range(0, count, at_once):
            chunk = slice(first, min(first + at_once, count))
            some = chunk.stop - first
            weights = first_weights(checkpoints[chunk], net, width, block_c)
            partial_cost = torch.empty((tiles, some), dtype=torch.float32, device=device)
            partial_hits = torch.empty((tiles, some), dtype=torch.int32, device=device)
            evaluation_forward_kernel[(tiles, triton.cdiv(some, block_c))](
                checkpoints[chunk], weights, columns, labels, partial_cost, partial_hits,
                counts[chunk] if confusion else partial_hits,
                some, len(images), checkpoints.stride(0), weights.stride(0), columns.stride(0), scale,
                **constants, CONFUSION=confusion, **options,
            )  # fmt: skip
            cost[chunk] = ordered_sum(partial_cost, torch.float64, MANY_COLUMNS)
            hits[chunk] = partial_hits.sum(0, dtype=torch.int64)
    return cost, hits, counts.long() if confusion else None
