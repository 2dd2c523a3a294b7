"""A training step as tensor cores would compute it: operands of every product rounded to TF32, sums in float32.

TF32 keeps float32's 8 bits of exponent and 10 of its 23 bits of mantissa. Rounding is to nearest, ties away from zero
(PTX's cvt.rna.tf32.f32), the most accurate rounding that hardware does. Products of two such numbers are exact in
float32.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from breaknet import reference

Product = Callable[[Tensor, Tensor], Tensor]
_DROPPED = 13  # of float32's 23 bits of mantissa


def to_tf32(x: Tensor) -> Tensor:
    """float32 of any shape, rounded to 10 bits of mantissa; finite values only."""
    bits = x.contiguous().view(torch.int32)
    return ((bits + (1 << (_DROPPED - 1))) & -(1 << _DROPPED)).view(torch.float32)


def tensor_core_product(a: Tensor, b: Tensor) -> Tensor:
    """a [B, K] times b [K, N], both rounded to TF32, summed in float32."""
    return to_tf32(a) @ to_tf32(b)


def split_product(a: Tensor, b: Tensor) -> Tensor:
    """A product with float32's accuracy from three on tensor cores: each operand is the sum of two TF32 numbers."""
    a_high, b_high = to_tf32(a), to_tf32(b)
    cross_terms = tensor_core_product(a_high, b - b_high) + tensor_core_product(a - a_high, b_high)
    return tensor_core_product(a_high, b_high) + cross_terms


#: Products of two matrices, by their names in figures.
PRODUCTS: dict[str, Product] = {
    "float32": torch.matmul,
    "TF32": tensor_core_product,
    "TF32, split in three": split_product,
}


def bf16_parts(x: Tensor, count: int) -> list[Tensor]:
    """float32 of any shape as `count` bfloat16 numbers, in float32: each is what the ones before left, rounded."""
    parts, rest = [], x
    for _ in range(count):
        parts.append(rest.bfloat16().float())
        rest = rest - parts[-1]
    return parts


def bf16_errors(weight: Tensor, x: Tensor) -> list[tuple[int, float, float]]:
    """For one, two and three bfloat16 parts of every weight [N, K]: what is lost, and what that does to x Wᵀ.

    x [B, K] must be exact in bfloat16, as bytes / 256 are. By number of parts: the largest rest of a weight as a share
    of it, and the error of the product over that of float32's own.
    """
    exact = x.double() @ weight.double().T
    by_float32 = float((x @ weight.T - exact).norm())
    found = []
    for count in (1, 2, 3):
        parts = bf16_parts(weight, count)
        rest = (
            weight.double() - sum(part.double() for part in parts)
        ).abs() / weight.double().abs().clamp_min(1e-30)
        product = torch.zeros_like(exact, dtype=torch.float32)
        for part in reversed(parts):  # the smallest first
            product += x @ part.T
        found.append((count, float(rest.max()), float((product - exact).norm()) / by_float32))
    return found


class UsingProduct(TorchDispatchMode):
    """Within it, `a @ b` of two matrices is `product(a, b)`."""

    def __init__(self, product: Product) -> None:
        super().__init__()
        self.product = product

    def __torch_dispatch__(
        self, operator: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        if operator is torch.ops.aten.mm.default:
            return self.product(*args)
        return operator(*args, **(kwargs or {}))


def step_errors(
    parameters: Mapping[str, Tensor], x: Tensor, labels: Tensor, learning_rate: float = 0.05
) -> dict[str, dict[str, float]]:
    """A step with every kind of product, against a float64 step from the same parameters.

    x [B, 784] in 0..1, labels integer [B]. By product and parameter tensor: the error's norm over what the contract
    allows, which is 1e-5 of the update's norm plus 1e-7 of the parameter's. Over 1, the contract is broken.
    """
    exact = reference.step(parameters, x, labels, learning_rate)
    shares: dict[str, dict[str, float]] = {}
    for name, product in PRODUCTS.items():
        with UsingProduct(product):
            found = reference.step(parameters, x, labels, learning_rate, torch.float32)
        shares[name] = {}
        for key, value in exact.items():
            before = parameters[key].double()
            allowed = 1e-5 * (value - before).norm() + 1e-7 * before.norm()
            shares[name][key] = float((found[key].double() - value).norm() / allowed)
    return shares


def cost_errors(parameters: Mapping[str, Tensor], images: Any, labels: Any) -> dict[str, float]:
    """The relative error of the cost with every kind of product; the contract allows 1e-6.

    Images uint8 or 0..1, [N, 784], labels [N]. The squares are summed in float64.
    """
    target = torch.nn.functional.one_hot(torch.as_tensor(labels).long(), len(parameters["output.bias"]))
    exact = float(reference.cost(parameters, images, labels))
    errors = {}
    for name, product in PRODUCTS.items():
        with UsingProduct(product):
            outputs = reference.outputs(parameters, images, torch.float32)
        errors[name] = abs(float((outputs.double() - target).square().sum()) / exact - 1)
    return errors
