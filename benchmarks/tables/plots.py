"""The documents' plots, drawn from stored rows only: `docs/images/NAME.svg` for each name of `PLOTS`.

A plot whose rows are not there is not made. The same rows give the same file; a digest of them stands in the file, by
which `different` finds a plot that is out of date.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib.style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from benchmarks.processes import ROOT
from benchmarks.rows import Row
from benchmarks.tables.stored import Evidence, Sheet
from benchmarks.tables.text import digits, machine, mark, time

FOLDER = ROOT / "docs" / "images"
OURS, OTHERS, FLOOR = "#1b4f9c", "#9aa0a8", "#d62f2f"
#: Line colours and strokes that stay apart for the colour-blind and in grey print; ours first.
STROKES: tuple[dict[str, Any], ...] = (
    {"color": OURS, "linestyle": "-", "marker": "o"},
    {"color": "#d62f2f", "linestyle": "--", "marker": "s"},
    {"color": "#555b63", "linestyle": ":", "marker": "^"},
    {"color": "#b8860b", "linestyle": "-.", "marker": "D"},
)
_RC: dict[Any, Any] = {
    "font.size": 11, "axes.axisbelow": True, "axes.spines.top": False, "axes.spines.right": False,
    "grid.color": "#dddddd", "legend.frameon": False, "svg.hashsalt": "breaknet",
}  # fmt: skip
#: The names of breaknet's own implementations on the ladder.
_OURS = ("fused", "cooperative", "packed", "all-checkpoints", "numba", "numba-evaluation")


@dataclass(frozen=True)
class Plot:
    """One plot: which group it draws on which device, and the text where it cannot be seen."""

    group: str
    device: str
    alt: str
    make: Callable[[Sheet, str], Figure]
    needs: Callable[[Sheet], bool] = lambda sheet: True

    def sheet(self, evidence: Evidence) -> Sheet | None:
        """The rows it is drawn from; None where they are missing."""
        sheet = evidence.sheet(self.group, self.device)
        return sheet if sheet is not None and self.needs(sheet) else None

    def draw(self, sheet: Sheet) -> Figure:
        """The figure."""
        with style():
            return self.make(sheet, self.device)


def digest(sheet: Sheet) -> str:
    """Of the rows and of where they were measured."""
    content = json.dumps([asdict(sheet.machine), [asdict(row) for row in sheet.rows]], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def style() -> AbstractContextManager[None]:
    """matplotlib's own defaults with ours on top, whatever the caller has set."""
    return matplotlib.style.context(["default", _RC])


def ladder(sheet: Sheet, device: str) -> Figure:
    """A bar for each implementation, with its floor, on a logarithmic axis of seconds; training, then accuracy."""
    groups = [rows for kind in ("step", "accuracy") if (rows := sheet.starting(f"{kind}/{device}/"))]
    heights = [len(rows) for rows in groups]
    figure = Figure(figsize=(10, 1.6 + 0.42 * sum(heights)), layout="constrained")
    panels = figure.subplots(len(groups), 1, squeeze=False, gridspec_kw={"height_ratios": heights})[:, 0]
    for axes, rows in zip(panels, groups, strict=True):
        _bars(axes, rows)
    if any(row.floor for row in sheet.rows):
        panels[0].plot([], [], color=FLOOR, linewidth=2.4, label="floor at the machine's ceilings")
        panels[0].legend(loc="lower right", bbox_to_anchor=(1.0, 0.98), fontsize=10)
    _title(figure, "The ladder", sheet)
    return figure


def _bars(axes: Axes, rows: list[Row]) -> None:
    at = list(range(len(rows)))
    colours = [OURS if row.name.rpartition("/")[2] in _OURS else OTHERS for row in rows]
    times = [row.median for row in rows]
    floors = [(row.floor["seconds"], place) for row, place in zip(rows, at, strict=True) if row.floor]
    least = min([*times, *(seconds for seconds, _ in floors)])
    left = least / 2
    axes.barh(at, [seconds - left for seconds in times], left=left, color=colours, height=0.62)
    for seconds, place in floors:
        ends = [place - 0.36, place + 0.36]
        axes.plot([seconds] * 2, ends, color=FLOOR, linewidth=2.4, solid_capstyle="butt")
    for row, place in zip(rows, at, strict=True):
        text = time(row.median) + mark(row)
        axes.annotate(text, (row.median, place), (4, 0), textcoords="offset points", va="center", fontsize=10)
    axes.set_xscale("log")
    axes.set_xlim(left, max(times) * (max(times) / left) ** 0.5)  # room for the words behind the bars
    axes.set_yticks(at, [row.title for row in rows])
    axes.invert_yaxis()
    axes.set_xlabel(rows[0].work)
    _seconds_axis(axes.xaxis)
    axes.grid(True, axis="x")


