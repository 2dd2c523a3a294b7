"""Pictures of a sweep: maps over two axes with contour lines and the spread over seeds, and learning curves."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from itertools import product
from typing import Any

import matplotlib.style
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from .table import Cell, Table, names_of, text_of

#: What is drawn: title, colours, range in percent, contour lines.
QUANTITIES: dict[str, tuple[str, str, float, float, tuple[float, ...]]] = {
    "valid_accuracy": ("Validation accuracy", "viridis", 0, 100, (20, 40, 60, 80, 90)),
    "train_accuracy": ("Training accuracy", "viridis", 0, 100, (20, 40, 60, 80, 90)),
    "gap": ("Training minus validation accuracy", "RdBu_r", -100, 100, (-25, 0, 25, 50, 75)),
}
TRAIN, VALID = "#d62f2f", "#1b4f9c"
MAX_PANELS = 9
MAX_CURVES = 12
#: Cells carry numbers in panels of at most so many.
MAX_NUMBERED = 120

_RC: dict[Any, Any] = {"font.size": 10, "svg.hashsalt": "breaknet", "axes.titlesize": 11}


def pictures(table: Table, source: str) -> dict[str, tuple[str, bytes]]:
    """File name -> title and SVG of every picture that the sweep's axes allow."""
    found = {}
    if len(table.axes) >= 2:
        for name in QUANTITIES:
            found[f"map_{name}"] = (QUANTITIES[name][0], _svg(heat_maps(table, name, source)))
    elif len(table.axes) == 1:
        found["accuracy"] = ("Accuracy", _svg(accuracies(table, source)))
    if max(map(len, table.columns["curve_epoch"]), default=0) > 1:
        found["learning_curves"] = ("Learning curves", _svg(learning_curves(table, source)))
    return found


def chosen_axes(table: Table) -> tuple[str, str, tuple[str, ...]]:
    """The axes across and up, those with the most values (breakages across), and the others: one panel for each."""
    by_length = sorted(table.axes, key=lambda axis: -len(table.values(axis)))
    across, up = by_length[:2]
    if up == "break" or (across != "break" and table.axes.index(up) < table.axes.index(across)):
        across, up = up, across
    return across, up, tuple(axis for axis in table.axes if axis not in (across, up))


def heat_maps(table: Table, name: str, source: str) -> Figure:
    """Mean of a column in percent over the seeds, a panel for each combination of the axes beyond two."""
    title, colours, low, high, levels = QUANTITIES[name]
    across, up, others = chosen_axes(table)
    xs, ys = table.values(across), table.values(up)
    panels = list(product(*(table.values(axis) for axis in others)))[:MAX_PANELS]
    by_place = {cell.place: cell for cell in table.cells()}
    with _style():
        columns = min(3, len(panels))
        lines = math.ceil(len(panels) / columns)
        width = max(3.1, min(0.46 * len(xs) + 0.6, 9.5 / columns))
        height = max(2.2, 0.36 * len(ys) + 0.5)
        figure = _figure(max(width * columns + 2.2, 7.2), (height + 0.7) * lines + 1.2)
        grid = figure.subplots(lines, columns, squeeze=False, sharex=True, sharey=True)
        image: Any = None
        for number, axes in enumerate(grid.flat):
            if number >= len(panels):
                axes.axis("off")
                continue
            mean, spread = _grid(
                table, name, by_place, (across, xs), (up, ys), dict(zip(others, panels[number], strict=True))
            )
            image = axes.pcolormesh(mean, cmap=colours, vmin=low, vmax=high)
            _contours(axes, mean, levels, mean.size <= MAX_NUMBERED)
            if mean.size <= MAX_NUMBERED:
                _numbers(axes, mean, spread, dark_below=50 if colours == "viridis" else -math.inf)
            _ticks(axes, across, xs, up, ys, number % columns == 0, number >= len(panels) - columns)
            if others:
                axes.set_title(
                    ", ".join(
                        f"{axis} {text_of(value)}" for axis, value in zip(others, panels[number], strict=True)
                    )
                )
        heading = f"{title}, percent: mean over seeds, small: its spread"
        if min(len(xs), len(ys)) >= 3:
            heading += f"; contour lines at {', '.join(f'{level:g}' for level in levels)}"
        figure.suptitle(heading, fontweight="bold", fontsize=11)
        figure.colorbar(image, ax=grid.ravel().tolist(), shrink=0.85, pad=0.015)
        _source(figure, source)
    return figure


