"""The cells of the lesson's notebook: results of its runs, answers, drawings.

    results = sum_up(digits, clean=run)
    noticed(results, "clean")

Figures are matplotlib figures that show themselves in a notebook, texts and tables are `Markdown`, which does too.
"""

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from ..data.splits import Digits, Split
from ..model import MLP
from ..run import Run
from .experiments import EXPERIMENTS, summary
from .figures import TRAIN, LessonFigure
from .report import network_diagram
from .report_sentences import closing, notice
from .words import percent

Results = dict[str, Any]

INK = "#111111"
SOFT = "#6b6b6b"


class Markdown(str):
    """A text that a notebook shows as Markdown, and everything else as it stands."""

    def __repr__(self) -> str:
        return str(self)

    def _repr_markdown_(self) -> str:
        return str(self)


def table(
    header: Sequence[str], rows: Iterable[Sequence[str]], note: str = "", *, right: bool = True
) -> Markdown:
    """A table of texts with a note below it, columns after the first to the right or to the left."""
    lines = [header, ["---", *["--:" if right else "---"] * (len(header) - 1)], *rows]
    text = "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)
    return Markdown(f"{text}\n\n{note}" if note else text)


def sum_up(digits: Digits, **runs: Run) -> Results:
    """The experiments that have been run, in the form that the lesson's figures and texts are made from.

    Args:
        digits: the data that they were run on.
        runs: any of `clean`, `shuffled` and `hundred`, each with validation data.

    Raises:
        TypeError: for another experiment, or something that is not a run.
        ValueError: for a run without validation data.
    """
    names = [experiment.name for experiment in EXPERIMENTS]
    experiments: dict[str, Any] = {}
    for name, run in runs.items():
        if name not in names:
            raise TypeError(f"runs: {', '.join(names)}, not {name}")
        if not isinstance(run, Run):
            raise TypeError(f"{name}: what breaknet.train gives, not a {type(run).__name__}")
        if run.valid_cost is None:
            raise ValueError(f"{name}: a run with validation data (valid=digits.valid), this one has none")
        experiments[name] = summary(name, run)
    hidden = [list(run.checkpoints.hidden) for run in runs.values()]
    return {
        "data_source": digits.source,
        "labels": list(digits.names),
        "settings": {"hidden": hidden[0] if hidden else [16, 16], "examples": len(digits.train)},
        "experiments": experiments,
    }


def noticed(results: Results, name: str) -> Markdown:
    """Answers to the lesson's questions after experiment `name`, in their order, under a heading."""
    return Markdown(f"### Answers\n\n{_bullets(notice(results, name))}")


def looking_back(results: Results) -> Markdown:
    """The faults of a run, named, and whether there was any of it in the clean run."""
    return _bullets(closing(results))


def side_by_side(results: Results) -> Markdown:
    """The accuracies of all experiments at their end."""
    names = {"clean": "true labels", "shuffled": "shuffled labels", "hundred": "100 shuffled"}
    rows = [
        (names[name], percent(run["train_accuracy"][-1]), percent(run["valid_accuracy"][-1]))
        for name, run in results["experiments"].items()
    ]
    return table(("", "training accuracy", "validation accuracy"), rows)


def parameter_table(model: MLP) -> Markdown:
    """The model's parameter tensors, their shapes and sizes."""
    rows = [
        (name, " × ".join(map(str, one.shape)), f"{one.numel():,}") for name, one in model.named_parameters()
    ]
    return table(("", "shape", "parameters"), rows)


def network(hidden: tuple[int, int] = (16, 16)) -> Figure:
    """A drawing of the network: its units, and a line for every weight between two of them."""
    drawing = network_diagram(list(hidden))
    figure = LessonFigure(figsize=(7.2, 4.1))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.set(xlim=(20, 480), ylim=(328, 18))
    columns = drawing["columns"]
    for left, right in pairwise(columns):
        ends = [((left["x"], a), (right["x"], b)) for a in left["ys"] for b in right["ys"]]
        axes.add_collection(LineCollection(ends, linewidths=0.3, colors=SOFT, alpha=0.6))
    for column in columns:
        ys, sizes = list(column["ys"]), [32] * len(column["ys"])
        if column["more"]:  # three small dots take the place of the two units in the middle
            left_out = sorted(range(len(ys)), key=lambda node: abs(ys[node] - 160))[:2]
            ys = [y for node, y in enumerate(ys) if node not in left_out] + [153, 160, 167]
            sizes = [32] * (len(ys) - 3) + [5] * 3
        axes.scatter([column["x"]] * len(ys), ys, s=sizes, color=INK, zorder=2)
        axes.text(column["x"], 318, f"{column['size']} {column['label']}", ha="center", fontsize=12)
    for digit, y in enumerate(columns[-1]["ys"]):
        axes.text(columns[-1]["x"] + 14, y, f"{digit}", va="center", fontsize=12)
    axes.text(columns[0]["x"] - 20, 160, "28 × 28\npixels", ha="right", va="center", fontsize=12)
    return figure


def digits_with_labels(split: Split) -> Figure:
    """The first 16 images of `split` under their labels."""
    figure = LessonFigure(figsize=(9, 2.9))
    cells = figure.subplots(2, 8).flat
    for axes, image, label in zip(cells, split.images, split.labels, strict=False):
        axes.imshow(image.reshape(28, 28), cmap="gray_r")
        axes.set_title(f"label {label}", fontsize=11)
        axes.set_axis_off()
    return figure


def answer(model: MLP, split: Split, number: int) -> Figure:
    """Image `number` of `split` beside the ten outputs that the model gives for it, the right one's bar in red."""
    image, label = split.images[number], int(split.labels[number])
    with torch.no_grad():
        values = model(torch.from_numpy(image.copy()) / 256).double().numpy()
    figure = LessonFigure(figsize=(7.2, 2.6))
    picture = figure.add_axes((0.01, 0.12, 0.28, 0.78))
    picture.imshow(image.reshape(28, 28), cmap="gray_r", interpolation="nearest")
    picture.set_axis_off()
    bars = figure.add_axes((0.4, 0.2, 0.58, 0.62))
    bars.bar(range(10), values, color=[TRAIN["color"] if digit == label else SOFT for digit in range(10)])
    bars.set(xticks=range(10), ylim=(0, 1), xlabel="digit", ylabel="output")
    cost = float(((values - np.eye(10)[label]) ** 2).sum())
    bars.set_title(f"answer {values.argmax()}, label {label}, cost {cost:.2f}", loc="left", fontsize=13)
    bars.spines[["top", "right"]].set_visible(False)
    return figure


def _bullets(sentences: Iterable[str]) -> Markdown:
    return Markdown("\n".join(f"* {sentence}" for sentence in sentences))
