"""JAX: one compiled scan over the batches of an epoch, for one network or, by vmap, for many. Needs the extra `jax`.

Its products are float32 as everybody's: left to itself it rounds their operands to TF32 on a GPU.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch

from benchmarks.measure import Missing
from benchmarks.problem import Parameters, Problem, Trainer


def _cost(parameters: tuple[Any, ...], images: Any, targets: Any) -> Any:
    activation = images
    for weight, bias in zip(parameters[::2], parameters[1::2], strict=True):
        activation = jax.nn.sigmoid(jnp.matmul(activation, weight, precision="highest") + bias)
    return ((activation - targets) ** 2).sum()


def _train_epoch(parameters: Any, images: Any, targets: Any, learning_rate: float) -> Any:
    """images [steps, batch, 784], targets [steps, batch, 10]."""

    def step(current: Any, batch: Any) -> tuple[Any, None]:
        gradient = jax.grad(_cost)(current, *batch)
        return tuple(p - learning_rate * g for p, g in zip(current, gradient, strict=True)), None

    return jax.lax.scan(step, parameters, (images, targets))[0]


def place_of(device: torch.device) -> Any:
    """JAX's name for the device.

    Raises:
        Missing: its JAX does not know it, as one for CPUs knows no GPU.
    """
    try:
        return jax.devices("gpu" if device.type == "cuda" else "cpu")[0]
    except RuntimeError as error:
        raise Missing(f"JAX cannot use {device}: {str(error).splitlines()[0]}") from error


def trainer(problems: Sequence[Problem], epochs: int) -> Trainer:
    """For whole batches, as a scan has them; networks on the same images side by side in one vmapped scan.

    Raises:
        ValueError: images that are no whole number of batches.
        Missing: this JAX cannot use the problems' device.
    """
    first, many = problems[0], len(problems) > 1
    if len(first.labels) % first.batch_size:
        raise ValueError("images: a whole number of batches, for the scan")
    batches = first.steps, first.batch_size
    put = partial(jax.device_put, device=place_of(first.device))  # what it is given decides where it computes
    images = put(first.floats.cpu().numpy().reshape(*batches, 784))
    one_hot = np.eye(10, dtype=np.float32)
    targets = put(np.stack([one_hot[one.labels].reshape(*batches, 10) for one in problems]))
    start = [np.stack([one.start[name].numpy().T for one in problems]) for name in first.start]
    if many:
        run = jax.jit(jax.vmap(_train_epoch, in_axes=(0, None, 0, None)), donate_argnums=0)
        state = [tuple(map(put, start))]
    else:
        run = jax.jit(_train_epoch, donate_argnums=0)
        state, targets = [tuple(put(value[0]) for value in start)], targets[0]

    def train() -> None:
        for _ in range(epochs):
            state[0] = run(state[0], images, targets, first.learning_rate)
        jax.block_until_ready(state[0])

    def parameters() -> list[Parameters]:
        stacked = [np.array(value) if many else np.array(value)[None] for value in state[0]]
        return [
            {
                name: torch.from_numpy(value[row].T.copy())
                for name, value in zip(first.start, stacked, strict=True)
            }
            for row in range(len(problems))
        ]

    return Trainer(train, parameters)


def one_after_another(problems: Sequence[Problem], epochs: int) -> Trainer:
    """A scan of its own for each network, one after another."""
    trainers = [trainer([problem], epochs) for problem in problems]

    def train() -> None:
        for one in trainers:
            one.train()

    return Trainer(train, lambda: [one.parameters()[0] for one in trainers])
