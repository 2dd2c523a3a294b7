"""Ways of training in the suites' form: any builder on any number of problems, checked, with its floor."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from benchmarks.contenders import RUNGS
from benchmarks.contenders.contender import checked_trainer, training_work
from benchmarks.lab import Lab
from benchmarks.measure import Ready
from benchmarks.problem import TrainerBuilder


def training_ready(
    build: TrainerBuilder,
    lab: Lab,
    *,
    images: int,
    models: int = 1,
    epochs: int = 1,
    floor: str = "sliced",
    **conditions: Any,
) -> Callable[[], Ready]:
    """How to prepare `models` networks on the first `images` images.

    A call trains them all for `epochs`, a unit is a step of one of them. `floor` names the rung that reads images and
    keeps parameters as this way does.
    """

    def prepare() -> Ready:
        problem = lab.training(images)
        checked_trainer(build, problem.variants(min(models, 3)), lab.size.check_steps)
        trainer = build(problem.variants(models), epochs)
        lab.warm_up(trainer.train)
        told = {
            "batch": problem.batch_size, "images": len(problem.labels), "models": models, "epochs": epochs,
            "timed": {
                "in": "the steps until the device is done",
                "out": "compiling, moving and converting data, evaluation",
            },
        }  # fmt: skip
        work = training_work(RUNGS[floor], problem)
        return Ready(trainer.train, problem.steps * epochs * models, work=work, conditions=told | conditions)

    return prepare
