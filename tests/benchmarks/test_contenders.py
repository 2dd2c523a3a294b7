"""The implementations that a CPU or Triton's interpreter can run are right; wrong ones get no time."""

import shutil
from dataclasses import replace
from itertools import groupby

import numpy as np
import pytest
import torch
from torch import nn

from benchmarks import contenders
from benchmarks.contenders import IMPLEMENTATIONS, compare, ladder_names, sliced, torch_evaluation, torch_func
from benchmarks.contenders.agreement import assert_agrees, assert_evaluations, checked_trainer, exact_epochs
from benchmarks.contenders.implementation import Implementation
from benchmarks.measure import Context, WrongResult
from benchmarks.problem import Problem, Trainer, single, size_of
from benchmarks.suites import SUITES


@pytest.fixture(scope="module")
def context():
    return Context("cpu", size_of("rehearse"))


def test_the_cpus_ladder():
    rows = {row.name: row for row in compare("cpu", size="rehearse")}
    assert set(rows) == {
        "step/cpu/notebook", "step/cpu/sliced", "step/cpu/hand-written", "step/cpu/numba",
        "accuracy/cpu/notebook-accuracy", "accuracy/cpu/vectorised-accuracy", "accuracy/cpu/numba-evaluation",
    }  # fmt: skip
    assert all(row.group == "ladder" and row.floor["seconds"] > 0 for row in rows.values())
    steps = len(range(0, size_of("rehearse").train_images, 10))
    assert rows["step/cpu/numba"].launches == {"compiled_calls": 1 / steps}
    inked, floor = Context("cpu", size_of("rehearse")).training(10).inked, rows["step/cpu/numba"].floor
    assert floor["bytes"] == pytest.approx(10 * (2 * 6 * 784 * inked + 8)), "inked pixels only, read twice"
    operators = {name: row.launches.get("torch_operators", 0) for name, row in rows.items()}
    assert operators["step/cpu/sliced"] > operators["step/cpu/hand-written"]
    # the notebook's loop over samples is timed on a part of the images, and says so
    sampled = rows["accuracy/cpu/notebook-accuracy"]
    assert sampled.conditions["extrapolated"] is True
    assert sampled.conditions["timed_images"] == 20 < sampled.conditions["images"] == 40
    assert operators["accuracy/cpu/notebook-accuracy"] > 3 * 40
    assert not rows["step/cpu/sliced"].conditions["extrapolated"]


def test_the_gpus_ladder_is_rehearsed_but_for_graphs():
    rehearsed = ladder_names(Context("cuda", size_of("rehearse")))
    assert set(ladder_names(Context("cuda", size_of("full")))) - set(rehearsed) == {
        "cuda-graph", "fused-network-graph", "compiled",
    }  # fmt: skip
    rows = compare("cuda", only=["fused", "fused-network", "cooperative", "all-checkpoints"], size="rehearse")
    assert [row.name for row in rows] == [
        "step/cuda/fused", "step/cuda/fused-network", "step/cuda/cooperative", "accuracy/cuda/all-checkpoints",
    ]  # fmt: skip


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="on a CPU torch.compile needs a C++ compiler")
def test_the_compiled_step_is_right_on_a_cpu_too(context):
    checked_trainer(IMPLEMENTATIONS["compiled"].build, [context.training(30)], 3)


@pytest.mark.parametrize(
    ("name", "models"), [("torch-func", 1), ("torch-func", 3), ("jax", 1), ("jax", 3), ("jax-in-turn", 2)]
)
def test_alternatives_agree_with_float64(name, models, context):
    implementation = IMPLEMENTATIONS[name]
    for package in implementation.needs:
        pytest.importorskip(package)
    checked_trainer(implementation.build, context.training(30).variants(models), 3)


def test_jax_refuses_a_partial_batch(context):
    pytest.importorskip("jax")
    with pytest.raises(ValueError, match="a whole number of batches"):
        IMPLEMENTATIONS["jax"].build([context.training(30).first(25)], 1)


@pytest.mark.parametrize(("epochs", "calls"), [(1, 2), (2, 1)])
def test_epochs_go_on_where_the_last_ended(epochs, calls, context):
    problem = context.training(20)
    trainer = torch_func.trainer([problem], epochs)
    for _ in range(calls):
        trainer.train()
    assert_agrees(trainer.parameters()[0], exact_epochs(problem, 2), problem.start)


@pytest.mark.parametrize("build", [torch_evaluation.one_by_one, torch_evaluation.wide])
def test_vectorised_torch_evaluates_as_float64_does(context, monkeypatch, build):
    problem, models = context.evaluation(40), context.networks(7)
    monkeypatch.setitem(torch_evaluation.BLOCK, "cpu", (9, 3))  # neither divides
    assert_evaluations(*build(models, problem)(), models, problem)


def without_the_last_batch(problem: Problem, epochs: int) -> Trainer:
    return sliced.trainer(problem.first(len(problem.labels) - problem.batch_size), epochs)


def with_a_mean_cost(problem: Problem, epochs: int) -> Trainer:
    model = problem.model()
    optimizer = torch.optim.SGD(model.parameters(), lr=problem.learning_rate)

    def train() -> None:
        optimizer.zero_grad()
        nn.functional.mse_loss(model(problem.floats), problem.targets).backward()
        optimizer.step()

    return Trainer(train, lambda: [model.state_dict()])


def with_a_slightly_wrong_learning_rate(problem: Problem, epochs: int) -> Trainer:
    return sliced.trainer(replace(problem, learning_rate=problem.learning_rate * 1.001), epochs)


