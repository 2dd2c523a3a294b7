"""The parts of the report in which a student predicts: fields, empty axes, and what the page's script knows."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from .experiments import outcome
from .predictions import POINTS, Curve, Number, allowed_miss, experiment_of, questions, written
from .sketch_axes import AREA, SketchAxes, sketch_axes

Results = Mapping[str, Any]

UNIT_TEXTS = {"percent": " (in %)", "cost": "", "epoch": ""}

#: What a curve's horizontal axis is called in a sentence.
OVER = {"epoch": "epochs", "fractions": "share of shuffled labels", "examples": "number of examples"}


def asked(results: Results, name: str) -> dict[str, Any]:
    """The template's data of what can be predicted of an experiment: empty axes with their curves, and numbers."""
    found = [(one, value) for one, value in questions(results) if experiment_of(one) == name]
    curves = [(one, value) for one, value in found if isinstance(one, Curve)]
    sketch = axes_for(results, curves)
    return {
        "numbers": [
            {
                "key": one.key,
                "text": one.text,
                "unit_text": UNIT_TEXTS[one.unit],
                "outcome": written(one.unit, value),
            }
            for one, value in found
            if isinstance(one, Number)
        ],
        "curves": [
            {"key": one.key, "text": one.text, "part": one.part, "path": sketch.path(value)}
            for one, value in curves
            if sketch
        ],
        "over": OVER[curves[0][0].along] if curves else "",
        "sketch": sketch,
        "sketch_label": f"Empty axes: {sketch.y_label} over the {sketch.x_label}." if sketch else "",
    }


def axes_for(results: Results, curves: Sequence[tuple[Curve, Sequence[float]]]) -> SketchAxes | None:
    """The axes for all curves of one experiment; None without any."""
    if not curves:
        return None
    first = curves[0][0]
    run = outcome(results, experiment_of(first))
    return sketch_axes(first.unit, first.along, first.places(run).tolist(), [value for _, value in curves])


def lesson_data(results: Results, titles: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """The data of the page's script: the questions with their outcomes, and what an exported file says of the report.

    `titles` are the experiments' names and titles, in the page's order.
    """
    settings = results["settings"]
    found = list(questions(results))
    told = json.dumps([settings, [(one.key, value) for one, value in found]], sort_keys=True)
    numbers, curves = [], []
    for question, value in found:
        name = experiment_of(question)
        shared = {
            "key": question.key,
            "experiment": name,
            "text": question.text,
            "unit": question.unit,
            "part": question.part,
            "figures": question.figures,
            "allowed": allowed_miss(question.unit, len(outcome(results, name).get("train_cost", ()))),
            "outcome": value,
        }
        if isinstance(question, Number):
            numbers.append(shared)
            continue
        together = [(one, it) for one, it in found if isinstance(one, Curve) and experiment_of(one) == name]
        axes = axes_for(results, together)
        assert axes is not None
        curves.append({**shared, "x": [axes.left, axes.right], "top": axes.top, "places": axes.place_texts()})
    return {
        "report": hashlib.sha256(told.encode()).hexdigest()[:16],
        "points": POINTS,
        "area": AREA,
        "data_source": results["data_source"],
        "settings": settings,
        "titles": titles,
        "numbers": numbers,
        "curves": curves,
    }
