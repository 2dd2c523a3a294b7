"""What a way of training or scoring is given, and what it gives back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor, nn

from breaknet import Split
from breaknet.lesson.experiments import BATCH_SIZE, LEARNING_RATE
from breaknet.model import MLP

Parameters = dict[str, Tensor]


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

    @classmethod
    def of(cls, split: Split, device: torch.device, batch_size: int = BATCH_SIZE) -> Problem:
        """The lesson's network and rate on these images."""
        images = np.ascontiguousarray(split.images)
        return cls(images, split.labels.astype(np.int64), device, batch_size=batch_size)

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
        """Pixels float32 [N, 784] on the device, shared by all ways that want them so: never written to."""
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

    def model(self) -> MLP:
        """The start as a module on the device."""
        model = MLP(self.hidden)
        model.load_state_dict(self.start)
        return model.to(self.device)

    def wait(self) -> None:
        """Return once the device has done all it was given."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


@dataclass(frozen=True)
class Trainer:
    """A prepared way of training one problem or several on the same images.

    `train` goes on for the agreed epochs and waits for the device; `parameters` are what the problems have come to.
    """

    train: Callable[[], object]
    parameters: Callable[[], Sequence[Parameters]]


@dataclass(frozen=True)
class Scorer:
    """A prepared way of scoring C networks: `score` gives cost or None, and accuracy, float64 [C], on the host."""

    score: Callable[[], tuple[np.ndarray | None, np.ndarray]]


#: build(problems, epochs) and build(models [C, ...], problem)
TrainerBuilder = Callable[[Sequence[Problem], int], Trainer]
ScorerBuilder = Callable[[Parameters, Problem], Scorer]


def unstacked(stacked: Parameters) -> list[Parameters]:
    """Parameters [C, ...] as C dictionaries."""
    names, tensors = list(stacked), list(stacked.values())
    return [dict(zip(names, values, strict=True)) for values in zip(*tensors, strict=True)]


def stacked_starts(problems: Sequence[Problem]) -> Parameters:
    """The starts [C, ...], on the CPU."""
    return {name: torch.stack([one.start[name] for one in problems]) for name in problems[0].start}
