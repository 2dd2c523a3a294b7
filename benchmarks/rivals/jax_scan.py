"""JAX: one compiled scan over the batches of an epoch, for one model or for several by vmap. Needs the extra `jax`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
from torch import Tensor


def _cost(parameters: tuple[Any, ...], images: Any, targets: Any) -> Any:
    activation = images
    for weight, bias in zip(parameters[::2], parameters[1::2], strict=True):
        activation = jax.nn.sigmoid(activation @ weight + bias)
    return ((activation - targets) ** 2).sum()


def _train_epoch(parameters: Any, images: Any, targets: Any, learning_rate: float) -> Any:
    """images [steps, batch, 784], targets [steps, batch, 10]."""

    def step(current: Any, batch: Any) -> tuple[Any, None]:
        gradient = jax.grad(_cost)(current, *batch)
        return tuple(p - learning_rate * g for p, g in zip(current, gradient, strict=True)), None

    return jax.lax.scan(step, parameters, (images, targets))[0]


def _arrays(start: dict[str, Tensor]) -> tuple[Any, ...]:
    return tuple(jnp.asarray(value.numpy().T) for value in start.values())


def _tensors(parameters: Any, start: dict[str, Tensor]) -> dict[str, Tensor]:
    return {
        name: torch.from_numpy(np.array(value).T.copy())
        for name, value in zip(start, parameters, strict=True)
    }


def _batches(images: np.ndarray, labels: np.ndarray, batch_size: int) -> tuple[Any, Any]:
    if len(images) % batch_size:
        raise ValueError("images: a whole number of batches, for the scan")
    pixels = (images.astype(np.float32) / 256).reshape(-1, batch_size, images.shape[1])
    targets = np.eye(10, dtype=np.float32)[labels].reshape(*labels.shape[:-1], -1, batch_size, 10)
    return jnp.asarray(pixels), jnp.asarray(targets)


def epoch_of(
    images: np.ndarray, labels: np.ndarray, start: dict[str, Tensor], batch_size: int, learning_rate: float
) -> Callable[[], dict[str, Tensor]]:
    pixels, targets = _batches(images, labels, batch_size)
    run = jax.jit(_train_epoch, donate_argnums=0)
    state = [_arrays(start)]

    def epoch() -> dict[str, Tensor]:
        state[0] = jax.block_until_ready(run(state[0], pixels, targets, learning_rate))
        return _tensors(state[0], start)

    return epoch


def two_epochs_of(
    images: np.ndarray, labels: np.ndarray, start: dict[str, Tensor], batch_size: int, learning_rate: float
) -> Callable[[], list[dict[str, Tensor]]]:
    """As `epoch_of` for two models on the same images, labels int64 [2, N], in one vmapped scan."""
    pixels, targets = _batches(images, labels, batch_size)
    run = jax.jit(jax.vmap(_train_epoch, in_axes=(0, None, 0, None)), donate_argnums=0)
    state = [tuple(jnp.stack([value, value]) for value in _arrays(start))]

    def epoch() -> list[dict[str, Tensor]]:
        state[0] = jax.block_until_ready(run(state[0], pixels, targets, learning_rate))
        return [_tensors([value[which] for value in state[0]], start) for which in range(2)]

    return epoch