def that_does_nothing(problem: Problem, epochs: int) -> Trainer:
    model = problem.model()
    return Trainer(lambda: None, lambda: [model.state_dict()])


def altered(monkeypatch, build, **fields):
    """One more implementation on the ladder."""
    monkeypatch.setitem(contenders.IMPLEMENTATIONS, "altered", Implementation("altered", build, **fields))
    monkeypatch.setattr(contenders, "LADDER", (*contenders.LADDER, "altered"))


def off_by_one_image(models, problem):
    right = contenders.vectorised.evaluator(models, problem)
    return lambda: (None, right()[1] + 1 / len(problem.labels))


def wrong_cost_of_the_second(models, problem):
    right = IMPLEMENTATIONS["numba-evaluation"].build(models, problem)

    def evaluate():
        cost, accuracy = right()
        return cost * np.where(np.arange(len(cost)) == 1, 1.001, 1), accuracy

    return evaluate


TRAINS, ONE = r"hidden1\.weight: error", {"evaluates": True}
MANY = {"evaluates": True, "together": True, "needs": ("numba",)}


@pytest.mark.parametrize(
    ("build", "fields", "message"),
    [
        (single(without_the_last_batch), {}, TRAINS),
        (single(with_a_mean_cost), {}, TRAINS),
        (single(with_a_slightly_wrong_learning_rate), {}, TRAINS),
        (single(that_does_nothing), {}, TRAINS),
        (off_by_one_image, ONE, r"accuracy of network 0 off by 5\.0e-02"),
        (wrong_cost_of_the_second, MANY, r"cost of network 1 off by 1\.0e-03"),
    ],
)
def test_what_is_wrong_is_refused_a_time(build, fields, message, monkeypatch):
    """Training in two steps, of which the last can be missing."""
    altered(monkeypatch, build, **fields)
    context = Context("cpu", replace(size_of("rehearse"), check_steps=2))
    wrong = [one for one in contenders.ladder(context) if one.name.endswith("/altered")]
    with pytest.raises(WrongResult, match=f"cpu/altered is wrong and gets no time: {message}"):
        contenders.measure(wrong, context)


def careless(problems, epochs):
    """Right about the first network; trains the second on the first one's labels."""
    return torch_func.trainer(
        [problems[0], replace(problems[1], labels=problems[0].labels, _others=[])], epochs
    )


def forgetful(problems, epochs):
    right = torch_func.trainer(problems, epochs)
    return Trainer(right.train, lambda: right.parameters()[:1])


@pytest.mark.parametrize(
    ("build", "message"), [(careless, "error"), (forgetful, "parameters of 1 networks, not 2")]
)
def test_every_network_of_many_is_checked(build, message, context):
    with pytest.raises(AssertionError, match=message):
        checked_trainer(build, context.training(20).variants(2), 2)


def test_variants_share_images_and_nothing_else(context):
    first, second, third = context.training(20).variants(3)
    assert first.images is second.images is third.images
    assert sorted(first.labels) == sorted(second.labels)
    assert not np.array_equal(second.labels, third.labels)
    assert not torch.equal(second.start["hidden1.weight"], third.start["hidden1.weight"])
    again = context.training(20).variants(3)
    assert all(one is other for one, other in zip(again, (first, second, third), strict=True))


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("size", ["rehearse", "quick", "full"])
def test_every_contender_has_a_name_of_its_own_that_says_the_device(size, device):
    """Listing them needs neither data nor a GPU. Contenders of one comparison stand together; a suite is a group."""
    every = {name: suite(Context(device, size_of(size))) for name, suite in SUITES.items()}
    some = [one for suite in every.values() for one in suite]
    assert len({one.name for one in some}) == len(some)
    assert all(one.device == device for one in some)
    assert all(one.group == name for name, suite in every.items() for one in suite)
    comparisons = [comparison for comparison, _ in groupby(some, key=lambda one: one.comparison)]
    assert len(set(comparisons)) == len(comparisons)


def test_a_failing_implementation_is_survived(monkeypatch, caplog):
    def build(problems, epochs):
        raise RuntimeError("out of memory")

    altered(monkeypatch, build)
    chosen = {"device": "cpu", "only": ["altered", "sliced"], "size": "rehearse"}
    with pytest.raises(RuntimeError, match="out of memory"):
        compare(**chosen)
    assert [row.name for row in compare(**chosen, survive=True)] == ["step/cpu/sliced"]
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
    plain, more = compare("cpu", only=["sliced", "altered"], size="rehearse")
    # two selections and an addition, three times
    assert more.launches["torch_operators"] - plain.launches["torch_operators"] == 9


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"device": "tpu"}, 'device: "cpu" or "cuda"'),
        ({"only": ["cuda-graph"]}, "only: implementations on cpu, notebook, .*; not cuda-graph"),
        ({"size": "huge"}, "size: one of rehearse, quick, full, not 'huge'"),
    ],
)
def test_unknown_names_are_refused_before_any_work(arguments, message):
    with pytest.raises(ValueError, match=message):
        compare(**({"device": "cpu", "size": "rehearse"} | arguments))


def test_the_size_of_the_environment(monkeypatch):
    for value, name in (("full", "full"), ("", "quick")):
        monkeypatch.setenv("BREAKNET_BENCH_SIZE", value)
        assert size_of().name == name
    monkeypatch.setenv("BREAKNET_BENCH_SIZE", "whole")
    with pytest.raises(ValueError, match="BREAKNET_BENCH_SIZE: one of rehearse, quick, full, not 'whole'"):
        size_of()
