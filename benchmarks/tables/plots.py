"""The documents' plots, drawn from stored rows only: `docs/images/NAME.svg` for each name of `PLOTS`.

A plot whose rows are not there is not made. The same rows give the same file; a digest of them stands in the file, by
which `different` finds a plot that is out of date.
"""

import hashlib
import io
import json
import re
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import matplotlib.style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from benchmarks.processes import ROOT
from benchmarks.rows import Row
from benchmarks.tables.stored import Evidence, Sheet
from benchmarks.tables.text import machine, mark
from breaknet.quantities import digits, time

FOLDER = ROOT / "docs" / "images"
OURS, OTHERS, DARK, FLOOR = "#1b4f9c", "#9aa0a8", "#555b63", "#d62f2f"
#: Line colours and strokes that stay apart for the colour-blind and in grey print; ours first.
STROKES: tuple[dict[str, Any], ...] = (
    {"color": OURS, "linestyle": "-", "marker": "o"},
    {"color": FLOOR, "linestyle": "--", "marker": "s"},
    {"color": DARK, "linestyle": ":", "marker": "^"},
    {"color": "#b8860b", "linestyle": "-.", "marker": "D"},
)
_RC: dict[Any, Any] = {
    "font.size": 11, "axes.axisbelow": True, "axes.spines.top": False, "axes.spines.right": False,
    "grid.color": "#dddddd", "legend.frameon": False, "svg.hashsalt": "breaknet",
}  # fmt: skip
#: The names of breaknet's own implementations on the ladder.
_OURS = (
    "fused",
    "fused-network",
    "fused-network-graph",
    "cooperative",
    "packed",
    "all-checkpoints",
    "numba",
    "numba-evaluation",
)


@dataclass(frozen=True)
class Plot:
    """One plot: which group it draws on which device, and the text where it cannot be seen."""

    group: str
    device: str
    alt: str
    make: Callable[[Sheet], Figure]

    def sheet(self, evidence: Evidence) -> Sheet | None:
        """The rows it is drawn from; None where they are missing, or ceilings for a roofline."""
        sheet = evidence.sheet(self.group, self.device)
        return None if sheet is None or (self.make is roofline and not _roofed(sheet)) else sheet

    def svg(self, sheet: Sheet) -> bytes:
        """The figure as SVG with the digest of its rows in it; the same rows give the same bytes."""
        buffer = io.BytesIO()
        metadata = {"Date": None, "Creator": None, "Description": f"rows {digest(sheet)}"}
        # matplotlib's own defaults with ours on top, whatever the caller has set
        with matplotlib.style.context(["default", _RC]):
            self.make(sheet).savefig(buffer, format="svg", metadata=metadata)
        return buffer.getvalue()


