"""An implementation of training or evaluation, and its preparation as a contender: checked, counted, with its floor."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from benchmarks import floors, launches
from benchmarks.contenders.agreement import check_evaluator, checked_trainer
from benchmarks.floors import Work
from benchmarks.measure import Context, Ready
from benchmarks.problem import Parameters, Problem, Trainer

Counter = Callable[[Callable[[], object], float, torch.device], dict[str, float]]


@dataclass(frozen=True, eq=False)
class Implementation:
    """How it is built, where it runs, and how it keeps images and parameters.

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
    threads: int | None = None  # that it keeps to, where torch's number is not its own

    def step_work(self, problem: Problem) -> Work:
        """The least work of one training step."""
        return floors.training_step(
            problem.batch_size, problem.hidden, image_bytes=self._image_bytes(problem), label_bytes=self.label_bytes,
            inked=problem.inked if self.sparse else 1.0, held=self.held,
        )  # fmt: skip

    def evaluation_work(self, problem: Problem, images: int, networks: int) -> Work:
        """The least work of evaluating one network on so many images, when `networks` are evaluated together."""
        return floors.evaluation(
            images, problem.hidden, models=networks, image_bytes=self._image_bytes(problem),
            label_bytes=self.label_bytes, inked=problem.inked if self.sparse else 1.0,
        )  # fmt: skip

    def _image_bytes(self, problem: Problem) -> float:
        """Of one image: sparse, four bytes of value and two of place for each inked pixel, read twice a step."""
        if not self.sparse:
            return self.image_bytes
        return problem.inked * 784 * 6.0 * (1 if self.evaluates else 2)

    @property
    def _threads(self) -> dict[str, int]:
        return {} if self.threads is None else {"threads": self.threads}


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
    found = {
        "batch": problem.batch_size, "images": len(problem.labels), "models": len(problems), "epochs": epochs,
        "timed": {
            "in": "the steps until the device is done" + (", a checkpoint an epoch" if implementation.held else ""),
            "out": "compiling, moving and converting data, evaluation",
        },
    }  # fmt: skip
    if len(problems) == 1:
        found |= implementation._threads
    return Ready(trainer.train, units, counted, implementation.step_work(problem), found | conditions)


def prepare_evaluation(
    implementation: Implementation,
    context: Context,
    *,
    networks: int | None = None,
    count: bool = True,
    checked: int | None = None,
    timed: str = "images and networks already there",
    **conditions: Any,
) -> Ready:
    """Check evaluations of some images against float64, then prepare all images; a unit is one network.

    Args:
        networks: evaluated by one timed call; the implementation's own number by default.
        count: whether launches are counted.
        checked: networks that are checked; all by default.
        timed: in the times or before them, beside outputs and results.
        conditions: more of them; `images`, the size's by default, says how many each network is evaluated on.
    """
    images = conditions.setdefault("images", context.size.evaluated_images)
    problem = context.evaluation(images)
    if networks is None:
        networks = context.size.checkpoints if implementation.together else 1
    models, sample = context.networks(networks), context.size.sampled_images
    some: Parameters = {name: value[:checked] for name, value in models.items()}
    check_evaluator(implementation.build, some, problem, sample)
    if checked is not None:
        context.warm_up(implementation.build(some, problem))  # with few networks: all of them can take long
    part = problem.first(min(sample, len(problem.labels))) if implementation.sampled else problem
    evaluate = implementation.build(models, part)
    if checked is None:
        context.warm_up(evaluate)
    # a part of the images makes a part of a unit, and the time of a unit is extrapolated
    units = networks * len(part.labels) / images
    counted = implementation.count(evaluate, units, problem.device) if count else {}
    found = {
        "models": networks, "timed_images": len(part.labels), "extrapolated": len(part.labels) != images,
        "timed": {"in": f"outputs, results on the host ({timed})", "out": "compiling, moving and converting images"},
    }  # fmt: skip
    work = implementation.evaluation_work(problem, images, networks)
    return Ready(evaluate, units, counted, work, found | implementation._threads | conditions)
