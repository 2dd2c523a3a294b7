"""The lesson's network as a plain `torch.nn.Module`, its parameters' names and widths, and whether it is stuck."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from .errors import shown

INPUTS = 784
OUTPUTS = 10


def parameter_shapes(hidden: tuple[int, int]) -> dict[str, tuple[int, ...]]:
    """The parameters' names and shapes in torch's order, the order in which every backend keeps them."""
    first, second = hidden
    return {
        "hidden1.weight": (first, INPUTS),
        "hidden1.bias": (first,),
        "hidden2.weight": (second, first),
        "hidden2.bias": (second,),
        "output.weight": (OUTPUTS, second),
        "output.bias": (OUTPUTS,),
    }


PARAMETER_NAMES = tuple(parameter_shapes((1, 1)))
LAYERS = ("hidden1", "hidden2", "output")


@contextmanager
def torch_settings() -> Iterator[None]:
    """A block with a fresh thread's settings: tensors on the CPU, gradients, no inference mode, no autocast.

    The default dtype belongs to the whole process, so it is left alone: whoever creates floats names their dtype.
    """
    # each of these costs something, so it is entered only where it changes something
    with ExitStack() as stack:
        if torch.get_default_device().type != "cpu":
            stack.enter_context(torch.device("cpu"))
        if torch.is_inference_mode_enabled():
            stack.enter_context(torch.inference_mode(False))
        if not torch.is_grad_enabled():
            stack.enter_context(torch.enable_grad())
        for device_type in _AUTOCAST_DEVICES:
            if torch.is_autocast_enabled(device_type):
                stack.enter_context(torch.autocast(device_type, enabled=False))
        yield


#: The devices whose autocast may be on; the other ones have backends that nobody can name here.
_AUTOCAST_DEVICES = ("cpu", "cuda", "mps", "xpu")


def check_hidden(hidden: object) -> tuple[int, int]:
    """Return `hidden` as two ints, or raise TypeError or ValueError with one line that names it."""
    if isinstance(hidden, (str, bytes)) or not hasattr(hidden, "__iter__"):
        raise TypeError(f"hidden: two whole numbers such as (16, 16), not {shown(hidden)}")
    widths = tuple(hidden)
    if len(widths) != 2:
        raise ValueError(f"hidden: exactly two widths such as (16, 16), not {len(widths)}: {shown(widths)}")
    for width in widths:
        if isinstance(width, bool) or not hasattr(width, "__index__"):
            raise TypeError(f"hidden: whole numbers, not {width!r}")
        if width.__index__() < 1:
            raise ValueError(f"hidden: widths of 1 or more, not {width!r}")
    return widths[0].__index__(), widths[1].__index__()


def hidden_widths(parameters: Mapping[str, Tensor]) -> tuple[int, int]:
    """The widths of the two hidden layers of parameters [...] or stacked ones [C, ...]."""
    return parameters["hidden1.bias"].shape[-1], parameters["hidden2.bias"].shape[-1]


def parameter_bytes(hidden: tuple[int, int]) -> int:
    """Bytes of the float32 parameters of one model."""
    first, second = hidden
    return 4 * (first * (INPUTS + 1) + second * (first + 1) + OUTPUTS * (second + 1))


def room_for(epochs: int, hidden: tuple[int, int]) -> dict[str, Tensor]:
    """Memory for the parameters after so many epochs, float32 [epochs, ...] on the CPU, taken as it is written."""
    return {
        name: torch.empty(epochs, *shape, dtype=torch.float32, device="cpu")
        for name, shape in parameter_shapes(hidden).items()
    }


def all_finite(parameters: Mapping[str, Tensor]) -> bool:
    """Whether no parameter is infinite or NaN."""
    # the extremes are NaN where anything is; torch.isfinite would take as much memory again
    return all(
        math.isfinite(extreme) for tensor in parameters.values() if tensor.numel()
        for extreme in torch.stack(tensor.aminmax()).tolist()
    )  # fmt: skip


def seeded_parameters(seed: int, hidden: tuple[int, int]) -> dict[str, Tensor]:
    """The parameters that `torch.manual_seed(seed); MLP(hidden)` has, float32 on the CPU."""
    # a generator of its own: the global one belongs to every thread of the process at once
    generator = torch.Generator().manual_seed(seed)
    widths = (INPUTS, *check_hidden(hidden), OUTPUTS)
    parameters = {}
    with torch_settings():
        for layer, inputs, outputs in zip(LAYERS, widths, widths[1:], strict=False):
            bound = 1 / math.sqrt(inputs)
            weight = torch.empty(outputs, inputs, dtype=torch.float32)
            parameters[f"{layer}.weight"] = nn.init.kaiming_uniform_(
                weight, math.sqrt(5), generator=generator
            )
            bias = torch.empty(outputs, dtype=torch.float32)
            parameters[f"{layer}.bias"] = bias.uniform_(-bound, bound, generator=generator)
    return parameters


class MLP(nn.Module):
    """784 inputs, two hidden layers, 10 outputs, a sigmoid after every layer.

    Args:
        hidden: the widths of the two hidden layers, each 1 or more.

    The parameters start as `nn.Linear` starts them, drawn from torch's CPU generator in the order hidden1,
    hidden2, output. Use `MLP.seeded` to draw them from a seed without touching that generator.
    """

    def __init__(self, hidden: tuple[int, int] = (16, 16)) -> None:
        super().__init__()
        first, second = check_hidden(hidden)
        self.hidden1 = nn.Linear(INPUTS, first)
        self.hidden2 = nn.Linear(first, second)
        self.output = nn.Linear(second, OUTPUTS)

    @classmethod
    def seeded(cls, seed: int, hidden: tuple[int, int] = (16, 16)) -> MLP:
        """The model that `torch.manual_seed(seed); MLP(hidden)` gives, the caller's random state untouched."""
        return cls.of_parameters(seeded_parameters(seed, hidden))

    @classmethod
    def of_parameters(cls, parameters: Mapping[str, Tensor]) -> MLP:
        """The model that holds these very tensors, by torch's names, as its parameters."""
        with torch_settings():
            with torch.device("meta"):
                model = cls(hidden_widths(parameters))
            model.load_state_dict(parameters, assign=True)
            return model.requires_grad_(True)

    @property
    def hidden(self) -> tuple[int, int]:
        """The widths of the two hidden layers."""
        return self.hidden1.out_features, self.hidden2.out_features

    def __call__(self, images: Any, *args: Any, **kwargs: Any) -> Any:
        """Outputs in 0..1, float [N, 10], for images [N, 784] or [N, 28, 28], a tensor or a numpy array.

        uint8 means byte / 256; floating images are used as they are. Gradients flow as through any module.
        """
        if type(self).forward is MLP.forward:  # a class with a forward of its own gets what it is given
            images = _as_input(images, self.hidden1.weight)
        return super().__call__(images, *args, **kwargs)

    def forward(self, images: Tensor) -> Tensor:
        """Outputs in 0..1, [N, 10], for floating images [N, 784]."""
        activation = torch.sigmoid(self.hidden1(images))
        activation = torch.sigmoid(self.hidden2(activation))
        return torch.sigmoid(self.output(activation))