def roofline(sheet: Sheet, device: str) -> Figure:
    """Each implementation's operations a second against its operations a byte, under the measured ceilings."""
    rows, ceilings = _roofed(sheet), sheet.machine.ceilings
    figure = Figure(figsize=(10.5, 5), layout="constrained")
    axes = figure.subplots()
    reach, peak = ceilings["bytes_per_s"], ceilings["flop_per_s"]
    points = [
        (row.floor["operations"] / row.floor["bytes"], row.floor["operations"] / row.median) for row in rows
    ]
    across, ridge = [x for x, _ in points], peak / reach
    left, right = min(*across, ridge) / 4, max(*across, ridge) * 4
    axes.plot([left, ridge, right], [left * reach, peak, peak], color="#111111", linewidth=1.8)
    # above the roof, where no point can be
    words = f"{digits(reach / 1e9)} GB/s and {digits(peak / 1e9)} GFLOP/s, measured"
    axes.annotate(words, (right / 1.2, peak * 1.15), fontsize=10, ha="right")
    for letter, row, (x, y) in zip("ABCDEFGHIJKLMNOPQRSTUVWXYZ", rows, points, strict=False):
        colour = OURS if row.name.rpartition("/")[2] in _OURS else "#555b63"
        label = f"{letter}  {row.title}"
        axes.plot([x], [y], marker="o", markersize=7, linestyle="none", color=colour, label=label)
        axes.annotate(letter, (x, y), (7, -3), textcoords="offset points", fontsize=10, color=colour)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlim(left, right)
    axes.set_ylim(min(y for _, y in points) / 3, peak * 3)
    axes.set_xlabel("operations a byte that must be moved")
    axes.set_ylabel("operations a second")
    axes.grid(True)
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), fontsize=9.5, handlelength=1.0)
    _title(figure, "Roofline", sheet)
    return figure


def _roofed(sheet: Sheet) -> list[Row]:
    """The rows that have a floor, if the machine's ceilings were measured."""
    if not {"flop_per_s", "bytes_per_s"} <= set(sheet.machine.ceilings):
        return []
    return [row for row in sheet.rows if row.floor and row.floor["bytes"] > 0]


def models(sheet: Sheet, device: str) -> Figure:
    """A network's step against how many networks train side by side, a line for each contender."""
    figure = Figure(figsize=(8, 4.8), layout="constrained")
    axes = figure.subplots()
    _lines(axes, _series(sheet.rows, lambda row: (row.name.split("/")[2], float(row.name.split("/")[3]))))
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.set_xlabel("networks trained side by side")
    axes.set_ylabel(sheet.rows[0].work.replace(", of one", ",\nof one"))
    _title(figure, "Cost against the number of networks", sheet)
    return figure


