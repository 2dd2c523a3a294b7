"""`check_backend`: every backend passes, and what is wrong with one is reported by its check."""

from dataclasses import replace

import pytest
import torch

from breaknet.backends import select
from breaknet.backends.check import check_backend

CPU = torch.device("cpu")


def test_triton_passes(device):
    found = check_backend("triton", device)
    assert {one.name for one in found} >= {"evaluation", "operators", "plan packed"}
    assert all(one.ok for one in found), found


@pytest.mark.parametrize(("name", "plan"), [("numba", "threads"), ("torch", "autograd")])
def test_cpu_backends_pass(name, plan):
    found = check_backend(name, CPU)
    assert [one.name for one in found] == ["evaluation", f"plan {plan}"]
    assert all(one.ok for one in found), found


def _trained_otherwise(real):
    def train(jobs, *rest):
        return real([replace(job, learning_rate=job.learning_rate * 1.001) for job in jobs], *rest)

    return train


def _nan_after(real):
    def train(*arguments):
        trained = real(*arguments)
        trained[0].parameters["output.bias"][0, 0] = float("nan")
        return trained

    return train


def _failing(real):
    def train(*arguments):
        raise RuntimeError("out of resource\nand more lines")

    return train


def _scored_otherwise(change):
    def wrap(real):
        def evaluate(*arguments):
            scores = real(*arguments)
            change(scores)
            return scores

        return evaluate

    return wrap


def _reverse_labels(scores):
    scores.confusion[0] = scores.confusion[0][:, ::-1].copy()


def _raise_a_cost(scores):
    scores.cost[1] *= 1.0001


def _lose_a_cost(scores):
    scores.cost[0] = float("nan")


@pytest.mark.parametrize(
    ("function", "mutation", "check", "detail"),
    [
        ("train", _trained_otherwise, "plan threads", "update off by"),
        ("train", _nan_after, "plan threads", "update off by nan"),
        ("train", _failing, "plan threads", "RuntimeError: out of resource"),
        ("evaluate", _scored_otherwise(_reverse_labels), "evaluation", "confusion counts differ"),
        ("evaluate", _scored_otherwise(_raise_a_cost), "evaluation", "cost off by 1.0e-04"),
        ("evaluate", _scored_otherwise(_lose_a_cost), "evaluation", "cost off by nan"),
    ],
)
def test_a_fault_is_reported_by_its_check(monkeypatch, function, mutation, check, detail):
    module = select.load("numba")
    monkeypatch.setattr(module, function, mutation(getattr(module, function)))
    found = {one.name: one for one in check_backend("numba", CPU)}
    assert [name for name, one in found.items() if not one.ok] == [check]
    assert detail in found[check].detail
    assert "\n" not in found[check].detail
