"""The work that is measured: sizes, digits, and the problem that an implementation is given."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor, nn

import breaknet
from breaknet import Digits, Split
from breaknet.lesson.experiments import BATCH_SIZE, LEARNING_RATE
from breaknet.model import MLP

Parameters = dict[str, Tensor]


@dataclass(frozen=True)
class Size:
    """Sizes of one run of the benchmarks, by default the full ones; images are capped by what the data holds."""

    name: str
    batch_size: int = 100
    check_steps: int = 5  # of the training that is compared with float64 before anything is timed
    train_images: int = 50_000  # of an epoch
    evaluated_images: int = 60_000  # that a network is evaluated on
    checkpoints: int = 100  # that are evaluated together
    sampled_images: int = 2_000  # of the loops that are too slow to be timed whole
    repeats: int = 9
    models: tuple[int, ...] = (1, 4, 16, 64, 256, 1_024, 4_096)  # of the curve over models
    models_images: int = 1_000  # that each of them trains on
    epochs: tuple[int, ...] = (1, 3, 10, 30)  # of the curve over epochs
    epochs_images: int = 10_000  # that each of its points trains on
    images: tuple[int, ...] = (1_000, 3_000, 20_000, 50_000)  # of the curve over images


_REHEARSE = Size("rehearse", 10, 1, 10, 40, 3, 20, 1, (2,), 10, (1,), 10, ())
_QUICK = Size("quick", 100, 5, 10_000, 10_000, 20, 500, 5, (1, 4, 16), epochs=(1, 4), images=(1_000,))
#: `quick` to look, `full` for the rows that are stored, `rehearse` to run every path; its times mean nothing.
SIZES = {size.name: size for size in (_REHEARSE, _QUICK, Size("full"))}


def size_of(name: str | None = None) -> Size:
    """The size of that name; without one the size that BREAKNET_BENCH_SIZE names, else `quick`.

    Raises:
        ValueError: for another name.
    """
    where, wanted = "size", name
    if wanted is None:
        where, wanted = "BREAKNET_BENCH_SIZE", os.environ.get("BREAKNET_BENCH_SIZE", "").strip() or "quick"
    if wanted not in SIZES:
        raise ValueError(f"{where}: one of {', '.join(SIZES)}, not {wanted!r}")
    return SIZES[wanted]


def digits(source: str | None = None) -> Digits:
    """Those that `source` or BREAKNET_DATA names, else synthetic digits, else (their fonts need matplotlib) prototypes.

    "synthetic" and "prototypes" (few of them, for rehearsals) are names, all else a folder or a file.
    """
    source = source or os.environ.get("BREAKNET_DATA")
    if source == "prototypes":
        return prototypes(100, 20)
    if source and source != "synthetic":
        return breaknet.load_mnist(source)
    try:
        return breaknet.load_mnist("synthetic")
    except (breaknet.DataError, ImportError):
        return prototypes(50_000, 10_000)


def prototypes(train: int, valid: int) -> Digits:
    """Ten random images, a fifth of their pixels inked as in MNIST, each repeated with a tenth of its ink missing."""
    random = np.random.default_rng(0)
    shapes = random.integers(60, 256, (10, 784), np.uint8) * (random.random((10, 784)) < 0.21)

    def split(count: int) -> Split:
        labels = random.integers(0, 10, count).astype(np.uint8)
        return Split(shapes[labels] * (random.random((count, 784), np.float32) < 0.9), labels)

    return Digits(split(train), split(valid), split(valid), "noisy prototypes")


def refuse_blank(data: Digits) -> None:
    """Zeros would flatter implementations that skip them; a single label is learnt at once.

    Raises:
        ValueError: where under a hundredth of the training pixels is inked, or all training labels are one.
    """
    inked = float(np.count_nonzero(data.train.images)) / max(1, data.train.images.size)
    if inked < 0.01:
        raise ValueError(f"data: images with ink, but only {inked:.1%} of the pixels are not zero")
    if len(np.unique(data.train.labels)) < 2:
        raise ValueError("data: labels of two digits or more, not of one alone")


@dataclass(frozen=True, eq=False)
class Problem:
    """Images uint8 [N, 784] (byte / 256) and labels int64 [N] on the host, and how to train on them."""

    images: np.ndarray
    labels: np.ndarray
    device: torch.device
    seed: int = 0  # of the start
    batch_size: int = BATCH_SIZE
    learning_rate: float = LEARNING_RATE
    _others: list[Problem] = field(default_factory=list, repr=False)  # its variants so far

    def first(self, count: int) -> Problem:
        """The same on the first `count` images."""
        return replace(self, images=self.images[:count], labels=self.labels[:count], _others=[])

    def variants(self, count: int) -> list[Problem]:
        """`count` problems on the same images: this one, then others with starts and shuffled labels of their own."""
        for seed in range(1 + len(self._others), count):
            labels = np.random.default_rng(seed).permutation(self.labels)
            self._others.append(replace(self, seed=seed, labels=labels, _others=[]))
        return [self, *self._others[: count - 1]]

    @property
    def steps(self) -> int:
        """Steps of an epoch."""
        return -(-len(self.labels) // self.batch_size)

    @cached_property
    def start(self) -> Parameters:
        """CPU float32."""
        return {name: value.detach() for name, value in MLP.seeded(self.seed).state_dict().items()}

    @property
    def hidden(self) -> tuple[int, int]:
        return len(self.start["hidden1.bias"]), len(self.start["hidden2.bias"])

    @cached_property
    def inked(self) -> float:
        """The share of pixels that are not zero."""
        return float(np.count_nonzero(self.images)) / self.images.size

    @cached_property
    def floats(self) -> Tensor:
        """Pixels float32 [N, 784] on the device, shared by all implementations: never written to."""
        return torch.from_numpy(self.images).to(self.device).float() / 256

    @cached_property
    def bytes(self) -> Tensor:
        """Pixels uint8 [N, 784] on the device, likewise."""
        return torch.from_numpy(self.images).to(self.device)

    @cached_property
    def one_hot(self) -> Tensor:
        """Int64 [N, 10] on the device, likewise."""
        return nn.functional.one_hot(torch.from_numpy(self.labels), 10).to(self.device)

    @cached_property
    def targets(self) -> Tensor:
        """The same as float32."""
        return self.one_hot.float()

    def model(self, models: Parameters | None = None) -> MLP:
        """The start, or the first of `models` [C, ...], as a module on the device."""
        model = MLP(self.hidden)
        first = self.start if models is None else {name: value[0] for name, value in models.items()}
        model.load_state_dict(first)
        return model.to(self.device)

    def wait(self) -> None:
        """Return once the device has done all it was given."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


