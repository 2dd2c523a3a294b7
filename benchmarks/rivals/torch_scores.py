"""Scores of many checkpoints in vectorised torch: one wide product for all first layers, batched small layers."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn


@torch.no_grad()
def scores(
    parameters: dict[str, Tensor], images: Tensor, labels: Tensor, block: int = 1000, models: int = 100
) -> tuple[np.ndarray, np.ndarray]:
    """Cost and accuracy, float64 [C] each, of parameters [C, ...] on floating images [N, 784].

    `block` images by `models` checkpoints at a time, so that the outputs stay in the caches.
    """
    count = len(parameters["hidden1.bias"])
    cost, hits = torch.zeros(count, dtype=torch.float64), torch.zeros(count, dtype=torch.int64)
    targets = nn.functional.one_hot(labels, 10).float()
    for first in range(0, count, models):
        some = slice(first, first + models)
        w1, b1, w2, b2, w3, b3 = (value[some] for value in parameters.values())
        wide, width = w1.reshape(-1, w1.shape[2]).T.contiguous(), w1.shape[1]
        for low in range(0, len(images), block):
            inputs, truth = images[low : low + block], labels[low : low + block]
            hidden = torch.addmm(b1.reshape(-1), inputs, wide).sigmoid_()
            hidden = hidden.reshape(len(inputs), -1, width).transpose(0, 1)
            hidden = torch.baddbmm(b2[:, None], hidden, w2.transpose(1, 2)).sigmoid_()
            output = torch.baddbmm(b3[:, None], hidden, w3.transpose(1, 2)).sigmoid_()
            cost[some] += ((output - targets[low : low + block]) ** 2).sum((1, 2)).double()
            hits[some] += (output.argmax(2) == truth).sum(1)
    return (cost / len(images)).numpy(), (hits.double() / len(images)).numpy()