def _as_input(images: Any, weight: Tensor) -> Any:
    """Images as the first layer takes them; what it takes already, and what it refuses, as they are."""
    if isinstance(images, np.ndarray):
        if images.dtype != np.uint8 and images.dtype.kind != "f":
            raise ValueError(f"images: uint8 or floating, not {images.dtype}")
        # a copy, since torch takes no backward strides and warns of read-only arrays
        array = torch.from_numpy(np.array(images, images.dtype.newbyteorder("="))).to(weight.device)
        images = array if images.dtype == np.uint8 else array.to(weight.dtype)
    if not isinstance(images, Tensor):
        return images
    if images.dtype == torch.uint8:
        images = images.to(weight.dtype) / 256
    return images.flatten(-2) if images.shape[-2:] == (28, 28) else images


# When a network is stuck. Gradients pass a unit in proportion to its slope y(1 - y). A layer's largest slope is 0.1
# or more in healthy runs, on shuffled labels too, and 1e-3 down to 1e-35 in dead ones.
#: A unit is saturated for an image where its slope is below this. Outputs come back from small slopes within some
#: hundred steps, after a first step that was too large; a hidden layer does not.
_SATURATED_SLOPE = {"hidden1": 0.01, "hidden2": 0.01, "output": 0.001}
#: A cost of this share of the best constant answer's, or more, is no better than that.
_NO_BETTER = 0.995
#: The images that are looked at, spread evenly over the training examples: blocks of so many. Products of such blocks
#: are small enough for BLAS to compute in this thread; on a busy machine others would come late by milliseconds.
_BLOCKS, _BLOCK = 6, 16
#: A layer is saturated where all its units are, for all images that are looked at but so many.
_EXCEPTIONS = 1
_ROWS_AT_ONCE = 32


