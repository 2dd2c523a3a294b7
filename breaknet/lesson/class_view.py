"""A page for the teacher: the predictions of a class over the outcome, as histograms of numbers and as curves."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from ..data.bounded import read_bounded
from ..errors import DataError
from ..files import open_plain, written_whole
from .exported_predictions import ClassFiles, Outcome, Predicted, common_outcome
from .page_template import template
from .predictions import (
    CURVES,
    NUMBERS,
    QUESTIONS,
    UNITS,
    Curve,
    Number,
    allowed_miss,
    experiment_of,
    points,
    written,
)
from .report_questions import SECTIONS
from .sketch_axes import AREA, round_step, sketch_axes, ticks

#: What tells one of these pages from anything else.
MADE_BY = '<meta name="generator" content="breaknet class">'

#: The most that is read of results.json.
_MAX_RESULTS = 64 * 2**20

BINS = 10


@dataclass(frozen=True)
class Histogram:
    """A histogram as the template's axes draw it; `bars` are (x, y, width, height) in the SVG."""

    x_label: str
    y_label: str
    x_ticks: list[tuple[float, str]]
    y_ticks: list[tuple[float, str]]
    bars: list[tuple[float, float, float, float]]
    outcome: float
    label: str


def is_class_page(path: Path) -> bool:
    """Whether a file is a page that `write_class_page` wrote."""
    try:
        with open_plain(path) as file:
            return MADE_BY.encode() in file.read(2048)
    except DataError:
        return False


def outcome_of_lesson(folder: Path) -> Outcome:
    """The outcome of the lesson in `folder`, by its results.json.

    Raises:
        DataError: where there is none that can be read.
    """
    from .report_predictions import lesson_data

    path = folder / "results.json"
    content = read_bounded(path, _MAX_RESULTS)
    try:
        data = lesson_data(json.loads(content), [])
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
        raise DataError(f"{path}: not the results of a lesson ({type(error).__name__})") from error
    both = [*data["numbers"], *data["curves"]]
    axes = {curve["key"]: (curve["x"][0], curve["x"][1]) for curve in data["curves"]}
    return Outcome({one["key"]: one["outcome"] for one in both}, axes)


def write_class_page(found: ClassFiles, path: Path, outcome: Outcome | None = None) -> list[tuple[str, ...]]:
    """Write the page to `path`, whole or not at all.

    Args:
        found: what the class predicted.
        outcome: what it is compared with; None takes what most of the students' reports showed.

    Returns:
        The page's table of numbers: question, how many predicted it, the median of their predictions, the outcome.

    Raises:
        DataError: where the page cannot be written.
    """
    others = 0
    if outcome is None:
        outcome, others = common_outcome(found.predicted)
    sections = [
        section for name, title in _titles() if (section := _section(name, title, found.predicted, outcome))
    ]
    rows = [row for section in sections for row in section["rows"]]
    scores = [_score(one, outcome) for one in found.predicted]
    page = template("class.html.j2").render(
        made_by=MADE_BY,
        students=len(found.predicted),
        others=others,
        sources=sorted({one.data_source for one in found.predicted if one.data_source}),
        sections=sections,
        scores=sorted(scores, key=lambda row: row[0].casefold()),
        left_out=found.left_out,
    )
    with written_whole(path) as unfinished:
        unfinished.write_text(page, encoding="utf-8")
    return rows


def _titles() -> list[tuple[str, str]]:
    return [(section.name, section.title) for section in SECTIONS]


