"""How much a benchmark does: `quick` to look, `full` for the rows that are stored, `rehearse` to try every path."""

from __future__ import annotations

import os
from dataclasses import dataclass


@dataclass(frozen=True)
class Size:
    """Sizes of one run of the benchmarks; images are capped by what the data holds."""

    name: str
    batch_size: int
    check_steps: int  # of the training that is compared with float64 before anything is timed
    train_images: int  # of an epoch
    scored_images: int  # that a network is scored on
    checkpoints: int  # that are scored together
    sampled_images: int  # of the loops that are too slow to be timed whole
    repeats: int
    models: tuple[int, ...]  # of the curve over models
    models_images: int  # that each of them trains on
    epochs: tuple[int, ...]  # of the curve over epochs
    epochs_images: int  # that each of its points trains on
    images: tuple[int, ...]  # of the curve over images


SIZES = {
    size.name: size
    for size in (
        Size("rehearse", 10, 1, 10, 40, 3, 20, 1, (2,), 10, (1,), 10, ()),
        Size(
            "quick", batch_size=100, check_steps=5, train_images=10_000, scored_images=10_000, checkpoints=20,
            sampled_images=500, repeats=5, models=(1, 4, 16), models_images=1_000, epochs=(1, 4),
            epochs_images=10_000, images=(1_000,),
        ),
        Size(
            "full", batch_size=100, check_steps=5, train_images=50_000, scored_images=60_000, checkpoints=100,
            sampled_images=2_000, repeats=9, models=(1, 4, 16, 64, 256, 1_024, 4_096), models_images=1_000,
            epochs=(1, 3, 10, 30), epochs_images=10_000, images=(1_000, 3_000, 20_000, 50_000),
        ),
    )
}  # fmt: skip


def size_of(name: str | None = None) -> Size:
    """The size of that name; without one the size that BREAKNET_BENCH_SIZE names, else `quick`.

    Raises:
        ValueError: for another name.
    """
    where = "size" if name is not None else "BREAKNET_BENCH_SIZE"
    wanted = name if name is not None else os.environ.get("BREAKNET_BENCH_SIZE", "").strip() or "quick"
    if wanted not in SIZES:
        raise ValueError(f"{where}: one of {', '.join(SIZES)}, not {wanted!r}")
    return SIZES[wanted]
