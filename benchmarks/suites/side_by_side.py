"""Networks side by side on the same images: one, and two (the lesson's clean and shuffled runs), and up to 4,096."""

from __future__ import annotations

from functools import partial
from typing import Any

from benchmarks.contenders import IMPLEMENTATIONS
from benchmarks.contenders.implementation import prepare_training
from benchmarks.measure import Contender, Context

OURS = {
    ("cpu", "one"): ("numba", "breaknet's CPU kernels"),
    ("cpu", "many"): ("numba", "breaknet's CPU kernels, a thread a network"),
    ("cuda", "one"): ("cooperative", "breaknet, all epochs in one launch"),
    ("cuda", "many"): ("packed", "breaknet, a program a network"),
}


def comparison(context: Context) -> list[Contender]:
    """One and two networks, by name the implementation and its title, against JAX and plain torch."""
    one = {
        "breaknet": OURS[context.device, "one"],
        "jax-scan": ("jax", "JAX, jit + lax.scan"),
        "sliced": ("sliced", "sliced tensors, nn.Module"),
    }
    two = {
        "breaknet": OURS[context.device, "many"],
        "jax-vmap": ("jax", "JAX, vmap over both"),
        "jax-in-turn": ("jax-in-turn", "JAX, one after the other"),
        "torch-func": ("torch-func", "torch.func, stacked ensemble"),
    }
    step, images = f"one training step of {context.size.batch_size} images", context.size.train_images
    pair = f"{step}, of one of 2 networks side by side"
    chosen = [(f"one/{name}", step, 1, *how) for name, how in one.items()]
    chosen += [(f"two/{name}", pair, 2, *how) for name, how in two.items()]
    return [
        _contender(
            context, f"comparison/{context.device}/{name}", title, work, implementation, models, images
        )
        for name, work, models, implementation, title in chosen
    ]


def models(context: Context) -> list[Contender]:
    """The curve over networks."""
    chosen = {
        "breaknet": OURS[context.device, "many"],
        "jax-vmap": ("jax", "JAX, vmap over networks"),
        "torch-func": ("torch-func", "torch.func, stacked ensemble"),
    }
    work = f"one training step of {context.size.batch_size} images, of one of the networks"
    return [
        _contender(
            context, f"models/{context.device}/{name}/{count}", title, work, implementation, count,
            context.size.models_images, series=f"models/{context.device}/{name}", scale=count,
        )
        for count in context.size.models
        for name, (implementation, title) in chosen.items()
    ]  # fmt: skip


def _contender(
    context: Context,
    name: str,
    title: str,
    work: str,
    implementation: str,
    models: int,
    images: int,
    **series: Any,
) -> Contender:
    how, group = IMPLEMENTATIONS[implementation], name.split("/")[0]
    # a GPU's launch of one epoch is over too soon to be timed well
    epochs = 20 if "triton" in how.needs else 1
    prepare = partial(prepare_training, how, context, images=images, models=models, epochs=epochs)
    return Contender(name, group, title, work, f"{group}/{models}", prepare, how.needs, **series)
