"""A rung of the ladder, and how it becomes a way that is checked, counted and timed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch

from benchmarks import launches
from benchmarks.contenders.agreement import assert_agrees, assert_scores, exact_epoch, exact_scores
from benchmarks.floors import Work, scoring, training_step
from benchmarks.lab import Lab
from benchmarks.measure import Ready, Way
from benchmarks.problem import Parameters, Problem, Trainer, TrainerBuilder

Counter = Callable[[Callable[[], object], float, torch.device], dict[str, float]]


@dataclass(frozen=True, eq=False)
class Rung:
    """One way up.

    `build(problems, epochs)` of a rung that trains gives a Trainer for `models` problems, whose every call trains so
    many epochs. `build(models, problem)` of one that scores gives a Scorer of models [C, ...].
    """

    number: int
    name: str
    title: str
    build: Callable[..., Any]
    devices: tuple[str, ...] = ("cpu", "cuda")
    rehearsed: bool = False  # whether it can be tried on a CPU, under Triton's interpreter
    scores: bool = False  # whether it scores networks instead of training one
    needs: tuple[str, ...] = ()  # packages
    epochs: int = 1  # that one timed call trains
    models: Callable[[Problem], int] = lambda problem: 1  # that one timed call trains
    together: bool = False  # whether all networks are scored in one call, not one
    sampled: bool = False  # whether it is so slow that a part is timed and the rest extrapolated
    image_bytes: float = 784 * 4.0  # of an image and of its label or target, as the rung keeps them
    label_bytes: float = 10 * 4.0
    held: bool = False  # whether parameters stay in registers or a cache from step to step
    sparse: bool = False  # whether zero pixels are skipped
    count: Counter = launches.of_torch
    count_whole: bool = False  # whether launches are counted in the timed call, not in a few steps
    threads: int | None = None  # that it keeps to, where torch's number is not its own

    @property
    def work(self) -> str:
        """What one unit is."""
        return "the accuracy of one network on a set of images" if self.scores else "one training step"

    def way(self, lab: Lab) -> Way:
        """The rung on a lab's data."""
        kind = "score" if self.scores else "step"
        size = lab.size
        work = (
            f"the accuracy of one network on {size.scored_images:,} images"
            if self.scores
            else f"one training step of {size.batch_size} images"
        )
        prepare = partial(_scoring_ready if self.scores else _training_ready, self, lab)
        return Way(
            name=f"{kind}/{lab.device}/{self.name}", group="ladder", title=self.title, work=work,
            device=lab.device, contest=f"ladder/{kind}", prepare=prepare, needs=self.needs,
        )  # fmt: skip


def checked_trainer(build: TrainerBuilder, problems: Sequence[Problem], check_steps: int) -> Trainer:
    """A trainer of a few steps that has done them and agrees with float64 in every problem.

    Raises:
        AssertionError: it does not, naming the parameter.
    """
    few = [problem.first(check_steps * problem.batch_size) for problem in problems]
    trainer = build(few, 1)
    trainer.train()
    found = trainer.parameters()
    assert len(found) == len(few), f"parameters of {len(found)} networks, not {len(few)}"
    for parameters, one in zip(found, few, strict=True):
        exact = exact_epoch(one.images, one.labels, one.start, one.batch_size, one.learning_rate)
        assert_agrees(parameters, exact, one.start)
    return trainer