def digest(sheet: Sheet | None) -> str | None:
    """Of the rows and of where they were measured."""
    if sheet is None:
        return None
    content = json.dumps([asdict(sheet.machine), [asdict(row) for row in sheet.rows]], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def ladder(sheet: Sheet) -> Figure:
    """A bar for each implementation, with its floor, on a logarithmic axis of seconds; training, then accuracy."""
    kinds = [[row for row in sheet.rows if row.name.startswith(kind)] for kind in ("step/", "accuracy/")]
    groups = [rows for rows in kinds if rows]
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
    times = [row.median for row in rows]
    floors = {place: row.floor["seconds"] for place, row in enumerate(rows) if row.floor}
    left = min([*times, *floors.values()]) / 2
    colours = [OURS if _is_ours(row) else OTHERS for row in rows]
    axes.barh(range(len(rows)), [each - left for each in times], left=left, color=colours, height=0.62)
    for place, seconds in floors.items():
        ends = [place - 0.36, place + 0.36]
        axes.plot([seconds] * 2, ends, color=FLOOR, linewidth=2.4, solid_capstyle="butt")
    for place, row in enumerate(rows):
        text = time(row.median) + mark(row)
        axes.annotate(text, (row.median, place), (4, 0), textcoords="offset points", va="center", fontsize=10)
    axes.set_xscale("log")
    axes.set_xlim(left, max(times) * (max(times) / left) ** 0.5)  # room for the words behind the bars
    axes.set_yticks(range(len(rows)), [row.title for row in rows])
    axes.invert_yaxis()
    axes.set_xlabel(rows[0].work)
    _format(axes.xaxis, _seconds)
    axes.grid(True, axis="x")


def _is_ours(row: Row) -> bool:
    return row.name.rpartition("/")[2] in _OURS


def roofline(sheet: Sheet) -> Figure:
    """Each implementation's operations a second against its operations a byte, under the measured ceilings."""
    rows, ceilings = _roofed(sheet), sheet.machine.ceilings
    figure = Figure(figsize=(10.5, 5), layout="constrained")
    axes = figure.subplots()
    reach, peak = ceilings["bytes_per_s"], ceilings["flop_per_s"]
    across = [row.floor["operations"] / row.floor["bytes"] for row in rows]
    up = [row.floor["operations"] / row.median for row in rows]
    ridge = peak / reach
    left, right = min(*across, ridge) / 4, max(*across, ridge) * 4
    axes.plot([left, ridge, right], [left * reach, peak, peak], color="#111111", linewidth=1.8)
    # above the roof, where no point can be
    words = f"{digits(reach / 1e9)} GB/s and {digits(peak / 1e9)} GFLOP/s, measured"
    axes.annotate(words, (right / 1.2, peak * 1.15), fontsize=10, ha="right")
    for letter, row, x, y in zip("ABCDEFGHIJKLMNOPQRSTUVWXYZ", rows, across, up, strict=False):
        colour, label = OURS if _is_ours(row) else DARK, f"{letter}  {row.title}"
        axes.plot([x], [y], marker="o", markersize=7, linestyle="none", color=colour, label=label)
        axes.annotate(letter, (x, y), (7, -3), textcoords="offset points", fontsize=10, color=colour)
    axes.set(xscale="log", yscale="log", xlim=(left, right), ylim=(min(up) / 3, peak * 3))
    axes.set(xlabel="operations a byte that must be moved", ylabel="operations a second")
    axes.grid(True)
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), fontsize=9.5, handlelength=1.0)
    _title(figure, "Roofline", sheet)
    return figure


def _roofed(sheet: Sheet) -> list[Row]:
    """The rows that have a floor, if the machine's ceilings were measured."""
    if not {"flop_per_s", "bytes_per_s"} <= set(sheet.machine.ceilings):
        return []
    return [row for row in sheet.rows if row.floor and row.floor["bytes"] > 0]


def models(sheet: Sheet) -> Figure:
    """A network's step against how many networks train side by side, a line for each contender."""
    figure = Figure(figsize=(8, 4.8), layout="constrained")
    axes = figure.subplots()
    _curves(axes, sheet.rows, 0)
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter(_whole)
    axes.set_xlabel("networks trained side by side")
    axes.set_ylabel(sheet.rows[0].work.replace(", of one", ",\nof one"))
    _title(figure, "Cost against the number of networks", sheet)
    return figure


