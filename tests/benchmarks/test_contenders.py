"""Every rung that a CPU or Triton's interpreter can try is right; a wrong one is refused and a failing one survived."""

from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from benchmarks import contenders
from benchmarks.contenders import RUNGS, climb, rungs_on, sliced
from benchmarks.contenders.contender import Rung, checked_trainer, single
from benchmarks.lab import Lab
from benchmarks.measure import WrongResult
from benchmarks.problem import Problem, Scorer, Trainer
from benchmarks.sizes import size_of


def test_the_cpus_ladder():
    rows = {row.name: row for row in climb("cpu", size="rehearse")}
    names = {"step/cpu/notebook", "step/cpu/sliced", "step/cpu/hand-written", "score/cpu/notebook-accuracy"}
    names |= {"score/cpu/vectorised-accuracy", "step/cpu/numba", "score/cpu/numba-evaluation"}
    assert set(rows) == names
    assert all(row.group == "ladder" and row.floor["seconds"] > 0 for row in rows.values())
    steps = len(range(0, size_of("rehearse").train_images, 10))
    assert rows["step/cpu/numba"].launches == {"compiled_calls": 1 / steps}
    assert (
        rows["step/cpu/sliced"].launches["torch_operators"]
        > rows["step/cpu/hand-written"].launches["torch_operators"]
    )
    # the notebook's loop over samples is timed on a part of the images, and says so
    sampled = rows["score/cpu/notebook-accuracy"]
    assert sampled.conditions["extrapolated"] is True
    assert sampled.conditions["timed_images"] == 20 < sampled.conditions["images"] == 40
    assert sampled.launches["torch_operators"] > 3 * 40
    assert not rows["step/cpu/sliced"].conditions["extrapolated"]


def test_the_gpus_ladder_is_rehearsed_but_for_what_needs_a_gpu():
    lab = Lab("cuda", size_of("rehearse"))
    assert {rung.name for rung in RUNGS.values() if "cuda" in rung.devices} - {rung.name for rung in rungs_on(lab)} == {
        "cuda-graph", "compiled",
    }  # fmt: skip
    rows = climb("cuda", only=["fused", "persistent", "all-checkpoints"], size="rehearse")
    assert [row.name for row in rows] == [
        "step/cuda/fused",
        "step/cuda/persistent",
        "score/cuda/all-checkpoints",
    ]


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="on a CPU torch.compile needs a C++ compiler")
def test_the_compiled_rung_is_right_on_a_cpu_too():
    checked_trainer(RUNGS["compiled"].build, [Lab("cpu", size_of("rehearse")).training(30)], 3)


def test_rungs_are_numbered_from_the_bottom():
    for device in ("cpu", "cuda"):
        for scores in (False, True):
            numbers = [
                rung.number for rung in RUNGS.values() if device in rung.devices and rung.scores == scores
            ]
            assert numbers == sorted(numbers)
            assert numbers[0] == 0
    assert [rung.number for rung in RUNGS.values() if "cuda" in rung.devices] == [
        0,
        0,
        1,
        2,
        3,
        4,
        5,
        6,
        7,
        8,
    ]


def altered(monkeypatch, build, **fields):
    """One more rung."""
    rung = Rung(1, "altered", "altered", build, **fields)
    monkeypatch.setitem(contenders.RUNGS, "altered", rung)


def without_the_last_batch(problem: Problem, epochs: int) -> Trainer:
    right = sliced.trainer(problem.first(len(problem.labels) - problem.batch_size), epochs)
    return Trainer(right.train, right.parameters)


def with_a_mean_cost(problem: Problem, epochs: int) -> Trainer:
    model = problem.model()
    optimizer = torch.optim.SGD(model.parameters(), lr=problem.learning_rate)

    def train() -> None:
        optimizer.zero_grad()
        nn.functional.mse_loss(model(problem.floats), problem.targets).backward()
        optimizer.step()

    return Trainer(train, lambda: [model.state_dict()])


def with_a_slightly_wrong_rate(problem: Problem, epochs: int) -> Trainer:
    return sliced.trainer(replace(problem, learning_rate=problem.learning_rate * 1.001), epochs)


