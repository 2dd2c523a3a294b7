"""The broken data of a sweep's jobs. Jobs that share images get the same array, which a backend then prepares once."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from ..breakage import BREAKAGES, Step, parse
from ..data.splits import Digits, Split
from .grid import Setting

#: Broken splits that are kept; the jobs of a shard come in an order in which those that share follow each other.
KEPT = 16


class BrokenData:
    """Training and validation data of settings, from one set of digits."""

    def __init__(self, digits: Digits) -> None:
        self.digits = digits
        self._kept: OrderedDict[tuple[Any, ...], Split] = OrderedDict()
        self._first: dict[int, Split] = {}

    def of(self, setting: Setting) -> tuple[Split, Split]:
        """The setting's training split, its first examples broken in order, and its validation split."""
        steps = parse(setting.breakage)
        first = self._first.setdefault(setting.examples, self.digits.train[: setting.examples])
        train = self._applied(first, ("train", setting.examples), steps, setting.seed)
        valid = self._applied(self.digits.valid, ("valid",), steps, setting.seed)
        return train, valid

    def _applied(self, split: Split, key: tuple[Any, ...], steps: tuple[Step, ...], seed: int) -> Split:
        for step in steps:
            if not step.concerns(str(key[0])):
                continue
            key = (*key, _identity(step, seed))
            if key not in self._kept:
                self._kept[key] = step.apply(split, seed)
                if len(self._kept) > KEPT:
                    self._kept.popitem(last=False)
            self._kept.move_to_end(key)
            split = self._kept[key]
        return split


def _identity(step: Step, seed: int) -> tuple[str, int]:
    """An identity of a step, seeds and all: equal where the results are."""
    used = seed if step.seed is None else step.seed
    return str(step), used if BREAKAGES[step.name].seeded else 0


def image_set(setting: Setting) -> tuple[Any, ...]:
    """Equal for settings whose training and validation images are the same arrays.

    Breakages of labels keep the array, so what they do, and the seed they do it with, does not count.
    """
    steps = [step for step in parse(setting.breakage) if step.name not in SHARING]
    return (setting.examples, *(_identity(step, setting.seed) for step in steps))


#: Breakages whose result shares the images of what it was made from.
SHARING = frozenset(("shuffle_labels", "flip_labels", "mislabel_class", "mislabel_hardest"))
