"""The numeric contract as functions: float64 is the judge. Used by the tests of every backend and trainer."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from breaknet.model import MLP

Parameters = Mapping[str, Tensor]


def exact_step(
    parameters: Parameters,
    images: Tensor,
    labels: Tensor,
    learning_rate: float,
    dtype: torch.dtype = torch.float64,
) -> dict[str, Tensor]:
    """The parameters after one SGD step on the summed squared error, in `dtype`, by autograd."""
    layers = {name: value.detach().to(dtype).requires_grad_(True) for name, value in parameters.items()}
    activation = as_floats(images, dtype)
    for layer in ("hidden1", "hidden2", "output"):
        activation = torch.sigmoid(activation @ layers[f"{layer}.weight"].T + layers[f"{layer}.bias"])
    target = torch.nn.functional.one_hot(labels.long(), activation.shape[1]).to(dtype)
    ((activation - target) ** 2).sum().backward()
    return {name: (value - learning_rate * value.grad).detach() for name, value in layers.items()}


def exact_epochs(
    parameters: Parameters,
    images: Tensor,
    labels: Tensor,
    *,
    epochs: int,
    batch_size: int,
    learning_rate: float,
    dtype: torch.dtype = torch.float64,
) -> list[dict[str, Tensor]]:
    """The parameters after each epoch of plain SGD, batches in order, the last partial one kept."""
    current = {name: value.to(dtype) for name, value in parameters.items()}
    after = []
    for _ in range(epochs):
        for low in range(0, len(images), batch_size):
            some = slice(low, low + batch_size)
            current = exact_step(current, images[some], labels[some], learning_rate, dtype)
        after.append(current)
    return after


def exact_scores(parameters: Parameters, images: Tensor, labels: Tensor) -> tuple[float, float, float]:
    """Mean cost and accuracy in float64, and the share of images whose two largest outputs nearly tie."""
    activation = as_floats(images, torch.float64)
    for layer in ("hidden1", "hidden2", "output"):
        weight, bias = (parameters[f"{layer}.{part}"].double() for part in ("weight", "bias"))
        activation = torch.sigmoid(activation @ weight.T + bias)
    target = torch.nn.functional.one_hot(labels.long(), activation.shape[1]).double()
    cost = ((activation - target) ** 2).sum(1).mean()
    accuracy = (activation.argmax(1) == labels).double().mean()
    largest = activation.topk(2, dim=1).values
    ties = (largest[:, 0] - largest[:, 1] < 1e-6).double().mean()
    return float(cost), float(accuracy), float(ties)


def as_floats(images: Tensor, dtype: torch.dtype) -> Tensor:
    """Images as numbers: bytes mean byte / 256, floating ones are what they are."""
    return images.to(dtype) / 256 if images.dtype == torch.uint8 else images.to(dtype)


def assert_update(start: Parameters, found: Parameters, exact: Parameters, steps: int = 1) -> None:
    """The step contract, for each parameter tensor: |error| <= 1e-5 |update| + 1e-7 |parameter| (a step)."""
    for name, reference in exact.items():
        error = float((found[name].double() - reference).norm())
        update = float((reference - start[name].double()).norm())
        allowed = steps * (1e-5 * update + 1e-7 * float(start[name].double().norm()))
        assert error <= allowed, f"{name}: error {error:.3e}, allowed {allowed:.3e} (update {update:.3e})"


def assert_scores(
    cost: float, accuracy: float, parameters: Parameters, images: Tensor, labels: Tensor
) -> None:
    """The evaluation contract: cost to 1e-6 (more below 1,000 examples), accuracy exact but for near ties."""
    exact_cost, exact_accuracy, ties = exact_scores(parameters, images, labels)
    allowed = 1e-6 * exact_cost + (1e-6 * exact_cost**0.5 if len(images) < 1000 else 0)
    assert abs(cost - exact_cost) <= allowed, f"cost {cost!r}, exact {exact_cost!r}"
    assert abs(accuracy - exact_accuracy) <= ties + 1e-12, f"accuracy {accuracy!r}, exact {exact_accuracy!r}"


def sparse_images(count: int, seed: int = 0, density: float = 0.2) -> np.ndarray:
    """Random bytes [count, 784] of which about `density` are not zero, as in MNIST."""
    random = np.random.default_rng(seed)
    return random.integers(0, 256, (count, 784), np.uint8) * (random.random((count, 784)) < density)


def random_labels(count: int, seed: int = 0, classes: int = 10) -> np.ndarray:
    """Labels uint8 [count]."""
    return np.random.default_rng(seed + 1000).integers(0, classes, count).astype(np.uint8)


def start_of(seed: int = 0, hidden: tuple[int, int] = (16, 16)) -> dict[str, Tensor]:
    """The parameters that `seed` draws."""
    return {name: value.detach().clone() for name, value in MLP.seeded(seed, hidden).state_dict().items()}
