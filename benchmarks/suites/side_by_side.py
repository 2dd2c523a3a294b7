"""Networks side by side on the same images: one, and two (the lesson's clean and shuffled runs), and up to 4,096."""

from dataclasses import replace
from functools import partial

from benchmarks.contenders import IMPLEMENTATIONS
from benchmarks.contenders.implementation import prepare_training
from benchmarks.measure import Contender, Context

#: By device breaknet's implementations of one network and of many, with their titles.
OURS = {
    "cpu": (("numba", "breaknet's CPU kernels"), ("numba", "breaknet's CPU kernels, a thread a network")),
    "cuda": (
        ("cooperative", "breaknet, all epochs in one launch"),
        ("as-chosen", "breaknet, as train_many does it"),
    ),
}
#: Beside them, under its own name, the form that train_many takes for many networks.
PACKED = {"cpu": {}, "cuda": {"breaknet-packed": ("packed", "breaknet, a program a network")}}


def comparison(context: Context) -> list[Contender]:
    """One and two networks against JAX and plain torch."""
    one, many = OURS[context.device]
    chosen = {
        "one/breaknet": one,
        "one/jax-scan": ("jax", "JAX, jit + lax.scan"),
        "one/sliced": ("sliced", "sliced tensors, nn.Module"),
        "two/breaknet": many,
        **{f"two/{name}": how for name, how in PACKED[context.device].items()},
        "two/jax-vmap": ("jax", "JAX, vmap over both"),
        "two/jax-in-turn": ("jax-in-turn", "JAX, one after the other"),
        "two/torch-func": ("torch-func", "torch.func, stacked ensemble"),
    }
    images = context.size.train_images
    numbers = {"one": (1, ""), "two": (2, ", of one of 2 networks side by side")}
    return [
        _contender(context, "comparison", name, *how, *numbers[name.split("/")[0]], images)
        for name, how in chosen.items()
    ]


def models(context: Context) -> list[Contender]:
    """The curve over networks."""
    chosen = {
        "breaknet": OURS[context.device][1],
        **PACKED[context.device],
        "jax-vmap": ("jax", "JAX, vmap over networks"),
        "torch-func": ("torch-func", "torch.func, stacked ensemble"),
    }
    of, images = ", of one of the networks", context.size.models_images
    return [
        replace(
            _contender(context, "models", f"{name}/{count}", *how, count, of, images),
            series=f"models/{context.device}/{name}", scale=count,
        )
        for count in context.size.models
        for name, how in chosen.items()
    ]  # fmt: skip


def _contender(
    context: Context,
    group: str,
    name: str,
    implementation: str,
    title: str,
    models: int,
    of: str,
    images: int,
) -> Contender:
    how, name = IMPLEMENTATIONS[implementation], f"{group}/{context.device}/{name}"
    work = f"one training step of {context.size.batch_size} images{of}"
    # a GPU's launch of one epoch is over too soon to be timed well
    epochs = 20 if "triton" in how.needs else 1
    prepare = partial(prepare_training, how, context, images=images, models=models, epochs=epochs)
    return Contender(name, group, title, work, f"{group}/{models}", prepare, how.needs)
