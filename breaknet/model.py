"""The lesson's network as a plain `torch.nn.Module`, its parameters' names and its widths."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn

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


def tensors_on_cpu() -> AbstractContextManager[object]:
    """A block in which new tensors are on the CPU, whatever `torch.set_default_device` said before."""
    # torch's own context costs something at every call, so it is entered only where it changes something
    return nullcontext() if torch.get_default_device().type == "cpu" else torch.device("cpu")


def check_hidden(hidden: object) -> tuple[int, int]:
    """Return `hidden` as two ints, or raise TypeError or ValueError with one line that names it."""
    if isinstance(hidden, (str, bytes)) or not hasattr(hidden, "__iter__"):
        raise TypeError(f"hidden: two whole numbers such as (16, 16), not {hidden!r}")
    widths = tuple(hidden)
    if len(widths) != 2:
        raise ValueError(f"hidden: exactly two widths such as (16, 16), not {len(widths)}: {widths!r}")
    for width in widths:
        if isinstance(width, bool) or not hasattr(width, "__index__"):
            raise TypeError(f"hidden: whole numbers, not {width!r}")
        if width.__index__() < 1:
            raise ValueError(f"hidden: widths of 1 or more, not {width!r}")
    return widths[0].__index__(), widths[1].__index__()


def hidden_widths(parameters: Mapping[str, Tensor]) -> tuple[int, int]:
    """The widths of the two hidden layers of parameters [...] or stacked ones [C, ...]."""
    return parameters["hidden1.bias"].shape[-1], parameters["hidden2.bias"].shape[-1]


def all_finite(parameters: Mapping[str, Tensor]) -> bool:
    """Whether no parameter is infinite or NaN."""
    return all(bool(torch.isfinite(tensor).all()) for tensor in parameters.values())


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
        with tensors_on_cpu(), torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            return cls(hidden)

    @property
    def hidden(self) -> tuple[int, int]:
        """The widths of the two hidden layers."""
        return self.hidden1.out_features, self.hidden2.out_features

    def forward(self, images: Tensor) -> Tensor:
        """Outputs in 0..1, [N, 10], for floating images [N, 784]."""
        activation = torch.sigmoid(self.hidden1(images))
        activation = torch.sigmoid(self.hidden2(activation))
        return torch.sigmoid(self.output(activation))
