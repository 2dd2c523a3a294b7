"""The table of a sweep: one row for each job; and means and spreads over seeds."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..files import written_whole

#: What a job is, in the file's words, in the order in which axes are chosen for maps.
SETTINGS = ("break", "examples", "hidden", "learning_rate", "batch_size", "epochs", "points")


@dataclass(frozen=True)
class Cell:
    """The jobs that differ in nothing but their seed."""

    place: tuple[Any, ...]  # values of the axes
    rows: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Table:
    """Columns of equal length; those named curve_... hold lists."""

    columns: dict[str, list[Any]]
    axes: tuple[str, ...]  # settings that differ between jobs, and that no other axis decides

    @classmethod
    def of(cls, columns: dict[str, list[Any]]) -> Table:
        axes: list[str] = []
        for name in SETTINGS:
            if len(set(columns[name])) < 2:
                continue
            decided: dict[tuple[Any, ...], Any] = {}
            others = (
                list(zip(*(columns[axis] for axis in axes), strict=True))
                if axes
                else [()] * len(columns[name])
            )
            if any(
                decided.setdefault(place, value) != value
                for place, value in zip(others, columns[name], strict=True)
            ):
                axes.append(name)
        return cls(columns, tuple(axes))

    def __len__(self) -> int:
        return len(self.columns["key"])

    def values(self, axis: str) -> list[Any]:
        """The values of an axis: numbers and widths by size, breakages by name and number."""
        return sorted(set(self.columns[axis]), key=_sort_key)

    def cells(self) -> list[Cell]:
        """The jobs by their place on the axes."""
        found: dict[tuple[Any, ...], list[int]] = {}
        places = (
            zip(*(self.columns[axis] for axis in self.axes), strict=True) if self.axes else [()] * len(self)
        )
        for row, place in enumerate(places):
            found.setdefault(tuple(place), []).append(row)
        return [Cell(place, tuple(rows)) for place, rows in found.items()]

    def mean_and_spread(self, cell: Cell, name: str) -> tuple[float, float]:
        """Mean and standard deviation (of n - 1; NaN for one seed) of a column over a cell's seeds."""
        found: NDArray[np.float64] = np.array([self.columns[name][row] for row in cell.rows], np.float64)
        return float(found.mean()), float(found.std(ddof=1)) if len(found) > 1 else math.nan

    def tidy(self) -> Any:
        """Without curves: a pandas DataFrame where pandas is installed, else a dict of columns."""
        columns = {name: values for name, values in self.columns.items() if not name.startswith("curve_")}
        try:
            import pandas
        except ImportError:
            return columns
        return pandas.DataFrame(columns)

    def write_csv(self, path: Path) -> None:
        """The table without curves.

        Raises:
            DataError: where it cannot be written.
        """
        names = [name for name in self.columns if not name.startswith("curve_")]
        with written_whole(path) as unfinished, unfinished.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(names)
            writer.writerows(zip(*(self.columns[name] for name in names), strict=True))


def _sort_key(value: Any) -> tuple[Any, ...]:
    if not isinstance(value, str):
        return (0, value)
    name, numbers = split_step(value)
    return (1, name, numbers) if name or numbers or not value else (2, value)


def split_step(text: str) -> tuple[str, tuple[float, ...]]:
    """The name and the numbers of a text such as "shuffle_labels(0.3)" or "16,16"; ("", ()) of any other."""
    name, _, inside = text.rpartition("(") if text.endswith(")") else ("", "", text)
    try:
        return name, tuple(
            float(part.partition("=")[2] or part) for part in inside.removesuffix(")").split(",")
        )
    except ValueError:
        return "", ()


def names_of(values: Sequence[Any]) -> tuple[str, list[str]]:
    """Short names for an axis's values, and what they share: breakages of one name go by their numbers alone."""
    steps = {split_step(text)[0] for text in values if isinstance(text, str) and text}
    if len(steps) == 1 and (name := steps.pop()):
        return name, [text[len(name) + 1 : -1] if text else text_of(text) for text in values]
    return "", [text_of(value) for value in values]


def text_of(value: int | float | str) -> str:
    """A setting as pages and pictures show it: 1,000, 0.05, "none" where nothing is broken."""
    return (
        f"{value:,}"
        if isinstance(value, int)
        else f"{value:g}"
        if isinstance(value, float)
        else value or "none"
    )
