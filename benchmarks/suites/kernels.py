"""What the GPU kernels' design rests on: barriers, launches of one epoch and of packed, tiles, networks a second."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import torch

from benchmarks import launches
from benchmarks.contenders import RUNGS, all_checkpoints, packed
from benchmarks.contenders import cooperative as persistent
from benchmarks.contenders.agreement import assert_scores, exact_scores
from benchmarks.contenders.contender import checked_trainer, scoring_work, single, training_work
from benchmarks.lab import Lab
from benchmarks.measure import Ready, Way
from benchmarks.microbenchmarks.barrier import BarrierLoop
from benchmarks.problem import Parameters, Problem, Scorer, Trainer
from benchmarks.suites.training import training_ready
from benchmarks.tagged_loop import TaggedLoop
from breaknet.kernels import evaluation
from breaknet.kernels.host.trainers import SplitTrainer
from breaknet.kernels.jobs import JobRow, pack_parameters
from breaknet.model import PARAMETER_NAMES

ROUNDS = {"rehearse": 3, "quick": 20_000, "full": 100_000}  # of the barrier loop
LONG = {"rehearse": 1, "quick": 10, "full": 100}  # epochs of a whole run
#: BLOCK_C, BLOCK_M, warps, registers: the shipped tile first.
TILES = (evaluation.TILES[16], (2, 64, 4, 168), (4, 32, 4, 168), (8, 64, 8, 168), (4, 128, 8, 168))


def ways(lab: Lab) -> list[Way]:
    """None on a CPU."""
    if not lab.gpu:
        return []
    step = f"one training step of {lab.size.batch_size} images"
    images = lab.size.train_images

    def way(name: str, contest: str, title: str, work: str, prepare: Callable[[], Ready]) -> Way:
        return Way(
            f"kernels/{lab.device}/{name}", "kernels", title, work, lab.device, f"kernels/{contest}", prepare,
            ("triton",),
        )  # fmt: skip

    cooperative = single(persistent.trainer)
    long = LONG[lab.size.name]
    meeting = "one meeting of the trainer's programs, no work between"
    run = f"one network: {long} epochs of {images:,} images"
    return [
        way("step/one-epoch", "step", "cooperative, an epoch a launch", step,
            training_ready(cooperative, lab, images=images, epochs=1, floor="persistent", launch="cooperative")),
        way("step/whole-run", "step", f"cooperative, {long} epochs a launch", step,
            training_ready(cooperative, lab, images=images, epochs=long, floor="persistent", launch="cooperative")),
        way("step/split", "step", "three launches a step, replayed as CUDA graphs", step,
            training_ready(single(split_trainer), lab, images=images, epochs=1, floor="persistent", launch="split")),
        *(
            way(f"tiles/{'x'.join(map(str, tile))}", "tiles", "shipped" if tile == TILES[0] else "another tile",
                f"cost and accuracy of one network on {lab.size.scored_images:,} images", partial(_tiles, lab, tile))
            for tile in (TILES[:2] if lab.rehearsing else TILES)
        ),
        way("packed/training", "packed", "a program a network, with checkpoints", run, partial(_packed, lab, long)),
        way("packed/evaluation", "packed-evaluation", "all their checkpoints, one launch",
            f"all {long} checkpoints of one network on {lab.size.scored_images:,} images",
            partial(_packed_evaluation, lab, long)),
        # last, since what waits for others could wait for ever
        way("barrier", "barrier", "a counter that all wait for", meeting, partial(_meeting, lab, BarrierLoop)),
        way("tagged-words", "barrier", "a tagged word from each to each", meeting, partial(_meeting, lab, TaggedLoop)),
    ]  # fmt: skip


def _meeting(lab: Lab, form: type[BarrierLoop] | type[TaggedLoop]) -> Ready:
    device = lab.place
    programs = 1
    if device.type == "cuda":
        config = persistent.config_for(lab.training(lab.size.batch_size))
        programs = config.programs(persistent.LESSON)
    loop = form(programs, ROUNDS[lab.size.name], device)
    loop.run()
    loop.check()
    timed = {"in": "one launch of many meetings, until the device is done", "out": "compiling"}
    return Ready(loop.run, loop.rounds, conditions={"programs": programs, "timed": timed})


def split_trainer(problem: Problem, epochs: int) -> Trainer:
    """The phase-split trainer on the cooperative one's tiles."""
    device = problem.device
    labels = torch.from_numpy(problem.labels).int().to(device)
    live = pack_parameters([problem.start[name] for name in PARAMETER_NAMES])[None].to(device)
    shape = persistent.LESSON
    checkpoints = torch.full((epochs, shape.parameters), float("nan"), device=device)
    launcher = SplitTrainer(shape, persistent.config_for(problem), problem.bytes, labels, live, capacity=1)
    job = JobRow(0, 0, len(labels), problem.batch_size, epochs, 0, 0, problem.learning_rate)

    def train() -> None:
        launcher.launch(checkpoints, [job])
        problem.wait()

    return Trainer(train, lambda: [dict(zip(PARAMETER_NAMES, shape.unpack(checkpoints[-1]), strict=True))])


