"""The one list of the configurations in which kernels are supported: each compiled and checked for every target.

Every kernel stands here with the widths, dtypes and options that the lesson and the public functions launch it with.
"""

from __future__ import annotations

import inspect
from typing import Any

from breaknet.kernels import evaluation, linear_sigmoid, ordered_sum, summed_mse
from breaknet.kernels.host import packed_trainer, trainers
from breaknet.kernels.host.targets import CompileCase
from breaknet.kernels.jobs import Shape

_PIXELS = ("*u8", "*fp32")


def supported_configurations(capability: int) -> list[CompileCase]:
    """Every supported configuration on GPUs of this capability (major * 10 + minor), kernel by kernel."""
    return [
        *_linear_sigmoid(capability),
        *_summed_mse(),
        *_ordered_sum(),
        *_evaluation(),
        *trainers.compile_cases(capability),
        *packed_trainer.compile_cases(capability),
    ]


def _case(
    kernel: Any, name: str, config: str, constexprs: dict[str, Any], types: dict[str, str], **options: Any
) -> CompileCase:
    """A configuration in which arguments that `types` does not name are float32 tensors or int32 numbers."""
    signature = {
        argument: types.get(argument, "*fp32" if argument.endswith("_ptr") else "i32")
        for argument in inspect.signature(kernel.fn).parameters
        if argument not in constexprs
    }
    return CompileCase(kernel, name, config, signature, constexprs, **options)


def _linear_sigmoid(capability: int) -> list[CompileCase]:
    """Three kernels by three widths, for contiguous tensors with a bias."""
    kernels = {
        "forward": (linear_sigmoid.linear_sigmoid_forward_kernel, ("xk", "wk", "bias")),
        "backward_input": (linear_sigmoid.linear_sigmoid_input_backward_kernel, ("gn", "yn", "wk")),
        "backward_parameters": (linear_sigmoid.linear_sigmoid_parameters_backward_kernel, ("gn", "yn", "xk")),
    }
    cases = []
    for name, (kernel, units) in kernels.items():
        for width in linear_sigmoid.TILES:
            blocks, options = linear_sigmoid.tile_config(width, capability)
            constexprs = {f"stride_{unit}": 1 for unit in units} | blocks
            if name == "forward":
                constexprs["HAS_BIAS"] = True
            cases.append(_case(kernel, f"linear_sigmoid_{name}", f"N{width}", constexprs, {}, **options))
    return cases


def _summed_mse() -> list[CompileCase]:
    """Three widths, values or int64 labels, contiguous, with the gradient."""
    cases = []
    for width in summed_mse.TILES:
        for labels in (False, True):
            blocks, options = summed_mse.tile_config(width)
            constexprs = blocks | {"WITH_GRADIENT": True, "stride_pc": 1, "LABELS": labels}
            types = {}
            if labels:
                constexprs["stride_tc"] = 0
                types["target_ptr"] = "*i64"
            config = f"C{width} {'labels' if labels else 'values'}"
            kernel = summed_mse.summed_mse_forward_kernel
            cases.append(_case(kernel, "summed_mse_forward", config, constexprs, types, **options))
    return cases


def _ordered_sum() -> list[CompileCase]:
    """Both tiles, and the two result types that their callers ask for."""
    few, many = ordered_sum.ONE_COLUMN, ordered_sum.MANY_COLUMNS
    return [
        _case(
            ordered_sum.ordered_sum_forward_kernel,
            "ordered_sum",
            f"{tile[0]}x{tile[1]} {result}",
            {"BLOCK_S": tile[0], "BLOCK_M": tile[1]},
            {"total_ptr": f"*{result}"},
            num_warps=ordered_sum.WARPS,
        )
        for tile, result in ((few, "fp32"), (many, "fp32"), (many, "fp64"))
    ]


def _evaluation() -> list[CompileCase]:
    """784 bytes or floats an image, every padded width; with the confusion counts or without."""
    cases = []
    for width in evaluation.TILES:
        constants, options = evaluation.tile_config(Shape(784, width, width, 10))
        for pixels, confusion in (("*u8", False), ("*u8", True), ("*fp32", True)):
            types = {"column_ptr": pixels, "scale": "fp32"}
            types |= dict.fromkeys(("label_ptr", "hits_ptr", "confusion_ptr"), "*i32")
            cases.append(
                _case(
                    evaluation.evaluation_forward_kernel,
                    "evaluation_forward",
                    f"{width}-{width} {pixels[1:]}{' confusion' if confusion else ''}",
                    constants | {"CONFUSION": confusion},
                    types,
                    divisible=("stride_weight", "stride_column"),
                    **options,
                )
            )
    return cases
