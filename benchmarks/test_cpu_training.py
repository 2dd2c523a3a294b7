"""One epoch of the lesson (500 steps of 100 images) on the CPU, against other ways; then two runs side by side.

    BREAKNET_DATA=folder pytest benchmarks/test_cpu_training.py --benchmark-enable

Timed: the steps of an epoch. Not timed: loading, conversion, compression and compiling, which every way does once.
Before anything is timed, each way's first epoch on 500 images is compared with float64.
"""

from __future__ import annotations

import os
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from rivals.agreement import assert_agrees, exact_epoch

import breaknet
from breaknet.model import MLP

WAYS = ("ours", "notebook_loop", "module_loop", "hand_written", "jax_scan")
BATCH, RATE = 100, 0.05


@pytest.fixture(scope="module")
def digits():
    """The real MNIST if BREAKNET_DATA names it, else synthetic digits."""
    return breaknet.load_mnist(os.environ.get("BREAKNET_DATA", "synthetic"))


@pytest.fixture(scope="module")
def start():
    return {name: value.detach() for name, value in MLP.seeded(0).state_dict().items()}


def _load(name: str):
    if name == "jax_scan":
        pytest.importorskip("jax", reason="the extra `jax` is not installed")
    if name == "ours":
        pytest.importorskip("numba")
    return import_module(f"rivals.{name}")


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.benchmark(group="one epoch of 50,000 images")
def test_one_run(way, digits, start, benchmark):
    module = _load(way)
    images, labels = digits.train.images, digits.train.labels.astype(np.int64)
    few, some = images[:500], labels[:500]
    exact = exact_epoch(few, some, start, BATCH, RATE)
    assert_agrees(module.epoch_of(few, some, start, BATCH, RATE)(), exact, start)
    whole = len(images) // BATCH * BATCH  # the scan takes whole batches only
    epoch = module.epoch_of(images[:whole], labels[:whole], start, BATCH, RATE)
    benchmark.extra_info.update(data=digits.source, images=whole, **_machine())
    benchmark.pedantic(epoch, rounds=5, warmup_rounds=1)


@pytest.mark.parametrize("way", ["ours", "jax_scan", "jax_scan_one_after_the_other"])
@pytest.mark.benchmark(group="one epoch of clean and shuffled side by side")
def test_two_runs(way, digits, start, benchmark):
    module = _load(way.removesuffix("_one_after_the_other"))
    images, labels = digits.train.images, digits.train.labels.astype(np.int64)
    whole = len(images) // BATCH * BATCH
    images = images[:whole]
    both = np.stack([labels, labels[np.random.default_rng(0).permutation(len(labels))]])[:, :whole]
    few, some = images[:500], both[:, :500]
    exact = [exact_epoch(few, one, start, BATCH, RATE) for one in some]
    if way.endswith("other"):
        epochs = [module.epoch_of(images, one, start, BATCH, RATE) for one in both]

        def epoch():
            for one in epochs:
                one()
    else:
        found = module.two_epochs_of(few, some, start, BATCH, RATE)()
        for parameters, reference in zip(found, exact, strict=True):
            assert_agrees(parameters, reference, start)
        epoch = module.two_epochs_of(images, both, start, BATCH, RATE)
    benchmark.extra_info.update(data=digits.source, images=whole, **_machine())
    benchmark.pedantic(epoch, rounds=5, warmup_rounds=1)


def _machine() -> dict[str, object]:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    model = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "unknown")
    return {
        "cpu": model,
        "processors": os.cpu_count(),
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
    }