def epochs(sheet: Sheet, device: str) -> Figure:
    """A whole call of `breaknet.train` against epochs, and against images."""
    sizes = [tuple(map(int, row.name.split("/")[3].split("x"))) for row in sheet.rows]
    shared_images = _most_common([images for _, images in sizes])
    shared_epochs = _most_common([some for some, _ in sizes])
    figure = Figure(figsize=(9, 4.4), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    for axes, axis, fixed, label in (
        (left, 0, shared_images, f"epochs of {shared_images:,} images"),
        (right, 1, shared_epochs, f"images, {shared_epochs:,} epochs"),
    ):
        rows = [row for row, size in zip(sheet.rows, sizes, strict=True) if size[1 - axis] == fixed]
        _lines(axes, _series(rows, partial(_place, axis)))
        axes.set_xscale("log")
        axes.set_xticks(sorted({size[axis] for size in sizes if size[1 - axis] == fixed}))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_xlabel(label)
    left.set_ylabel("a whole call of breaknet.train")
    right.get_legend().remove()
    _title(figure, "Cost against epochs and images", sheet)
    return figure


def _place(axis: int, row: Row) -> tuple[str, float]:
    """The contender of a row named epochs/DEVICE/CONTENDER/EPOCHSxIMAGES, and its epochs or images."""
    contender, size = row.name.split("/")[2:]
    return contender, float(size.split("x")[axis])


def _most_common(values: list[int]) -> int:
    return max(sorted(set(values)), key=values.count)


#: Title and points of a contender.
Curve = tuple[str, list[tuple[float, Row]]]


def _series(rows: Iterable[Row], place: Callable[[Row], tuple[str, float]]) -> dict[str, Curve]:
    """The curve of each contender, by increasing x."""
    found: dict[str, Curve] = {}
    for row in rows:
        contender, x = place(row)
        found.setdefault(contender, (row.title, []))[1].append((x, row))
    for _, points in found.values():
        points.sort(key=lambda point: point[0])
    return found


def _lines(axes: Axes, series: dict[str, Curve]) -> None:
    for stroke, (title, points) in zip(STROKES, series.values(), strict=False):
        x, y = [place for place, _ in points], [row.median for _, row in points]
        axes.plot(x, y, label=title, linewidth=2, markersize=5, **stroke)
        low, high = [row.low for _, row in points], [row.high for _, row in points]
        axes.fill_between(x, low, high, color=stroke["color"], alpha=0.15, linewidth=0)
        rest = [(place, row.median) for place, row in points if row.conditions.get("extrapolated")]
        if rest:
            open_mark = {"color": stroke["color"], "marker": stroke["marker"], "linestyle": "none"}
            axes.plot(*zip(*rest, strict=True), markersize=8, markerfacecolor="white", **open_mark)
    axes.set_yscale("log")
    _seconds_axis(axes.yaxis)
    axes.grid(True)
    axes.legend(fontsize=10)


def _seconds_axis(axis: Any) -> None:
    axis.set_major_formatter(FuncFormatter(lambda value, _: time(value, 1) if value > 0 else "0"))
    axis.set_minor_formatter(NullFormatter())


def _title(figure: Figure, words: str, sheet: Sheet) -> None:
    one = sheet.machine
    small = "" if sheet.size == "full" else f"; {sheet.size} size"
    figure.suptitle(
        f"{words}\n{machine(one)}; torch {one.versions.get('torch', '?')}; {one.date}{small}", fontsize=11
    )


_ALTS = {
    "ladder": "Bars: the time of a training step and of an accuracy by every implementation of the ladder",
    "roofline": "Roofline: operations a second against operations a byte of every implementation",
    "models": "Lines: the time of a network's step against networks trained side by side",
    "epochs": "Lines: the time of a whole training call against epochs and against images",
}

_MAKERS: dict[str, tuple[str, Callable[[Sheet, str], Figure], Callable[[Sheet], bool]]] = {
    "ladder": ("ladder", ladder, lambda sheet: True),
    "roofline": ("ladder", roofline, lambda sheet: bool(_roofed(sheet))),
    "models": ("models", models, lambda sheet: True),
    "epochs": ("epochs", epochs, lambda sheet: True),
}
PLOTS = {
    f"{name}-{device}": Plot(group, device, f"{_ALTS[name]} ({kind})", make, needs)
    for device, kind in (("cpu", "CPU"), ("cuda", "GPU"))
    for name, (group, make, needs) in _MAKERS.items()
}


def svg(figure: Figure, rows: str) -> bytes:
    """The figure as SVG with the digest of its rows in it; the same figure gives the same bytes."""
    buffer = io.BytesIO()
    metadata = {"Date": None, "Creator": None, "Description": f"rows {rows}"}
    with style():
        figure.savefig(buffer, format="svg", metadata=metadata)
    return buffer.getvalue()


def write(evidence: Evidence, folder: Path = FOLDER) -> None:
    """Draw every plot that is not up to date, and remove those whose rows are no longer there."""
    for name in different(evidence, folder):
        path = folder / f"{name}.svg"
        sheet = PLOTS[name].sheet(evidence)
        if sheet is None:
            path.unlink()
        else:
            folder.mkdir(parents=True, exist_ok=True)
            path.write_bytes(svg(PLOTS[name].draw(sheet), digest(sheet)))


def different(evidence: Evidence, folder: Path = FOLDER) -> list[str]:
    """The names of plots that were drawn from other rows, are missing, or should not be there."""
    found = []
    for name, plot in PLOTS.items():
        sheet = plot.sheet(evidence)
        if (digest(sheet) if sheet is not None else None) != _digest_in(folder / f"{name}.svg"):
            found.append(name)
    return found


def _digest_in(path: Path) -> str | None:
    if not path.exists():
        return None
    found = re.search(r"rows ([0-9a-f]{16})", path.read_text(encoding="utf-8"))
    return found.group(1) if found else "unknown"