@dataclass(frozen=True)
class Trainer:
    """A prepared implementation of training, for one problem or several on the same images.

    `train` goes on for the agreed epochs and waits for the device; `parameters` are the problems' present ones.
    """

    train: Callable[[], object]
    parameters: Callable[[], Sequence[Parameters]]


#: evaluate(): cost or None, and accuracy, float64 [C], on the host, of the C networks it was prepared with.
Evaluator = Callable[[], tuple[np.ndarray | None, np.ndarray]]
#: build(problems, epochs) and build(models [C, ...], problem)
TrainerBuilder = Callable[[Sequence[Problem], int], Trainer]
EvaluatorBuilder = Callable[[Parameters, Problem], Evaluator]


def unstacked(stacked: Parameters) -> list[Parameters]:
    """Parameters [C, ...] as C dictionaries."""
    names, tensors = list(stacked), list(stacked.values())
    return [dict(zip(names, values, strict=True)) for values in zip(*tensors, strict=True)]


def stepping(
    problem: Problem,
    epochs: int,
    step: Callable[[slice], object],
    parameters: Callable[[], Sequence[Parameters]],
) -> Trainer:
    """A trainer that calls `step` with the place of every batch in the images, and waits for the device at the end."""
    starts = range(0, len(problem.labels), problem.batch_size)
    batches = [slice(low, low + problem.batch_size) for low in starts]

    def train() -> None:
        for _ in range(epochs):
            for batch in batches:
                step(batch)
        problem.wait()

    return Trainer(train, parameters)


def single(build: Callable[[Problem, int], Trainer]) -> TrainerBuilder:
    """A builder for one problem in the form of those for several."""
    return lambda problems, epochs: build(*problems, epochs)
