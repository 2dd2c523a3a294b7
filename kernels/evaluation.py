"""Lesson 3, every checkpoint on every image in one launch: cost, hits and, if asked, confusion counts.

    a1 = sigmoid(scale x W1^T + b1),  a2 = sigmoid(a1 W2^T + b2),  a3 = sigmoid(a2 W3^T + b3)
    cost = sum over images and outputs of (a3 - one_hot(label))^2,  predicted = first maximum of a3
    hits = images whose predicted class is the label;  confusion[label, predicted] counts them all

checkpoints float32 [C, P], one row each as the trainer writes it: the parameters flat in torch's order, hidden1.weight
[H1, K], hidden1.bias, hidden2.weight [H2, H1], hidden2.bias, output.weight [O, H2], output.bias. images uint8 or
float32 [N, K]. labels integer [N]. Results: cost float64 [C], hits int64 [C], confusion int64 [C, O, O].

Grid: (N / BLOCK_M, C / BLOCK_C). A program takes BLOCK_M images and BLOCK_C checkpoints. The first layer, nearly all
of the work, is one product [BLOCK_M, K] x [K, BLOCK_C * H1]: a tile of sums in registers, K walked in steps of
BLOCK_K. It has three forms:

- FMAs, for every GPU and both kinds of images (`first_layer_by_fma`). Nothing is loaded ahead by hand: that took 200
  registers a thread, and twice as many warps that wait in turn hide the loads better.
- Tensor cores, for bytes where `tensor_form` says so (`first_layer_by_tensor_cores`). byte / 256 is exact in
  bfloat16, and `bf16_parts` splits a weight into three without loss, so that three products are one of float32.
- Tensor cores of sm_75, for bytes: likewise in float16, whose range asks for more care (`dot_of_bytes`).

The other two layers are products batched over the checkpoints, the second in slices of BLOCK_H of its units so that W2
need not fit in shared memory. Widths are padded to powers of two, 16 or more; loads beyond the real ones are zero, and
so are the weights of padded units. Each program writes its own partial cost and hits; `ordered_sum` adds the costs in a
fixed order, torch the hits, which are integers.

FMAs read both operands with K as the slow axis: images and units then lie side by side in global memory, where a
warp's load is one piece, and in shared memory, where threads read four at once from banks of their own. Tensor cores
read images as they are, and weights likewise with K slow; those of sm_75 both in the order of its threads.
`prepared_images` and `first_weights` lay them out so, padded with zeros to whole tiles, so that no loop needs masks.
Cost: C N (K H1 + H1 H2 + H2 O) FMAs, or three times the first term on tensor cores; their throughput is the limit.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from breaknet.kernels._triton import INTERPRETED, capability_of, jit, tl, triton
from breaknet.kernels.device_functions import MANY_COLUMNS, keep_float32, ordered_sum, sigmoid
from breaknet.kernels.evaluation_tensor import (
    BF16_INPUTS,
    F16_INPUTS,
    F16_WARP,
    bf16_weights,
    dot_of_bytes,
    f16_images,
    f16_weights,
    first_layer_by_tensor_cores,
)
from breaknet.kernels.jobs import MAX_HIDDEN, MAX_OUTPUTS, Shape, padded


class Tile(NamedTuple):
    """The checkpoints, images and inputs that a program takes at a time, compiler options, and how it multiplies."""

    block_c: int
    block_m: int
    block_k: int
    warps: int
    stages: int = 1
    tensor: str = ""  # the type of the operands of tensor cores, "bfloat16" or "float16"; FMAs without
    registers: int | None = None  # a thread may take, where the assembler would stop too early


#: By the padded wider hidden layer. Both layers are padded alike, which keeps the configurations few enough to compile
#: each for every generation. Nothing depends on the number of checkpoints or images, so no bit of a result does.
TILES: dict[int, Tile] = {
    16: Tile(4, 64, 16, 4), 32: Tile(2, 64, 16, 4, registers=128),
    64: Tile(1, 64, 16, 4, registers=168), 128: Tile(1, 32, 16, 8),
}  # fmt: skip
#: With other caps one of the two spills on sm_100 or sm_120 with some Triton from 3.5 to 3.9.
TILES_100 = TILES | {64: Tile(1, 64, 16, 4, registers=176), 128: Tile(1, 32, 16, 8, registers=96)}
TENSOR_TILES: dict[int, Tile] = {
    16: Tile(8, 128, 32, 8, 3, "bfloat16"), 32: Tile(2, 128, 32, 8, 3, "bfloat16"),
    64: Tile(1, 128, 32, 8, 3, "bfloat16"), 128: Tile(1, 64, 32, 8, 3, "bfloat16"),
}  # fmt: skip
#: On sm_120 eight checkpoints spill with Triton 3.6.
TENSOR_TILES_120 = TENSOR_TILES | {16: Tile(4, 128, 32, 8, 3, "bfloat16")}
TENSOR_TILES_75: dict[int, Tile] = {
    16: Tile(4, 64, 16, 4, 1, "float16"), 32: Tile(2, 64, 16, 4, 1, "float16"),
    64: Tile(1, 64, 16, 4, 1, "float16"), 128: Tile(1, 32, 16, 4, 1, "float16"),
}  # fmt: skip
BLOCK_H = 16
#: Images are padded to whole multiples of this, a multiple of every BLOCK_M, and inputs, by form, of every BLOCK_K.
IMAGE_MULTIPLE = 128
_INPUTS = {"": 16, "bfloat16": BF16_INPUTS, "float16": F16_INPUTS}
#: More partial results than this are computed in several launches over checkpoints.
PARTIAL_BYTES = 256 * 2**20


@jit
def first_layer_by_fma(
    image_ptr, weight_ptr, image, unit, stride_image, stride_weight, scale,
    INPUTS: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    """scale x W1^T [BLOCK_M, N] for images [BLOCK_M] and columns `unit` [N] of the weights, by FMAs."""
    k = tl.arange(0, BLOCK_K)[:, None]
    x_tile = k * stride_image + image[None, :]
    w_tile = k * stride_weight + unit[None, :]
    z = tl.zeros([image.shape[0], unit.shape[0]], tl.float32)
    for _ in range(0, INPUTS, BLOCK_K):
        x = keep_float32(tl.load(image_ptr + x_tile).to(tl.float32)) * scale
        w = tl.load(weight_ptr + w_tile)
        # before the product: after it, they take up to 80 registers more
        image_ptr += BLOCK_K * stride_image
        weight_ptr += BLOCK_K * stride_weight
        z = tl.dot(tl.trans(x), w, z, input_precision="ieee")
    return z


# a first checkpoint or label at any address would otherwise be compiled again, to the same machine code
@jit(
    do_not_specialize=["checkpoints", "images"],
    do_not_specialize_on_alignment=["checkpoint_ptr", "label_ptr"],
)
def evaluation_forward_kernel(
    checkpoint_ptr, weight_ptr, rest_ptr, image_ptr, label_ptr, cost_ptr, hits_ptr, confusion_ptr,
    checkpoints, images, stride_checkpoint, stride_weight, stride_image, scale,
    NET: tl.constexpr, WIDTH: tl.constexpr, BLOCK_C: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_K: tl.constexpr,
    BLOCK_H: tl.constexpr, BLOCK_O: tl.constexpr, TENSOR: tl.constexpr, CONFUSION: tl.constexpr,
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
    first_unit = tl.program_id(1) * (BLOCK_C * WIDTH)
    if TENSOR == "float16":
        z = dot_of_bytes(
            image_ptr, weight_ptr, rest_ptr, tl.program_id(0) * BLOCK_M, first_unit, stride_image, stride_weight,
            tl.cdiv(checkpoints, BLOCK_C) * (BLOCK_C * WIDTH), scale, NET.inputs, BLOCK_M, BLOCK_C * WIDTH,
        )  # fmt: skip
    else:
        n = first_unit + tl.arange(0, BLOCK_C * WIDTH)
        first_layer: tl.constexpr = (
            first_layer_by_tensor_cores if TENSOR == "bfloat16" else first_layer_by_fma
        )
        z = first_layer(
            image_ptr, weight_ptr, image, n, stride_image, stride_weight, scale, NET.inputs, BLOCK_K
        )
    h1 = tl.arange(0, WIDTH)
    h1_inside = (checkpoint_inside[:, None] & (h1 < NET.hidden1)[None, :])[:, None, :]
    z = tl.permute(tl.reshape(z, [BLOCK_M, BLOCK_C, WIDTH]), [1, 0, 2])
    b1 = tl.load(base[:, None, None] + BIAS1 + h1[None, None, :], mask=h1_inside, other=0.0)
    a1 = sigmoid(z + b1)

    # second layer, BLOCK_H units at a time, each slice passed on to the third at once
    o = tl.arange(0, BLOCK_O)
    a3 = tl.zeros([BLOCK_C, BLOCK_M, BLOCK_O], tl.float32)
    for first in tl.range(0, WIDTH, BLOCK_H, num_stages=1):
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


def tensor_form(dtype: torch.dtype, capability: int) -> str:
    """The type of operands in which images of this type are evaluated on tensor cores there; "" for FMAs.

    sm_75 has none for bfloat16. On sm_100 its tiles fit, too, but its instructions do not say whether they round to
    TF32 (`keep_float32`), and nothing has run them yet.
    """
    if dtype != torch.uint8 or not (75 <= capability < 100 or 120 <= capability < 130):
        return ""
    return "float16" if capability < 80 else "bfloat16"


def tile_of(net: Shape, dtype: torch.dtype, capability: int) -> Tile:
    """The tile for such networks and images; nothing else decides it."""
    form, width = tensor_form(dtype, capability), _width(net)
    if not form:
        return (TILES if capability < 100 else TILES_100)[width]
    if form == "float16":
        return TENSOR_TILES_75[width]
    return (TENSOR_TILES if capability < 120 else TENSOR_TILES_120)[width]


def _capability(images: Tensor) -> int:
    """That of their device; 0, which has FMAs alone, under the interpreter, which knows no sm_75's instructions."""
    return 0 if INTERPRETED else capability_of(images.device)


