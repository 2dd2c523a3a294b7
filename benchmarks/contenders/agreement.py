"""What every way must give before it is timed: an epoch of training and scores, in float64."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from torch import Tensor


def exact_epoch(
    images: np.ndarray, labels: np.ndarray, start: Mapping[str, Tensor], batch_size: int, learning_rate: float
) -> dict[str, np.ndarray]:
    """The parameters after one epoch of plain SGD on the summed squared error, float64."""
    parameters = {name: value.double().cpu().numpy().copy() for name, value in start.items()}
    w1, b1, w2, b2, w3, b3 = parameters.values()
    for low in range(0, len(images), batch_size):
        x = images[low : low + batch_size] / 256
        a1 = _sigmoid(x @ w1.T + b1)
        a2 = _sigmoid(a1 @ w2.T + b2)
        a3 = _sigmoid(a2 @ w3.T + b3)
        d3 = 2 * (a3 - np.eye(10)[labels[low : low + batch_size]]) * a3 * (1 - a3)
        d2 = d3 @ w3 * a2 * (1 - a2)
        d1 = d2 @ w2 * a1 * (1 - a1)
        for weight, bias, delta, below in ((w3, b3, d3, a2), (w2, b2, d2, a1), (w1, b1, d1, x)):
            weight -= learning_rate * delta.T @ below
            bias -= learning_rate * delta.sum(0)
    return parameters


def assert_agrees(
    found: Mapping[str, Tensor], exact: Mapping[str, np.ndarray], start: Mapping[str, Tensor]
) -> None:
    """Within 1e-4 of the update, which a wrong loop misses by far and float32 keeps over a few steps."""
    for name, reference in exact.items():
        error = np.linalg.norm(found[name].detach().double().cpu().numpy() - reference)
        update = np.linalg.norm(reference - start[name].double().cpu().numpy())
        assert error <= 1e-4 * update, f"{name}: error {error:.1e}, update {update:.1e}"


def exact_scores(
    models: Mapping[str, Tensor], images: np.ndarray, labels: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of models [C, ...]: mean summed squared errors, accuracies, and shares of images that nearly tie; float64 [C]."""
    found = []
    for parameters in zip(*(value.double().cpu().numpy() for value in models.values()), strict=True):
        w1, b1, w2, b2, w3, b3 = parameters
        output = _sigmoid(_sigmoid(_sigmoid(images / 256 @ w1.T + b1) @ w2.T + b2) @ w3.T + b3)
        cost = ((output - np.eye(10)[labels]) ** 2).sum(1).mean()
        largest = np.sort(output, axis=1)[:, -2:]
        ties = (largest[:, 1] - largest[:, 0] < 1e-6).mean()
        found.append((cost, (output.argmax(1) == labels).mean(), ties))
    cost, accuracy, ties = np.array(found).T
    return cost, accuracy, ties


def assert_scores(
    cost: np.ndarray | None, accuracy: np.ndarray, exact: tuple[np.ndarray, np.ndarray, np.ndarray]
) -> None:
    """Costs within 1e-5 of float64's, which a plain float32 sum keeps; accuracies exact but for near ties."""
    exact_cost, exact_accuracy, ties = exact
    assert accuracy.shape == exact_accuracy.shape, f"accuracies {accuracy.shape}, not {exact_accuracy.shape}"
    off = np.abs(accuracy - exact_accuracy) - ties
    assert (off <= 1e-9).all(), f"accuracy of network {off.argmax()} off by {off.max():.1e}"
    if cost is not None:
        error = np.abs(cost - exact_cost) / exact_cost
        assert (error <= 1e-5).all(), f"cost of network {error.argmax()} off by {error.max():.1e}"


def _sigmoid(z: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-z))
