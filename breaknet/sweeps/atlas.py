"""The atlas: label noise x training-set size x width x seeds, and what it shows, worded from the run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .table import Table, split_step

NOISE = tuple(tenths / 10 for tenths in range(11))
EXAMPLES = (50, 100, 300, 1_000, 3_000, 10_000, 25_000, 50_000)
WIDTHS = (8, 16, 32)
SEEDS = (0, 1, 2, 3, 4)
#: Steps of every network; whole epochs of them are as near as can be.
STEPS, FULL_STEPS = 3_000, 30_000
POINTS = 6
LEARNING_RATE = 0.05

TITLE = "Atlas: label noise against the number of examples"


def grid(available: int, full: bool = False) -> dict[str, Any]:
    """The atlas as a sweep's mapping; with fewer than 50,000 training examples, sizes scaled down to them."""
    scale = min(1.0, available / EXAMPLES[-1])
    return {
        "break": ["" if not share else f"shuffle_labels({share})" for share in NOISE],
        "examples": sorted({max(2, round(scale * count)) for count in EXAMPLES}),
        "hidden": [[width, width] for width in WIDTHS],
        "seed": list(SEEDS),
        "steps": FULL_STEPS if full else STEPS,
        "learning_rate": LEARNING_RATE,
        "points": POINTS,
    }


def text(table: Table) -> list[tuple[str, list[str]]]:
    """The page's sections: how to read the maps, and what is surprising in this run."""
    return [("How to read the maps", _reading(table)), ("What is surprising", _surprises(table))]


def _reading(table: Table) -> list[str]:
    widths = ", ".join(value.partition(",")[0] for value in table.values("hidden"))
    return [
        "Every cell is a handful of networks that differ in nothing but the seed, which draws their start and "
        "the labels "
        "that are shuffled. To the right, more of the training labels are shuffled: 0 none, 1 all. Upward, "
        "there are more "
        f"training examples. Each panel is a width of both hidden layers ({widths}).",
        "The large number is the mean accuracy at the end in percent, the small one its standard deviation "
        "over the seeds. "
        "Contour lines join places of equal accuracy: follow one, and you see how many more examples make up "
        "for more noise.",
        "Training accuracy is measured on the labels that the network was given, right or wrong; validation "
        "accuracy on true "
        "labels. Where training is above validation (red in the third map) the network knows its examples "
        "better than "
        "the digits: it memorises. Where it is below (blue), the network disagrees with its teacher and is "
        "right.",
        "All networks take about the same number of steps, so few examples are seen often and many seldom.",
    ]


Value = Callable[[str, float, int, int], float]


def _value(table: Table) -> Value:
    """Mean of a column at (name, noise, examples, width); NaN where there is no such cell."""
    axes = {axis: table.columns[axis] for axis in ("break", "examples", "hidden")}
    places: dict[tuple[float, int, int], list[int]] = {}
    for row, (noise, examples, hidden) in enumerate(zip(*axes.values(), strict=True)):
        place = (_share(noise), examples, int(hidden.partition(",")[0]))
        places.setdefault(place, []).append(row)

    def value(name: str, noise: float, examples: int, width: int) -> float:
        rows = places.get((noise, examples, width), [])
        return sum(table.columns[name][row] for row in rows) / len(rows) if rows else float("nan")

    return value


def _share(text: str) -> float:
    return split_step(text)[1][0] if text else 0.0


def _surprises(table: Table) -> list[str]:
    value = _value(table)
    sizes = table.values("examples")
    widths = sorted(int(one.partition(",")[0]) for one in table.values("hidden"))
    noises = sorted(map(_share, table.values("break")))
    many, few, narrow, wide = sizes[-1], sizes[min(1, len(sizes) - 1)], widths[0], widths[-1]
    middle = widths[len(widths) // 2]
    half = min(noises, key=lambda share: abs(share - 0.5))
    found = []
    clean, noisy = (value("valid_accuracy", share, many, middle) for share in (0.0, half))
    told = value("train_accuracy", half, many, middle)
    if noisy > told:
        found.append(
            f"Half shuffled is not half as good. With {many:,} examples and {half:.0%} of the labels shuffled, "
            f"networks of width {middle} get {noisy:.1%} of the validation images right, {clean - noisy:.1%} "
            "less than with "
            f"clean labels, though they agree with only {told:.1%} of the labels that they were given: they "
            "are better "
            "than their teacher."
        )
    alike = [size for size in sizes if value("valid_accuracy", 0.0, size, middle) <= noisy]
    if alike and alike[-1] < many:
        found.append(
            f"Quantity buys back quality: {many:,} examples with {half:.0%} of the labels shuffled are worth "
            "more than "
            f"{alike[-1]:,} with clean ones ({value('valid_accuracy', 0.0, alike[-1], middle):.1%})."
        )
    memorised = value("train_accuracy", 1.0, few, wide)
    not_memorised = value("train_accuracy", 1.0, many, wide)
    found.append(
        f"When all labels are shuffled there is nothing to learn. Of {few:,} such examples networks of width "
        f"{wide} "
        f"still learn {memorised:.0%} by heart; of {many:,} they get {not_memorised:.0%} right, where "
        "guessing gives 10 %."
    )
    gains = [
        (value("valid_accuracy", share, few, wide) - value("valid_accuracy", share, few, narrow), share)
        for share in noises
        if share < 1
    ]
    (least, at_least), (most, at_most) = min(gains), max(gains)
    more_data = value("valid_accuracy", 0.0, many, middle) - value("valid_accuracy", 0.0, few, middle)
    lead = "Wider is not always better" if least < 0 else "Width counts less than data"
    found.append(
        f"{lead}. With {few:,} examples the step from width {narrow} to {wide} changes validation accuracy by "
        f"{_points(least)} (noise {at_least:g}) to {_points(most)} (noise {at_most:g}); the step from {few:,} "
        f"to {many:,} "
        f"clean examples changes it by {_points(more_data)}."
    )
    dead = sum(
        accuracy < 0.5
        for share, accuracy in zip(table.columns["break"], table.columns["train_accuracy"], strict=True)
        if not share
    )
    clean_runs = sum(not share for share in table.columns["break"])
    if dead:
        found.append(
            f"Of the {clean_runs} networks with clean labels {dead} end below 50 % on their own training "
            "examples: too few "
            "steps, or saturated units."
        )
    return found


def _points(difference: float) -> str:
    return f"{100 * difference:+.1f} points"
