"""`breaknet.plot`: the curves of any runs in one figure, and the file that holds it."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib.style
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from .files import MADE_BY, written_whole
from .inputs import knows_other_names

#: Of one run: training and validation. Several runs have a colour each, with lightness that differs in print, too.
TRAIN, VALID = "#d62f2f", "#1b4f9c"
COLOURS = ("#d62f2f", "#1b4f9c", "#e08a00", "#2b8a3e", "#862e9c", "#0b7285", "#c2255c", "#495057")
DASHES = (0, (5, 1.6))


class Curves(Figure):
    """A figure that a notebook shows without pyplot; elsewhere `savefig` writes it."""

    def __init__(self) -> None:
        super().__init__(figsize=(10.4, 4.2), dpi=120, facecolor="white", layout="constrained")
        FigureCanvasAgg(self)

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        self.savefig(buffer, format="png")
        return buffer.getvalue()


@knows_other_names
def plot(runs: Any) -> Figure:
    """Cost and accuracy of one or more runs against their epochs.

    Args:
        runs: a Run, or a mapping of names to Runs: `breaknet.plot({"clean": clean, "half shuffled": half})`.

    Returns:
        A matplotlib Figure. A notebook shows it; `breaknet.plot(run).savefig("curves.png")` writes it.

    Raises:
        TypeError, ValueError: for something else, or no run at all.
    """
    named = _named(runs)
    with matplotlib.style.context(["default", {"axes.spines.top": False, "axes.spines.right": False}]):
        figure = Curves()
        cost, accuracy = figure.subplots(1, 2)
        for number, (name, run) in enumerate(named.items()):
            colour = COLOURS[number % len(COLOURS)]
            colours = (colour, colour) if len(named) > 1 else (TRAIN, VALID)
            label = _label(name, run)
            for axes, curves, factor in (
                (cost, (run.train_cost, run.valid_cost), 1),
                (accuracy, (run.train_accuracy, run.valid_accuracy), 100),
            ):
                for curve, part, kind, dashes in zip(
                    curves, ("training", "validation"), colours, ("-", DASHES), strict=True
                ):
                    if curve is not None:
                        (line,) = axes.plot(
                            run.epoch_numbers, factor * curve, color=kind, linestyle=dashes,
                            marker="o" if len(curve) == 1 else "",
                        )  # fmt: skip
                        line.set_label(f"{label}{', ' if label else ''}{part}")
        for axes, title in ((cost, "cost per image"), (accuracy, "accuracy in percent")):
            axes.set_xlabel("epoch")
            axes.set_title(title, loc="left", fontsize=11)
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            axes.grid(color="#d9d9d9")
            axes.set_axisbelow(True)
        if cost.lines:
            lines = list(cost.lines)
            legend = figure.legend(
                lines, [str(line.get_label()) for line in lines], loc="outside lower center", frameon=False,
                ncols=min(len(named), 3) if len(named) > 1 else len(lines),
            )  # fmt: skip
            for text in legend.get_texts():
                text.set_parse_math(False)
    return figure


def write_plot(figure: Figure, target: Path) -> None:
    """Write a PNG or an SVG, by the ending of its name, whole or not at all."""
    ending = target.suffix.lower()
    with matplotlib.style.context({"svg.hashsalt": "breaknet"}), written_whole(target) as unfinished:
        figure.savefig(unfinished, format=ending[1:], metadata=MADE_BY[ending])


def _named(runs: Any) -> dict[str, Any]:
    if _is_run(runs):
        return {"": runs}
    if not isinstance(runs, Mapping):
        raise TypeError(f"runs: a Run or a mapping of names to Runs, not a {type(runs).__name__}")
    if not runs:
        raise ValueError("runs: at least one, not 0")
    for name, run in runs.items():
        if not _is_run(run):
            raise TypeError(f"runs: a Run for each name, but {name!r} has a {type(run).__name__}")
    return {str(name): run for name, run in runs.items()}


def _is_run(value: Any) -> bool:
    # by what is drawn of it: `Run.plot` comes here, so this file does not import `run`
    return all(hasattr(value, name) for name in ("train_cost", "valid_accuracy", "epoch_numbers"))


def _label(name: str, run: Any) -> str:
    """A run's name, with what went wrong; matplotlib would leave out one that begins with a line below."""
    if run.diverged_at is not None:
        name += f" (diverged at epoch {run.diverged_at})"
    elif run.stuck_at is not None:
        name += f" (stuck from epoch {run.stuck_at} on)"
    return f" {name}" if name.startswith("_") else name.strip()
