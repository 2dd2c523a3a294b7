"""Every checkpoint on every image in one launch: cost, hits and, if asked, the confusion counts of each.

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
once from banks of their own. As the trainer leaves them each thread would read a line of its own. The turned copies are
padded with zeros to whole tiles, so that the loop needs no masks.
"""

from typing import Any

import torch
from torch import Tensor

from breaknet.kernels._triton import jit, tl, triton
from breaknet.kernels.device_functions import sigmoid
from breaknet.kernels.host.targets import CompileCase, padded
from breaknet.kernels.ordered_sum import MANY_COLUMNS, ordered_sum

WIDEST = 128
MOST_OUTPUTS = 16
#: BLOCK_C, BLOCK_M, warps and the registers a thread may take, by the padded wider hidden layer: a tile of 64 x 64
#: sums by 4 warps, two programs to a multiprocessor of every generation, T4 included (three, at 168 registers, would
#: spill), or 32 x 128 by 8 for the widest, where 4 would spill. Both layers are padded alike, which keeps the forms
#: few enough to compile each for every generation. Nothing depends on the number of checkpoints or images, so no bit
#: of a result does.
TILES = {16: (4, 64, 4, 255), 32: (2, 64, 4, 255), 64: (1, 64, 4, 255), 128: (1, 32, 8, 255)}
BLOCK_K = 16
BLOCK_H = 16
#: Images that `image_columns` pads to: a multiple of every BLOCK_M.
MOST_IMAGES = 128
#: More partial results than this are computed in several launches over checkpoints.
PARTIAL_BYTES = 256 * 2**20


def evaluation_spec(
    parameters: list[Tensor], images: Tensor, labels: Tensor, scale: float
) -> tuple[Tensor, Tensor, Tensor]:
    """One checkpoint, [H1, K], [H1], [H2, H1], [H2], [O, H2], [O] -> cost 0-d, hits 0-d, confusion [O, O]."""
    activation = images.to(parameters[0].dtype) * scale
    for weight, bias in zip(parameters[::2], parameters[1::2], strict=True):
        activation = torch.sigmoid(activation @ weight.T + bias)
    classes = torch.arange(activation.shape[1], device=labels.device)
    one_hot = (labels[:, None] == classes).to(activation.dtype)
    predicted = (activation.argmax(1)[:, None] == classes).to(activation.dtype)
    confusion = (one_hot.T @ predicted).long()
    return ((activation - one_hot) ** 2).sum(), confusion.diagonal().sum(), confusion


