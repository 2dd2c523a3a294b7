"""The lesson's figures of curves, and one of sample digits, drawn from the results that results.json holds.

Every function returns a `matplotlib.figure.Figure` without using pyplot; a notebook displays it. The same
results give the same bytes, PNG or SVG, whatever style the caller has set.
"""

import io
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib.style
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike, NDArray

from ..files import written_whole
from .fits import FIRST_EPOCH_OF_LINES, line_from, logistic_from
from .inline_figures import axes_text
from .words import slope_text

Results = Mapping[str, Any]
Style = dict[str, Any]

INCHES = (7.2, 4.8)
DPI = 130
LEFT = 0.135  # left edge of title, legend and curves, as a share of the width

# Red and blue differ in lightness and stroke, for colour-blind readers and for print in grey.
TRAIN: Style = {"label": "training set", "color": "#d62f2f", "linestyle": "-", "linewidth": 2.0}
VALID: Style = {"label": "validation set", "color": "#1b4f9c", "linestyle": (0, (5, 1.6)), "linewidth": 2.0}
FIT: Style = {"color": "#111111", "linestyle": ":", "linewidth": 2.2}
SECOND_FIT: Style = {"color": "#111111", "linestyle": "-.", "linewidth": 1.6}
REFERENCE: Style = {"color": "#6b6b6b", "linestyle": "-", "linewidth": 0.9}
PREDICTION: Style = {
    "label": "your prediction",
    "color": "#111111",
    "linestyle": "--",
    "linewidth": 1.4,
    "marker": "D",
}

#: Accuracy of guessing among ten digits, in percent.
CHANCE_PERCENT = 10.0
#: Cost of the constant output 1/10: (1 - 1/10)^2 + 9 (1/10)^2, the least of any constant.
CHANCE_COST = 0.9

_RC: dict[Any, Any] = {
    "font.size": 12.5,
    "axes.labelsize": 13,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": "#d9d9d9",
    "legend.fontsize": 11.5,
    "legend.handlelength": 1.9,
    "legend.frameon": False,
    "svg.hashsalt": "breaknet",
}


class LessonFigure(Figure):
    """A white figure of `figsize` inches that a notebook displays without pyplot."""

    def __init__(self, figsize: tuple[float, float] = INCHES) -> None:
        super().__init__(figsize=figsize, dpi=DPI, facecolor="white")
        FigureCanvasAgg(self)

    def _repr_png_(self) -> bytes:
        return png_bytes(self)


def clean_cost_fits(results: Results) -> Figure:
    """Both costs of the clean run and the lines fitted from epoch 20 on, enlarged, with their slopes."""
    run = results["experiments"]["clean"]
    first = FIRST_EPOCH_OF_LINES
    with lesson_style():
        figure, axes = _new(results, "Clean labels: cost in the long run, with fits", "cost per image")
        _curves(axes, run, "cost", faded=True)
        for part, word, style in (("train", "training", FIT), ("valid", "validation", SECOND_FIT)):
            line = line_from(run["fits"].get(f"{part}_cost_line"))
            if line is None:
                axes.plot([], [], label=f"{word} line: no fit", **style)
                continue
            epochs = np.array([first, max(len(run[f"{part}_cost"]) - 1, first)])
            axes.plot(epochs, line(epochs), label=f"{word} line: {slope_text(line.slope)} an epoch", **style)
        late = [*run["train_cost"][first:], *run["valid_cost"][first:]]
        axes.set_ylim(0, 1.35 * max(late or [*run["train_cost"], *run["valid_cost"]], default=1.0))
        return _finish(figure, axes, run, columns=2)


def label_noise(results: Results, prediction: Mapping[float, float] | None = None) -> Figure:
    """Accuracies after training with some labels shuffled, over their share.

    Args:
        results: hold "label_noise".
        prediction: share in percent -> validation accuracy in percent, drawn as well.
    """
    noise = results["label_noise"]
    shares = 100 * np.asarray(noise["fractions"])
    with lesson_style():
        figure, axes = _new(results, "Accuracy with a share of the labels shuffled", "accuracy in percent")
        for part, style in (("train", TRAIN), ("valid", VALID)):
            values = 100 * np.asarray(noise[f"{part}_accuracy"], np.float64)
            axes.plot(shares, values, marker="o" if part == "train" else "s", **style)
        axes.plot(shares, 100 * np.asarray(noise["labels_right"]), label="labels that are right", **FIT)
        _predicted(axes, prediction)
        axes.axhline(CHANCE_PERCENT, label="guessing: 10 %", zorder=1.5, **REFERENCE)
        axes.set(xlabel="share of the training labels that are shuffled, in percent", ylim=(0, 104))
        axes.set_xlim(-2, 102)
        return _with_legend(figure, axes, 2 if prediction is None else 3)


