"""The protocol between `breaknet.train`, `breaknet.evaluate` and a backend.

A backend is a module with these names, and nothing else in it is used:

    NAME: str                                       "torch", "numba" or "triton"
    PLANS: tuple[str, ...]                          how it can run jobs; the first is its default
    def unavailable(device) -> str | None           why it cannot run on this torch.device; None if it can
    def unsupported(job) -> str | None              why it cannot take this job's shapes; None if it can
    def train(jobs, device, plan, report) -> list[Trained]
    def evaluate(parameters, examples, device, confusion) -> Scores
    def unsupported_hidden(hidden) -> str | None    the same question for `evaluate`

Everything was checked before it gets here: a backend sees well-formed input only.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from ..data.splits import Unseen

#: report(job index, epoch from 0, train cost), called in the thread that called `train`, once an epoch of
#: each job and soon after the epoch is known; an exception it raises ends training and reaches the caller.
Report = Callable[[int, int, float], None]

Parameters = dict[str, Tensor]


@dataclass(frozen=True, eq=False)
class Examples:
    """Images uint8 (meaning byte / 256) or float32 [N, 784], and labels int64 [N], both on the caller's device.

    The images share the caller's memory where its dtype allows: never write to them. Jobs that were given
    the same images hold the same tensor object, so a backend can upload or compress them once.

    As long as `unseen` lives, nobody has the images but breaknet, and they are what they were. None: they may change
    between two calls.
    """

    images: Tensor
    labels: Tensor
    unseen: Unseen | None = None

    def __len__(self) -> int:
        return self.images.shape[0]


@dataclass(eq=False)
class TrainingJob:
    """One run to train: N >= 1 training examples, at least one epoch, `start` float32 on the CPU.

    Curves and parameters are kept after every `every`-th epoch only; `epochs` is a multiple of it. A
    backend makes `checkpoints` (`room_for`), and puts parameters there before it reports their epoch: they are there
    after an interruption, too.
    """

    train: Examples
    valid: Examples | None
    epochs: int
    batch_size: int
    learning_rate: float
    start: Parameters
    every: int = 1
    module: nn.Module | None = None  # the caller's own, to be copied and trained as it is, by PyTorch only
    obstacle: str | None = None  # why so
    name: str = ""  # the caller's, for a progress bar and warnings
    seed: int | None = None  # draws `start` when the job's turn has come; until then that has shapes alone
    checkpoints: Parameters = field(default_factory=dict, init=False)  # CPU float32 [epochs // every, ...]


@dataclass(eq=False)
class Trained:
    """The result of one job: curves and parameters after the E epochs that are kept before it diverged (if it did)."""

    parameters: Parameters  # CPU float32 [E, ...] under torch's parameter names
    train_cost: NDArray[np.float64]  # [E], mean over examples of the summed squared error
    train_accuracy: NDArray[np.float64]  # [E], in 0..1
    valid_cost: NDArray[np.float64] | None = None
    valid_accuracy: NDArray[np.float64] | None = None
    diverged_at: int | None = None  # the kept epoch at whose end some parameter was not finite
    plan: str = ""
    device: str = ""
    # wall seconds: compile, transfer, training, evaluation, total; jobs run side by side share their group's
    seconds: dict[str, float] = field(default_factory=dict)


@dataclass(eq=False)
class Scores:
    """Cost and accuracy of C sets of parameters on one set of examples, and the confusion counts if asked."""

    cost: NDArray[np.float64]  # [C]
    accuracy: NDArray[np.float64]  # [C]
    confusion: NDArray[np.int64] | None = None  # [C, 10, 10]: true label, predicted label
