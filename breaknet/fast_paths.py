"""Whether a module, a cost or an activation is the lesson's own, so that a fast backend gives what PyTorch would give.

Everything that would show has to be the lesson's: the parameters and who else holds them, the layers, every hook, every
method between a call and the layers. A forward of somebody else's is taken for ours only if it is straight-line code
that calls nothing but the layers and sigmoids, and gives our outputs: such code cannot do otherwise at another time.
Each function returns a reason to show, or None where there is no difference.
"""

import builtins
import dis
from collections.abc import Callable, Collection, Iterator
from itertools import pairwise
from types import CodeType, FunctionType, ModuleType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules import module as torch_module

from .model import INPUTS, LAYERS, MLP, OUTPUTS, PARAMETER_NAMES, torch_settings

#: Forwards that are ours, by the function, with what may make them compute something else at the moment.
OUR_FORWARDS: dict[Callable[..., Any], Callable[[], str | None]] = {MLP.forward: lambda: None}

#: torch's functions that the lesson stands on, as they were at import: somebody may replace them.
_ORIGINALS = (
    (torch, "sigmoid", torch.sigmoid),
    (functional, "linear", functional.linear),
    (nn.Linear, "forward", nn.Linear.forward),
    (nn.Module, "__call__", nn.Module.__call__),
    (nn.Module, "_call_impl", nn.Module._call_impl),
)
_MLP_CALL = MLP.__call__
_SIGMOIDS = (torch.sigmoid, torch.special.expit, torch.Tensor.sigmoid)

#: Attributes of nn.Module that hold hooks: those that can change outputs, and those that can change gradients.
_FORWARD_HOOKS = ("_forward_hooks", "_forward_pre_hooks")
_GRADIENT_HOOKS = ("_backward_hooks", "_backward_pre_hooks")

#: What a class may define although nn.Module has it: none of these takes part in a call or in training.
_FREE_NAMES = {"__init__", "forward", "extra_repr"} | set(vars(type("", (), {"__doc__": ""}))) | {
    "__annotations__", "__parameters__", "__orig_bases__", "__firstlineno__", "__static_attributes__", "__slots__",
    "__repr__", "__classcell__", "__annotate__", "__annotate_func__", "__annotations_cache__",
}  # fmt: skip

#: Instructions of code without conditions, without effects but on its own variables, and without imports.
_STRAIGHT = (
    "CACHE", "CALL", "CALL_FUNCTION", "CALL_FUNCTION_KW", "CALL_KW", "CALL_METHOD", "COPY_FREE_VARS", "END_FOR",
    "EXTENDED_ARG", "FOR_ITER", "GET_ITER", "JUMP_ABSOLUTE", "JUMP_BACKWARD", "KW_NAMES", "LOAD_ATTR", "LOAD_CONST",
    "LOAD_DEREF", "LOAD_FAST", "LOAD_FAST_AND_CLEAR", "LOAD_FAST_BORROW", "LOAD_FAST_BORROW_LOAD_FAST_BORROW",
    "LOAD_FAST_CHECK", "LOAD_FAST_LOAD_FAST", "LOAD_GLOBAL", "LOAD_METHOD", "LOAD_SMALL_INT", "NOP", "NOT_TAKEN",
    "POP_ITER", "POP_TOP", "PRECALL", "PUSH_NULL", "RESUME", "RETURN_CONST", "RETURN_VALUE", "STORE_FAST",
    "STORE_FAST_LOAD_FAST", "STORE_FAST_STORE_FAST", "BUILD_TUPLE", "BUILD_LIST",
)  # fmt: skip
_ARITHMETIC = (
    "BINARY_OP",
    "BINARY_POWER",
    "BINARY_SUBTRACT",
    "BINARY_ADD",
    "BINARY_MULTIPLY",
    "UNARY_NEGATIVE",
)
_NETWORK_NAMES = {"sigmoid", "Sigmoid", "special", "expit", "nn", "functional", "activation_func"}
_COST_NAMES = {
    "mse_loss", "MSELoss", "nn", "functional", "sum", "square", "pow", "sub", "to", "float", "dtype", "float32",
}  # fmt: skip