def capacity(results: Results, prediction: Mapping[float, float] | None = None) -> Figure:
    """Highest training accuracy within the same number of steps, over the number of shuffled examples.

    Args:
        results: hold "capacity".
        prediction: number of examples -> highest training accuracy in percent, drawn as well.
    """
    found = results["capacity"]
    with lesson_style():
        title = f"Shuffled examples memorised within {found['steps']:,} steps"
        figure, axes = _new(results, title, "highest training accuracy, percent")
        values = 100 * np.asarray(found["best_train_accuracy"], np.float64)
        axes.plot(found["examples"], values, marker="o", **TRAIN)
        _predicted(axes, prediction)
        axes.axhline(CHANCE_PERCENT, label="guessing: 10 %", zorder=1.5, **REFERENCE)
        axes.set(xscale="log", xlabel="number of shuffled examples", ylim=(0, 104))
        axes.set_xticks(found["examples"], [f"{count:,}" for count in found["examples"]], minor=False)
        axes.set_xticks([], minor=True)
        return _with_legend(figure, axes, 3)


def capacity_widths(results: Results) -> Figure:
    """Highest training accuracy on the same shuffled examples, a bar for each pair of hidden widths."""
    found = results["capacity"]["widths"]
    with lesson_style():
        title = f"{found['examples']:,} shuffled examples memorised in {found['epochs']:,} epochs"
        figure, axes = _new(results, title, "highest training accuracy, percent")
        axes.set_position((LEFT, 0.2, 0.98 - LEFT, 0.61))  # room for names of two lines
        values = 100 * np.asarray(found["best_train_accuracy"], np.float64)
        bars = axes.bar(range(len(values)), np.nan_to_num(values), width=0.55, color=TRAIN["color"])
        axes.bar_label(
            bars, ["diverged" if np.isnan(value) else f"{value:.1f} %" for value in values], padding=3
        )
        rows = zip(found["hidden"], found["learning_rates"], strict=True)
        names = [f"{first} and {second}\nlearning rate {rate:g}" for (first, second), rate in rows]
        axes.set_xticks(range(len(values)), names)
        axes.grid(False, axis="x")
        axes.axhline(CHANCE_PERCENT, label="guessing: 10 %", zorder=1.5, **REFERENCE)
        axes.set(xlabel="units in the hidden layers", ylim=(0, 104))
        return _with_legend(figure, axes, 1)


def draw_figure(results: Results, name: str, folder: Path | str) -> None:
    """Write one of `FIGURES` to `folder` as NAME.png and NAME.svg.

    Raises:
        DataError: where the folder cannot be written; no file is left half-written.
    """
    figure = FIGURES[name](results)
    for suffix, encode in (("png", png_bytes), ("svg", svg_bytes)):
        with written_whole(Path(folder) / f"{name}.{suffix}") as unfinished:
            unfinished.write_bytes(encode(figure))


