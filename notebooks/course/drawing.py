"""What pictures and plots share: figures that a notebook shows by themselves, colours, boxes, arrows."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, Rectangle

# Told apart by lightness too, so that colour blindness or a grey printer makes no two alike.
BLUE, RED, GOLD, GREEN, GREY, INK = "#1b4f9c", "#c8352b", "#e0a526", "#3d8b5f", "#9a9a9a", "#1c1c1c"
PALE = {BLUE: "#dbe6f6", RED: "#f8dcd8", GOLD: "#fbefcf", GREEN: "#dcefe3", GREY: "#ececec", INK: "#e4e4e4"}
DPI = 100
_STYLE: dict[Any, Any] = {
    "font.size": 10.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titleweight": "bold",
    "axes.titlesize": 11.5,
    "axes.titlelocation": "left",
    "legend.frameon": False,
    "hatch.linewidth": 0.6,
}


class CourseFigure(Figure):
    """A figure that a notebook shows by itself, a hundred pixels an inch."""

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        with plain_style():
            self.savefig(buffer, format="png", dpi=DPI)
        return buffer.getvalue()


@contextmanager
def plain_style() -> Iterator[None]:
    """matplotlib's own defaults and ours, whatever the caller has set."""
    keep = {"backend", "backend_fallback", "interactive", "toolbar"}
    defaults: dict[Any, Any] = {
        key: value for key, value in matplotlib.rcParamsDefault.items() if key not in keep
    }
    with matplotlib.rc_context({**defaults, **_STYLE}):
        yield


def new(
    width: float, height: float, rows: int = 1, columns: int = 1, **layout: Any
) -> tuple[Figure, list[Axes]]:
    """A figure of `rows` by `columns` axes, in inches, and its axes row by row."""
    figure = CourseFigure(figsize=(width, height), dpi=DPI, facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    return figure, list(figure.subplots(rows, columns, squeeze=False, **layout).ravel())


def sketch(width: float, height: float, right: float, top: float) -> tuple[Figure, Axes]:
    """A figure to draw boxes in: no axes, x from 0 to `right`, y from 0 to `top`, upwards."""
    figure = CourseFigure(figsize=(width, height), dpi=DPI, facecolor="white")
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0.01, 0.01, 0.98, 0.98))
    axes.set_axis_off()
    axes.set_xlim(0, right)
    axes.set_ylim(0, top)
    return figure, axes


def box(
    axes: Axes,
    x: float,
    y: float,
    width: float,
    height: float,
    text: str = "",
    *,
    colour: str = BLUE,
    filled: bool = True,
    hatch: str = "",
    size: float = 10,
) -> None:
    """A box with its lower left corner at (x, y) and text in its middle."""
    axes.add_patch(
        Rectangle(
            (x, y), width, height, facecolor=PALE[colour] if filled else "none", edgecolor=colour, linewidth=1.3,
            hatch=hatch,
        )
    )  # fmt: skip
    if text:
        axes.text(x + width / 2, y + height / 2, text, ha="center", va="center", color=INK, fontsize=size)


def arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float], colour: str = INK) -> None:
    """A thin arrow."""
    axes.add_patch(
        FancyArrowPatch(
            start, end, arrowstyle="-|>", mutation_scale=10, color=colour, linewidth=1.1, shrinkA=2, shrinkB=2
        )
    )


def say(
    axes: Axes, x: float, y: float, text: str, *, size: float = 10, bold: bool = False, **how: Any
) -> None:
    """Text at (x, y), its left middle there unless `ha` and `va` say otherwise."""
    settings = {"ha": "left", "va": "center", "color": INK, "fontsize": size} | how
    axes.text(x, y, text, fontweight="bold" if bold else "normal", **settings)