@contextmanager
def tile_in_use(tile: tuple[int, int, int, int]) -> Iterator[None]:
    """Let the evaluation of the lesson's widths use another tile for a while."""
    shipped = evaluation.TILES[16]
    evaluation.TILES[16] = tile
    try:
        yield
    finally:
        evaluation.TILES[16] = shipped


def _tiles(lab: Lab, tile: tuple[int, int, int, int]) -> Ready:
    def build(models: Parameters, problem: Problem) -> Scorer:
        scorer = all_checkpoints.scorer(models, problem)

        def score() -> tuple[np.ndarray | None, np.ndarray]:
            with tile_in_use(tile):
                return scorer.score()

        return Scorer(score)

    problem, models = lab.scoring(lab.size.scored_images), lab.models
    some = problem.first(min(2_000, len(problem.labels)))
    assert_scores(*build(models, some).score(), exact_scores(models, some.images, some.labels))
    whole = build(models, problem)
    lab.warm_up(whole.score)
    count = len(models["output.bias"])
    work = scoring_work(RUNGS["all-checkpoints"], problem, len(problem.labels), count)
    names = ("checkpoints", "images", "warps", "registers")
    conditions = {
        "models": count, "images": len(problem.labels), "tile": dict(zip(names, tile, strict=True)),
        "timed": {"in": "all outputs, results on the host", "out": "compiling, moving images and checkpoints"},
    }  # fmt: skip
    return Ready(whole.score, count, launches.of_torch(whole.score, count, problem.device), work, conditions)


def _packed_problems(lab: Lab) -> Sequence[Problem]:
    problem = lab.training(lab.size.train_images)
    return problem.variants(packed.capacity(problem))


def _packed(lab: Lab, epochs: int) -> Ready:
    """As many networks as train at once, each a whole run."""
    problems = _packed_problems(lab)
    checked_trainer(packed.trainer, problems[:3], lab.size.check_steps)
    trainer = packed.trainer(problems, epochs)
    lab.warm_up(trainer.train)
    work = training_work(RUNGS["many-models"], problems[0]).times(problems[0].steps * epochs)
    conditions: dict[str, Any] = {
        "models": len(problems), "images": len(problems[0].labels), "epochs": epochs,
        "batch": problems[0].batch_size,
        "timed": {"in": "all steps, a checkpoint an epoch", "out": "compiling, moving data, evaluation"},
    }  # fmt: skip
    return Ready(trainer.train, len(problems), work=work, conditions=conditions)


def _packed_evaluation(lab: Lab, epochs: int) -> Ready:
    """The scores of so many checkpoints, for the rate with evaluation."""
    networks = len(_packed_problems(lab))
    models = lab.networks(networks * epochs)
    problem = lab.scoring(lab.size.scored_images)
    some = problem.first(min(2_000, len(problem.labels)))
    few = {name: value[:3] for name, value in models.items()}
    assert_scores(*all_checkpoints.scorer(few, some).score(), exact_scores(few, some.images, some.labels))
    whole = all_checkpoints.scorer(models, problem)
    lab.warm_up(whole.score)
    conditions = {
        "models": networks, "checkpoints": networks * epochs, "images": len(problem.labels),
        "timed": {"in": "all outputs, results on the host", "out": "compiling, moving images and checkpoints"},
    }  # fmt: skip
    return Ready(whole.score, networks, conditions=conditions)