def sample_digits(images: ArrayLike, true_labels: ArrayLike, shuffled_labels: ArrayLike) -> Figure:
    """Up to 20 training digits in rows of five, each with its true and its shuffled label.

    Args:
        images: [N, 784] or [N, 28, 28], larger values darker.
        true_labels, shuffled_labels: whole numbers or names [N]; a shuffled label that differs from the true one is
            red and bold.

    Raises:
        ValueError: for other shapes, no images, or lengths that differ.
    """
    pictures = np.asarray(images)
    true, shuffled = np.asarray(true_labels), np.asarray(shuffled_labels)
    if len(pictures) == 0 or pictures.size != len(pictures) * 784:
        raise ValueError(f"images: [N, 784] or [N, 28, 28], N of 1 or more, not {list(pictures.shape)}")
    if not len(pictures) == len(true) == len(shuffled):
        counts = f"{len(pictures)}, {len(true)} and {len(shuffled)}"
        raise ValueError(f"images, true_labels and shuffled_labels differ in length: {counts}")
    count = min(len(pictures), 20)
    rows, width, height = -(-count // 5), 44, 50  # of a digit's cell, in pixels of the digits
    sheet = np.zeros((rows * height, 5 * width), np.float32)
    for place in range(count):
        top, left = place // 5 * height + 2, place % 5 * width + 8
        sheet[top : top + 28, left : left + 28] = pictures[place].reshape(28, 28)
    with lesson_style():
        figure = LessonFigure((5.5, 5.5 * rows * height / (5 * width)))
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set_axis_off()
        axes.imshow(sheet, cmap="gray_r", interpolation="nearest", aspect="auto")
        longest = max(len(f"{label}") for label in (*true[:count], *shuffled[:count]))
        size = 12.5 if longest < 3 else max(6.0, 11 - 0.4 * longest)
        for place in range(count):
            x, y = place % 5 * width + 21.5, place // 5 * height + 35
            axes.text(x, y, f"true {true[place]}", ha="center", va="center", color="#111111", size=size)
            differs = true[place] != shuffled[place]
            color, weight = (TRAIN["color"], "bold") if differs else ("#111111", "normal")
            text = f"shuffled {shuffled[place]}"
            axes.text(x, y + 7.5, text, ha="center", va="center", color=color, weight=weight, size=size)
        return figure


def png_bytes(figure: Figure) -> bytes:
    """The figure as PNG; the same figure gives the same bytes."""
    return _encoded(figure, "png", metadata={"Software": None}, pil_kwargs={"compress_level": 4})


def svg_bytes(figure: Figure) -> bytes:
    """The figure as SVG, its letters as outlines; the same figure gives the same bytes.

    A figure with one pair of axes says in its description where they are, for pages that draw into them.
    """
    described = {"Description": axes_text(figure)} if len(figure.axes) == 1 else {}
    return _encoded(figure, "svg", metadata={"Date": None, "Creator": None, **described})


def _encoded(figure: Figure, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    with lesson_style(), warnings.catch_warnings():
        # The name of a local data folder may hold letters that the font lacks; boxes stand for them.
        warnings.filterwarnings("ignore", message="Glyph .* missing from", category=UserWarning)
        figure.savefig(buffer, format=kind, dpi=DPI, **options)
    return buffer.getvalue()


def _cost_figure(results: Results, name: str, title: str, chance: bool = False) -> Figure:
    run = results["experiments"][name]
    with lesson_style():
        figure, axes = _new(results, title, "cost per image")
        _curves(axes, run, "cost")
        values = [*run["train_cost"], *run["valid_cost"]]
        if chance:
            axes.axhline(CHANCE_COST, label=f"constant 1/10: {CHANCE_COST:.2f}", zorder=1.5, **REFERENCE)
            values.append(CHANCE_COST)
        low, high = min(values, default=0.0), max(values, default=1.0)
        # on an axis from 0, curves close together and far from it would be one flat line
        if low > 0.5 * high:
            room = max(0.1 * (high - low), 0.01)
            axes.set_ylim(low - room, high + room)
            axes.set_ylabel("cost per image (axis not from 0)")
        else:
            axes.set_ylim(0, 1.08 * high)
        return _finish(figure, axes, run)


def _accuracy_figure(
    results: Results, name: str, title: str, parts: Sequence[str], fit: bool = False
) -> Figure:
    run = results["experiments"][name]
    with lesson_style():
        figure, axes = _new(results, title, "accuracy in percent")
        _curves(axes, run, "accuracy", parts, scale=100, faded=fit)
        highest = max([15.0, *(100 * value for part in parts for value in run[f"{part}_accuracy"])])
        if fit:
            logistic = logistic_from(run["fits"].get("train_accuracy_logistic"))
            if logistic is None:
                axes.plot([], [], label="logistic curve: no fit", **FIT)
            else:
                epochs = np.linspace(0, max(len(run["train_accuracy"]) - 1, 0), 400)
                label = f"logistic fit, capacity {logistic.capacity_text}"
                if not logistic.levels_off_within(len(run["train_accuracy"])):
                    label += ", not reached"
                axes.plot(epochs, 100 * logistic(epochs), label=label, **FIT)
        axes.axhline(CHANCE_PERCENT, label="guessing: 10 %", zorder=1.5, **REFERENCE)
        axes.set_ylim(0, min(1.12 * highest, 104))
        return _finish(figure, axes, run, columns=2 if fit else 3)


def _new(results: Results, title: str, ylabel: str) -> tuple[Figure, Axes]:
    figure = LessonFigure()
    axes = figure.add_axes((LEFT, 0.15, 0.98 - LEFT, 0.66))
    figure.text(LEFT, 0.955, title, fontsize=15, fontweight="bold", va="center", parse_math=False)
    axes.set_xlabel("epoch")
    axes.set_ylabel(ylabel)
    axes.grid(True)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=10, steps=[1, 2, 5, 10], integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(nbins=8, steps=[1, 2, 5, 10]))
    source = str(results["data_source"])
    if source != "MNIST":
        name = " ".join(source.split())
        text = f"data: {name if len(name) <= 45 else name[:44] + '…'}, not MNIST"
        figure.text(0.985, 0.012, text, fontsize=9.5, color="#555555", ha="right", parse_math=False)
    return figure, axes


def _curves(
    axes: Axes,
    run: Mapping[str, Any],
    quantity: str,
    parts: Sequence[str] = ("train", "valid"),
    scale: float = 1.0,
    faded: bool = False,
) -> None:
    """Plot the curves of `run`: faded under a fit, with markers where they are short."""
    for part in parts:
        values: NDArray[np.float64] = scale * np.asarray(run[f"{part}_{quantity}"], np.float64)
        style = dict(TRAIN if part == "train" else VALID)
        if faded:
            style |= {"alpha": 0.75, "linewidth": 1.6}
        if len(values) > 300:
            style |= {"linewidth": 1.3}
        if len(values) <= 15:
            style |= {"marker": "o" if part == "train" else "s", "markersize": 5}
        axes.plot(np.arange(len(values)), values, **style)


def _finish(figure: Figure, axes: Axes, run: Mapping[str, Any], columns: int = 3) -> Figure:
    """Set the range of epochs, say where training failed, and place the legend above the curves."""
    epochs = len(run["train_cost"])
    if epochs < 2:
        axes.set_xlim(-0.5, 0.5)
        axes.set_xticks([0])
    else:
        axes.set_xlim(0, epochs - 1)
    if run.get("diverged_at") is not None:
        _say(axes, f"training diverged in epoch {run['diverged_at']}")
    elif run.get("stuck_at") is not None:
        _say(axes, f"training is stuck from epoch {run['stuck_at']} on")
    return _with_legend(figure, axes, columns)


def _say(axes: Axes, text: str) -> None:
    """Write what went wrong into the middle of the curves."""
    box = {"facecolor": "white", "edgecolor": "none", "alpha": 0.85}
    axes.text(0.5, 0.6, text, transform=axes.transAxes, ha="center", fontsize=14, weight="bold", bbox=box)


def _predicted(axes: Axes, prediction: Mapping[float, float] | None) -> None:
    """Draw a prediction, x -> y, as a curve of its own."""
    if prediction:
        places = sorted(prediction)
        axes.plot(places, [prediction[place] for place in places], mfc="white", clip_on=False, **PREDICTION)


def _with_legend(figure: Figure, axes: Axes, columns: int) -> Figure:
    """Place the legend above the curves."""
    axes.legend(
        loc="lower left", bbox_to_anchor=(-0.012, 0.99), ncols=columns, borderpad=0.2, columnspacing=1.4
    )
    return figure


def lesson_style() -> AbstractContextManager[None]:
    """matplotlib's defaults with ours on top, so that no caller's style changes a figure."""
    return matplotlib.style.context(["default", _RC])


clean_cost = partial(_cost_figure, name="clean", title="Clean labels: cost")
shuffled_cost = partial(_cost_figure, name="shuffled", title="Shuffled labels: cost", chance=True)
shuffled_accuracy = partial(
    _accuracy_figure, name="shuffled", title="Shuffled labels: accuracy", parts=("train", "valid"), fit=True
)
hundred_cost = partial(_cost_figure, name="hundred", title="100 shuffled examples: cost", chance=True)
hundred_valid_accuracy = partial(
    _accuracy_figure, name="hundred", title="100 shuffled examples: validation accuracy", parts=("valid",)
)
hundred_train_accuracy = partial(
    _accuracy_figure,
    name="hundred",
    title="100 shuffled examples: training accuracy",
    parts=("train",),
    fit=True,
)

#: File name -> function, in the lesson's order; the first seven are named after their experiment. The lesson draws
#: those that `report_questions.SECTIONS` names.
FIGURES: dict[str, Callable[[Results], Figure]] = {
    "clean_cost": clean_cost,
    "clean_cost_fits": clean_cost_fits,
    "shuffled_cost": shuffled_cost,
    "shuffled_accuracy": shuffled_accuracy,
    "hundred_cost": hundred_cost,
    "hundred_valid_accuracy": hundred_valid_accuracy,
    "hundred_train_accuracy": hundred_train_accuracy,
    "label_noise": label_noise,
    "capacity": capacity,
    "capacity_widths": capacity_widths,
}