def _grid(
    table: Table,
    name: str,
    cells: dict[tuple[Any, ...], Cell],
    across: tuple[str, Sequence[Any]],
    up: tuple[str, Sequence[Any]],
    fixed: dict[str, Any],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Means and spreads [up, across] in percent; NaN where there is no job."""
    mean = np.full((len(up[1]), len(across[1])), np.nan)
    spread = mean.copy()
    for (row, y), (column, x) in product(enumerate(up[1]), enumerate(across[1])):
        place = fixed | {across[0]: x, up[0]: y}
        cell = cells.get(tuple(place[axis] for axis in table.axes))
        if cell is not None:
            mean[row, column], spread[row, column] = table.mean_and_spread(cell, name)
    return 100 * mean, 100 * spread


def _contours(axes: Axes, mean: NDArray[np.float64], levels: Sequence[float], numbered: bool) -> None:
    crossed = (
        [level for level in levels if np.nanmin(mean) < level < np.nanmax(mean)]
        if np.isfinite(mean).any()
        else []
    )
    if min(mean.shape) < 3 or not crossed:
        return
    places = np.meshgrid(np.arange(mean.shape[1]) + 0.5, np.arange(mean.shape[0]) + 0.5)
    lines = axes.contour(*places, mean, crossed, colors="black", linewidths=0.8)
    if not numbered:
        axes.clabel(lines, fmt="%g", fontsize=8)


def _numbers(axes: Axes, mean: NDArray[np.float64], spread: NDArray[np.float64], dark_below: float) -> None:
    size = 7.5 if mean.shape[1] > 8 else 8.5
    for (row, column), value in np.ndenumerate(mean):
        if not np.isfinite(value):
            continue
        colour = "white" if value < dark_below or (abs(value) > 70 and dark_below == -math.inf) else "black"
        place = {"x": column + 0.5, "y": row + 0.5, "ha": "center", "color": colour}
        axes.text(s=f"{round(value)}", va="bottom", fontsize=size, **place)
        if np.isfinite(spread[row, column]):
            axes.text(s=f"{spread[row, column]:.1f}", va="top", fontsize=size - 2.5, **place)


def _ticks(
    axes: Axes, across: str, xs: Sequence[Any], up: str, ys: Sequence[Any], left: bool, bottom: bool
) -> None:
    shared, names = names_of(xs)
    _name_ticks(axes, np.arange(len(xs)) + 0.5, names, longest=4)
    if bottom:
        axes.set_xlabel(shared or across)
    shared, names = names_of(ys)
    axes.set_yticks(np.arange(len(ys)) + 0.5, names, fontsize=8.5)
    if left:
        axes.set_ylabel(shared or up)


def _name_ticks(axes: Axes, places: NDArray[Any], names: Sequence[str], longest: int) -> None:
    """Names under the axis, slanted if one has more letters than `longest`."""
    if max(map(len, names)) <= longest:
        axes.set_xticks(places, names, fontsize=8.5)
    else:
        axes.set_xticks(places, names, fontsize=8.5, rotation=30, ha="right")


def accuracies(table: Table, source: str) -> Figure:
    """Both final accuracies along the only axis, with the spread over seeds as bars."""
    (axis,) = table.axes
    by_place = {cell.place: cell for cell in table.cells()}
    values = table.values(axis)
    shared, names = names_of(values)
    with _style():
        figure = _figure(7.2, 4.4)
        axes = figure.subplots()
        for name, colour, label, marker in (
            ("train_accuracy", TRAIN, "training set", "o"),
            ("valid_accuracy", VALID, "validation set", "s"),
        ):
            found = 100 * np.array([table.mean_and_spread(by_place[(value,)], name) for value in values])
            axes.errorbar(
                range(len(values)),
                found[:, 0],
                np.nan_to_num(found[:, 1]),
                label=label,
                color=colour,
                marker=marker,
                capsize=3,
            )
        _name_ticks(axes, np.arange(len(values)), names, longest=8)
        axes.set_xlabel(shared or axis)
        axes.set_ylabel("accuracy in percent")
        axes.set_ylim(0, 103)
        axes.grid(True, color="#d9d9d9")
        axes.legend(frameon=False, ncols=2, loc="lower left", bbox_to_anchor=(0, 1))
        _source(figure, source)
    return figure


def learning_curves(table: Table, source: str) -> Figure:
    """Accuracy over the steps of training, a panel for each setting; of many settings some, evenly chosen."""
    by_place = {cell.place: cell for cell in table.cells()}
    cells = [by_place[place] for place in product(*_some_values(table)) if place in by_place]
    with _style():
        columns = min(4, len(cells))
        lines = math.ceil(len(cells) / columns)
        figure = _figure(max(2.7 * columns, 5.0), 2.2 * lines + 0.8)
        grid = figure.subplots(lines, columns, squeeze=False, sharey=True)
        for number, axes in enumerate(grid.flat):
            if number >= len(cells):
                axes.axis("off")
                continue
            _curves(axes, table, cells[number])
            text = "\n".join(
                f"{axis} {text_of(value)}"
                for axis, value in zip(table.axes, cells[number].place, strict=True)
            )
            axes.set_title(text or "all jobs", fontsize=8)
        grid[0, 0].legend(frameon=False, fontsize=8)
        figure.supxlabel("steps of training", fontsize=10)
        figure.supylabel("accuracy in percent", fontsize=10)
        _source(figure, source)
    return figure


def _some_values(table: Table) -> list[list[Any]]:
    """Values of each axis, at most `MAX_CURVES` combinations of them: the ends, and middles if there is room."""
    chosen = [table.values(axis) for axis in table.axes]
    while math.prod(map(len, chosen)) > MAX_CURVES:
        longest = max(range(len(chosen)), key=lambda number: (len(chosen[number]), number))
        values = chosen[longest]
        middle = values[len(values) // 2]
        chosen[longest] = (
            [values[0], middle, values[-1]] if len(values) > 3 else values[:: len(values) - 1][:2]
        )
        if len(values) == 2:
            chosen[longest] = values[-1:]
    return chosen


def _curves(axes: Axes, table: Table, cell: Cell) -> None:
    """Every seed's curves, thin, and their mean over the seeds that did not diverge."""
    columns = table.columns
    steps_per_epoch = -(-columns["examples"][cell.rows[0]] // columns["batch_size"][cell.rows[0]])
    for name, colour, label in (("train", TRAIN, "training"), ("valid", VALID, "validation")):
        whole = [row for row in cell.rows if columns["diverged_at"][row] is None]
        for row in cell.rows:
            steps = steps_per_epoch * (np.array(columns["curve_epoch"][row]) + 1)
            axes.plot(
                steps,
                100 * np.array(columns[f"curve_{name}_accuracy"][row]),
                color=colour,
                linewidth=0.5,
                alpha=0.45,
            )
        if whole:
            steps = steps_per_epoch * (np.array(columns["curve_epoch"][whole[0]]) + 1)
            mean = np.mean([columns[f"curve_{name}_accuracy"][row] for row in whole], axis=0)
            axes.plot(steps, 100 * mean, color=colour, linewidth=1.8, label=label)
    axes.set_ylim(0, 103)
    axes.grid(True, color="#e4e4e4")


def _figure(width: float, height: float) -> Figure:
    figure = Figure(figsize=(width, height), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def _source(figure: Figure, source: str) -> None:
    if source != "MNIST":
        figure.text(
            0.995,
            0.004,
            f"data: {source}, not MNIST",
            ha="right",
            fontsize=8,
            color="#555555",
            parse_math=False,
        )


def _style() -> Any:
    return matplotlib.style.context(["default", _RC])


def _svg(figure: Figure) -> bytes:
    """The same figure gives the same bytes."""
    buffer = io.BytesIO()
    with _style():
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return buffer.getvalue()