def _training_ready(rung: Rung, lab: Lab) -> Ready:
    """Check a few steps of some of its problems against float64, count, then prepare whole epochs of all."""
    problem = lab.training(lab.size.train_images)
    problems = problem.variants(rung.models(problem))
    some = problems[: min(3, len(problems))]
    trainer = checked_trainer(rung.build, some, lab.size.check_steps)
    counted = {}
    if not rung.count_whole:
        counted = rung.count(trainer.train, lab.size.check_steps * len(some), problem.device)
    epochs = 1 if lab.rehearsing else rung.epochs
    whole: Trainer = rung.build(problems, epochs)
    units = problem.steps * epochs * len(problems)
    lab.warm_up(whole.train)
    if rung.count_whole:
        counted = rung.count(whole.train, units, problem.device)
    conditions = {
        "batch": problem.batch_size, "images": len(problem.labels), "models": len(problems), "epochs": epochs,
        "timed": {
            "in": "the steps until the device is done" + (", a checkpoint an epoch" if rung.held else ""),
            "out": "compiling, moving and converting data, evaluation",
        },
    }  # fmt: skip
    work = training_work(rung, problem)
    return Ready(whole.train, units, counted, work, conditions | _threads(rung.threads))


def _scoring_ready(rung: Rung, lab: Lab) -> Ready:
    """Check accuracy (and cost, where there is one) on some images against float64, count, prepare all images."""
    problem, models = lab.scoring(lab.size.scored_images), lab.models
    networks = len(models["output.bias"]) if rung.together else 1
    chosen = {name: value[:networks] for name, value in models.items()}
    few = problem.first(min(lab.size.sampled_images, len(problem.labels)))
    cost, accuracy = rung.build(chosen, few).score()
    assert_scores(cost, accuracy, exact_scores(chosen, few.images, few.labels))
    timed = few if rung.sampled else problem
    scorer = rung.build(chosen, timed)
    # a part of the images makes a part of a unit, and the time of a unit is extrapolated
    units = networks * len(timed.labels) / lab.size.scored_images
    lab.warm_up(scorer.score)
    counted = rung.count(scorer.score, units, problem.device)
    conditions = {
        "images": lab.size.scored_images, "timed_images": len(timed.labels), "models": networks,
        "extrapolated": len(timed.labels) != lab.size.scored_images,
        "timed": {
            "in": "outputs, comparison with the labels, results on the host",
            "out": "compiling, moving and converting images",
        },
    }  # fmt: skip
    work = scoring_work(rung, problem, lab.size.scored_images, networks)
    return Ready(scorer.score, units, counted, work, conditions | _threads(rung.threads))


def training_work(rung: Rung, problem: Problem) -> Work:
    """The least work of one step in the way of the rung."""
    return training_step(
        problem.batch_size, problem.hidden, image_bytes=_image_bytes(rung, problem), label_bytes=rung.label_bytes,
        inked=problem.inked if rung.sparse else 1.0, held=rung.held,
    )  # fmt: skip


def scoring_work(rung: Rung, problem: Problem, images: int, networks: int) -> Work:
    """The least work of scoring one network on so many images, when `networks` are scored together."""
    return scoring(
        images, problem.hidden, models=networks, image_bytes=_image_bytes(rung, problem), label_bytes=rung.label_bytes,
        inked=problem.inked if rung.sparse else 1.0,
    )  # fmt: skip


def _image_bytes(rung: Rung, problem: Problem) -> float:
    """Of one image: a sparse rung reads four bytes of value and two of place for each inked pixel, twice a step."""
    if not rung.sparse:
        return rung.image_bytes
    return problem.inked * 784 * 6.0 * (1 if rung.scores else 2)


def _threads(threads: int | None) -> dict[str, int]:
    return {} if threads is None else {"threads": threads}


def single(build: Callable[[Problem, int], Trainer]) -> TrainerBuilder:
    """A builder for one problem in the form of those for several."""

    def build_one(problems: Sequence[Problem], epochs: int) -> Trainer:
        (problem,) = problems
        return build(problem, epochs)

    return build_one


def one_network(models: Parameters, problem: Problem) -> torch.nn.Module:
    """The first of models [C, ...] as a module on the problem's device."""
    model = problem.model()
    model.load_state_dict({name: value[0] for name, value in models.items()})
    return model


def as_array(value: float) -> np.ndarray:
    """Float64 [1]."""
    return np.array([value], np.float64)
