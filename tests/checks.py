"""The numeric contract as assertions against the float64 reference, and random problems to try it on."""

import os
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from breaknet import Job, Run, reference
from breaknet.model import MLP

Parameters = Mapping[str, Tensor]

REPOSITORY = Path(__file__).parents[1]


def assert_update(start: Parameters, found: Parameters, exact: Parameters, steps: int = 1) -> None:
    """The step contract, for each parameter tensor: |error| <= 1e-5 |update| + 1e-7 |parameter| (a step)."""
    for name, after in exact.items():
        error = float((found[name].double() - after).norm())
        update = float((after - start[name].double()).norm())
        allowed = steps * (1e-5 * update + 1e-7 * float(start[name].double().norm()))
        assert error <= allowed, f"{name}: error {error:.3e}, allowed {allowed:.3e} (update {update:.3e})"


def assert_trained(
    start: Parameters,
    epochs: Iterable[Parameters],
    images: Any,
    labels: Any,
    batch_size: int,
    learning_rate: float,
) -> None:
    """The parameters after each epoch, by the step contract, against float64 steps from those before it."""
    before = start
    for found in epochs:
        (exact,) = reference.epochs(
            before, images, labels, batch_size=batch_size, learning_rate=learning_rate
        )
        assert_update(before, found, exact, steps=-(-len(images) // batch_size))
        before = found


def assert_scores(cost: float, accuracy: float, parameters: Parameters, images: Any, labels: Any) -> None:
    """The evaluation contract: cost to 1e-6 (more below 1,000 examples), accuracy exact but for near ties."""
    exact = reference.evaluation(parameters, images, labels)
    allowed = 1e-6 * exact.cost + (1e-6 * exact.cost**0.5 if len(images) < 1000 else 0)
    assert abs(cost - exact.cost) <= allowed, f"cost {cost!r}, exact {exact.cost!r}"
    off = abs(accuracy - exact.accuracy)
    assert off <= exact.near_ties + 1e-12, f"accuracy {accuracy!r}, exact {exact.accuracy!r}"


def assert_follows(
    run: Any,
    stacked: Parameters,
    start: Parameters,
    train: Any,
    valid: Any,
    batch_size: int,
    learning_rate: float,
) -> None:
    """Each epoch's parameters (`stacked`) against float64 from the epoch before, and the run's curves against them."""
    epochs = [
        {name: value[epoch] for name, value in stacked.items()}
        for epoch in range(len(stacked["output.bias"]))
    ]
    assert_trained(start, epochs, *train, batch_size, learning_rate)
    for epoch, found in enumerate(epochs):
        assert_scores(run.train_cost[epoch], run.train_accuracy[epoch], found, *train)
        if valid is not None:
            assert_scores(run.valid_cost[epoch], run.valid_accuracy[epoch], found, *valid)


def assert_run(run: Run, job: Job) -> None:
    """`assert_follows` for a job that draws its start, on arrays that are images [N, 784] and labels [N]."""
    assert len(run.checkpoints) == job.epochs
    start = start_of(job.seed, job.hidden)
    stacked = run.checkpoints.stacked
    assert_follows(run, stacked, start, job.data, job.valid, job.batch_size, job.learning_rate)


def assert_same_parameters(found: Parameters, expected: Parameters) -> None:
    """Bit for bit, under the same names."""
    assert list(found) == list(expected)
    for name, value in expected.items():
        assert torch.equal(found[name], value), name


def run_python(
    *arguments: str, paths: tuple[Path, ...] = (), timeout: float = 600, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Another Python, which finds the repository's modules and those beside `paths`; it must end without error."""
    done = subprocess.run(
        [sys.executable, *arguments], env=dict(os.environ, PYTHONPATH=python_path(*paths), **environment),
        capture_output=True, text=True, timeout=timeout,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
    return done


def python_path(*paths: Path) -> str:
    """PYTHONPATH for `run_python`."""
    folders = [REPOSITORY, REPOSITORY / "tests", *(path.parent for path in paths)]
    return os.pathsep.join([*map(str, folders), os.environ.get("PYTHONPATH", "")])


def sparse_images(count: int, seed: int = 0, density: float = 0.2) -> np.ndarray:
    """Random bytes [count, 784] of which about `density` are not zero, as in MNIST."""
    random = np.random.default_rng(seed)
    return random.integers(0, 256, (count, 784), np.uint8) * (random.random((count, 784)) < density)


def random_labels(count: int, seed: int = 0, classes: int = 10) -> np.ndarray:
    """Labels uint8 [count]."""
    return np.random.default_rng(seed + 1000).integers(0, classes, count).astype(np.uint8)


def start_of(seed: int = 0, hidden: tuple[int, int] = (16, 16)) -> dict[str, Tensor]:
    """The parameters that `seed` draws."""
    return {name: value.detach().clone() for name, value in MLP.seeded(seed, hidden).state_dict().items()}
