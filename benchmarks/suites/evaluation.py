"""Cost and accuracy of 100 and 1,000 checkpoints on 10,000 and 60,000 images: ours against vectorised torch."""

from functools import partial

from benchmarks.contenders import IMPLEMENTATIONS
from benchmarks.contenders.implementation import Implementation, prepare_evaluation
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
        fma = ("all-checkpoints-fma", "breaknet, the launch alone, by FMAs", launch[2])
        half = ("all-checkpoints-float16", "breaknet, the launch alone, in float16 as on a T4", launch[2])
        public = {
            "triton": ("triton-evaluation", "", MOVED),
            "triton-kept": ("triton-evaluation-kept", "", "packing, images kept from the call before"),
        }
        chosen = public | chosen | {"kernel": launch, "fma": fma, "float16": half}
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
    if len(context.evaluation(images).labels) != images:
        raise ValueError(f"images: {images:,} are wanted, and the data has fewer")
    return prepare_evaluation(how, context, networks=count, images=images, timed=timed).grouped(count)