def _width(net: Shape) -> int:
    """The padded width of both hidden layers."""
    return padded(max(net.hidden1, net.hidden2))


def tile_config(net: Shape, tile: Tile) -> tuple[dict[str, Any], dict[str, int]]:
    """The kernel's constants for such networks, and compiler options."""
    constants = {
        "NET": net, "WIDTH": _width(net), "BLOCK_C": tile.block_c, "BLOCK_M": tile.block_m,
        "BLOCK_K": tile.block_k, "BLOCK_H": BLOCK_H, "BLOCK_O": MAX_OUTPUTS, "TENSOR": tile.tensor,
    }  # fmt: skip
    options = {"num_warps": tile.warps, "num_stages": tile.stages}
    return constants, options if tile.registers is None else options | {"maxnreg": tile.registers}


def _padded(images: Tensor, tensor: str) -> tuple[int, int]:
    """Images and inputs in whole tiles."""
    sizes = zip(images.shape, (IMAGE_MULTIPLE, _INPUTS[tensor]), strict=True)
    count, inputs = (triton.cdiv(size, multiple) * multiple for size, multiple in sizes)
    return count, inputs


def _prepared_shape(images: Tensor, tensor: str) -> list[int]:
    count, inputs = _padded(images, tensor)
    return {"": [inputs, count], "bfloat16": [count, inputs], "float16": [count // 16, inputs * 16]}[tensor]


def prepared_images(images: Tensor, tensor: str | None = None) -> Tensor:
    """Images [N, K] as the kernel reads them: padded with zeros to whole tiles; for FMAs transposed to [K, N].

    `tensor` names the form, as in a tile; by default it is that of the images' type and device.
    """
    if tensor is None:
        tensor = tensor_form(images.dtype, _capability(images))
    prepared = images.new_zeros(_padded(images, tensor)[:: 1 if tensor else -1])
    count, inputs = images.shape
    if not tensor:
        prepared[:inputs, :count] = images.T
        return prepared
    prepared[:count, :inputs] = images
    return f16_images(prepared) if tensor == "float16" else prepared


def first_weights(checkpoints: Tensor, net: Shape, tile: Tile) -> tuple[Tensor, Tensor]:
    """hidden1.weight of checkpoints [C, P] transposed to [K, C * width] and padded likewise; and what it leaves out.

    For tensor cores their parts: bfloat16 [3, K, C * width], float32 under the interpreter, which multiplies no other,
    or what `dot_of_bytes` reads.
    """
    count, multiple = len(checkpoints), _INPUTS[tile.tensor]
    rows = triton.cdiv(net.inputs, multiple) * multiple
    weights = checkpoints.new_zeros(rows, triton.cdiv(count, tile.block_c) * tile.block_c, _width(net))
    given = checkpoints[:, : net.hidden1 * net.inputs].unflatten(1, (net.hidden1, net.inputs))
    weights[: net.inputs, :count, : net.hidden1] = given.permute(2, 0, 1)
    weights = weights.flatten(1)
    if tile.tensor == "float16":
        return f16_weights(weights)
    if not tile.tensor:
        return weights, weights
    return bf16_weights(weights), weights


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
    prepared: Tensor | None = None,
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
        prepared: `prepared_images(images)`, where it is at hand, and images are not read; else it is made.
        partial_bytes: the most that partial results, and transposed weights, may take; checkpoints are split over
            launches beyond it.
        tile: instead of that of `tile_of`, to measure another.

    Raises:
        ValueError: a size beyond the kernel's, or a tensor that does not fit, naming the argument.
    """
    net = _check(checkpoints, images, labels, hidden, outputs)
    tile = tile or tile_of(net, images.dtype, _capability(images))
    if tile.tensor and images.dtype != torch.uint8:
        raise ValueError(f"tile: tensor cores take uint8 images, not {images.dtype}")
    if IMAGE_MULTIPLE % tile.block_m or _INPUTS[tile.tensor] % tile.block_k:
        raise ValueError(f"tile: block_m and block_k that divide what operands are padded to, not {tile}")
    warp_tiles = tile.block_m * tile.block_c * _width(net) / F16_WARP**2
    if tile.tensor == "float16" and (warp_tiles != tile.warps or tile.block_m % F16_WARP):
        raise ValueError(f"tile: a warp for each 32 images and 32 columns, not {tile}")
    if prepared is not None:
        made, given = (
            (images.dtype, _prepared_shape(images, tile.tensor)),
            (prepared.dtype, list(prepared.shape)),
        )
        if given != made or prepared.device != images.device or not prepared.is_contiguous():
            raise ValueError(
                f"prepared: contiguous {made[0]} {made[1]} on {images.device}, as prepared_images makes them,"
                f" not {given[0]} {given[1]} on {prepared.device}"
            )
    count, device = len(checkpoints), checkpoints.device
    counts = torch.zeros((count if confusion else 0, outputs, outputs), dtype=torch.int32, device=device)
    cost = torch.zeros(count, dtype=torch.float64, device=device)
    hits = torch.zeros(count, dtype=torch.int64, device=device)
    if len(images) == 0 or count == 0:
        return cost, hits, counts.long() if confusion else None
    if scale is None:
        scale = 1 / 256 if images.dtype == torch.uint8 else 1.0
    prepared = prepared_images(images, tile.tensor) if prepared is None else prepared
    labels = labels.contiguous()
    constants, options = tile_config(net, tile)
    tiles = triton.cdiv(len(images), tile.block_m)
    # a weight is 4 bytes, its parts 6; of float16 both are there twice while they are laid out
    bytes_each = max(
        8 * tiles, {"": 4, "bfloat16": 10, "float16": 20}[tile.tensor] * net.inputs * constants["WIDTH"]
    )
    at_once = max(1, min(partial_bytes // bytes_each // tile.block_c, 65_535)) * tile.block_c
    with torch.cuda.device_of(checkpoints):
        for first in range(0, count, at_once):
            chunk = slice(first, min(first + at_once, count))
            some = chunk.stop - first
            weights, rests = first_weights(checkpoints[chunk], net, tile)
            partial_cost = torch.empty((tiles, some), dtype=torch.float32, device=device)
            partial_hits = torch.empty((tiles, some), dtype=torch.int32, device=device)
            evaluation_forward_kernel[(tiles, triton.cdiv(some, tile.block_c))](
                checkpoints[chunk], weights, rests, prepared, labels, partial_cost, partial_hits,
                counts[chunk] if confusion else partial_hits,
                some, len(images), checkpoints.stride(0), weights.stride(-2), prepared.stride(0), scale,
                **constants, CONFUSION=confusion, **options,
            )  # fmt: skip
            cost[chunk] = ordered_sum(partial_cost, torch.float64, MANY_COLUMNS)
            hits[chunk] = partial_hits.sum(0, dtype=torch.int64)
    return cost, hits, counts.long() if confusion else None
