"""The names of the original classroom notebook, made fast: change its import of them, and the cells run as they are.

    from breaknet.notebook import NN_Model, accuracy, activation_func, cost_func, get_digit, get_target, train_model

The functions keep the notebook's signatures and results, and use the names that the cells define again. Where these, or
anything of a model, could give another result than the lesson's network (`fast_paths`), the model is trained by a plain
PyTorch loop instead, with one notice that names the reason.
"""

import gc
import logging
import sys
from collections.abc import Callable
from contextvars import ContextVar
from copy import deepcopy
from types import FrameType, ModuleType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from . import fast_paths
from .inputs import check_count, check_learning_rate, read_images, read_labels
from .model import MLP, OUTPUTS, PARAMETER_NAMES, torch_settings
from .training import Job, check_jobs, train_checked

_log = logging.getLogger("breaknet")

device = torch.device("cuda" if torch.cuda.is_available() else "cpu")

activation_func = torch.sigmoid


def cost_func(input: Tensor, target: Tensor) -> Tensor:
    """Squared error summed over examples and outputs, a 0-d tensor; a target of whole numbers will do."""
    return functional.mse_loss(input, target.to(input.dtype), reduction="sum")


def get_target(digits: Any) -> Tensor:
    """One-hot rows [N, 10], int64, on `device`, of digits [N] (numpy array, tensor or list)."""
    return functional.one_hot(torch.as_tensor(digits, dtype=torch.int64, device=device), OUTPUTS)


def get_digit(pred: Any) -> Tensor:
    """The digit that a prediction [10] stands for, the first of its largest entries, as a 0-d int64 tensor."""
    with torch_settings():
        return torch.argmax(torch.as_tensor(pred), dim=0)


def accuracy(pred: Any, xy: Any) -> float:
    """The share of rows of `pred` [N, 10] whose largest entry stands where that of the same row of `xy` does.

    A row of `pred` without one in `xy` counts as wrong; further rows of `xy` do not count.
    """
    predicted, expected = _largest(pred, "pred"), _largest(xy, "xy")
    if not len(predicted):
        raise ValueError("pred: at least one row, not 0")
    both = min(len(predicted), len(expected))
    return int(np.count_nonzero(predicted[:both] == expected[:both])) / len(predicted)


def _largest(rows: Any, name: str) -> NDArray[np.int64]:
    """The column of each row's largest entry, the first of equal ones."""
    with torch_settings():
        if isinstance(rows, (list, tuple)) and rows and all(isinstance(row, Tensor) for row in rows):
            rows = torch.stack(list(rows))
        tensor = torch.as_tensor(rows).detach()
    if tensor.ndim != 2 or not tensor.shape[1]:
        raise ValueError(f"{name}: shape [N, {OUTPUTS}], not {list(tensor.shape)}")
    if tensor.device.type == "cpu" and tensor.dtype in (torch.float32, torch.float64, torch.int64):
        # numpy's takes a third of the time of torch's for the hundred rows of the last experiment
        return tensor.numpy().argmax(axis=1)
    return tensor.argmax(dim=1).cpu().numpy()


class NN_Model(MLP):
    """The notebook's network, 784-16-16-10 with sigmoids; takes no arguments.

    As in the notebook, a call uses what the cells call `activation_func` at that time.
    """

    def __init__(self) -> None:
        super().__init__((16, 16))

    def forward(self, images: Tensor) -> Tensor:
        activation = _activation_in_use()
        for layer in (self.hidden1, self.hidden2, self.output):
            images = activation(layer(images))
        return images


def train_model(
    epochs: int,
    batch_size: int,
    learning_rate: float,
    data_train: Any,
    label_train: Any,
    model: nn.Module,
    data_valid: Any = None,
    label_valid: Any = None,
) -> tuple[list[float], list[float], list[nn.Module]]:
    """Train `model` in place by plain SGD and print the training cost of every epoch.

    Args:
        epochs, batch_size, learning_rate: as for `breaknet.train`.
        data_train, data_valid: images [N, 784], numpy arrays or tensors, as for `breaknet.train`; a model of your own
            may take other shapes.
        label_train, label_valid: digits [N].
        model: an NN_Model, or a module of your own; it stays on its device and ends with the last parameters,
            after Ctrl-C with those of the last epoch that was printed (a module of your own: of the last step).

    Returns:
        `cost_valid, cost_train, models`: mean costs after every epoch (the first is [] without valid data), and
        a list of deep copies of the model after every epoch.

    Raises:
        TypeError, ValueError: for wrong arguments, before anything is trained.
    """
    with torch_settings():
        return _train_model(
            epochs, batch_size, learning_rate, (data_train, label_train), model,
            None if data_valid is None else (data_valid, label_valid),
        )  # fmt: skip