def difference_in_outputs(model: nn.Module) -> str | None:
    """Why the outputs of `model`, or what a call of it does besides, may be other than those of an MLP."""
    parameters = dict(nn.Module.named_parameters(model, remove_duplicate=False))
    if set(parameters) != set(PARAMETER_NAMES) or next(nn.Module.buffers(model), None) is not None:
        return "this model has other layers than the lesson's"
    extra = dict(nn.Module.named_children(model))
    layers = [extra.pop(name, None) for name in LAYERS]
    if any(type(layer) is not nn.Linear for layer in layers) or any(
        type(child) is not nn.Sigmoid for child in extra.values()
    ):
        return "this model has other layers than the lesson's"
    weights = [parameters[f"{name}.weight"] for name in LAYERS]
    widths = (INPUTS, *(len(weight) for weight in weights))
    if widths[-1] != OUTPUTS or any(
        tuple(weight.shape) != (outputs, inputs)
        for weight, (inputs, outputs) in zip(weights, pairwise(widths), strict=True)
    ):
        return "this model has other layers than the lesson's"
    for parameter in parameters.values():
        if parameter.dtype != torch.float32:
            return f"this model computes in {str(parameter.dtype).removeprefix('torch.')}, not in float32"
        if type(parameter) is not nn.Parameter or parameter.layout != torch.strided or parameter.is_meta:
            return "this model has parameters of another kind than the lesson's"
    for owner, name, original in _ORIGINALS:
        if getattr(owner, name) is not original:
            return f"torch's {name} has been replaced"
    if _hooks(model, _FORWARD_HOOKS):
        return "this model has forward hooks"
    shadowed = next((name for part in nn.Module.modules(model) for name in _own_methods(part)), None)
    if shadowed is not None:
        return f"this model has a {shadowed} of its own"
    return _difference_in_forward(model, {*extra})


def difference_in_training(model: nn.Module) -> str | None:
    """Why plain SGD may do something else to `model` than to an MLP of the same outputs."""
    parameters = dict(nn.Module.named_parameters(model, remove_duplicate=False))
    if not all(parameter.requires_grad for parameter in parameters.values()):
        return "this model has frozen parameters"
    storages = {parameter.untyped_storage().data_ptr() for parameter in parameters.values()}
    if len({id(parameter) for parameter in parameters.values()}) < len(parameters) or len(storages) < len(
        parameters
    ):
        return "this model has shared parameters"
    if any(
        parameter._backward_hooks or parameter._post_accumulate_grad_hooks
        for parameter in parameters.values()
    ):
        return "this model has gradient hooks"
    if _hooks(model, _GRADIENT_HOOKS):
        return "this model has gradient hooks"
    return None


def is_sigmoid(function: Any) -> bool:
    """Whether a function of tensors is the sigmoid, and nothing else besides."""
    if any(function is known for known in _SIGMOIDS):
        return True
    if type(function) is nn.Sigmoid:
        return not _hooks(function, _FORWARD_HOOKS + _GRADIENT_HOOKS) and not list(_own_methods(function))
    return _is_straight(function, _NETWORK_NAMES) and _gives_the_same(
        function, torch.sigmoid, [(sample * 20 - 10,) for sample in _samples()]
    )


def is_summed_squares(cost: Any) -> bool:
    """Whether a cost function of outputs and targets is the sum of squared errors, in value and in gradient."""
    if type(cost) is nn.MSELoss:
        hooked = _hooks(cost, _FORWARD_HOOKS + _GRADIENT_HOOKS) or list(_own_methods(cost))
        return not hooked and cost.reduction == "sum"
    if not _is_straight(cost, _COST_NAMES, _ARITHMETIC):
        return False
    targets = [functional.one_hot(torch.arange(len(sample)) % OUTPUTS, OUTPUTS) for sample in _samples()]
    pairs = zip(_samples(), targets, strict=True)
    return _gives_the_same(cost, _summed_squares, [(sample, target.float()) for sample, target in pairs])


def _summed_squares(input: Tensor, target: Tensor) -> Tensor:
    return functional.mse_loss(input, target, reduction="sum")


def _difference_in_forward(model: nn.Module, sigmoids: Collection[str]) -> str | None:
    forward = type(model).forward
    if forward in OUR_FORWARDS:
        return OUR_FORWARDS[forward]()
    other = "this model computes something else than the lesson's"
    if not _is_straight(forward, {*_NETWORK_NAMES, *LAYERS, *sigmoids}):
        return other
    held = [getattr(model, name) for name in _NETWORK_NAMES if name not in sigmoids and hasattr(model, name)]
    if not all(_known(value, _NETWORK_NAMES, _STRAIGHT, ()) for value in held):
        return other
    parameters = dict(nn.Module.named_parameters(model, remove_duplicate=False))
    device = next(iter(parameters.values())).device

    def expected(images: Tensor) -> Tensor:
        for layer in LAYERS:
            images = functional.linear(images, parameters[f"{layer}.weight"], parameters[f"{layer}.bias"])
            images = torch.sigmoid(images)
        return images

    images = torch.rand(3, INPUTS, dtype=torch.float32, generator=torch.Generator().manual_seed(0))
    return None if _gives_the_same(lambda x: forward(model, x), expected, [(images.to(device),)]) else other


