"""The names of the original classroom notebook, made fast: change its import of them, and the cells run as they are.

    from breaknet.notebook import NN_Model, accuracy, activation_func, cost_func, get_digit, get_target, train_model

The functions keep the notebook's signatures and results. A model with other layers, another activation or another
cost is noticed and trained by a plain PyTorch loop instead, with one notice.
"""

import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from typing import Any, overload

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from .checkpoints import Checkpoints
from .model import MLP, OUTPUTS, PARAMETER_NAMES
from .training import train

_log = logging.getLogger("breaknet")

device = torch.device("cuda" if torch.cuda.is_available() else "cpu")

activation_func = torch.sigmoid


def cost_func(input: Tensor, target: Tensor) -> Tensor:
    """Squared error summed over examples and outputs, a 0-d tensor; a target of whole numbers will do."""
    return functional.mse_loss(input, target.to(input.dtype), reduction="sum")


def get_target(digits: Any) -> Tensor:
    """One-hot rows [N, 10], int64, on `device`, of digits [N] (numpy array, tensor or list)."""
    return functional.one_hot(torch.as_tensor(digits, dtype=torch.int64, device=device), OUTPUTS)


def get_digit(pred: Any) -> int:
    """The digit that one prediction [10] stands for: the first of its largest entries."""
    return int(torch.as_tensor(pred).argmax())


def accuracy(pred: Any, xy: Any) -> float:
    """The share of rows of `pred` [N, 10] whose largest entry stands where that of the same row of `xy` does."""
    predicted, expected = _largest(pred), _largest(xy)
    return int(np.count_nonzero(predicted == expected)) / len(predicted)


def _largest(rows: Any) -> NDArray[np.int64]:
    """Where the largest entry of each row stands, the first of equal ones."""
    tensor = torch.as_tensor(rows).detach()
    if tensor.device.type == "cpu" and tensor.dtype in (torch.float32, torch.float64, torch.int64):
        # numpy's takes a third of the time of torch's for the hundred rows of the last experiment
        return tensor.numpy().argmax(axis=1)
    return tensor.argmax(dim=1).cpu().numpy()


class NN_Model(MLP):
    """The notebook's network, 784-16-16-10 with sigmoids; takes no arguments."""

    def __init__(self) -> None:
        super().__init__((16, 16))


class Models(Sequence[nn.Module]):
    """The model after every epoch, as a list of modules; each is built when it is first asked for."""

    def __init__(self, like: nn.Module, checkpoints: Checkpoints) -> None:
        self._like = like
        self._checkpoints = checkpoints
        self._built: dict[int, nn.Module] = {}

    def __len__(self) -> int:
        return len(self._checkpoints)

    @overload
    def __getitem__(self, index: int) -> nn.Module: ...
    @overload
    def __getitem__(self, index: slice) -> list[nn.Module]: ...
    def __getitem__(self, index: int | slice) -> nn.Module | list[nn.Module]:
        if isinstance(index, slice):
            return [self[position] for position in range(len(self))[index]]
        position = range(len(self))[index]
        if position not in self._built:
            model = deepcopy(self._like)
            model.load_state_dict(
                {name: self._checkpoints.stacked[name][position] for name in PARAMETER_NAMES}
            )
            self._built[position] = model
        return self._built[position]

    def __iter__(self) -> Iterator[nn.Module]:
        return (self[position] for position in range(len(self)))

    def __add__(self, other: Sequence[nn.Module]) -> list[nn.Module]:
        return [*self, *other]

    def __repr__(self) -> str:
        return f"[{len(self)} models of {type(self._like).__name__}]"


