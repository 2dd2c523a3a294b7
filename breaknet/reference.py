"""The lesson's training and evaluation in plain PyTorch, in any dtype: the one reference for every backend and kernel.

`parameters` are tensors under torch's names ("hidden1.weight" [out, in], "hidden1.bias", ...), of any widths. Images
are uint8 (meaning byte / 256) or floating (used as they are), [N, inputs]; labels are integers [N]; both are tensors
or numpy arrays. All arithmetic is in `dtype`, float64 unless another is asked for, on the parameters' device, whatever
the default dtype, autocast and grad mode are. Gradients are written out, so that a kernel can be read beside them; a
test holds them against autograd.
"""

from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor

Parameters = Mapping[str, Tensor]

LAYERS = ("hidden1", "hidden2", "output")

#: Of two largest outputs closer than this, correct float32 arithmetic may find either the larger.
NEAR_TIE = 1e-6

_Result = TypeVar("_Result")


class Evaluation(NamedTuple):
    """One network's results on N examples."""

    cost: float  #: mean over examples of the summed squared error
    accuracy: float  #: 0..1; of equal largest outputs the first counts
    confusion: Tensor  #: int64 [outputs, outputs]: examples by true and by predicted label
    near_ties: float  #: share of examples whose two largest outputs differ by less than NEAR_TIE


def _plain(function: Callable[..., _Result]) -> Callable[..., _Result]:
    """`function` without autograd and without autocast."""

    @wraps(function)
    def call(parameters: Parameters, *args: Any, **kwargs: Any) -> _Result:
        device = parameters["output.bias"].device.type
        with torch.no_grad(), torch.autocast(device, enabled=False):
            return function(parameters, *args, **kwargs)

    return call


def as_floats(images: Any, dtype: torch.dtype = torch.float64, device: torch.device | None = None) -> Tensor:
    """Pixel values in `dtype`: byte / 256 for uint8 images, floating ones as they are."""
    tensor = torch.as_tensor(images, device=device)
    return tensor.to(dtype) / 256 if tensor.dtype == torch.uint8 else tensor.to(dtype)


def _activations(parameters: Parameters, images: Any, dtype: torch.dtype) -> list[Tensor]:
    """The images and what each layer makes of them: x, a1, a2, a3, each [N, width]."""
    found = [as_floats(images, dtype, parameters["output.bias"].device)]
    for layer in LAYERS:
        weight, bias = (parameters[f"{layer}.{part}"].to(dtype) for part in ("weight", "bias"))
        found.append(torch.sigmoid(found[-1] @ weight.T + bias))
    return found


def _targets(labels: Any, like: Tensor) -> Tensor:
    """One-hot rows [N, outputs] for `like` [N, outputs]."""
    numbers = torch.as_tensor(labels, device=like.device).long()
    return torch.nn.functional.one_hot(numbers, like.shape[1]).to(like.dtype)


@_plain
def outputs(parameters: Parameters, images: Any, dtype: torch.dtype = torch.float64) -> Tensor:
    """The last layer's activations, [N, outputs]."""
    return _activations(parameters, images, dtype)[-1]


@_plain
def cost(parameters: Parameters, images: Any, labels: Any, dtype: torch.dtype = torch.float64) -> Tensor:
    """The squared error summed over examples and outputs, 0-d."""
    output = _activations(parameters, images, dtype)[-1]
    return ((output - _targets(labels, output)) ** 2).sum()


@_plain
def step(
    parameters: Parameters, images: Any, labels: Any, learning_rate: float, dtype: torch.dtype = torch.float64
) -> dict[str, Tensor]:
    """The parameters after one step of plain SGD on the summed squared error; those given stay as they are."""
    activations = _activations(parameters, images, dtype)
    output = activations.pop()
    delta = 2 * (output - _targets(labels, output)) * output * (1 - output)
    after = {}
    for layer in reversed(LAYERS):
        weight, bias = (parameters[f"{layer}.{part}"].to(dtype) for part in ("weight", "bias"))
        below = activations.pop()
        after[f"{layer}.bias"] = bias - learning_rate * delta.sum(0)
        after[f"{layer}.weight"] = weight - learning_rate * (delta.T @ below)
        delta = delta @ weight * below * (1 - below)
    return {name: after[name] for name in parameters}


def epochs(
    parameters: Parameters,
    images: Any,
    labels: Any,
    *,
    epochs: int = 1,
    batch_size: int,
    learning_rate: float,
    dtype: torch.dtype = torch.float64,
) -> list[dict[str, Tensor]]:
    """The parameters after each epoch of plain SGD, batches in order, the last partial one kept."""
    current = dict(parameters)
    after = []
    for _ in range(epochs):
        for low in range(0, len(images), batch_size):
            batch = slice(low, low + batch_size)
            current = step(current, images[batch], labels[batch], learning_rate, dtype)
        after.append(current)
    return after


@_plain
def evaluation(
    parameters: Parameters, images: Any, labels: Any, dtype: torch.dtype = torch.float64
) -> Evaluation:
    """Mean cost, accuracy and confusion counts of one network on N >= 1 examples."""
    output = _activations(parameters, images, dtype)[-1]
    target = _targets(labels, output)
    classes = output.shape[1]
    true, predicted = target.argmax(1), output.argmax(1)
    cells = torch.bincount(true * classes + predicted, minlength=classes**2)
    largest = output.topk(2, dim=1).values
    return Evaluation(
        cost=float(((output - target) ** 2).sum(1).mean()),
        accuracy=float((predicted == true).double().mean()),
        confusion=cells.view(classes, classes),
        near_ties=float((largest[:, 0] - largest[:, 1] < NEAR_TIE).double().mean()),
    )


@torch.no_grad()
def update_error(start: Parameters, found: Parameters, exact: Parameters) -> float:
    """The largest |found - exact| / |exact - start| of any parameter tensor (2-norms); NaN where `found` has one."""
    errors = []
    for name, after in exact.items():
        truth, before = after.double().cpu(), start[name].double().cpu()
        errors.append((found[name].double().cpu() - truth).norm() / (truth - before).norm())
    return float(torch.stack(errors).max())