def that_does_nothing(problem: Problem, epochs: int) -> Trainer:
    model = problem.model()
    return Trainer(lambda: None, lambda: [model.state_dict()])


@pytest.mark.parametrize(
    "build", [without_the_last_batch, with_a_mean_cost, with_a_slightly_wrong_rate, that_does_nothing]
)
def test_a_wrong_rung_is_refused_a_time(build, monkeypatch):
    altered(monkeypatch, single(build))
    lab = Lab("cpu", replace(size_of("rehearse"), check_steps=2))
    (rung,) = (rung for rung in rungs_on(lab) if rung.name == "altered")
    with pytest.raises(WrongResult, match=r"step/cpu/altered is wrong and gets no time: hidden1\.weight"):
        contenders.measure([rung.way(lab)], lab)


def test_a_scorer_that_is_off_by_one_image_is_refused(monkeypatch):
    def build(models, problem):
        right = contenders.vectorised.scorer(models, problem)
        return Scorer(lambda: (None, right.score()[1] + 1 / len(problem.labels)))

    altered(monkeypatch, build, scores=True)
    with pytest.raises(WrongResult, match=r"accuracy of network 0 off by 5\.0e-02"):
        climb("cpu", only=["altered"], size="rehearse")


def test_a_scorer_with_a_wrong_cost_is_refused(monkeypatch):
    def build(models, problem):
        right = contenders.numba_cpu.scorer(models, problem)

        def score():
            cost, accuracy = right.score()
            return cost * np.where(np.arange(len(cost)) == 1, 1.001, 1), accuracy

        return Scorer(score)

    altered(monkeypatch, build, scores=True, together=True, needs=("numba",))
    with pytest.raises(WrongResult, match=r"cost of network 1 off by 1\.0e-03"):
        climb("cpu", only=["altered"], size="rehearse")


def test_a_failing_rung_is_survived(monkeypatch, caplog):
    def build(problem, epochs):
        raise RuntimeError("out of memory")

    altered(monkeypatch, single(build))
    with pytest.raises(RuntimeError, match="out of memory"):
        climb("cpu", only=["altered", "sliced"], size="rehearse")
    rows = climb("cpu", only=["altered", "sliced"], size="rehearse", survive=True)
    assert [row.name for row in rows] == ["step/cpu/sliced"]
    assert "step/cpu/altered is left out: RuntimeError: out of memory" in caplog.text


def test_launches_are_counted_and_not_typed(monkeypatch):
    """The sliced loop with three more operators a step."""

    def build(problem, epochs):
        right = sliced.trainer(problem, epochs)

        def train():
            right.train()
            for _ in range(3 * problem.steps):
                torch.add(problem.floats[0, 0], 1)

        return Trainer(train, right.parameters)

    altered(monkeypatch, single(build))
    plain, more = climb("cpu", only=["sliced", "altered"], size="rehearse")
    # two selections and an addition, three times
    assert more.launches["torch_operators"] - plain.launches["torch_operators"] == 9


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"device": "tpu"}, 'device: "cpu" or "cuda"'),
        ({"only": ["cuda-graph"]}, "only: rungs on cpu, notebook, .*; not cuda-graph"),
        ({"size": "huge"}, "size: one of rehearse, quick, full, not 'huge'"),
    ],
)
def test_what_is_not_known_is_refused_before_any_work(arguments, told):
    with pytest.raises(ValueError, match=told):
        climb(**({"device": "cpu", "size": "rehearse"} | arguments))


def test_the_size_of_the_environment(monkeypatch):
    monkeypatch.setenv("BREAKNET_BENCH_SIZE", "full")
    assert size_of().name == "full"
    monkeypatch.setenv("BREAKNET_BENCH_SIZE", "")
    assert size_of().name == "quick"
    monkeypatch.setenv("BREAKNET_BENCH_SIZE", "whole")
    with pytest.raises(ValueError, match="BREAKNET_BENCH_SIZE: one of rehearse, quick, full, not 'whole'"):
        size_of()
