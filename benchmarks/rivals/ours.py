"""breaknet's own training kernel behind the rivals' interface: images are compressed in the preparation."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from torch import Tensor

from breaknet.backends.numba_kernels.images import by_column, compress
from breaknet.backends.numba_kernels.layout import aligned_zeros, pack, row_length, unpack
from breaknet.backends.numba_kernels.training import train_epochs


def epoch_of(
    images: np.ndarray, labels: np.ndarray, start: dict[str, Tensor], batch_size: int, learning_rate: float
) -> Callable[[], dict[str, Tensor]]:
    hidden = len(start["hidden1.bias"]), len(start["hidden2.bias"])
    with ThreadPoolExecutor() as pool:
        compressed = compress(images, pool)
        batches = by_column(compressed, batch_size, pool)
    model = pack({name: value[None] for name, value in start.items()}, hidden)
    checkpoint = aligned_zeros(1, row_length(hidden))
    stop = np.zeros(1, np.int64)

    def epoch() -> dict[str, Tensor]:
        train_epochs(
            model[0], checkpoint, compressed, batches, labels, np.float32(learning_rate), *hidden, stop
        )
        return {name: value[0] for name, value in unpack(checkpoint, hidden).items()}

    return epoch


def two_epochs_of(
    images: np.ndarray, labels: np.ndarray, start: dict[str, Tensor], batch_size: int, learning_rate: float
) -> Callable[[], list[dict[str, Tensor]]]:
    """Two models on the same images, labels int64 [2, N], a thread each."""
    epochs = [epoch_of(images, some, start, batch_size, learning_rate) for some in labels]
    pool = ThreadPoolExecutor(2)

    def epoch() -> list[dict[str, Tensor]]:
        return list(pool.map(lambda one: one(), epochs))

    return epoch
