"""Evaluation as tasks: four models by one part of the images each, their sums put together in a fixed order."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ...model import OUTPUTS
from .evaluation import MODELS, score_models, table_for
from .layout import Floats
from .pixel_terms import Terms
from .simd import LANES

#: Images in a task: about 10 ms of work. Costs are summed in float64 over the parts, from the first to the last.
PART = 8192


@dataclass(frozen=True, eq=False)
class Prepared:
    """Images as terms, and their labels as the kernels read them."""

    terms: Terms
    labels: NDArray[np.int64]  # [N], for training
    truth: Floats  # [N + 16], for evaluation: labels, then -1

    @classmethod
    def of(cls, terms: Terms, labels: NDArray[np.int64]) -> Prepared:
        truth = np.full(len(labels) + LANES, -1, np.float32)
        truth[: len(labels)] = labels
        return cls(terms, np.ascontiguousarray(labels), truth)

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(eq=False)
class Scoring:
    """The scores of packed models [C, P] on prepared examples, computed task by task in any order.

    `tasks` names the tasks; `run` does one of them, in any thread; `cost` and `accuracy` are then asked for.
    """

    models: Floats
    hidden: tuple[int, int]
    examples: Prepared
    stop: NDArray[np.int64]
    with_confusion: bool = False
    costs: NDArray[np.float64] = field(init=False)  # [blocks of models, parts of images, MODELS]
    hits: NDArray[np.int64] = field(init=False)
    confusions: NDArray[np.int64] = field(init=False)  # [blocks, parts, MODELS, 10, 10], or no parts

    def __post_init__(self) -> None:
        blocks, parts = -(-len(self.models) // MODELS), -(-len(self.examples) // PART)
        self.costs = np.zeros((blocks, parts, MODELS))
        self.hits = np.zeros((blocks, parts, MODELS), np.int64)
        shape = (blocks, parts, MODELS) if self.with_confusion else (blocks, parts, 0)
        self.confusions = np.zeros((*shape, OUTPUTS, OUTPUTS), np.int64)

    def tasks(self) -> list[tuple[int, int]]:
        """Block and part of every task; the tasks of a part of the images follow each other."""
        blocks, parts = self.costs.shape[:2]
        return [(block, part) for part in range(parts) for block in range(blocks)]

    def run(self, task: tuple[int, int]) -> float:
        """Do a task; return the seconds it took."""
        began = time.perf_counter()
        block, part = task
        begin, end = part * PART, min((part + 1) * PART, len(self.examples))
        table = table_for(self.examples.terms, self.hidden[0])
        score_models(
            self.models.reshape(-1), block * MODELS, self.examples.terms, table, self.examples.truth, begin, end,
            *self.hidden, self.costs[task], self.hits[task], self.confusions[task], self.stop,
        )  # fmt: skip
        return time.perf_counter() - began

    def _by_model(self, sums: NDArray) -> NDArray:
        total = sums[:, 0].copy()
        for part in range(1, sums.shape[1]):
            total += sums[:, part]
        return total.reshape(-1, *sums.shape[3:])[: len(self.models)]

    @property
    def cost(self) -> NDArray[np.float64]:
        """[C], mean over the examples of the summed squared error."""
        return self._by_model(self.costs) / len(self.examples)

    @property
    def accuracy(self) -> NDArray[np.float64]:
        """[C], in 0..1."""
        return self._by_model(self.hits) / len(self.examples)

    @property
    def confusion(self) -> NDArray[np.int64]:
        """[C, 10, 10]: true label, predicted label."""
        return self._by_model(self.confusions)
