"""Cost and accuracy of 100 and 1,000 checkpoints on 10,000 and 60,000 images: ours against vectorised torch."""

from __future__ import annotations

from functools import partial

from benchmarks.contenders import IMPLEMENTATIONS
from benchmarks.contenders.agreement import check_evaluator
from benchmarks.contenders.implementation import Implementation
from benchmarks.measure import Contender, Context, Ready

CHECKPOINTS = {"rehearse": (2,), "quick": (20,), "full": (100, 1_000)}
IMAGES = {"rehearse": (40,), "quick": (10_000,), "full": (10_000, 60_000)}
MOVED, FLOATS = "moving or compressing images, packing", "images already float32 on the device"


def contenders(context: Context) -> list[Contender]:
    # by name: the implementation, its title here, what is in the time
    chosen = {
        "numba": ("numba-evaluation", "breaknet, the backend's evaluate", MOVED),
        "kernel": ("numba-prepared", "", "images compressed and networks packed before"),
        "torch": ("torch-one-by-one", "", FLOATS),
        "torch-wide": ("torch-wide", "", FLOATS),
    }
    if context.gpu:
        launch = ("all-checkpoints", "breaknet, the launch alone", "images and checkpoints already there")
        chosen = {"triton": ("triton-evaluation", "", MOVED)} | chosen | {"kernel": launch}
        del chosen["numba"]
    return [
        Contender(
            f"evaluation/{context.device}/{name}/{count}x{images}", "evaluation",
            title or IMPLEMENTATIONS[implementation].title,
            f"cost and accuracy of {count:,} networks on {images:,} images", f"evaluation/{count}x{images}",
            partial(_ready, context, IMPLEMENTATIONS[implementation], count, images, timed),
            IMPLEMENTATIONS[implementation].needs,
        )
        for count in CHECKPOINTS[context.size.name]
        for images in IMAGES[context.size.name]
        for name, (implementation, title, timed) in chosen.items()
    ]  # fmt: skip


def _ready(context: Context, how: Implementation, count: int, images: int, timed: str) -> Ready:
    models, problem = context.networks(count), context.evaluation(images)
    if len(problem.labels) != images:
        raise ValueError(f"images: {images:,} are wanted, and the data has {len(problem.labels):,}")
    few = {name: value[:3] for name, value in models.items()}
    check_evaluator(how.build, few, problem, 2_000)
    context.warm_up(how.build(few, problem))  # with few networks: all of them can take long
    conditions = {
        "images": images, "models": count,
        "timed": {"in": f"all outputs, results on the host ({timed})", "out": "compiling"},
    }  # fmt: skip
    work = how.evaluation_work(problem, images, count).times(count)
    return Ready(how.build(models, problem), work=work, conditions=conditions)
