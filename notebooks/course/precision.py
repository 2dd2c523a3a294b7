"""What tensor cores would do to a training step: operands of every product rounded to TF32, sums in float32.

TF32 keeps float32's 8 bits of exponent and 10 of its 23 bits of mantissa. Rounding is to nearest, ties away from zero
(PTX's cvt.rna.tf32.f32), the kinder of what hardware does. Products of two such numbers are exact in float32.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import one_hot

Product = Callable[[Tensor, Tensor], Tensor]
Parameters = Mapping[str, Tensor]
LAYERS = ("hidden1", "hidden2", "output")
_DROPPED = 13  # of float32's 23 bits of mantissa


def to_tf32(x: Tensor) -> Tensor:
    """float32 of any shape, rounded to 10 bits of mantissa; finite values only."""
    bits = x.contiguous().view(torch.int32)
    return ((bits + (1 << (_DROPPED - 1))) & -(1 << _DROPPED)).view(torch.float32)


def tensor_core_product(a: Tensor, b: Tensor) -> Tensor:
    """a [B, K] times b [K, N], both rounded to TF32, summed in float32."""
    return to_tf32(a) @ to_tf32(b)


def split_product(a: Tensor, b: Tensor, product: Product = tensor_core_product) -> Tensor:
    """A product of float32 accuracy from three products on tensor cores: each operand as a sum of two TF32 numbers."""
    a_high, b_high = to_tf32(a), to_tf32(b)
    a_low, b_low = a - a_high, b - b_high
    return product(a_high, b_high) + (product(a_high, b_low) + product(a_low, b_high))


@torch.no_grad()
def step(
    parameters: Parameters, x: Tensor, labels: Tensor, rate: float, product: Product
) -> dict[str, Tensor]:
    """The parameters after one step of the lesson's training, every matrix product by `product`.

    x [B, 784] and the parameters in one dtype, labels integer [B].
    """
    activations = [x]
    for layer in LAYERS:
        z = product(activations[-1], parameters[f"{layer}.weight"].T) + parameters[f"{layer}.bias"]
        activations.append(torch.sigmoid(z))
    delta = 2 * (activations[-1] - one_hot(labels.long(), activations[-1].shape[1]))
    after = {}
    for number, layer in reversed(list(enumerate(LAYERS))):
        y = activations[number + 1]
        delta = delta * y * (1 - y)
        weight = parameters[f"{layer}.weight"]
        after[f"{layer}.weight"] = weight - rate * product(delta.T, activations[number])
        after[f"{layer}.bias"] = parameters[f"{layer}.bias"] - rate * delta.sum(0)
        if number:
            delta = product(delta, weight)
    return {name: after[name] for name in parameters}


@torch.no_grad()
def cost(parameters: Parameters, x: Tensor, labels: Tensor, product: Product) -> float:
    """The mean cost of the images x [N, 784], every matrix product by `product`; summed in float64."""
    y = x
    for layer in LAYERS:
        y = torch.sigmoid(product(y, parameters[f"{layer}.weight"].T) + parameters[f"{layer}.bias"])
    return float((y.double() - one_hot(labels.long(), y.shape[1])).square().sum() / len(x))


#: How a product may be made, by what a figure calls it.
WAYS: dict[str, Product] = {
    "float32": torch.matmul,
    "TF32": tensor_core_product,
    "TF32, split in three": split_product,
}


@dataclass(frozen=True)
class StepError:
    """How far a way's step is from float64's for one parameter, and how far the project's contract lets it be."""

    way: str
    parameter: str
    error: float
    allowed: float

    @property
    def share(self) -> float:
        """Over 1: the contract is broken."""
        return self.error / self.allowed


def step_errors(parameters: Parameters, x: Tensor, labels: Tensor, rate: float = 0.05) -> list[StepError]:
    """Every way's step from one state, against a float64 step from it.

    The contract allows, for each tensor, 1e-5 of the update's norm and 1e-7 of the parameter's.
    """
    doubled = {name: value.double() for name, value in parameters.items()}
    exact = step(doubled, x.double(), labels, rate, torch.matmul)
    errors = []
    for way, product in WAYS.items():
        found = step(parameters, x, labels, rate, product)
        for name, reference in exact.items():
            allowed = 1e-5 * (reference - doubled[name]).norm() + 1e-7 * doubled[name].norm()
            error = (found[name].double() - reference).norm()
            errors.append(StepError(way, name, float(error), float(allowed)))
    return errors


def cost_errors(parameters: Parameters, x: Tensor, labels: Tensor) -> dict[str, float]:
    """By how much of itself each way's cost differs from float64's; the contract allows 1e-6."""
    doubled = {name: value.double() for name, value in parameters.items()}
    exact = cost(doubled, x.double(), labels, torch.matmul)
    return {way: abs(cost(parameters, x, labels, product) - exact) / exact for way, product in WAYS.items()}