# a first checkpoint or label at any address would otherwise be compiled anew, to the same machine code
@jit(
    do_not_specialize=["checkpoints", "images"],
    do_not_specialize_on_alignment=["checkpoint_ptr", "label_ptr"],
)
def evaluation_forward_kernel(
    checkpoint_ptr, weight_ptr, column_ptr, label_ptr, cost_ptr, hits_ptr, confusion_ptr,
    checkpoints, images, stride_checkpoint, stride_weight, stride_column, scale,
    INPUTS: tl.constexpr, HIDDEN1: tl.constexpr, HIDDEN2: tl.constexpr, OUTPUTS: tl.constexpr,
    BLOCK_C: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_K: tl.constexpr,
    BLOCK_H1: tl.constexpr, BLOCK_H2: tl.constexpr, BLOCK_H: tl.constexpr, BLOCK_O: tl.constexpr,
    CONFUSION: tl.constexpr,
):  # fmt: skip
    BIAS1: tl.constexpr = HIDDEN1 * INPUTS
    WEIGHT2: tl.constexpr = BIAS1 + HIDDEN1
    BIAS2: tl.constexpr = WEIGHT2 + HIDDEN2 * HIDDEN1
    WEIGHT3: tl.constexpr = BIAS2 + HIDDEN2
    BIAS3: tl.constexpr = WEIGHT3 + OUTPUTS * HIDDEN2

    image = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    checkpoint = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    image_inside = image < images
    checkpoint_inside = checkpoint < checkpoints
    base = checkpoint_ptr + checkpoint.to(tl.int64) * stride_checkpoint

    # first layer: column n of the tile is unit n % BLOCK_H1 of checkpoint n // BLOCK_H1
    k = tl.arange(0, BLOCK_K)[:, None]
    x_tile = k * stride_column + image[None, :]
    n = tl.program_id(1) * (BLOCK_C * BLOCK_H1) + tl.arange(0, BLOCK_C * BLOCK_H1)
    w_tile = k * stride_weight + n[None, :]
    x_next = tl.load(column_ptr + x_tile)
    w_next = tl.load(weight_ptr + w_tile)
    z = tl.zeros([BLOCK_M, BLOCK_C * BLOCK_H1], tl.float32)
    for first in range(0, INPUTS, BLOCK_K):
        x = x_next.to(tl.float32) * scale
        w = w_next
        ahead = tl.where(first + BLOCK_K < INPUTS, BLOCK_K, 0)  # at the end, the last tile once more
        column_ptr += ahead * stride_column
        weight_ptr += ahead * stride_weight
        x_next = tl.load(column_ptr + x_tile)
        w_next = tl.load(weight_ptr + w_tile)
        z = tl.dot(tl.trans(x), w, z, input_precision="ieee")
    h1 = tl.arange(0, BLOCK_H1)
    h1_inside = (checkpoint_inside[:, None] & (h1 < HIDDEN1)[None, :])[:, None, :]
    z = tl.permute(tl.reshape(z, [BLOCK_M, BLOCK_C, BLOCK_H1]), [1, 0, 2])
    b1 = tl.load(base[:, None, None] + BIAS1 + h1[None, None, :], mask=h1_inside, other=0.0)
    a1 = sigmoid(z + b1)

    # second layer, BLOCK_H units at a time, each slice handed on to the third at once
    o = tl.arange(0, BLOCK_O)
    a3 = tl.zeros([BLOCK_C, BLOCK_M, BLOCK_O], tl.float32)
    for first in range(0, BLOCK_H2, BLOCK_H):
        h2 = first + tl.arange(0, BLOCK_H)
        h2_inside = checkpoint_inside[:, None] & (h2 < HIDDEN2)[None, :]
        w2_tile = base[:, None, None] + WEIGHT2 + h2[None, :, None] * HIDDEN1 + h1[None, None, :]
        w2 = tl.load(w2_tile, mask=h2_inside[:, :, None] & h1_inside, other=0.0)
        b2 = tl.load(base[:, None, None] + BIAS2 + h2[None, None, :], mask=h2_inside[:, None, :], other=0.0)
        a2 = sigmoid(tl.dot(a1, tl.permute(w2, [0, 2, 1]), input_precision="ieee") + b2)
        w3_tile = base[:, None, None] + WEIGHT3 + o[None, :, None] * HIDDEN2 + h2[None, None, :]
        w3_inside = (o < OUTPUTS)[None, :, None] & h2_inside[:, None, :]
        w3 = tl.load(w3_tile, mask=w3_inside, other=0.0)
        a3 = tl.dot(a2, tl.permute(w3, [0, 2, 1]), a3, input_precision="ieee")
    o_inside = (o < OUTPUTS)[None, None, :]
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
        cell = checkpoint.to(tl.int64)[:, None] * (OUTPUTS * OUTPUTS) + label[None, :] * OUTPUTS + predicted
        counted = checkpoint_inside[:, None] & ((label >= 0) & (label < OUTPUTS))[None, :]
        tl.atomic_add(confusion_ptr + cell, 1, mask=counted, sem="relaxed")


def _column_shape(images: Tensor) -> list[int]:
    count, inputs = images.shape
    return [triton.cdiv(inputs, BLOCK_K) * BLOCK_K, triton.cdiv(count, MOST_IMAGES) * MOST_IMAGES]


def image_columns(images: Tensor) -> Tensor:
    """Images [N, K] turned to [K, N] and padded with zeros to whole tiles: what the kernel reads of them."""
    columns = images.new_zeros(_column_shape(images))
    columns[: images.shape[1], : len(images)] = images.T
    return columns


