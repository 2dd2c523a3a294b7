"""The rivals do the same work and agree with float64, alone and many at a time; and the judge notices what does not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from benchmarks.contenders import torch_evaluation, torch_func
from benchmarks.contenders.agreement import assert_agrees, assert_scores, exact_epoch, exact_scores
from benchmarks.contenders.contender import checked_trainer
from benchmarks.lab import Lab
from benchmarks.problem import Trainer
from benchmarks.sizes import size_of
from benchmarks.suites import SUITES
from benchmarks.suites.rivals import jax_in_turn, jax_scan


@pytest.fixture(scope="module")
def lab():
    return Lab("cpu", size_of("rehearse"))


@pytest.mark.parametrize("models", [1, 3])
def test_torch_func_agrees_with_float64(models, lab):
    checked_trainer(torch_func.trainer, lab.training(30).variants(models), 3)


@pytest.mark.parametrize(("build", "models"), [(jax_scan, 1), (jax_scan, 3), (jax_in_turn, 2)])
def test_jax_agrees_with_float64(build, models, lab):
    pytest.importorskip("jax")
    checked_trainer(build, lab.training(30).variants(models), 3)


def test_jax_refuses_a_partial_batch(lab):
    pytest.importorskip("jax")
    with pytest.raises(ValueError, match="a whole number of batches"):
        jax_scan([lab.training(30).first(25)], 1)


def test_epochs_go_on_where_the_last_ended(lab):
    """Two calls of one epoch and one call of two come to the same as float64 does."""
    problem = lab.training(20)
    twice = replace(problem, images=np.tile(problem.images, (2, 1)), labels=np.tile(problem.labels, 2))
    exact = exact_epoch(twice.images, twice.labels, twice.start, twice.batch_size, twice.learning_rate)
    for epochs, calls in ((1, 2), (2, 1)):
        trainer = torch_func.trainer([problem], epochs)
        for _ in range(calls):
            trainer.train()
        assert_agrees(trainer.parameters()[0], exact, problem.start)


@pytest.mark.parametrize("build", [torch_evaluation.one_by_one, torch_evaluation.wide])
def test_vectorised_torch_scores_as_float64_does(lab, monkeypatch, build):
    problem, models = lab.scoring(40), lab.networks(7)
    monkeypatch.setitem(torch_evaluation.BLOCK, "cpu", (9, 3))  # neither divides
    found = build(models, problem).score()
    assert_scores(*found, exact_scores(models, problem.images, problem.labels))


def test_the_judge_is_right_about_scores(lab):
    problem, models = lab.scoring(40), lab.networks(2)
    cost, accuracy, _ = exact_scores(models, problem.images, problem.labels)
    for number in range(2):
        model = problem.model().double()
        model.load_state_dict({name: value[number] for name, value in models.items()})
        with torch.no_grad():
            output = model(torch.from_numpy(problem.images).double() / 256)
        target = torch.nn.functional.one_hot(torch.from_numpy(problem.labels), 10)
        assert cost[number] == pytest.approx(float(((output - target) ** 2).sum() / 40), rel=1e-12)
        assert accuracy[number] == float((output.argmax(1).numpy() == problem.labels).mean())


def test_every_network_of_many_is_judged(lab):
    """A trainer that is right about the first network and trains the second on the first one's labels."""

    def careless(problems, epochs):
        return torch_func.trainer(
            [problems[0], replace(problems[1], labels=problems[0].labels, _others=[])], epochs
        )

    checked_trainer(torch_func.trainer, lab.training(20).variants(2), 2)
    with pytest.raises(AssertionError, match="error"):
        checked_trainer(careless, lab.training(20).variants(2), 2)


def test_a_trainer_that_forgets_networks_is_noticed(lab):
    def forgetful(problems, epochs):
        right = torch_func.trainer(problems, epochs)
        return Trainer(right.train, lambda: right.parameters()[:1])

    with pytest.raises(AssertionError, match="parameters of 1 networks, not 2"):
        checked_trainer(forgetful, lab.training(20).variants(2), 2)


def test_variants_share_images_and_nothing_else(lab):
    first, second, third = lab.training(20).variants(3)
    assert first.images is second.images is third.images
    assert sorted(first.labels) == sorted(second.labels)
    assert not np.array_equal(second.labels, third.labels)
    assert not torch.equal(second.start["hidden1.weight"], third.start["hidden1.weight"])
    again = lab.training(20).variants(3)
    assert all(one is other for one, other in zip(again, (first, second, third), strict=True))


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("size", ["rehearse", "quick", "full"])
def test_every_way_has_a_name_of_its_own_that_says_the_device(size, device):
    """Listing them needs neither data nor a GPU."""
    ways = [way for suite in SUITES.values() for way in suite(Lab(device, size_of(size)))]
    names = [way.name for way in ways]
    assert len(set(names)) == len(names)
    assert all(way.device == device and way.name.split("/")[1] == device for way in ways)
    contests = [way.contest for way in ways]
    changes = [one for one, before in zip(contests, [None, *contests], strict=False) if one != before]
    assert len(set(changes)) == len(changes), "ways of one contest stand together"
