"""A network's training step when 1 to 4,096 of them train side by side on the same images."""

from __future__ import annotations

from functools import partial

from benchmarks.contenders import IMPLEMENTATIONS
from benchmarks.contenders.implementation import prepare_training
from benchmarks.measure import Contender, Context


def contenders(context: Context) -> list[Contender]:
    ours = ("packed", "breaknet, a program a network")
    if not context.gpu:
        ours = ("numba", "breaknet's CPU kernels, a thread a network")
    # by name: the implementation and its title here
    chosen = {
        "breaknet": ours,
        "jax-vmap": ("jax", "JAX, vmap over networks"),
        "torch-func": ("torch-func", "torch.func, stacked ensemble"),
    }
    size = context.size
    found = []
    for models in size.models:
        for name, (implementation, title) in chosen.items():
            how = IMPLEMENTATIONS[implementation]
            # a GPU's launch of one epoch is over too soon to be timed well
            epochs = 20 if "triton" in how.needs else 1
            prepare = partial(
                prepare_training, how, context, images=size.models_images, models=models, epochs=epochs
            )
            found.append(
                Contender(
                    f"models/{context.device}/{name}/{models}", "models", title,
                    f"one training step of {size.batch_size} images, of one of the networks", f"models/{models}",
                    prepare, how.needs, series=f"models/{context.device}/{name}", scale=models,
                )
            )  # fmt: skip
    return found