def _train_model(
    epochs: int,
    batch_size: int,
    learning_rate: float,
    train_pair: tuple[Any, Any],
    model: nn.Module,
    valid_pair: tuple[Any, Any] | None,
) -> tuple[list[float], list[float], list[nn.Module]]:
    epochs = check_count(epochs, "epochs")
    batch_size = check_count(batch_size, "batch_size")
    learning_rate = check_learning_rate(learning_rate)
    if not isinstance(model, nn.Module):
        raise TypeError(f"model: a torch module such as NN_Model(), not a {type(model).__name__}")
    parameters = list(model.parameters())
    if not any(parameter.requires_grad for parameter in parameters):
        raise ValueError("model: at least one trainable parameter, not 0")
    cost, target_of, activation = (
        _of_the_cells(name) for name in ("cost_func", "get_target", "activation_func")
    )
    own_targets = None if target_of is _OURS["get_target"] else target_of
    train_data = _Pair(train_pair, "train", own_targets)
    valid_data = None if valid_pair is None else _Pair(valid_pair, "valid", own_targets)
    reason = (
        _difference(model, cost) or train_data.difference or (valid_data.difference if valid_data else None)
    )
    if reason is not None:
        _log.warning(
            "%s: trained by a plain PyTorch loop, which takes longer.", reason[0].upper() + reason[1:]
        )
        before = _activation.set(activation)
        try:
            return _train_plainly(epochs, batch_size, learning_rate, train_data, valid_data, model, cost)
        finally:
            _activation.reset(before)
    job = Job(
        (train_data.images, train_data.labels),
        valid=None if valid_data is None else (valid_data.images, valid_data.labels),
        epochs=epochs, batch_size=batch_size, learning_rate=learning_rate,
        init=MLP.of_parameters({name: value.detach().cpu() for name, value in model.named_parameters()}),
    )  # fmt: skip
    [checked] = check_jobs([job])
    finished = 0

    def print_epoch(epoch: int, epochs: int, train_cost: float) -> None:
        nonlocal finished
        finished = epoch + 1
        _print_epoch(epoch, epochs, train_cost)

    try:
        [run] = train_checked([checked], "auto", parameters[0].device, print_epoch)
    finally:  # after Ctrl-C, too, the model has what was trained
        if finished:
            with torch.no_grad():
                for name, parameter in model.named_parameters():
                    parameter.copy_(checked.checkpoints[name][finished - 1])
    stacked = run.checkpoints.stacked
    models = [
        _copy(model, {name: stacked[name][epoch] for name in PARAMETER_NAMES})
        for epoch in range(len(run.checkpoints))
    ]
    return [] if run.valid_cost is None else run.valid_cost.tolist(), run.train_cost.tolist(), models


def _print_epoch(epoch: int, epochs: int, train_cost: float) -> None:
    print(f"epoch {epoch}: training cost {train_cost:.6f}")


def _copy(model: nn.Module, parameters: dict[str, Tensor]) -> nn.Module:
    """A deep copy of `model` with other parameters."""
    memo: dict[int, Any] = {
        id(parameter): nn.Parameter(parameters[name].to(parameter.device, copy=True))
        for name, parameter in model.named_parameters()
    }
    return deepcopy(model, memo)


