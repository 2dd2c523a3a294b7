"""The list of ways to break data, and the decorator that puts a function on it."""

from __future__ import annotations

import inspect
import operator
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import wraps
from numbers import Real
from typing import Any

import numpy as np

from ..data.splits import Split
from ..errors import shown
from ..inputs import as_split, check_seed, knows_other_names

#: Parts of a data set that a breakage can apply to.
PARTS = ("train", "valid", "both")


@dataclass(frozen=True)
class Parameter:
    """A number that a breakage takes: its range, and the value that a slider starts from."""

    name: str
    low: float
    high: float
    typical: float
    whole: bool = False

    def check(self, value: Any) -> float | int:
        """`value` as an int or float inside the range.

        Raises:
            TypeError: for no number. ValueError: outside the range. Both name the parameter.
        """
        span = f"{self.low:,g} to {self.high:,g}"
        if self.whole:
            if isinstance(value, (bool, np.bool_)) or not hasattr(value, "__index__"):
                raise TypeError(f"{self.name}: a whole number from {span}, not {shown(value)}")
            number: float | int = operator.index(value)
        else:
            if isinstance(value, (bool, np.bool_)) or not isinstance(value, Real):
                raise TypeError(f"{self.name}: a number from {span}, not {shown(value)}")
            try:
                number = float(value)
            except OverflowError:
                number = float("inf")
        if not self.low <= number <= self.high:
            raise ValueError(f"{self.name}: {span}, not {shown(value)}")
        return number


@dataclass(frozen=True)
class Breakage:
    """One way to break data: `function(split, *parameters, seed=0) -> Split`, and the part it is meant for."""

    name: str
    function: Callable[..., Split]
    part: str  # "train", "valid" or "both"
    parameters: tuple[Parameter, ...]
    seeded: bool  # whether the seed changes anything

    @property
    def example(self) -> str:
        """A step's text with typical numbers, such as "missing_class(7)"."""
        return written(self.name, [parameter.typical for parameter in self.parameters])

    @property
    def lesson(self) -> str:
        """The first paragraph of the docstring after its first line: what this breakage teaches."""
        paragraphs = inspect.cleandoc(self.function.__doc__ or "").split("\n\n")
        return " ".join(paragraphs[1].split())


#: Every way to break data, by name, in the order in which they are listed to users.
BREAKAGES: dict[str, Breakage] = {}


def breakage(
    part: str, *parameters: Parameter, seeded: bool = True
) -> Callable[[Callable[..., Split]], Callable[..., Split]]:
    """Put a function on the list; its arguments are checked and its results record what was applied.

    A pair (images, labels) in the place of the Split is made one.

    The function is called with checked numbers. It may raise ValueError for what only the data shows.
    """

    def register(function: Callable[..., Split]) -> Callable[..., Split]:
        signature = inspect.signature(function)
        data_name = next(iter(signature.parameters))

        @knows_other_names
        @wraps(function)
        def checked(*args: Any, **kwargs: Any) -> Split:
            bound = signature.bind(*args, **kwargs)
            bound.apply_defaults()
            split, *_ = bound.arguments.values()
            split = bound.arguments[data_name] = as_split(split, data_name)
            for parameter in parameters:
                bound.arguments[parameter.name] = parameter.check(bound.arguments[parameter.name])
            seed = bound.arguments["seed"] = check_seed(bound.arguments["seed"])
            broken = function(*bound.args, **bound.kwargs)
            step = written(
                function.__name__,
                [bound.arguments[one.name] for one in parameters],
                seed if seeded and seed else None,
            )
            return Split(broken.images, broken.labels, " + ".join(filter(None, (split.breakage, step))))

        BREAKAGES[function.__name__] = Breakage(function.__name__, checked, part, parameters, seeded)
        return checked

    return register


def random_for(name: str, seed: int, split: Split | None = None) -> np.random.Generator:
    """The random numbers of one breakage.

    Each breakage has a stream of its own: with one for all, "flip_labels(0.3) + leak(0.3)" would choose the same rows
    twice. With `split`, each data set has one too, so that noise on training and validation images differs.
    """
    words = [seed, zlib.crc32(name.encode())]
    if split is not None:
        words.append(zlib.crc32(split._images[:1].tobytes()))
    return np.random.default_rng(words)


def written(name: str, values: Sequence[float | int], seed: int | None = None) -> str:
    """A step as text, exact to the last bit: "shuffle_labels(0.3)", "invert", "pixel_noise(0.1, seed=3)"."""
    inside = [repr(value).removesuffix(".0") for value in values]
    inside += [f"seed={seed}"] if seed is not None else []
    return name + (f"({', '.join(inside)})" if inside else "")
