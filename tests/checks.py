"""The numeric contract as assertions against the float64 reference, and random problems to try it on."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from torch import Tensor

from breaknet import reference
from breaknet.model import MLP
from breaknet.reference import epochs as exact_epochs  # noqa: F401, for tests that call it by this name
from breaknet.reference import step as exact_step  # noqa: F401

Parameters = Mapping[str, Tensor]


def assert_update(start: Parameters, found: Parameters, exact: Parameters, steps: int = 1) -> None:
    """The step contract, for each parameter tensor: |error| <= 1e-5 |update| + 1e-7 |parameter| (a step)."""
    for name, after in exact.items():
        error = float((found[name].double() - after).norm())
        update = float((after - start[name].double()).norm())
        allowed = steps * (1e-5 * update + 1e-7 * float(start[name].double().norm()))
        assert error <= allowed, f"{name}: error {error:.3e}, allowed {allowed:.3e} (update {update:.3e})"


def assert_scores(
    cost: float, accuracy: float, parameters: Parameters, images: Tensor, labels: Tensor
) -> None:
    """The evaluation contract: cost to 1e-6 (more below 1,000 examples), accuracy exact but for near ties."""
    exact = reference.evaluation(parameters, images, labels)
    allowed = 1e-6 * exact.cost + (1e-6 * exact.cost**0.5 if len(images) < 1000 else 0)
    assert abs(cost - exact.cost) <= allowed, f"cost {cost!r}, exact {exact.cost!r}"
    off = abs(accuracy - exact.accuracy)
    assert off <= exact.near_ties + 1e-12, f"accuracy {accuracy!r}, exact {exact.accuracy!r}"


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
