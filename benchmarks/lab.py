"""What a session of measuring works with, made when it is first asked for: data, problems, networks, ceilings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch

from benchmarks import ceilings
from benchmarks.data import digits, refuse_blank
from benchmarks.problem import Parameters, Problem
from benchmarks.sizes import Size
from breaknet import Digits, Split


@dataclass(eq=False)
class Lab:
    """Everything that ways share on a device, at a size.

    Args:
        device: "cpu" or "cuda"; at the size "rehearse" the ways of either run on the CPU.
        size: how much is done.
        given: the data; without it what BREAKNET_DATA names, else synthetic digits; noisy prototypes to rehearse.
        given_ceilings: as measured before; without them they are measured when a floor needs them.

    Raises:
        ValueError: a device that is neither.
    """

    device: str
    size: Size
    given: Digits | None = None
    given_ceilings: dict[str, float] | None = None
    _problems: dict[tuple[str, int], Problem] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.device not in ("cpu", "cuda"):
            raise ValueError(f'device: "cpu" or "cuda", not {self.device!r}')

    @property
    def rehearsing(self) -> bool:
        """Whether every path is tried and no time means anything."""
        return self.size.name == "rehearse"

    def warm_up(self, call: Callable[[], object]) -> None:
        """Call it once before it is timed; a rehearsal has no use for that."""
        if not self.rehearsing:
            call()

    @property
    def gpu(self) -> bool:
        """Whether the ways of a GPU are wanted."""
        return self.device == "cuda"

    @property
    def place(self) -> torch.device:
        """Where it all runs: the device, but for a GPU's rehearsal, which is Triton's interpreter's on the CPU."""
        return torch.device("cpu" if self.rehearsing else self.device)

    @cached_property
    def data(self) -> Digits:
        """The digits, which are not blank."""
        if self.given is None:
            self.given = digits("prototypes" if self.rehearsing else None)
        refuse_blank(self.given)
        return self.given

    def training(self, images: int) -> Problem:
        """The lesson's clean run on the first `images` training images, or what whole batches of them there are."""
        if ("training", images) not in self._problems:
            count = min(images, len(self.data.train)) // self.size.batch_size * self.size.batch_size
            split = self.data.train[:count]
            self._problems["training", images] = Problem.of(split, self.place, self.size.batch_size)
        return self._problems["training", images]

    def scoring(self, images: int) -> Problem:
        """The last `images` of the training and the validation images, to score networks on."""
        if ("scoring", images) not in self._problems:
            train, valid = self.data.train, self.data.valid
            both = Split(
                np.concatenate([train.images, valid.images]), np.concatenate([train.labels, valid.labels])
            )
            split = both[max(0, len(both) - images) :]
            self._problems["scoring", images] = Problem.of(split, self.place, self.size.batch_size)
        return self._problems["scoring", images]

    @cached_property
    def models(self) -> Parameters:
        """Networks [C, ...] to score: a start and small steps away from it, as the checkpoints of a run are."""
        return self.networks(self.size.checkpoints)

    def networks(self, count: int) -> Parameters:
        """`count` of them."""
        random = torch.Generator().manual_seed(0)
        start = Problem.of(self.data.train[:1], self.place).start
        return {
            name: value[None] + 0.1 * torch.randn(count, *value.shape, generator=random)
            for name, value in start.items()
        }

    @cached_property
    def ceilings(self) -> dict[str, float]:
        """What the device can reach."""
        if self.given_ceilings is not None:
            return self.given_ceilings
        return ceilings.measured(self.place.type, self.rehearsing)

    @property
    def conditions(self) -> dict[str, Any]:
        """What all its rows share."""
        return {"size": self.size.name, "data": self.data.source}
