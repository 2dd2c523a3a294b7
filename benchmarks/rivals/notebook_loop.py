"""The lesson's loop as its notebook has it: a DataLoader over a TensorDataset, an nn.Module, torch.optim.SGD."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from breaknet.model import MLP


def epoch_of(
    images: np.ndarray, labels: np.ndarray, start: dict[str, Tensor], batch_size: int, learning_rate: float
) -> Callable[[], dict[str, Tensor]]:
    data = TensorDataset(torch.from_numpy(images).float() / 256, _one_hot(labels))
    loader = DataLoader(data, batch_size=batch_size)
    model = MLP((len(start["hidden1.bias"]), len(start["hidden2.bias"])))
    model.load_state_dict(start)
    optimizer = torch.optim.SGD(model.parameters(), lr=learning_rate)
    cost = nn.MSELoss(reduction="sum")

    def epoch() -> dict[str, Tensor]:
        for batch, target in loader:
            optimizer.zero_grad()
            cost(model(batch), target).backward()
            optimizer.step()
        return dict(model.state_dict())

    return epoch


def accuracy(model: nn.Module, images: Tensor, labels: np.ndarray) -> float:
    """The share of right predictions, one sample at a time in Python, as the notebook counts them."""
    with torch.no_grad():
        predictions, targets = model(images), _one_hot(labels)
    right = 0
    for prediction, target in zip(predictions, targets, strict=True):
        if torch.argmax(prediction) == torch.argmax(target):
            right += 1
    return right / len(images)


def _one_hot(labels: np.ndarray) -> Tensor:
    return nn.functional.one_hot(torch.from_numpy(labels), 10).float()
