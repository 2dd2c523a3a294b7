"""Figures of what a network sees: its first weights, its confusions, its surest mistakes, a digit of one's own.

    breaknet.plot_weights(run)
    breaknet.plot_confusion(run, digits.valid)
    breaknet.plot_mistakes(run, digits.valid)
    breaknet.plot_digit(breaknet.read_image("mine.jpg"), run)

A notebook shows them; `savefig` writes them. torch is imported only where a network is asked something.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ..files import written_whole
from .figures import TRAIN, LessonFigure, lesson_style, png_bytes

#: Units whose weights are shown at most.
MOST_UNITS = 64
COLUMNS = 8
SOFT = "#6b6b6b"
DIGITS = tuple("0123456789")

P = ParamSpec("P")


def in_style(draw: Callable[P, Figure]) -> Callable[P, Figure]:
    """The function with the lesson's style instead of the caller's."""

    @wraps(draw)
    def styled(*arguments: P.args, **named: P.kwargs) -> Figure:
        with lesson_style():
            return draw(*arguments, **named)

    return styled


@in_style
def plot_weights(model: Any, title: str = "Weights of the first hidden layer") -> Figure:
    """The weights of each unit of the first hidden layer as an image: red where ink raises its output, blue where not.

    Args:
        model: a Run, Checkpoints (the last one) or an MLP; or its weights as images, [H1, 28, 28].
        title: what stands above.
    """
    images = model
    if not isinstance(model, np.ndarray):
        from ..views import weight_images

        images = weight_images(model)
    shown = images[:MOST_UNITS]
    rows = -(-len(shown) // COLUMNS)
    top = 0.62  # inches above the images
    figure = LessonFigure((7.2, top + 0.84 * rows + 0.1))
    height = figure.get_figheight()
    limit = max(float(np.percentile(np.abs(shown), 99.5)), 1e-6)
    cells = figure.subplots(
        rows, COLUMNS, squeeze=False,
        gridspec_kw={"left": 0.02, "right": 0.86, "top": 1 - top / height, "bottom": 0.1 / height,
                     "wspace": 0.08, "hspace": 0.08},
    )  # fmt: skip
    for place, axes in enumerate(cells.flat):
        axes.set_axis_off()
        if place < len(shown):
            drawn = axes.imshow(shown[place], cmap="RdBu_r", vmin=-limit, vmax=limit, interpolation="nearest")
    bar = figure.colorbar(drawn, cax=figure.add_axes((0.875, 0.1 / height + 0.08, 0.02, 0.8 - top / height)))
    bar.set_ticks([-limit, 0, limit], labels=[f"{-limit:.2g}", "0", f"{limit:.2g}"])
    more = f" (the first {MOST_UNITS} of {len(images):,})" if len(images) > MOST_UNITS else ""
    _title(figure, title + more)
    return figure


@in_style
def plot_confusion(
    model: Any, split: Any = None, title: str = "Answers by true label", names: Sequence[str] = DIGITS
) -> Figure:
    """The confusion matrix, how often each true class got each answer: a row of percentages for each class.

    Args:
        model: a Run, Checkpoints (the last one) or an MLP; or counts [10, 10] by true and by predicted label.
        split: what to evaluate the model on, as for `breaknet.evaluate`; not with counts.
        title: what stands above.
        names: of the ten classes.
    """
    counts = model
    if split is not None:
        from ..evaluation import evaluate
        from ..views import last_model

        counts = evaluate(last_model(model), split, confusion=True).confusion
    counts = np.asarray(counts)
    if counts.shape[-2:] != (10, 10) or counts.ndim > 3:
        raise TypeError("model: counts [10, 10], or a model with a split to evaluate it on")
    counts = counts.reshape(-1, 10, 10)[-1]
    shares = 100 * counts / np.maximum(counts.sum(1, keepdims=True), 1)
    figure = LessonFigure((7.2, 6.0))
    long = max(map(len, names)) > 3
    axes = figure.add_axes(
        (0.2 if long else 0.1, 0.2 if long else 0.11, 0.78 if long else 0.88, 0.68 if long else 0.77)
    )
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=100, aspect="auto")
    for true, answer in np.argwhere(counts > 0):
        share = shares[true, answer]
        text = f"{share:.0f}" if share >= 1 else "<1"
        color = "white" if share > 55 else "#111111" if share >= 1 else SOFT
        axes.text(answer, true, text, ha="center", va="center", fontsize=11, color=color)
    axes.set_xticks(range(10), names, rotation=40 if long else 0, ha="right" if long else "center")
    axes.set_yticks(range(10), names)
    axes.set(xlabel="answer of the network", ylabel="true label")
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    _title(figure, f"{title}, in percent")
    return figure


@in_style
def plot_mistakes(
    model: Any,
    split: Any,
    count: int = 12,
    title: str = "The surest mistakes",
    names: Sequence[str] = DIGITS,
) -> Figure:
    """The images that the network gets wrong with the strongest output, with label, answer and output.

    Args:
        model: a Run, Checkpoints (the last one) or an MLP.
        split: a Split, or a pair (images, labels).
        count: how many at most, 1 or more.
        title: what stands above.
        names: of the ten classes.
    """
    from ..views import confidently_wrong

    wrong = [vars(one) for one in confidently_wrong(model, split, count)]
    images = np.asarray(split[0] if isinstance(split, (tuple, list)) else split._images)
    return gallery(
        np.stack([images[one["index"]] for one in wrong]) if wrong else images[:0], wrong, title, names
    )


@in_style
def gallery(
    images: NDArray[Any],
    wrong: Sequence[Mapping[str, Any]],
    title: str = "The surest mistakes",
    names: Sequence[str] = DIGITS,
) -> Figure:
    """Images that a network gets wrong, [N, 784], each with the `label`, `predicted` and `output` of `wrong`."""
    columns = 6
    rows = max(1, -(-len(wrong) // columns))
    top = 0.62
    figure = LessonFigure((7.2, top + 1.62 * rows))
    _title(figure, title)
    if not wrong:
        figure.text(0.02, 0.4, "No mistakes at all.", fontsize=13)
        return figure
    height = figure.get_figheight()
    cells = figure.subplots(
        rows, columns, squeeze=False,
        gridspec_kw={"left": 0.02, "right": 0.98, "top": 1 - (top + 0.42) / height, "bottom": 0.08 / height,
                     "wspace": 0.12, "hspace": 0.5},
    )  # fmt: skip
    for place, axes in enumerate(cells.flat):
        axes.set_axis_off()
        if place < len(wrong):
            _image(axes, images[place])
            one = wrong[place]
            text = f"label {names[one['label']]}\nanswer {names[one['predicted']]}: {one['output']:.2f}"
            axes.set_title(text, fontsize=10 if max(map(len, names)) < 4 else 8, pad=4)
    return figure


@in_style
def plot_digit(
    image: Any, model: Any = None, label: int | None = None, names: Sequence[str] = DIGITS
) -> Figure:
    """An image as the network gets it, [28, 28] or [784]; with a model, beside the ten outputs for it.

    Args:
        image: uint8 or floating, such as `breaknet.read_image` gives.
        model: a Run, Checkpoints (the last one) or an MLP.
        label: the right answer, whose bar is red.
        names: of the ten classes.

    Raises:
        TypeError, ValueError: for something else than one image.
    """
    picture = np.asarray(image)
    if picture.dtype.kind not in "uif":
        raise TypeError(f"image: numbers such as breaknet.read_image gives, not a {type(image).__name__}")
    if picture.size != 28 * 28:
        raise ValueError(f"image: one of shape [28, 28] or [784], not {list(picture.shape)}")
    picture = picture.reshape(28, 28)
    figure = LessonFigure((7.2, 2.6) if model is not None else (2.6, 2.6))
    _image(
        figure.add_axes((0.01, 0.12, 0.28, 0.78) if model is not None else (0.04, 0.04, 0.92, 0.92)), picture
    )
    if model is None:
        return figure
    from ..views import outputs

    values = outputs(model, picture)[0]
    long = max(map(len, names)) > 3
    bars = figure.add_axes((0.4, 0.34, 0.58, 0.5) if long else (0.4, 0.2, 0.58, 0.62))
    bars.bar(range(10), values, color=[TRAIN["color"] if one == label else SOFT for one in range(10)])
    bars.set(ylim=(0, 1), ylabel="output")
    bars.set_xticks(range(10), names, rotation=40 if long else 0, ha="right" if long else "center")
    right = "" if label is None else f", label {names[label]}"
    bars.set_title(f"answer {names[int(values.argmax())]}{right}", loc="left", fontsize=13)
    return figure


def draw_picture(kind: str, file: Path, arguments: Mapping[str, Any]) -> None:
    """Write one of `DRAWN` as PNG to `file`, whole or not at all.

    Raises:
        DataError: where it cannot be written.
    """
    with written_whole(file) as unfinished:
        unfinished.write_bytes(png_bytes(DRAWN[kind](**arguments)))


#: How the lesson draws what it names EXPERIMENT_KIND, from arrays alone.
DRAWN: dict[str, Callable[..., Figure]] = {
    "weights": plot_weights,
    "confusion": plot_confusion,
    "mistakes": gallery,
}


def _image(axes: Axes, image: NDArray[Any]) -> None:
    axes.set_axis_off()
    brightest = 255 if image.dtype == np.uint8 else 1
    axes.imshow(image.reshape(28, 28), cmap="gray_r", vmin=0, vmax=brightest, interpolation="nearest")


def _title(figure: Figure, text: str) -> None:
    place = 1 - 0.3 / figure.get_figheight()
    figure.text(0.02, place, text, fontsize=15, fontweight="bold", va="center", parse_math=False)