def _section(
    name: str, title: str, predicted: Sequence[Predicted], outcome: Outcome
) -> dict[str, Any] | None:
    """The template's data of one experiment; None where it has no outcome, or nobody predicted anything."""
    numbers = [one for one in NUMBERS if experiment_of(one) == name and one.key in outcome.values]
    curves = [one for one in CURVES if experiment_of(one) == name and one.key in outcome.values]
    histograms, rows = [], []
    for number in numbers:
        guesses = [one.predictions[number.key] for one in predicted if number.key in one.predictions]
        if guesses:
            true = outcome.values[number.key]
            histograms.append(_histogram(number, guesses, true, _last_epoch(name, outcome)))
            text = f"{title}: {number.text}"
            rows.append(
                (text, str(len(guesses)), written(number.unit, median(guesses)), written(number.unit, true))
            )
    overlays = [overlay for curve in curves if (overlay := _overlay(curve, predicted, outcome))]
    if not histograms and not overlays:
        return None
    return {"name": name, "title": title, "histograms": histograms, "overlays": overlays, "rows": rows}


def _last_epoch(name: str, outcome: Outcome) -> float:
    return max(
        (right for key, (_, right) in outcome.axes.items() if key.startswith(f"{name}.")), default=99.0
    )


def _histogram(number: Number, guesses: Sequence[float], true: float, last_epoch: float) -> Histogram:
    """Bars of `BINS` equal bins over the unit's range; what lies beyond an end is counted in the bin there."""
    unit = UNITS[number.unit]
    end = last_epoch if number.unit == "epoch" else unit.top
    if true > end:
        end = true * 1.1
    counts = [0] * BINS
    for guess in guesses:
        counts[min(max(int(guess / end * BINS), 0), BINS - 1)] += 1
    left, upper, right, lower = AREA
    highest = max(counts)
    step = max(1, math.ceil(round_step(highest, 5)))
    width = (right - left) / BINS
    bars = [
        (
            left + place * width + 2,
            lower - (lower - upper) * count / highest,
            width - 4,
            (lower - upper) * count / highest,
        )
        for place, count in enumerate(counts)
        if count
    ]
    middle = written(number.unit, median(guesses))
    texts = f"{len(guesses)} predictions, median {middle}; outcome {written(number.unit, true)}"
    return Histogram(
        number.text,
        "students",
        [(left + (right - left) * tick / end, f"{tick:g}") for tick in ticks(end, round_step(end, 5))],
        [(lower - (lower - upper) * tick / highest, f"{tick:g}") for tick in ticks(highest, step)],
        bars,
        left + (right - left) * min(max(true / end, 0), 1),
        texts,
    )


def _overlay(curve: Curve, predicted: Sequence[Predicted], outcome: Outcome) -> dict[str, Any] | None:
    drawn = [one.predictions[curve.key] for one in predicted if curve.key in one.predictions]
    drawn = [values for values in drawn if any(value is not None for value in values)]
    if not drawn:
        return None
    true = outcome.values[curve.key]
    axes = sketch_axes(curve.unit, curve.along, _places(curve, outcome.axes[curve.key]), [true])
    there = [[value for value in values if value is not None] for values in zip(*drawn, strict=True)]
    middle = [median(values) if 2 * len(values) >= len(drawn) else None for values in there]
    return {
        "name": curve.key.replace(".", "-"),
        "text": curve.text,
        "part": curve.part,
        "count": len(drawn),
        "axes": axes,
        "paths": [axes.path(values) for values in drawn],
        "median": axes.path(middle),
        "outcome": axes.path(true),
    }


def _places(curve: Curve, ends: tuple[float, float]) -> list[float]:
    """The ends of an axis; for powers of ten those between as well."""
    if curve.along != "examples":
        return list(ends)
    between = range(math.floor(ends[0]) + 1, math.ceil(ends[1]))
    return [ends[0], *map(float, between), ends[1]]


def _score(one: Predicted, outcome: Outcome) -> tuple[str, int, int]:
    """The student's name, points, and number of predictions that the outcome answers."""
    units = {question.key: question.unit for question in QUESTIONS}
    earned = [
        points(
            guess,
            outcome.values[key],
            allowed_miss(units[key], round(_last_epoch(key.partition(".")[0], outcome)) + 1),
        )
        for key, guess in one.predictions.items()
        if key in outcome.values
    ]
    return one.student or f"without a name ({one.file})", sum(earned), len(earned)
