"""The text form of ways to break data, shared by the command line, files and links; and `break_data`.

steps = step, then any number of "+ step", applied in this order
step  = [part ":"] name ["(" numbers ")"]         part is train, valid or both

"shuffle_labels(0.3) + missing_class(7)"     "valid: pixel_noise(0.2)"     "both:shift(2, down=1) + leak"
"""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import lru_cache
from typing import overload

from ..data.splits import Digits, Split
from ..errors import shown
from ..inputs import as_split, check_seed
from .registry import BREAKAGES, PARTS, written

#: Bounds for texts from anywhere, such as a link.
MAX_TEXT = 1_000
MAX_STEPS = 20

_STEP = re.compile(r"(?:(\w+)\s*:)?\s*(\w+)\s*(?:\((.*)\))?", re.DOTALL)


@dataclass(frozen=True)
class Step:
    """One step of a recipe: a breakage's name, its numbers, its part, and its seed (None: the recipe's)."""

    name: str
    values: tuple[float | int, ...]
    part: str
    seed: int | None = None

    def __str__(self) -> str:
        text = written(self.name, self.values, self.seed)
        return text if self.part == BREAKAGES[self.name].part else f"{self.part}:{text}"

    def concerns(self, part: str) -> bool:
        return self.part in (part, "both")

    def apply(self, split: Split, seed: int) -> Split:
        """The broken split; `seed` where the step names none of its own."""
        return BREAKAGES[self.name].function(
            split, *self.values, seed=seed if self.seed is None else self.seed
        )


def parse(text: str) -> tuple[Step, ...]:
    """The steps of a text; none for an empty one.

    Raises:
        TypeError: for something else than text.
        ValueError: for text that is no recipe, with the step and what is allowed there.
    """
    if not isinstance(text, str):
        raise TypeError(f"breakage: text such as 'shuffle_labels(0.3)', not {shown(text)}")
    if len(text) > MAX_TEXT:
        raise ValueError(f"breakage: at most {MAX_TEXT:,} characters, not {len(text):,}")
    return _parsed(text)


@lru_cache(1024)  # a sweep asks for the same texts a hundred thousand times
def _parsed(text: str) -> tuple[Step, ...]:
    if not text.strip():
        return ()
    steps = re.split(r"\+(?![^(]*\))", text)
    if len(steps) > MAX_STEPS:
        raise ValueError(f"breakage: at most {MAX_STEPS} steps, not {len(steps)}")
    return tuple(_step(step.strip()) for step in steps)


def _step(text: str) -> Step:
    match = _STEP.fullmatch(text)
    if match is None:
        raise ValueError(f"breakage: a step such as 'shuffle_labels(0.3)', not {text!r}")
    part, name, inside = match.groups()
    if part is not None and part not in PARTS:
        raise ValueError(f"breakage: {_unknown(part, list(PARTS))} before the ':' in {text!r}")
    if name not in BREAKAGES:
        raise ValueError(f"breakage: {_unknown(name, list(BREAKAGES))}")
    known = BREAKAGES[name]
    positional, named = _numbers(inside or "", text)
    seed = named.pop("seed", None)
    if len(positional) > len(known.parameters):
        takes = ", ".join(parameter.name for parameter in known.parameters) or "no numbers"
        raise ValueError(f"breakage: {name} takes {takes}, not {len(positional)} numbers as in {text!r}")
    values = dict(zip((parameter.name for parameter in known.parameters), positional, strict=False))
    for key, value in named.items():
        if key in values:
            raise ValueError(f"breakage: {key} stands twice in {text!r}")
        if key not in (parameter.name for parameter in known.parameters):
            raise ValueError(f"breakage: {_unknown(key, [one.name for one in known.parameters] + ['seed'])}")
        values[key] = value
    defaults = inspect.signature(known.function).parameters
    checked = []
    for parameter in known.parameters:
        value = values.get(parameter.name, defaults[parameter.name].default)
        if value is inspect.Parameter.empty:
            raise ValueError(
                f"breakage: {name} needs {parameter.name}, such as {name}({parameter.typical:g}), in {text!r}"
            )
        try:
            checked.append(parameter.check(value))
        except (TypeError, ValueError) as error:
            raise ValueError(f"breakage: {error} in {text!r}") from None
    try:
        own_seed = None if seed is None else check_seed(seed)
    except (TypeError, ValueError) as error:
        raise ValueError(f"breakage: {error} in {text!r}") from None
    return Step(name, tuple(checked), part or known.part, own_seed)


def _numbers(inside: str, step: str) -> tuple[list[float | int], dict[str, float | int]]:
    """The numbers between a step's parentheses, without and with a name."""
    try:
        call = ast.parse(f"f({inside})", mode="eval").body
        if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name):
            raise ValueError
        given = [(None, argument) for argument in call.args]
        named = [(keyword.arg, keyword.value) for keyword in call.keywords]
        values = [(key, ast.literal_eval(value)) for key, value in [*given, *named]]
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        raise ValueError(f"breakage: numbers in the parentheses, separated by commas, not {step!r}") from None
    for _, value in values:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise ValueError(f"breakage: numbers in the parentheses, not {value!r} as in {step!r}")
    return [value for key, value in values if key is None], {key: value for key, value in values if key}


def _unknown(name: str, known: Sequence[str]) -> str:
    near = get_close_matches(name, known, 1)
    hint = f" (did you mean {near[0]}?)" if near else ""
    return f"one of {', '.join(known)}, not {name!r}{hint}"


@overload
def break_data(data: Digits, text: str, seed: int = 0, part: str = "train") -> Digits: ...
@overload
def break_data(data: Split, text: str, seed: int = 0, part: str = "train") -> Split: ...
def break_data(data: Digits | Split, text: str, seed: int = 0, part: str = "train") -> Digits | Split:
    """Apply the steps of `text` in order.

    Args:
        data: a Split (or a pair of images and labels), or Digits, whose training and validation parts get the steps
            that concern each (the test part stays); left untouched.
        text: steps such as "shuffle_labels(0.3) + missing_class(7)"; "train:", "valid:" or "both:" before a name
            overrides where it applies.
        seed: of every step that names none itself, 0 to 2^63 - 1.
        part: which part a Split is, "train" or "valid".

    Returns:
        The same kind; each Split's `breakage` says what was applied to it.

    Raises:
        TypeError, ValueError: for arguments of the wrong kind, text that is no recipe, or steps that do not fit the
            data.
    """
    steps, seed = parse(text), check_seed(seed)
    if isinstance(data, Digits):
        train, valid = (
            _applied(split, steps, seed, name)
            for name, split in (("train", data.train), ("valid", data.valid))
        )
        return replace(data, train=train, valid=valid)
    if part not in ("train", "valid"):
        raise ValueError(f"part: train or valid, not {part!r}")
    return _applied(as_split(data, "data"), steps, seed, part)


def _applied(split: Split, steps: tuple[Step, ...], seed: int, part: str) -> Split:
    for step in steps:
        if step.concerns(part):
            split = step.apply(split, seed)
    return split
