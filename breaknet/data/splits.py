"""Labelled images in memory: `Split`, and the three of them that make up `Digits`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import html
from ..errors import shown

#: Of a split, a notebook shows the first so many images.
SHOWN = 12


class Unseen:
    """Lasts as long as nobody but breaknet has some images that it loaded, so that none of them can have changed."""


@dataclass(frozen=True, eq=False)
class Split:
    """Images uint8 [N, 784] (meaning byte / 256) and their labels uint8 [N], row by row.

    A slice, a boolean mask [N] or an integer index array gives a Split; a slice shares memory. `images, labels = split`
    unpacks it, and `len` is N. `breakage` is the text of what was done to the data (see `breaknet.break_data`), "" for
    nothing.

    Raises:
        ValueError: for other dtypes or shapes, or labels over 9.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    breakage: str = ""
    #: One `Unseen` at most, in a list that all slices share. Whoever reads `images`, a property set below this class,
    #: empties it; `_images` is for readers here that neither write to the array nor pass it on.
    _unseen: list[Unseen] = field(init=False, default_factory=list)
    _images: NDArray[np.uint8] = field(init=False)

    def __post_init__(self) -> None:
        images, labels = np.asarray(self._images), np.asarray(self.labels)
        if images.dtype != np.uint8 or images.ndim != 2 or images.shape[1] != 784:
            raise ValueError(f"images: uint8 [N, 784], not {images.dtype} {list(images.shape)}")
        if labels.dtype != np.uint8 or labels.ndim != 1:
            raise ValueError(f"labels: uint8 [N], not {labels.dtype} {list(labels.shape)}")
        if len(images) != len(labels):
            raise ValueError(f"images and labels differ in length: {len(images)} and {len(labels)}")
        if labels.size and labels.max() > 9:
            raise ValueError(f"labels: 0 to 9, not {labels.max()}")
        object.__setattr__(self, "images", images)
        object.__setattr__(self, "labels", labels)

    def __len__(self) -> int:
        return len(self.labels)

    def __iter__(self) -> Iterator[NDArray[np.uint8]]:
        """The images, then the labels: a Split unpacks into the two arrays."""
        return iter((self.images, self.labels))

    def __getitem__(self, index: Any) -> Split:
        if isinstance(index, slice):
            part = Split(self._images[index], self.labels[index], self.breakage)
            object.__setattr__(part, "_unseen", self._unseen)
            return part
        chosen = np.asarray(index)
        if chosen.ndim != 1 or not (chosen.dtype == np.bool_ or np.issubdtype(chosen.dtype, np.integer)):
            raise TypeError(
                f"index: a slice, a boolean mask or an array of row numbers, not {shown(index)}; "
                "the arrays are .images and .labels"
            )
        return Split(self._images[chosen], self.labels[chosen], self.breakage)

    def __repr__(self) -> str:
        broken = f", broken by {self.breakage}" if self.breakage else ""
        return f"Split({len(self):,} images{broken})"

    def _repr_html_(self) -> str:
        return html.page(
            f"{len(self):,} images", html.facts({"broken by": self.breakage}),
            html.digits(self._images[:SHOWN], self.labels[:SHOWN]),
        )  # fmt: skip


def _hand_out(split: Split) -> NDArray[np.uint8]:
    split._unseen.clear()
    return split._images


def _take(split: Split, images: NDArray[np.uint8]) -> None:
    object.__setattr__(split, "_images", images)


# only now: in the class it would be the field's default
Split.images = property(_hand_out, _take)  # type: ignore[assignment]


def just_loaded(digits: Digits) -> Digits:
    """`digits`, whose images nobody but breaknet has yet; such ones may stay on a GPU between calls."""
    splits = list(digits._parts().values())
    if not any(np.may_share_memory(one._images, other._images) for one, other in combinations(splits, 2)):
        for split in splits:
            split._unseen.append(Unseen())
    return digits


#: The names of the ten classes where they are digits.
DIGIT_NAMES = tuple("0123456789")
LONGEST_NAME = 40


def check_names(names: Any) -> tuple[str, ...]:
    """Names of ten classes, without spaces around them.

    Raises:
        TypeError: for something else than texts.
        ValueError: for another number of names, or an empty, long or unprintable one.
    """
    if isinstance(names, str) or not all(isinstance(name, str) for name in names):
        raise TypeError(f"labels: ten names, not {names!r}")
    found = tuple(name.strip() for name in names)
    if len(found) != 10:
        raise ValueError(f"labels: ten names, not {len(found)}")
    for name in found:
        if not name or len(name) > LONGEST_NAME or not name.isprintable():
            raise ValueError(f"labels: names of 1 to {LONGEST_NAME} printable characters, not {name!r}")
    return found


@dataclass(frozen=True, eq=False)
class Digits:
    """A data set: training, validation and test split, its source, and the names of its classes."""

    train: Split
    valid: Split
    test: Split
    source: str  # "MNIST", "synthetic digits", "Fashion-MNIST" or "local: NAME"
    names: tuple[str, ...] = DIGIT_NAMES  # of the ten classes, by their labels

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", check_names(self.names))

    def __repr__(self) -> str:
        sizes = ", ".join(f"{name} {len(split):,}" for name, split in self._parts().items())
        return f"Digits({self.source}: {sizes})"

    def _repr_html_(self) -> str:
        shown = []
        for name, split in self._parts().items():
            title = f"{name}: {len(split):,} images"
            shown.append(f"<div>{title}</div>")
            shown += [
                html.facts({"broken by": split.breakage}),
                html.digits(split._images[:SHOWN], split.labels[:SHOWN]),
            ]
        return html.page(self.source, *shown)

    def _parts(self) -> dict[str, Split]:
        return {"train": self.train, "valid": self.valid, "test": self.test}