def epochs(sheet: Sheet) -> Figure:
    """A whole call of `breaknet.train` against epochs, and against images."""
    sizes = [_point(row) for row in sheet.rows]
    shared = [max(sorted(set(values)), key=values.count) for values in zip(*sizes, strict=True)]
    figure = Figure(figsize=(9, 4.4), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    labels = f"epochs of {shared[1]:,} images", f"images, {shared[0]:,} epochs"
    for axis, (axes, label) in enumerate(zip(panels, labels, strict=True)):
        rows = [row for row in sheet.rows if _point(row)[1 - axis] == shared[1 - axis]]
        _curves(axes, rows, axis)
        axes.set_xscale("log")
        axes.set_xticks(sorted({_point(row)[axis] for row in rows}))
        _format(axes.xaxis, _whole)
        axes.set_xlabel(label)
    panels[0].set_ylabel("a whole call of breaknet.train")
    panels[1].get_legend().remove()
    _title(figure, "Cost against epochs and images", sheet)
    return figure


def _point(row: Row) -> list[int]:
    """The numbers at the end of a name such as models/DEVICE/CONTENDER/64 or epochs/DEVICE/CONTENDER/10x1000."""
    return [int(number) for number in row.name.split("/")[3].split("x")]


def _curves(axes: Axes, rows: Iterable[Row], axis: int) -> None:
    """A line for each contender against the points' numbers of that place, with quartiles; its other axis is time."""
    curves: dict[str, list[Row]] = {}
    for row in rows:
        curves.setdefault(row.name.split("/")[2], []).append(row)
    for stroke, some in zip(STROKES, curves.values(), strict=False):
        points = sorted(some, key=lambda row: _point(row)[axis])
        x = [float(_point(row)[axis]) for row in points]
        axes.plot(x, [row.median for row in points], label=some[0].title, linewidth=2, markersize=5, **stroke)
        low, high = [row.low for row in points], [row.high for row in points]
        axes.fill_between(x, low, high, color=stroke["color"], alpha=0.15, linewidth=0)
        rest = [(_point(row)[axis], row.median) for row in points if row.conditions.get("extrapolated")]
        if rest:
            open_mark = stroke | {"linestyle": "none", "markersize": 8, "markerfacecolor": "white"}
            axes.plot(*zip(*rest, strict=True), **open_mark)
    axes.set_yscale("log")
    _format(axes.yaxis, _seconds)
    axes.grid(True)
    axes.legend(fontsize=10)


_seconds = FuncFormatter(lambda value, _: time(value, 1) if value > 0 else "0")
_whole = FuncFormatter(lambda value, _: f"{value:,.0f}")


def _format(axis: Any, major: FuncFormatter) -> None:
    axis.set_major_formatter(major)
    axis.set_minor_formatter(NullFormatter())


def _title(figure: Figure, words: str, sheet: Sheet) -> None:
    one = sheet.machine
    small = "" if sheet.size == "full" else f"; {sheet.size} size"
    figure.suptitle(
        f"{words}\n{machine(one)}; torch {one.versions.get('torch', '?')}; {one.date}{small}", fontsize=11
    )


_MAKERS: dict[str, tuple[str, Callable[[Sheet], Figure], str]] = {
    "ladder": (
        "ladder", ladder, "Bars: the time of a training step and of an accuracy by every implementation of the ladder",
    ),
    "roofline": (
        "ladder", roofline, "Roofline: operations a second against operations a byte of every implementation",
    ),
    "models": ("models", models, "Lines: the time of a network's step against networks trained side by side"),
    "epochs": ("epochs", epochs, "Lines: the time of a whole training call against epochs and against images"),
}  # fmt: skip
PLOTS = {
    f"{name}-{device}": Plot(group, device, f"{alt} ({kind})", make)
    for device, kind in (("cpu", "CPU"), ("cuda", "GPU"))
    for name, (group, make, alt) in _MAKERS.items()
}


def write(evidence: Evidence, folder: Path = FOLDER) -> None:
    """Draw every plot that is not up to date, and remove those whose rows are no longer there."""
    for name in different(evidence, folder):
        path = folder / f"{name}.svg"
        sheet = PLOTS[name].sheet(evidence)
        if sheet is None:
            path.unlink()
        else:
            folder.mkdir(parents=True, exist_ok=True)
            path.write_bytes(PLOTS[name].svg(sheet))


def different(evidence: Evidence, folder: Path = FOLDER) -> list[str]:
    """The names of plots that were drawn from other rows, are missing, or should not be there."""

    def drawn(path: Path) -> str | None:
        if not path.exists():
            return None
        return "".join(re.findall(r"rows ([0-9a-f]{16})", path.read_text(encoding="utf-8"))[:1])

    plots = PLOTS.items()
    return [name for name, plot in plots if digest(plot.sheet(evidence)) != drawn(folder / f"{name}.svg")]
