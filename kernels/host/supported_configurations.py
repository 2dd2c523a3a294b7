"""The one list of the configurations in which kernels are supported: each compiled and checked for every target.

Every kernel stands here with the widths, dtypes and options with which the lesson launches it, and the usual ones
of the public functions.
"""

import inspect
from collections.abc import Iterator
from typing import Any

import torch

from breaknet.kernels import evaluation, evaluation_tensor, fused_network_kernels, linear_sigmoid, summed_mse
from breaknet.kernels.cooperative_training import cooperative_training_kernel
from breaknet.kernels.device_functions import (
    MANY_COLUMNS,
    ONE_COLUMN,
    SUM_OPTIONS,
    ordered_sum_forward_kernel,
)
from breaknet.kernels.host import packed_trainer, trainers
from breaknet.kernels.host.targets import CompileCase
from breaknet.kernels.host.tiles import PACKED, TENSOR, TileConfig, cooperative_tiles, split_tiles
from breaknet.kernels.jobs import Shape

#: The SMs of GPUs that differ in the slices of a cooperative launch, by capability.
SMS = {75: (16, 40), 80: (108,), 86: (28, 72), 89: (24, 58), 90: (132,), 100: (148,), 120: (36, 170)}

_TRAINER_TYPES = {"labels_ptr": "*i32", "jobs_ptr": "*i64"}
#: Of evaluation's first weights, by form.
_OPERANDS = {"": "*fp32", "bfloat16": "*bf16", "float16": "*fp16"}


def supported_configurations(capability: int) -> list[CompileCase]:
    """Every supported configuration on GPUs of this capability (major * 10 + minor), kernel by kernel."""
    return [
        *_linear_sigmoid(capability),
        *_summed_mse(),
        *_ordered_sum(),
        *_fused_network(capability),
        *_evaluation(capability),
        *_cooperative_training(capability),
        *_split_training(),
        *_packed_training(capability),
    ]


def _case(
    kernel: Any, name: str, config: str, constexprs: Any, options: Any, types: Any = (), divisible: Any = ()
) -> CompileCase:
    """A configuration in which arguments that `types` does not name are float32 tensors or int32 numbers."""
    signature = {
        argument: dict(types).get(argument, "*fp32" if argument.endswith("_ptr") else "i32")
        for argument in inspect.signature(kernel.fn).parameters
        if argument not in constexprs
    }
    return CompileCase(kernel, name, config, signature, constexprs, options, divisible)


def _linear_sigmoid(capability: int) -> Iterator[CompileCase]:
    """Both kernels by three widths, for contiguous tensors with a bias."""
    for name, kernel, units in (
        ("forward", linear_sigmoid.linear_sigmoid_forward_kernel, ("xk", "wk", "bias")),
        ("backward", linear_sigmoid.linear_sigmoid_backward_kernel, ("gn", "yn", "xk", "wk")),
    ):
        for width in linear_sigmoid.TILES:
            blocks, options = linear_sigmoid.tile_config(width, capability)
            constexprs = {f"stride_{unit}": 1 for unit in units} | blocks
            if name == "forward":
                constexprs["HAS_BIAS"] = True
            yield _case(kernel, f"linear_sigmoid_{name}", f"N{width}", constexprs, options)


def _summed_mse() -> Iterator[CompileCase]:
    """Three widths, values or int64 labels, contiguous, with the gradient."""
    kernel = summed_mse.summed_mse_forward_kernel
    for width in summed_mse.TILES:
        blocks, options = summed_mse.tile_config(width)
        constexprs = blocks | {"WITH_GRADIENT": True, "stride_pc": 1}
        values, labels = constexprs | {"LABELS": False}, constexprs | {"LABELS": True, "stride_tc": 0}
        yield _case(kernel, "summed_mse_forward", f"C{width} values", values, options)
        yield _case(kernel, "summed_mse_forward", f"C{width} labels", labels, options, {"target_ptr": "*i64"})


def _ordered_sum() -> Iterator[CompileCase]:
    """Both tiles, and the two result types that their callers ask for."""
    kernel, one, many = ordered_sum_forward_kernel, ONE_COLUMN, MANY_COLUMNS
    for tile, result in ((one, "fp32"), (many, "fp32"), (many, "fp64")):
        config, blocks = f"{tile[0]}x{tile[1]} {result}", {"BLOCK_S": tile[0], "BLOCK_M": tile[1]}
        yield _case(kernel, "ordered_sum", config, blocks, SUM_OPTIONS, {"total_ptr": f"*{result}"})