class _Pair:
    """Images and labels, checked before anything is trained, with the targets that the cells make of the labels."""

    def __init__(self, pair: tuple[Any, Any], part: str, target_of: Callable[[Any], Any] | None) -> None:
        images, labels = pair
        self.images = read_images(images, f"data_{part}")
        self.labels = labels
        self.target: Tensor | None = None
        self.difference: str | None = None
        if labels is None:
            raise TypeError(f"label_{part}: the digits of data_{part}, not None")
        if target_of is not None:
            self.target = torch.as_tensor(target_of(labels)).detach()
        try:
            listed = isinstance(labels, (list, tuple))
            self.labels = read_labels(np.asarray(labels) if listed else labels, f"label_{part}")
        except (TypeError, ValueError):
            if target_of is None:
                raise
        rows = len(self.labels) if self.target is None else len(self.target)
        if rows != len(self.images):
            raise ValueError(
                f"label_{part}: {len(self.images)}, as many as images in data_{part}, not {rows}"
            )
        if not rows:
            raise ValueError(f"data_{part}: at least one image, not 0")
        if self.target is not None:
            ours = get_target(self.labels) if isinstance(self.labels, Tensor) else None
            if (
                ours is None
                or ours.shape != self.target.shape
                or not bool((ours == self.target.to(ours.device)).all())
            ):
                self.difference = "the cells have a get_target of their own"

    def prepared(self, device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Images and targets for a model on `device` that computes in `dtype`."""
        images = self.images.to(device)
        scaled = images.to(dtype) / 256 if images.dtype == torch.uint8 else images.to(dtype)
        if self.difference is None:
            return scaled, get_target(self.labels).to(device, dtype)
        assert self.target is not None
        return scaled, self.target.to(device)


#: The activation of the training that is going on, which may have been found beyond the callers.
_activation: ContextVar[Any] = ContextVar("activation", default=None)


def _activation_in_use() -> Any:
    return _activation.get() or _of_callers("activation_func")


# torch.compile would trace the search for a name in the stack: it calls it instead, and compiles what follows for
# each activation (torch.compiler.disable does the same, but imports the compiler)
setattr(_activation_in_use, "_torchdynamo_disable", True)  # noqa: B010

#: The names that the notebook's functions look up, as they are here; somebody may set others in this module, too.
_OURS: dict[str, Any] = {"activation_func": activation_func, "cost_func": cost_func, "get_target": get_target}


def _of_callers(name: str) -> Any:
    """The `name` of the nearest caller that has another than ours, else the main module; else ours."""
    ours = _OURS[name]
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        found = frame.f_globals.get(name, ours)
        if found is not ours:
            return found
        frame = frame.f_back
    return vars(sys.modules["__main__"]).get(name, ours)


def _of_the_cells(name: str) -> Any:
    """The notebook's own `name`: another than ours where a caller, or whoever imported us, has another.

    In the notebook all functions share the cells' names. Here they are looked for in all callers, since a helper or a
    decorator may stand between. Below a thread that was started with one of our functions there is no cell: then
    whoever holds `train_model` is asked.
    """
    ours = _OURS[name]
    found = _of_callers(name)
    if found is not ours or _cell_below():
        return found
    scopes = [vars(module) for module in [*sys.modules.values()] if isinstance(module, ModuleType)]
    scopes += [found for found in gc.get_referrers(train_model) if type(found) is dict]
    for scope in scopes:
        found = scope.get(name, ours)
        if found is not ours and _holds_ours(scope):
            return found
    return ours


def _cell_below() -> bool:
    """Whether a caller, or the main module, holds our functions."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if frame.f_globals is not globals() and _holds_ours(frame.f_globals):
            return True
        frame = frame.f_back
    return _holds_ours(vars(sys.modules["__main__"]))


def _holds_ours(scope: dict[str, Any]) -> bool:
    return scope.get("train_model") is train_model or scope.get("notebook") is sys.modules.get(__name__)


def _activation_difference() -> str | None:
    ours = _of_the_cells("activation_func")
    if ours is torch.sigmoid or fast_paths.is_sigmoid(ours):
        return None
    return "the cells have an activation_func of their own"


fast_paths.OUR_FORWARDS[NN_Model.forward] = _activation_difference


def _difference(model: nn.Module, cost: Callable[[Tensor, Tensor], Tensor]) -> str | None:
    """A difference of the model or the cost from the lesson's; None if there is none."""
    if cost is not _OURS["cost_func"] and not fast_paths.is_summed_squares(cost):
        return "this cost function is another than the lesson's"
    found = fast_paths.difference_in_outputs(model) or fast_paths.difference_in_training(model)
    if found is None and not all(bool(torch.isfinite(value).all()) for value in model.parameters()):
        return "this model's parameters are not finite"
    return found


def _train_plainly(
    epochs: int,
    batch_size: int,
    learning_rate: float,
    train_data: _Pair,
    valid_data: _Pair | None,
    model: nn.Module,
    cost: Callable[[Tensor, Tensor], Tensor],
) -> tuple[list[float], list[float], list[nn.Module]]:
    """The notebook's loop, for any module and any cost, in the model's own dtype."""
    first = next(parameter for parameter in model.parameters() if parameter.is_floating_point())
    images, target = train_data.prepared(first.device, first.dtype)
    valid = None if valid_data is None else valid_data.prepared(first.device, first.dtype)
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