def _gives_the_same(function: Any, reference: Any, arguments: list[tuple[Tensor, ...]]) -> bool:
    """Whether both give the same values and gradients in their first argument."""
    with torch_settings():
        for first, *others in arguments:
            found = []
            for candidate in (function, reference):
                variable = first.clone().requires_grad_(True)
                try:
                    value = candidate(variable, *others)
                    found.append((value, *torch.autograd.grad(value.sum(), variable)))
                except Exception:
                    return False
            for one, other in zip(*found, strict=True):
                if one.shape != other.shape or not torch.allclose(one, other, rtol=1e-5, atol=1e-7):
                    return False
    return True


def _samples() -> Iterator[Tensor]:
    """Numbers between 0 and 1, [N, 10], of several N."""
    generator = torch.Generator().manual_seed(0)
    for rows in (1, 3, 17):
        yield torch.rand(rows, OUTPUTS, dtype=torch.float32, generator=generator)


def _hooks(model: nn.Module, names: tuple[str, ...]) -> bool:
    everywhere = any(getattr(torch_module, f"_global{name}", None) for name in names)
    return everywhere or any(getattr(part, name) for part in nn.Module.modules(model) for name in names)


def _own_methods(module: nn.Module) -> Iterator[str]:
    """The methods of nn.Module that a module, or its class below nn.Module and torch's own layers, replaces."""
    if type(type(module)) is not type:
        yield type(type(module)).__name__
    for name in module.__dict__:
        if callable(getattr(type(module), name, None)):
            yield name
    for kind in type(module).__mro__:
        if kind in (nn.Module, nn.Linear, nn.Sigmoid, nn.MSELoss):
            return
        for name in vars(kind):
            if kind is MLP and name == "__call__" and vars(kind)[name] is _MLP_CALL:
                continue
            if name in LAYERS or (hasattr(nn.Module, name) and name not in _FREE_NAMES):
                yield name
            if name in ("__getattribute__", "__new__"):
                yield name


def _is_straight(function: Any, names: set[str], more: tuple[str, ...] = ()) -> bool:
    """Whether a Python function is straight-line code over these attributes, torch, and functions that are alike."""
    return _straight_function(function, names, (*_STRAIGHT, *more), ())


def _straight_function(
    function: Any, names: set[str], instructions: tuple[str, ...], callers: tuple[CodeType, ...]
) -> bool:
    if not isinstance(function, FunctionType) or function.__code__ in callers or len(callers) > 4:
        return False
    code = function.__code__
    callers = (*callers, code)
    modules = []
    cells = zip(code.co_freevars, function.__closure__ or (), strict=True)
    scope = {name: cell.cell_contents for name, cell in cells}
    loaded: dict[str, Any] = dict(scope)
    for instruction in dis.get_instructions(code):
        if instruction.opname not in instructions:
            return False
        if instruction.opname == "LOAD_GLOBAL":
            name = instruction.argval
            loaded[name] = function.__globals__.get(name, getattr(builtins, name, None))
        elif instruction.opname in ("LOAD_ATTR", "LOAD_METHOD") and instruction.argval not in names:
            return False
    for value in loaded.values():
        if isinstance(value, ModuleType):
            modules.append(value)
        elif not _known(value, names, instructions, callers):
            return False
    # an attribute of a module can be anything: what bears one of these names there has to be known as well
    return all(
        _known(getattr(module, name), names, instructions, callers)
        for module in modules
        for name in set(code.co_names) & names
        if hasattr(module, name)
    )


def _known(value: Any, names: set[str], instructions: tuple[str, ...], callers: tuple[CodeType, ...]) -> bool:
    if isinstance(value, ModuleType):
        return value.__name__ in ("torch", "torch.nn", "torch.nn.functional", "torch.special")
    if isinstance(value, torch.dtype):
        return True
    if any(value is known for known in (*_SIGMOIDS, nn.MSELoss, nn.Sigmoid, functional.mse_loss)):
        return True
    return _straight_function(value, names, instructions, callers)