def first_weights(checkpoints: Tensor, inputs: int, hidden1: int, blocks: dict[str, Any]) -> Tensor:
    """hidden1.weight of checkpoints [C, P] turned to [K, C * H1] and padded likewise."""
    count, block_c = len(checkpoints), blocks["BLOCK_C"]
    rows = triton.cdiv(inputs, BLOCK_K) * BLOCK_K
    weights = checkpoints.new_zeros(rows, triton.cdiv(count, block_c) * block_c, blocks["BLOCK_H1"])
    given = checkpoints[:, : hidden1 * inputs].unflatten(1, (hidden1, inputs))
    weights[:inputs, :count, :hidden1] = given.permute(2, 0, 1)
    return weights.flatten(1)


def _form(inputs: int, hidden: tuple[int, int], outputs: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """The kernel's constants and the compiler's options for one network."""
    width = padded(max(hidden))
    block_c, block_m, warps, registers = TILES[width]
    blocks = {
        "INPUTS": inputs, "HIDDEN1": hidden[0], "HIDDEN2": hidden[1], "OUTPUTS": outputs,
        "BLOCK_C": block_c, "BLOCK_M": block_m, "BLOCK_K": BLOCK_K,
        "BLOCK_H1": width, "BLOCK_H2": width, "BLOCK_H": BLOCK_H, "BLOCK_O": MOST_OUTPUTS,
    }  # fmt: skip
    return blocks, {"num_warps": warps, "num_stages": 1, "maxnreg": registers}


def unsupported(inputs: int, hidden: tuple[int, int], outputs: int) -> str | None:
    """Why the kernel cannot take a network of these sizes, in one line; None if it can."""
    if inputs < 1:
        return f"inputs: 1 or more, not {inputs}"
    if not all(1 <= width <= WIDEST for width in hidden):
        return f"hidden: widths of 1 to {WIDEST}, not {tuple(hidden)}"
    if not 2 <= outputs <= MOST_OUTPUTS:
        return f"outputs: 2 to {MOST_OUTPUTS}, not {outputs}"
    return None


def parameter_count(inputs: int, hidden: tuple[int, int], outputs: int) -> int:
    """P, the length of one checkpoint's row."""
    return (inputs + 1) * hidden[0] + (hidden[0] + 1) * hidden[1] + (hidden[1] + 1) * outputs


def _check(
    checkpoints: Tensor, images: Tensor, labels: Tensor, hidden: tuple[int, int], outputs: int
) -> None:
    if images.ndim != 2 or images.dtype not in (torch.uint8, torch.float32):
        raise ValueError(f"images: uint8 or float32 [N, K], not {images.dtype} {list(images.shape)}")
    reason = unsupported(images.shape[1], hidden, outputs)
    if reason is not None:
        raise ValueError(reason)
    row = parameter_count(images.shape[1], hidden, outputs)
    if checkpoints.dtype != torch.float32 or checkpoints.ndim != 2 or checkpoints.shape[1] != row:
        raise ValueError(
            f"checkpoints: float32 [C, {row}] for {images.shape[1]} inputs, hidden {tuple(hidden)} and {outputs}"
            f" outputs, not {checkpoints.dtype} {list(checkpoints.shape)}"
        )
    if row > 1 and checkpoints.stride(1) != 1:
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


def _check_columns(columns: Tensor, images: Tensor) -> None:
    wanted = _column_shape(images)
    fits = list(columns.shape) == wanted and columns.is_contiguous()
    if not fits or columns.dtype != images.dtype or columns.device != images.device:
        raise ValueError(
            f"columns: contiguous {images.dtype} {wanted} on {images.device}, as image_columns makes them,"
            f" not {columns.dtype} {list(columns.shape)} on {columns.device}"
        )


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
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Summed cost float64 [C], hits int64 [C] and confusion int64 [C, O, O] (or None), on the tensors' device.

    Nothing is waited for. On one GPU, or on the CPU under the interpreter.

    Args:
        checkpoints: float32 [C, P], rows as the trainer writes them; any row stride.
        images: uint8 or float32 [N, K]; labels: integers [N] in 0..O-1 (one that is not counts as no class: its
            target is all zeros, it is never hit and stands in no cell of the confusion counts).
        hidden, outputs: H1, H2 (1 to 128 each) and O (2 to 16).
        scale: what a pixel is multiplied by; by default 1/256 for uint8 images and 1 for float32.
        confusion: also count label against prediction, confusion[c, label, predicted].
        columns: `image_columns(images)`, where it is at hand; else it is made.
        partial_bytes: the most that partial results, and turned weights, may take; checkpoints are split over
            launches beyond it.

    Raises:
        ValueError: a size beyond the kernel's, or a tensor that does not fit, naming the argument.
    """
    hidden = (int(hidden[0]), int(hidden[1]))
    _check(checkpoints, images, labels, hidden, outputs)
    if columns is not None:
        _check_columns(columns, images)
    count, device = checkpoints.shape[0], checkpoints.device
    counts = torch.zeros((count if confusion else 0, outputs, outputs), dtype=torch.int32, device=device)
    cost = torch.zeros(count, dtype=torch.float64, device=device)
    hits = torch.zeros(count, dtype=torch.int64, device=device)
    if len(images) == 0 or count == 0:
        return cost, hits, counts.long() if confusion else None
    if scale is None:
        scale = 1 / 256 if images.dtype == torch.uint8 else 1.0
    columns = image_columns(images) if columns is None else columns
    labels = labels.contiguous()
    inputs = images.shape[1]
    blocks, options = _form(inputs, hidden, outputs)
    tiles = triton.cdiv(len(images), blocks["BLOCK_M"])
    bytes_each = max(8 * tiles, 4 * len(columns) * blocks["BLOCK_H1"])
    at_once = max(1, min(partial_bytes // bytes_each // blocks["BLOCK_C"], 65_535)) * blocks["BLOCK_C"]
    with torch.cuda.device_of(checkpoints):
        for first in range(0, count, at_once):
            chunk = slice(first, min(first + at_once, count))
            width = chunk.stop - first
            weights = first_weights(checkpoints[chunk], inputs, hidden[0], blocks)
            partial_cost = torch.empty((tiles, width), dtype=torch.float32, device=device)
            partial_hits = torch.empty((tiles, width), dtype=torch.int32, device=device)
            evaluation_forward_kernel[(tiles, triton.cdiv(width, blocks["BLOCK_C"]))](
                checkpoints[chunk], weights, columns, labels, partial_cost, partial_hits,
                counts[chunk] if confusion else partial_hits,
                width, len(images), checkpoints.stride(0), weights.stride(0), columns.stride(0), scale,
                **blocks, CONFUSION=confusion, **options,
            )  # fmt: skip
            cost[chunk] = ordered_sum(partial_cost, torch.float64, MANY_COLUMNS)
            hits[chunk] = partial_hits.sum(0, dtype=torch.int64)
    return cost, hits, counts.long() if confusion else None


def compile_cases(capability: int) -> list[CompileCase]:
    """The shipped forms: 784 bytes or floats an image, every padded width; the confusion counts too."""
    pointers = {
        "checkpoint": "*fp32",
        "weight": "*fp32",
        "label": "*i32",
        "cost": "*fp32",
        "hits": "*i32",
        "confusion": "*i32",
    }
    signature = {f"{name}_ptr": kind for name, kind in pointers.items()} | {"scale": "fp32"}
    strides = ("stride_weight", "stride_column")
    signature |= dict.fromkeys(("checkpoints", "images", "stride_checkpoint", *strides), "i32")
    widths = (16, 32, 64, 128)
    forms = [((width, width), "*u8", False) for width in widths]
    forms += [((width, width), pixels, True) for width in widths for pixels in ("*u8", "*fp32")]
    cases = []
    for hidden, pixels, counted in forms:
        blocks, options = _form(784, hidden, 10)
        cases.append(
            CompileCase(
                kernel=evaluation_forward_kernel,
                name="evaluation_forward",
                config=f"{hidden[0]}-{hidden[1]} {pixels[1:]}{' confusion' if counted else ''}",
                signature=signature | {"column_ptr": pixels},
                constexprs=blocks | {"CONFUSION": counted},
                divisible=strides,
                **options,
            )
        )
    return cases
