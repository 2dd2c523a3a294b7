"""The results of training and of evaluation: `Run` and `Evaluation`."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from .checkpoints import Checkpoints


@dataclass(frozen=True, eq=False)
class Run:
    """One training run: its curves, a checkpoint of every epoch, and how it was made.

    Entry e of a curve was taken after epoch e (the first is epoch 0). A run that diverged holds the epochs
    before `diverged_at`, the epoch at whose end some parameter was no longer finite.

    From the end of epoch `stuck_at` on the network learns nothing any more: the outputs, or a whole hidden layer, are
    saturated for nearly every image, so that gradients vanish, and the cost is no better than the best constant
    answer's. None if it recovers, and for a run that diverged.
    """

    train_cost: NDArray[np.float64]  #: [epochs], mean over examples of the summed squared error
    valid_cost: NDArray[np.float64] | None  #: the same on the validation examples; None without any
    train_accuracy: NDArray[np.float64]  #: [epochs], share of examples predicted correctly, 0..1
    valid_accuracy: NDArray[np.float64] | None
    checkpoints: Checkpoints  #: one for each epoch
    backend: str  #: "torch", "numba" or "triton"
    plan: str  #: how the backend ran it, one of its PLANS
    device: str  #: a torch device, such as "cpu" or "cuda:0"
    seconds: dict[str, float] = field(default_factory=dict)  #: compile, transfer, training, evaluation, total
    diverged_at: int | None = None
    stuck_at: int | None = None

    def __repr__(self) -> str:
        end = "finished"
        if self.diverged_at is not None:
            end = f"diverged at epoch {self.diverged_at}"
        elif self.stuck_at is not None:
            end = f"stuck from epoch {self.stuck_at} on"
        cost = f", train cost {self.train_cost[-1]:.4f}" if len(self.train_cost) else ""
        return f"Run({len(self.train_cost)} epochs{cost}, {end}, {self.backend} on {self.device})"


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Cost and accuracy of C models on one set of examples."""

    cost: NDArray[np.float64]  #: [C], mean over examples of the summed squared error
    accuracy: NDArray[np.float64]  #: [C], in 0..1; of equal largest outputs the first counts
    confusion: NDArray[np.int64] | None = None  #: [C, 10, 10]: examples by true and by predicted label
    backend: str = ""
    device: str = ""
