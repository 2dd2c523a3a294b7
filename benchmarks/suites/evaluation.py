"""Scores of 100 and 1,000 checkpoints on 10,000 and 60,000 images: ours against vectorised torch."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch

from benchmarks.contenders import RUNGS
from benchmarks.contenders.agreement import assert_scores, exact_scores
from benchmarks.contenders.contender import scoring_work
from benchmarks.lab import Lab
from benchmarks.measure import Ready, Way
from benchmarks.problem import Parameters, Problem, Scorer, ScorerBuilder
from breaknet.backends import select
from breaknet.backends.interface import Examples

CHECKPOINTS = {"rehearse": (2,), "quick": (20,), "full": (100, 1_000)}
IMAGES = {"rehearse": (40,), "quick": (10_000,), "full": (10_000, 60_000)}


def backend_scorer(backend: str, models: Parameters, problem: Problem) -> Scorer:
    """A backend's `evaluate`: moving and compressing images and packing checkpoints are in."""
    evaluate = select.load(backend).evaluate
    examples = Examples(torch.from_numpy(problem.images), torch.from_numpy(problem.labels))

    def score() -> Any:
        scores = evaluate(models, examples, problem.device, False)
        return scores.cost, scores.accuracy

    return Scorer(score)


def torch_scorer(build: str, models: Parameters, problem: Problem) -> Scorer:
    """`rivals.torch_scores.one_by_one` or `wide`."""
    from benchmarks.contenders import torch_evaluation

    scorer: Scorer = getattr(torch_evaluation, build)(models, problem)
    return scorer


def kernel_scorer(gpu: bool, models: Parameters, problem: Problem) -> Scorer:
    """The evaluation launch alone, everything on the device; or the compiled kernels alone, everything prepared."""
    from benchmarks.contenders import all_checkpoints, numba_cpu

    return all_checkpoints.scorer(models, problem) if gpu else numba_cpu.prepared_scorer(models, problem)


def ways(lab: Lab) -> list[Way]:
    ours = "triton" if lab.gpu else "numba"
    moved, floats = "moving or compressing images, packing", "images already float32 on the device"
    floor = "all-checkpoints" if lab.gpu else "numba-evaluation"
    # by name: title, how it is built, what it needs, what is in the time, the rung that has its floor
    builders: dict[str, tuple[str, ScorerBuilder, tuple[str, ...], str, str]] = {
        ours: (
            "breaknet, the backend's evaluate", partial(backend_scorer, ours), (ours,), moved,
            floor,
        ),
        "kernel": (
            "breaknet, the launch alone" if lab.gpu else "breaknet, images and networks prepared",
            partial(kernel_scorer, lab.gpu), (ours,),
            "images and checkpoints already there" if lab.gpu else "images compressed and networks packed before",
            floor,
        ),
        "torch": (
            "vectorised torch", partial(torch_scorer, "one_by_one"), (), floats, "vectorised-accuracy"
        ),
        "torch-wide": (
            "torch, all first layers in one product", partial(torch_scorer, "wide"), (), floats,
            "vectorised-accuracy",
        ),
    }  # fmt: skip
    return [
        Way(
            name=f"evaluation/{lab.device}/{name}/{count}x{images}", group="evaluation", title=title,
            work=f"cost and accuracy of {count:,} networks on {images:,} images", device=lab.device,
            contest=f"evaluation/{count}x{images}", needs=needs,
            prepare=partial(_ready, lab, build, count, images, told, floor),
        )
        for count in CHECKPOINTS[lab.size.name]
        for images in IMAGES[lab.size.name]
        for name, (title, build, needs, told, floor) in builders.items()
    ]  # fmt: skip


def _ready(lab: Lab, build: ScorerBuilder, count: int, images: int, told: str, floor: str) -> Ready:
    models, problem = lab.networks(count), lab.scoring(images)
    if len(problem.labels) != images:
        raise ValueError(f"images: {images:,} are wanted, and the data has {len(problem.labels):,}")
    few = {name: value[:3] for name, value in models.items()}
    some = problem.first(min(2_000, images))
    assert_scores(*build(few, some).score(), exact_scores(few, some.images, some.labels))
    lab.warm_up(build(few, problem).score)  # with few networks: all of them can take long
    conditions = {
        "images": images, "models": count,
        "timed": {"in": f"all outputs, results on the host ({told})", "out": "compiling"},
    }  # fmt: skip
    work = scoring_work(RUNGS[floor], problem, images, count).times(count)
    return Ready(build(models, problem).score, 1, work=work, conditions=conditions)
