"""The choice of "auto": what it picks, when it steps down, and that it says so once."""

import logging

import pytest
import torch
from checks import random_labels, sparse_images

import breaknet
from breaknet import BackendError, Job
from breaknet.backends import select, torch_backend
from breaknet.backends.numba_cpu import backend as numba_cpu

DATA = (sparse_images(40), random_labels(40))


@pytest.fixture
def notices(caplog):
    caplog.set_level(logging.WARNING, "breaknet")
    return caplog


def fail(*_):
    raise RuntimeError("out of resource: shared memory\nand more lines")


def names(backend="auto", device="auto"):
    return [choice.name for choice in select.choices(backend, device)]


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA GPU")
def test_without_a_gpu_numba_comes_first_and_the_interpreter_never():
    assert names() == ["numba", "torch"]
    assert names(device="cpu") == ["numba", "torch"]
    assert "CUDA" in select.reasons()["triton"]


def test_without_numba_torch_is_left(monkeypatch):
    monkeypatch.setattr(numba_cpu, "unavailable", lambda device: "numba cannot be imported")
    assert names(device="cpu") == ["torch"]
    with pytest.raises(BackendError, match="backend 'numba' cannot be used: numba cannot be imported"):
        breaknet.train(DATA, backend="numba")


def test_a_shape_over_the_limit_falls_to_torch_with_one_notice(notices):
    jobs = [Job(DATA, epochs=1, hidden=(129, 3)), Job(DATA, epochs=1, hidden=(3, 130)), Job(DATA, epochs=1)]
    runs = breaknet.train_many(jobs, device="cpu")
    assert [run.backend for run in runs] == ["torch", "torch", "numba"]
    assert [run.checkpoints.hidden for run in runs] == [(129, 3), (3, 130), (16, 16)]
    assert len(notices.messages) == 1
    assert "128" in notices.messages[0]
    with pytest.raises(BackendError, match=r"backend 'numba' cannot take this: .*128"):
        breaknet.train(DATA, hidden=(129, 3), backend="numba")
    assert breaknet.evaluate(runs[0].checkpoints, DATA, device="cpu").backend == "torch"
    with pytest.raises(BackendError, match="128"):
        breaknet.evaluate(runs[0].checkpoints, DATA, backend="numba")


def test_a_backend_that_fails_is_stepped_down_from_once(notices, monkeypatch):
    monkeypatch.setattr(numba_cpu, "train", fail)
    monkeypatch.setattr(numba_cpu, "evaluate", fail)
    run = breaknet.train(DATA, epochs=1, device="cpu")
    assert run.backend == "torch"
    assert len(notices.messages) == 1
    assert "numba backend failed on cpu (out of resource: shared memory)" in notices.messages[0]
    assert breaknet.evaluate(run.checkpoints, DATA, device="cpu").backend == "torch"
    with pytest.raises(RuntimeError, match="out of resource"):
        breaknet.train(DATA, epochs=1, backend="numba")


def test_the_last_backend_does_not_hide_its_error(monkeypatch):
    monkeypatch.setattr(numba_cpu, "train", fail)
    monkeypatch.setattr(torch_backend, "train", fail)
    with pytest.raises(RuntimeError, match="out of resource"):
        breaknet.train(DATA, epochs=1, device="cpu")
