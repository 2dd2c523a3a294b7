"""An implementation of training or evaluation, and its preparation as a contender: checked, counted, with its floor."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from benchmarks import floors, launches
from benchmarks.contenders.agreement import check_evaluator, checked_trainer
from benchmarks.measure import Context, Ready
from benchmarks.problem import Problem, Trainer

Counter = Callable[[Callable[[], object], float, torch.device], dict[str, float]]


@dataclass(frozen=True, eq=False)
class Implementation:
    """Its construction, its devices, and the storage of its images and parameters.

    `build(problems, epochs)` of one that trains gives a Trainer for several problems, whose every call trains so many
    epochs. `build(models, problem)` of one that evaluates gives an Evaluator of models [C, ...].
    """

    title: str
    build: Callable[..., Any]
    devices: tuple[str, ...] = ("cpu", "cuda")
    rehearsed: bool = False  # whether Triton's interpreter can run it on a CPU
    evaluates: bool = False  # whether it evaluates networks instead of training them
    needs: tuple[str, ...] = ()  # packages
    epochs: int = 1  # that one timed call trains
    models: Callable[[Problem], int] = lambda problem: 1  # that one timed call trains
    together: bool = False  # whether all networks are evaluated in one call, not one
    sampled: bool = False  # whether it is so slow that a part is timed and the rest extrapolated
    image_bytes: float = 784 * 4.0  # of an image and of its label or target, as they are kept
    label_bytes: float = 10 * 4.0
    held: bool = False  # whether parameters stay in registers or a cache from step to step
    sparse: bool = False  # whether zero pixels are skipped
    count: Counter = launches.of_torch
    count_whole: bool = False  # whether launches are counted in the timed call, not in a few steps
    describe: Callable[[Problem, int], Mapping[str, Any]] = (
        lambda problem, models: {}
    )  # more conditions of its rows
    threads: int | None = None  # that it keeps to, where torch's number is not its own

    def traffic(self, problem: Problem) -> dict[str, float]:
        """Arguments of `floors`: bytes of an image and a label, and the share of the first layer that is computed.

        A sparse image has four bytes of value and two of place for each inked pixel, and is read twice in a step.
        """
        if not self.sparse:
            return {"image_bytes": self.image_bytes, "label_bytes": self.label_bytes}
        read = problem.inked * 784 * 6.0 * (1 if self.evaluates else 2)
        return {"image_bytes": read, "label_bytes": self.label_bytes, "inked": problem.inked}


def prepare_training(
    implementation: Implementation,
    context: Context,
    *,
    images: int,
    models: int | None = None,
    epochs: int | None = None,
    count: bool = False,
    **conditions: Any,
) -> Ready:
    """Check a few steps of some problems against float64, then prepare whole epochs of all; a unit is a step of one.

    Args:
        images: that each network trains on.
        models, epochs: of one timed call; the implementation's own by default, and one epoch in a rehearsal.
        count: whether launches are counted.
        conditions: more of them.
    """
    problem = context.training(images)
    problems = problem.variants(models or implementation.models(problem))
    some = problems[:3]
    few = checked_trainer(implementation.build, some, context.size.check_steps)
    counted: dict[str, float] = {}
    if count and not implementation.count_whole:
        counted = implementation.count(few.train, context.size.check_steps * len(some), problem.device)
    epochs = 1 if context.rehearsing else epochs or implementation.epochs
    trainer: Trainer = implementation.build(problems, epochs)
    units = problem.steps * epochs * len(problems)
    context.warm_up(trainer.train)
    if count and implementation.count_whole:
        counted = implementation.count(trainer.train, units, problem.device)
    held, many = implementation.held, len(problems)
    work = floors.training_step(problem.batch_size, held=held, **implementation.traffic(problem))
    conditions |= {
        **implementation.describe(problem, many),
        "batch": problem.batch_size,
        "images": len(problem.labels),
        "models": many,
        "epochs": epochs,
    }
    if many == 1 and implementation.threads is not None:
        conditions["threads"] = implementation.threads
    timed = "the steps until the device is done" + (", a checkpoint an epoch" if held else "")
    out = "compiling, moving and converting data, evaluation"
    return Ready(trainer.train, units, counted, work, conditions, (timed, out))


def prepare_evaluation(
    implementation: Implementation,
    context: Context,
    *,
    networks: int | None = None,
    timed: str = "images and networks already there",
    **conditions: Any,
) -> Ready:
    """Check evaluations of some images against float64, then prepare all images; a unit is one network.

    Args:
        networks: evaluated by one timed call; the implementation's own number by default. Of a given number, which
            can be large, only some are checked and called before, and launches are not counted.
        timed: in the times or before them, beside outputs and results.
        conditions: more of them; `images`, the size's by default, says how many each network is evaluated on.
    """
    images = conditions.setdefault("images", context.size.evaluated_images)
    problem, sample = context.evaluation(images), context.size.sampled_images
    own = context.size.checkpoints if implementation.together else 1
    count = own if networks is None else networks
    models = context.networks(count)
    some = {name: value[: own if networks is None else 3] for name, value in models.items()}
    check_evaluator(implementation.build, some, problem, sample)
    part = problem.first(min(sample, len(problem.labels))) if implementation.sampled else problem
    evaluate = implementation.build(models, part)
    context.warm_up(evaluate if networks is None else implementation.build(some, problem))
    # a part of the images makes a part of a unit, and the time of a unit is extrapolated
    units = count * len(part.labels) / images
    counted = implementation.count(evaluate, units, problem.device) if networks is None else {}
    work = floors.evaluation(images, models=count, **implementation.traffic(problem))
    found = {
        **implementation.describe(problem, count),
        "models": count,
        "timed_images": len(part.labels),
        "extrapolated": len(part.labels) != images,
    }
    times = f"outputs, results on the host ({timed})", "compiling, moving and converting images"
    return Ready(evaluate, units, counted, work, found | conditions, times)
