"""A learning rate that works on data that the lesson was not made for."""

import logging
import warnings
from collections.abc import Mapping
from typing import Any

from ..data.splits import Split
from ..training import Job, train_many

#: A rate works that leaves the network neither stuck nor diverged after so many epochs, and steps, with a cost under
#: this: the best constant answer's is 0.9.
EPOCHS, STEPS = 3, 1_500
LEARNED = 0.88
#: After so many halvings (a thousandth) the search is given up.
MAX_HALVINGS = 10

_log = logging.getLogger("breaknet")


def rates_tried(
    data: Split, first: float, network: Mapping[str, Any], running: Mapping[str, Any]
) -> list[float]:
    """The learning rates that were tried on `data`, `first` and its halves; the last one works, as far as any does.

    Args:
        data: true labels to train on.
        first: the learning rate to begin with.
        network: seed, batch_size and hidden, as for `breaknet.Job`.
        running: backend and device, as for `breaknet.train_many`.

    Where the network learns with none of them, the list ends with the first one that leaves it neither stuck nor
    diverged; or it is `first` alone, with a notice: what is wrong then is not the learning rate.
    """
    tried: list[float] = []
    alive = 0  # how many were tried up to the first that is neither stuck nor diverged
    batches = -(-len(data) // network.get("batch_size", Job.batch_size))
    epochs = max(EPOCHS, -(-STEPS // batches))
    for halvings in range(MAX_HALVINGS + 1):
        tried.append(first / 2**halvings)
        job = Job(data, epochs=epochs, every=epochs, learning_rate=tried[-1], **network)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # that it is stuck is what is asked here
            [run] = train_many([job], progress=False, **running)
        if run.diverged_at is None and run.stuck_at is None:
            alive = alive or len(tried)
            if run.train_cost[-1] < LEARNED:
                alive = len(tried)
                break
    tried = tried[:alive] if alive else tried
    if alive:
        if alive > 1:
            _log.warning(
                "learning rate %g: with %g the network is stuck, diverges or learns nothing within %d epochs here",
                tried[-1], tried[-2], epochs,
            )  # fmt: skip
        return tried
    _log.warning("learning rate %g: no smaller one down to %g works on these data either", first, tried[-1])
    return [first]