def stuck_since(
    parameters: Mapping[str, Tensor], train_cost: NDArray[np.float64], images: Tensor, labels: Tensor
) -> int | None:
    """The first of the E kept epochs from which on the network is stuck to the end; None if it is not at the end.

    Stuck: a whole layer is saturated for nearly every image, so that gradients vanish, while the cost is no better than
    that of the best constant answer.

    Args:
        parameters: of the kept epochs, float32 [E, ...] on the CPU.
        train_cost: after the kept epochs, [E].
        images, labels: the training examples, as `Examples` has them.
    """
    # numpy does what follows: torch's threads are gone in a forked child
    shares = np.bincount(labels.cpu().numpy(), minlength=OUTPUTS) / len(labels)
    constant = 1 - float((shares**2).sum())
    no_better = train_cost >= _NO_BETTER * constant
    # a healthy run ends here, or after one look at its last epoch; of one class alone a constant answer is right
    if not len(no_better) or not no_better[-1] or constant == 0:
        return None
    rows = np.linspace(0, len(images) - 1, _BLOCK * _BLOCKS).astype(np.int64).reshape(_BLOCK, _BLOCKS).T
    last = {name: tensor[-1:].numpy() for name, tensor in parameters.items()}
    if not _saturated(last, _pixels(images, rows[:1])).any():  # so most healthy networks are passed
        return None
    pixels = _pixels(images, rows)
    first = end = len(no_better)
    while end:
        begin = max(0, end - (1 if end == len(no_better) else _ROWS_AT_ONCE))
        layers = {name: tensor[begin:end].numpy() for name, tensor in parameters.items()}
        stuck = no_better[begin:end] & _saturated(layers, pixels)
        first = begin if stuck.all() else begin + int(np.flatnonzero(~stuck)[-1]) + 1
        if first > begin:
            break
        end = begin
    return first if first < len(no_better) else None


def _pixels(images: Tensor, rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """The images of these rows [B, N], float32 [B, 1, N, 784]."""
    on_cpu = images.device.type == "cpu"
    some = images.numpy()[rows] if on_cpu else images[torch.from_numpy(rows.copy())].cpu().numpy()
    return some[:, None].astype(np.float32) / np.float32(256 if some.dtype == np.uint8 else 1)


def _saturated(
    parameters: Mapping[str, NDArray[np.float32]], values: NDArray[np.float32]
) -> NDArray[np.bool_]:
    """Whether each of C networks has a saturated layer, [C], by images [B, 1, N, 784]."""
    found = np.zeros(len(parameters["output.bias"]), np.bool_)
    for layer in LAYERS:
        weight, bias = parameters[f"{layer}.weight"], parameters[f"{layer}.bias"]
        sums = values @ weight.transpose(0, 2, 1) + bias[:, None]
        edge = math.log(1 / _SATURATED_SLOPE[layer] - 1)  # there a sigmoid's slope falls below it, nearly
        found |= (np.abs(sums) <= edge).any(axis=3).sum(axis=(0, 2)) <= _EXCEPTIONS
        values = 1 / (1 + np.exp(-np.clip(sums, -80, 80)))
    return found
