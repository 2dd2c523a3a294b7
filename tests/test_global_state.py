"""Torch's settings and random state are the caller's: they neither reach a training nor are changed by one."""

import contextlib
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from checks import random_labels, sparse_images

import breaknet
from breaknet import notebook
from breaknet.model import seeded_parameters

DATA = sparse_images(60), random_labels(60)
FLOATS = (DATA[0] / 256).astype(np.float32)


@contextlib.contextmanager
def default_dtype(dtype):
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


SETTINGS = {
    "no_grad": torch.no_grad,
    "inference_mode": torch.inference_mode,
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    "default dtype": lambda: default_dtype(torch.float64),
    "half by default": lambda: default_dtype(torch.float16),
    "default device": lambda: torch.device("meta"),
}


def everything(backend):
    """The results of a training and an evaluation, with the device named: 'meta' may be the default."""
    run = breaknet.train(DATA, valid=DATA, epochs=2, batch_size=25, seed=3, backend=backend, device="cpu")
    result = breaknet.evaluate(run.checkpoints, DATA, backend=backend, device="cpu")
    last = run.checkpoints[-1]
    assert all(not value.is_inference() and value.requires_grad for value in last.parameters())
    return [run.train_cost, run.valid_accuracy, result.cost, *(value for value in last.state_dict().values())]


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("backend", ["torch", "numba"])
def test_settings_of_torch_change_nothing(name, backend):
    expected = everything(backend)
    with SETTINGS[name]():
        found = everything(backend)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(np.asarray(one), np.asarray(other))


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("plain", [False, True])
def test_settings_of_torch_change_nothing_in_the_notebook(name, plain, capsys):
    def costs(settings):
        torch.manual_seed(0)
        model = notebook.NN_Model()
        if plain:
            model.hidden2.bias.requires_grad_(False)
        with settings():
            return notebook.train_model(1, 25, 0.05, FLOATS, DATA[1].astype(np.int64), model)[1]

    assert costs(SETTINGS[name]) == costs(contextlib.nullcontext)


def test_tensors_made_in_inference_mode_are_taken():
    with torch.inference_mode():
        made = torch.from_numpy(FLOATS).clone(), torch.from_numpy(DATA[1].astype(np.int64)).clone()
    found = breaknet.train(made, epochs=1, backend="torch", device="cpu").train_cost
    assert found == breaknet.train((FLOATS, DATA[1]), epochs=1, backend="torch", device="cpu").train_cost


@pytest.mark.parametrize("hidden", [(16, 16), (1, 40)])
@pytest.mark.parametrize("seed", [0, 7, 2**62])
def test_a_seed_draws_what_torchs_global_generator_would(seed, hidden):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        expected = breaknet.MLP(hidden).state_dict()
    for found in (breaknet.MLP.seeded(seed, hidden).state_dict(), seeded_parameters(seed, hidden)):
        assert list(found) == list(expected)
        assert all(torch.equal(found[name], value) for name, value in expected.items())


@pytest.mark.parametrize("count", [40, pytest.param(500, marks=pytest.mark.slow)])
@pytest.mark.parametrize("backend", ["torch", "numba"])
def test_trainings_in_threads_keep_their_starts_and_the_callers_random_state(backend, count):
    ends = threading.Event()
    torch.manual_seed(5)
    expected = [torch.rand(4).tolist() for _ in range(200)]

    def disturb():
        while not ends.is_set():
            breaknet.MLP.seeded(1)

    torch.manual_seed(5)
    with ThreadPoolExecutor(6) as pool:
        background = pool.submit(disturb)
        jobs = [
            pool.submit(breaknet.train, DATA, epochs=1, seed=seed % 10, backend=backend)
            for seed in range(count)
        ]
        drawn = [torch.rand(4).tolist() for _ in range(200)]
        runs = [job.result() for job in jobs]
        ends.set()
        background.result()
    alone = [breaknet.train(DATA, epochs=1, seed=seed, backend=backend).train_cost for seed in range(10)]
    assert drawn == expected
    assert all(run.train_cost == alone[seed % 10] for seed, run in enumerate(runs))