def train_model(
    epochs: int,
    batch_size: int,
    learning_rate: float,
    data_train: Any,
    label_train: Any,
    model: nn.Module,
    data_valid: Any = None,
    label_valid: Any = None,
) -> tuple[list[float], list[float], Sequence[nn.Module]]:
    """Train `model` in place by plain SGD and print the training cost of every epoch.

    Args:
        epochs, batch_size, learning_rate: as for `breaknet.train`.
        data_train, data_valid: images [N, 784], numpy arrays or tensors.
        label_train, label_valid: digits [N].
        model: an NN_Model, or a module of your own; it stays on its device and ends with the last parameters.

    Returns:
        `cost_valid, cost_train, models`: mean costs after every epoch (the first is [] without valid data), and
        the model after every epoch.

    Raises:
        TypeError, ValueError: for wrong arguments, before anything is trained.
    """
    cost = sys._getframe(1).f_globals.get("cost_func", cost_func)
    difference = _difference(model, cost)
    valid = None if data_valid is None else (data_valid, _digits(label_valid))
    pairs = (data_train, _digits(label_train)), valid
    if difference is not None:
        _log.warning("%s: trained by a plain PyTorch loop, which takes longer.", difference)
        return _train_plainly(epochs, batch_size, learning_rate, *pairs, model, cost)
    place = next(model.parameters()).device
    state = model.state_dict()
    start = MLP((len(state["hidden1.bias"]), len(state["hidden2.bias"])))
    start.load_state_dict(state)
    run = train(
        pairs[0], valid=valid, epochs=epochs, batch_size=batch_size, learning_rate=learning_rate, init=start,
        device=place, progress=_print_epoch,
    )  # fmt: skip
    if len(run.checkpoints):
        model.load_state_dict({name: values[-1] for name, values in run.checkpoints.stacked.items()})
    models = Models(model, run.checkpoints)
    return [] if run.valid_cost is None else run.valid_cost.tolist(), run.train_cost.tolist(), models


def _print_epoch(epoch: int, epochs: int, train_cost: float) -> None:
    print(f"epoch {epoch}: training cost {train_cost:.6f}")


def _digits(labels: Any) -> Any:
    return np.asarray(labels) if isinstance(labels, (list, tuple)) else labels


@torch.no_grad()
def _difference(model: nn.Module, cost: Callable[[Tensor, Tensor], Tensor]) -> str | None:
    """What of the model or the cost is not the lesson's; None if all is. Judged by names, shapes and outputs."""
    if cost is not cost_func:
        sample = torch.rand(3, OUTPUTS, generator=torch.Generator().manual_seed(0))
        target = functional.one_hot(torch.arange(3), OUTPUTS)
        try:
            same = torch.allclose(cost(sample, target.float()), cost_func(sample, target), rtol=1e-6)
        except Exception:
            same = False
        if not same:
            return "This cost function is another than the lesson's"
    state = model.state_dict()
    layers = [layer for layer in model.children() if isinstance(layer, nn.Linear)]
    if tuple(state) != PARAMETER_NAMES or len(layers) != 3:
        return "This model has other layers than the lesson's"
    if any(value.dtype != torch.float32 for value in state.values()) or layers[2].out_features != OUTPUTS:
        return "This model has other layers than the lesson's"
    place = state["output.bias"].device
    images = torch.rand(3, layers[0].in_features, generator=torch.Generator().manual_seed(0)).to(place)
    expected = images
    for layer in layers:
        expected = torch.sigmoid(layer(expected))
    was_training = model.training
    same = layers[0].in_features == 784 and torch.allclose(model(images), expected, rtol=1e-5)
    model.train(was_training)
    return None if same else "This model computes something else than the lesson's"


def _train_plainly(
    epochs: int,
    batch_size: int,
    learning_rate: float,
    train_pair: tuple[Any, Any],
    valid_pair: tuple[Any, Any] | None,
    model: nn.Module,
    cost: Callable[[Tensor, Tensor], Tensor],
) -> tuple[list[float], list[float], list[nn.Module]]:
    """The notebook's loop, for any module and any cost."""
    place = next(model.parameters()).device

    def prepared(pair: tuple[Any, Any]) -> tuple[Tensor, Tensor]:
        images, digits = pair
        return torch.as_tensor(images, dtype=torch.float32, device=place), get_target(digits).float().to(
            place
        )

    images, target = prepared(train_pair)
    valid = None if valid_pair is None else prepared(valid_pair)
    optimizer = torch.optim.SGD(model.parameters(), lr=learning_rate)
    cost_valid: list[float] = []
    cost_train: list[float] = []
    models: list[nn.Module] = []
    for epoch in range(epochs):
        for some_images, some_targets in zip(images.split(batch_size), target.split(batch_size), strict=True):
            optimizer.zero_grad()
            cost(model(some_images), some_targets).backward()
            optimizer.step()
        with torch.no_grad():
            cost_train.append(float(cost(model(images), target)) / len(images))
            if valid is not None:
                cost_valid.append(float(cost(model(valid[0]), valid[1])) / len(valid[0]))
        models.append(deepcopy(model))
        _print_epoch(epoch, epochs, cost_train[-1])
    return cost_valid, cost_train, models
