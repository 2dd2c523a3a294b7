"""Scores of 100 and 1,000 checkpoints on 10,000 and 60,000 images on the CPU, and the whole lesson's compute.

    BREAKNET_DATA=folder pytest benchmarks/test_cpu_evaluation.py --benchmark-enable

Timed for ours: `evaluate` of the backend, with compression of the images and packing of the checkpoints. For torch:
the products, images already converted. The notebook's way, one sample at a time, is timed on one checkpoint and 2,000
images; `extra_info` says what that makes for all of them.
"""

from __future__ import annotations

import os

import numpy as np
import pytest
import torch
from rivals.notebook_loop import accuracy
from rivals.torch_scores import scores

import breaknet
from breaknet.backends.protocol import Examples, TrainingJob
from breaknet.model import MLP

CPU = torch.device("cpu")
SIZES = [(100, 10_000), (100, 60_000), (1_000, 10_000), (1_000, 60_000)]


@pytest.fixture(scope="module")
def numba_cpu():
    pytest.importorskip("numba")
    from breaknet.backends import numba_cpu

    return numba_cpu


@pytest.fixture(scope="module")
def digits():
    """The real MNIST if BREAKNET_DATA names it, else synthetic digits."""
    return breaknet.load_mnist(os.environ.get("BREAKNET_DATA", "synthetic"))


@pytest.fixture(scope="module")
def everything(digits):
    """Images uint8 and labels int64 of training and validation, as tensors."""
    images = np.concatenate([digits.train.images, digits.valid.images])
    labels = np.concatenate([digits.train.labels, digits.valid.labels]).astype(np.int64)
    return torch.from_numpy(images), torch.from_numpy(labels)


def _checkpoints(count: int) -> dict[str, torch.Tensor]:
    """A start and small steps away from it, as checkpoints are."""
    random = torch.Generator().manual_seed(0)
    start = MLP.seeded(0).state_dict()
    return {
        name: value[None] + 0.1 * torch.randn(count, *value.shape, generator=random)
        for name, value in start.items()
    }


@pytest.mark.parametrize(("checkpoints", "images"), SIZES)
@pytest.mark.parametrize("way", ["ours", "torch"])
def test_scores(way, checkpoints, images, everything, numba_cpu, benchmark):
    benchmark.group = f"{checkpoints:,} checkpoints on {images:,} images"
    parameters = _checkpoints(checkpoints)
    pixels, labels = everything[0][-images:], everything[1][-images:]
    floats = pixels.float() / 256
    few = {name: value[:3] for name, value in parameters.items()}
    ours = numba_cpu.evaluate(few, Examples(pixels[:2000], labels[:2000]), CPU, False)
    cost, hits = scores(few, floats[:2000], labels[:2000])
    np.testing.assert_allclose(ours.cost, cost, rtol=1e-5)
    np.testing.assert_allclose(ours.accuracy, hits, atol=1e-3)
    benchmark.extra_info.update(load=os.getloadavg()[0] if hasattr(os, "getloadavg") else None)
    rounds = 5 if checkpoints * images <= 6_000_000 else 2
    if way == "ours":
        examples = Examples(pixels, labels)
        benchmark.pedantic(lambda: numba_cpu.evaluate(parameters, examples, CPU, False), rounds=rounds)
    else:
        benchmark.pedantic(lambda: scores(parameters, floats, labels), rounds=rounds)


@pytest.mark.benchmark(group="one sample at a time")
def test_notebook_accuracy(everything, benchmark):
    pixels, labels = everything[0][:2000].float() / 256, everything[1][:2000].numpy()
    model = MLP.seeded(0)
    benchmark.pedantic(lambda: accuracy(model, pixels, labels), rounds=3)
    if benchmark.stats is not None:
        each = benchmark.stats["min"] / 2000
        for checkpoints, images in SIZES:
            benchmark.extra_info[f"extrapolated_seconds_{checkpoints}x{images}"] = each * checkpoints * images


@pytest.mark.benchmark(group="the whole lesson: training and all scores")
def test_whole_lesson(digits, numba_cpu, benchmark):
    start = {name: value.detach() for name, value in MLP.seeded(0).state_dict().items()}
    valid = Examples(torch.from_numpy(digits.valid.images), torch.from_numpy(digits.valid.labels).long())
    clean = Examples(torch.from_numpy(digits.train.images), torch.from_numpy(digits.train.labels).long())
    bad = breaknet.shuffle_labels(digits.train, seed=0)
    shuffled = Examples(clean.images, torch.from_numpy(bad.labels).long())
    hundred = Examples(clean.images[:100].clone(), shuffled.labels[:100].clone())
    jobs = [
        TrainingJob(train, valid, epochs, 100, 0.05, start)
        for train, epochs in ((clean, 100), (shuffled, 100), (hundred, 1000))
    ]
    seconds = {}

    def lesson():
        results = numba_cpu.train(jobs, CPU, None, None)
        seconds.update(results[0].seconds)
        assert 0.03 < results[0].train_cost[-1] < 0.06
        assert results[2].train_accuracy[-1] > 0.9

    benchmark.pedantic(lesson, rounds=3, warmup_rounds=1)
    benchmark.extra_info.update(seconds)
