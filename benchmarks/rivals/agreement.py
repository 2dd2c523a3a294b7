"""What every way must give before it is timed: an epoch in float64."""

from __future__ import annotations

import numpy as np
from torch import Tensor


def exact_epoch(
    images: np.ndarray, labels: np.ndarray, start: dict[str, Tensor], batch_size: int, learning_rate: float
) -> dict[str, np.ndarray]:
    """The parameters after one epoch of plain SGD on the summed squared error, float64."""
    parameters = {name: value.double().numpy().copy() for name, value in start.items()}
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


def assert_agrees(found: dict[str, Tensor], exact: dict[str, np.ndarray], start: dict[str, Tensor]) -> None:
    """Within 1e-4 of the update, which a wrong loop misses by far and float32 keeps over a few steps."""
    for name, reference in exact.items():
        error = np.linalg.norm(found[name].double().numpy() - reference)
        update = np.linalg.norm(reference - start[name].double().numpy())
        assert error <= 1e-4 * update, f"{name}: error {error:.1e}, update {update:.1e}"


def _sigmoid(z: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-z))
