"""A picture of data before and after they were broken: digits with their labels, and how often each label occurs."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ..data.splits import Split
from ..files import MADE_BY

COLUMNS = 10
CHANGED, UNCHANGED = "#c92a2a", "#1c1e21"
BEFORE, AFTER = "#9aa0a6", "#c92a2a"


def before_and_after(before: Split, after: Split, title: str) -> bytes:
    """The picture as PNG: ten digits before, ten after, and the share of each label in both.

    Where every row of `after` is a row of `before`, the same rows stand above each other and changed ones come first;
    else both show their first rows.
    """
    aligned = _aligned(before, after)
    rows = _shown_rows(before, after) if aligned else np.arange(COLUMNS)
    figure = Figure(figsize=(9.6, 5.0), dpi=110)
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(
        3, COLUMNS, left=0.09, right=0.99, top=0.84, bottom=0.09, hspace=0.42, height_ratios=(1, 1, 1.5)
    )
    figure.text(0.012, 0.945, title, fontsize=13, fontweight="bold", va="center", parse_math=False)
    for line, (name, split) in enumerate((("before", before), ("after", after))):
        for column, row in enumerate(rows):
            axes = figure.add_subplot(grid[line, column])
            axes.axis("off")
            if row >= len(split):
                continue
            axes.imshow(split.images[row].reshape(28, 28), cmap="gray_r", vmin=0, vmax=255)
            changed = aligned and split.labels[row] != before.labels[row]
            axes.set_title(
                str(split.labels[row]), fontsize=11, pad=2.5, color=CHANGED if changed else UNCHANGED,
                fontweight="bold" if changed else "normal",
            )  # fmt: skip
        box = grid[line, 0].get_position(figure)
        figure.text(0.012, (box.y0 + box.y1) / 2, f"{name}\n{len(split):,}\nimages", fontsize=10, va="center")
    _label_counts(figure.add_subplot(grid[2, :]), before, after)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata=MADE_BY[".png"])
    return buffer.getvalue()


def _aligned(before: Split, after: Split) -> bool:
    """Whether row n of both is the same example: its image or its label is still the same, in every row."""
    if len(before) != len(after):
        return False
    if after.images is before.images or np.array_equal(before.labels, after.labels):
        return True
    same_image = (before.images == after.images).all(1)
    return bool((same_image | (before.labels == after.labels)).all())


def _shown_rows(before: Split, after: Split) -> NDArray[np.int64]:
    """Ten rows: changed labels first, at most seven of them if others did not change; each group in order."""
    changed = np.flatnonzero(before.labels != after.labels)
    others = np.flatnonzero(before.labels == after.labels)
    first = changed[: max(7, COLUMNS - len(others))]
    return np.concatenate([first, others])[:COLUMNS]


def _label_counts(axes: Any, before: Split, after: Split) -> None:
    places = np.arange(10)
    for offset, colour, name, split in ((-0.2, BEFORE, "before", before), (0.2, AFTER, "after", after)):
        axes.bar(places + offset, np.bincount(split.labels, minlength=10), 0.4, color=colour, label=name)
    axes.set_xticks(places)
    axes.set_xlabel("label", labelpad=1)
    axes.set_ylabel("images")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="upper right", ncols=2, bbox_to_anchor=(1, 1.2))
