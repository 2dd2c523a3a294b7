"""One network against JAX and plain torch, then two side by side (the lesson's clean and shuffled runs)."""

from __future__ import annotations

from functools import partial

from benchmarks.contenders import IMPLEMENTATIONS
from benchmarks.contenders.implementation import prepare_training
from benchmarks.measure import Contender, Context

#: By networks, then by name: the implementation (ours by device), and a title where it has another here.
CHOSEN: dict[int, dict[str, tuple[str, str]]] = {
    1: {
        "breaknet": ("", ""),
        "jax-scan": ("jax", ""),
        "sliced": ("sliced", ""),
    },
    2: {
        "breaknet": ("", ""),
        "jax-vmap": ("jax", "JAX, vmap over both"),
        "jax-in-turn": ("jax-in-turn", ""),
        "torch-func": ("torch-func", ""),
    },
}
OURS = {
    ("cpu", 1): ("numba", "breaknet's CPU kernels"),
    ("cpu", 2): ("numba", "breaknet's CPU kernels, a thread a network"),
    ("cuda", 1): ("cooperative", "breaknet, all epochs in one launch"),
    ("cuda", 2): ("packed", "breaknet, a program a network"),
}


def contenders(context: Context) -> list[Contender]:
    found = []
    one = f"one training step of {context.size.batch_size} images"
    for models, chosen in CHOSEN.items():
        work = one if models == 1 else f"{one}, of one of {models} networks side by side"
        for name, (implementation, title) in chosen.items():
            implementation, title = (
                (implementation, title) if implementation else OURS[context.device, models]
            )
            how = IMPLEMENTATIONS[implementation]
            # a GPU's launch of one epoch is over too soon to be timed well
            epochs = 20 if "triton" in how.needs else 1
            prepare = partial(
                prepare_training, how, context, images=context.size.train_images, models=models, epochs=epochs
            )
            found.append(
                Contender(
                    f"comparison/{context.device}/{'one' if models == 1 else 'two'}/{name}", "comparison",
                    title or how.title, work, f"comparison/{models}", prepare, how.needs,
                )
            )  # fmt: skip
    return found