def _fused_network(capability: int) -> Iterator[CompileCase]:
    """784 inputs and 10 outputs by hidden width, labels; forward with all that the backward pass needs."""
    for width in fused_network_kernels.TILES:
        shape = Shape(784, width, width, 10)
        forward, backward, options = fused_network_kernels.tile_config(shape, capability)
        constexprs = {"stride_xk": 1, "stride_tb": 1} | forward
        constexprs |= {"LABELS": True, "WITH_GRADIENT": True}
        types = {"target_ptr": "*i64", "ticket_ptr": "*i32"}
        sizes = "inputs", "hidden1", "hidden2", "stride_xb"
        kernel = fused_network_kernels.fused_network_forward_kernel
        forward_sizes = *sizes, "stride_tc"  # 0, of labels
        yield _case(kernel, "fused_network_forward", str(shape), constexprs, options, types, forward_sizes)
        kernel = fused_network_kernels.fused_network_backward_kernel
        yield _case(
            kernel, "fused_network_backward", str(shape), {"stride_xk": 1} | backward, options, (), sizes
        )


def _evaluation(capability: int) -> Iterator[CompileCase]:
    """784 bytes or floats an image, every padded width, with the confusion counts or without; splitting weights."""
    kernel, divisible = evaluation.evaluation_forward_kernel, ("stride_weight", "stride_image")
    types = {"scale": "fp32"} | dict.fromkeys(("label_ptr", "hits_ptr", "confusion_ptr"), "*i32")
    for width in evaluation.TILES:
        net = Shape(784, width, width, 10)
        for dtype, pixels, confusion in (
            (torch.uint8, "u8", False), (torch.uint8, "u8", True), (torch.float32, "fp32", True)
        ):  # fmt: skip
            tile = evaluation.tile_of(net, dtype, capability)
            constants, options = evaluation.tile_config(net, tile)
            form = ", tensor cores" if tile.tensor else ""
            config = f"{width}-{width} {pixels}{' confusion' if confusion else ''}{form}"
            constexprs = constants | {"CONFUSION": confusion}
            types |= {"image_ptr": f"*{pixels}", "weight_ptr": _OPERANDS[tile.tensor]}
            yield _case(kernel, "evaluation_forward", config, constexprs, options, types, divisible)
    form = evaluation.tensor_form(torch.uint8, capability)
    if form:
        half, module = form == "float16", evaluation_tensor
        kernel = module.split_f16_forward_kernel if half else module.split_bf16_forward_kernel
        block, types = {"BLOCK": module.SPLIT_BLOCK}, {"part_ptr": _OPERANDS[form]}
        yield _case(kernel, "split_weights", "fp32", block, module.SPLIT_OPTIONS, types, ("count",))


def _cooperative_training(capability: int) -> list[CompileCase]:
    """784 inputs and 10 outputs by hidden widths, batch and pixels, on GPUs of all sizes that hold the launch."""
    cases = {}
    for width, batch, pixels in (
        (16, 10, "*u8"),
        (16, 100, "*u8"),
        (16, 100, "*fp32"),
        (16, 1024, "*u8"),
        (32, 100, "*u8"),
        (64, 100, "*u8"),
    ):
        shape = Shape(784, width, width, 10)
        for sms in SMS[capability]:
            tiles = cooperative_tiles(shape, batch, capability, sms)
            if isinstance(tiles, TileConfig):
                config = f"{shape} batch {batch} {pixels[1:]}, {tiles.input_block} inputs a slice"
                cases[config] = _phase("cooperative_training", config, shape, tiles, pixels, 0)
    return list(cases.values())


def _split_training() -> Iterator[CompileCase]:
    """The same by phase, for widths that need it or may."""
    for width, batch, pixels in ((16, 100, "*u8"), (64, 100, "*u8"), (128, 10, "*u8"), (128, 1024, "*fp32")):
        shape = Shape(784, width, width, 10)
        tiles = split_tiles(shape, batch)
        assert isinstance(tiles, TileConfig), tiles
        for phase in (1, 2, 3):
            config = f"{shape} batch {batch} {pixels[1:]}, phase {phase}"
            yield _phase("split_training", config, shape, tiles, pixels, phase)


def _phase(name: str, config: str, shape: Shape, tiles: TileConfig, pixels: str, phase: int) -> CompileCase:
    types = _TRAINER_TYPES | {"images_ptr": pixels, "counters_ptr": "*i32"}
    constexprs = {"PHASE": phase, "NET": shape, "TILES": tiles}
    options = trainers.OPTIONS | {"launch_cooperative_grid": phase == 0}
    return _case(cooperative_training_kernel, name, config, constexprs, options, types)


def _packed_training(capability: int) -> Iterator[CompileCase]:
    """Every tile configuration of the target."""
    for tiles in PACKED + TENSOR.get(capability, ()):
        kernel, name = packed_trainer.kernel_of(tiles), f"packed_{tiles.form}"
        types = _TRAINER_TYPES | {"images_ptr": "*u8" if tiles.byte_images else "*fp32", "shape_ptr": "*i32"}
        divisible = ("pitch", "scratch_rows" if tiles.form == "looped" else "transposed_rows")
        options = packed_trainer.compiler_options(tiles)
        yield _case(kernel, name, tiles.name, {"TILES": tiles}, options, types, divisible)
