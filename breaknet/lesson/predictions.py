"""Predictions of the lesson's experiments: the questions, their outcomes, and the points for an answer.

Report, notebook and class view share them. A prediction is a number, or a curve: `POINTS` values at equal distances
along the horizontal axis, None where nothing was drawn. Accuracies are in percent.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .words import cost, percent

Results = Mapping[str, Any]
Experiment = Mapping[str, Any]

#: Values of a predicted curve.
POINTS = 41


@dataclass(frozen=True)
class Unit:
    """The axis of a quantity, by `top` and `step`, and the miss that leaves no points."""

    label: str
    top: float
    step: float
    allowed: float


UNITS = {
    "cost": Unit("cost per image", top=1.2, step=0.2, allowed=0.5),
    "percent": Unit("accuracy in percent", top=100, step=20, allowed=50),
    "epoch": Unit("epoch", top=100, step=20, allowed=50),
}


@dataclass(frozen=True)
class Number:
    """A number that can be predicted; `figures` are those that it is marked in, at their right edge.

    `outcome` gives it from what the results hold of the experiment, None where that has no such number.
    """

    key: str  # EXPERIMENT.QUANTITY
    text: str
    unit: str
    part: str  # "train" or "valid": the colour of its mark
    outcome: Callable[[Experiment], float | None]
    figures: tuple[str, ...] = ()


@dataclass(frozen=True)
class Curve:
    """A curve that can be drawn: `of` is its key in what the results hold of the experiment."""

    key: str
    text: str
    unit: str
    part: str
    of: str
    figures: tuple[str, ...]
    along: str = "epoch"  # or "fractions", "examples"

    def places(self, run: Experiment) -> NDArray[np.float64]:
        """The places where the outcome was measured: epochs, shares in percent, or powers of ten of examples."""
        if self.along == "epoch":
            return np.arange(len(run[self.of]), dtype=np.float64)
        values = np.asarray(run[self.along], np.float64)
        return 100 * values if self.along == "fractions" else np.log10(values)

    def outcome(self, run: Experiment) -> list[float] | None:
        """The experiment's curve at the `POINTS` places of a prediction; None where two of its values are missing."""
        values = np.asarray(run[self.of], np.float64) * (100 if self.unit == "percent" else 1)
        places, there = self.places(run), np.isfinite(values)
        if there.sum() < min(2, len(values)) or not len(values):
            return None
        at = np.linspace(places[0], places[-1], POINTS)
        return np.interp(at, places[there], values[there]).round(6).tolist()


def _last(key: str) -> Callable[[Experiment], float]:
    return lambda run: run[key][-1] * (100 if key.endswith("accuracy") else 1)


def _best(run: Experiment) -> int:
    return int(np.argmax(run["train_accuracy"]))


def _with_share(share: float) -> Callable[[Experiment], float | None]:
    def outcome(noise: Experiment) -> float | None:
        found = dict(zip(noise["fractions"], noise["valid_accuracy"], strict=True)).get(share)
        return None if found is None else 100 * found

    return outcome


#: In the lesson's order.
NUMBERS = (
    Number("clean.train_cost", "training cost at the end", "cost", "train", _last("train_cost"), ("clean_cost",)),
    Number("clean.valid_cost", "validation cost at the end", "cost", "valid", _last("valid_cost"), ("clean_cost",)),
    Number(
        "clean.best_epoch", "epoch of the lowest validation cost", "epoch", "valid",
        lambda run: int(np.argmin(run["valid_cost"])),
    ),
    Number(
        "shuffled.train_cost", "training cost at the end", "cost", "train", _last("train_cost"), ("shuffled_cost",)
    ),
    Number(
        "shuffled.valid_cost", "validation cost at the end", "cost", "valid", _last("valid_cost"), ("shuffled_cost",)
    ),
    Number(
        "shuffled.train_accuracy", "training accuracy at the end", "percent", "train", _last("train_accuracy"),
        ("shuffled_accuracy",),
    ),
    Number(
        "shuffled.valid_accuracy", "validation accuracy at the end", "percent", "valid", _last("valid_accuracy"),
        ("shuffled_accuracy",),
    ),
    Number(
        "hundred.best_train_accuracy", "highest training accuracy", "percent", "train",
        lambda run: 100 * run["train_accuracy"][_best(run)], ("hundred_train_accuracy",),
    ),
    Number(
        "hundred.valid_accuracy_then", "validation accuracy at that moment", "percent", "valid",
        lambda run: 100 * run["valid_accuracy"][_best(run)], ("hundred_valid_accuracy",),
    ),
    Number(
        "label_noise.half", "validation accuracy with half of the labels shuffled", "percent", "valid",
        _with_share(0.5),
    ),
    Number(
        "label_noise.nine_tenths", "validation accuracy with nine tenths shuffled", "percent", "valid",
        _with_share(0.9),
    ),
)  # fmt: skip

CURVES = (
    *(
        Curve(f"{experiment}.{part}_{kind}_curve", f"{word} {kind}", unit, part, f"{part}_{kind}", (figure,))
        for experiment, kind, unit, figures in (
            ("clean", "cost", "cost", ("clean_cost", "clean_cost")),
            ("shuffled", "cost", "cost", ("shuffled_cost", "shuffled_cost")),
            ("hundred", "accuracy", "percent", ("hundred_train_accuracy", "hundred_valid_accuracy")),
        )
        for part, word, figure in zip(("train", "valid"), ("training", "validation"), figures, strict=True)
    ),
    Curve(
        "label_noise.valid_accuracy_curve", "validation accuracy", "percent", "valid", "valid_accuracy",
        ("label_noise",), "fractions",
    ),
    Curve(
        "capacity.accuracy_curve", "highest training accuracy", "percent", "train", "best_train_accuracy",
        ("capacity",), "examples",
    ),
)  # fmt: skip


QUESTIONS: tuple[Number | Curve, ...] = (*NUMBERS, *CURVES)


def experiment_of(question: Number | Curve) -> str:
    """The name of the experiment that a question is about."""
    return question.key.partition(".")[0]


def questions(results: Results) -> Iterator[tuple[Number | Curve, Any]]:
    """Every question that the results answer, numbers first, with its outcome."""
    from .experiments import outcome

    for question in QUESTIONS:
        run = outcome(results, experiment_of(question))
        # a run that diverged at once has no curves
        found = question.outcome(run) if run and run.get("train_cost", True) else None
        if found is not None:
            yield question, found


def written(unit: str, value: float) -> str:
    """A number of `unit` as text: 0.0452, 97.3 %, 13."""
    if unit == "epoch":
        return f"{value:.0f}"
    return cost(value) if unit == "cost" else percent(value / 100)


def query(unit: str, value: float) -> str:
    """A question back about a prediction that may be meant otherwise, or cannot be; "" for any other."""
    if unit == "percent" and not 0 <= value <= 100:
        return "an accuracy is between 0 and 100 %."
    if unit == "percent" and 0 < value < 1:
        return f"{value:g} %, or did you mean {100 * value:g} %? For 10 %, write 10."
    return "this cannot be negative." if value < 0 else ""


def allowed_miss(unit: str, epochs: int) -> float:
    """The miss that leaves no points: half of the epochs for an epoch, else the unit's own."""
    return max(epochs / 2, 1) if unit == "epoch" else UNITS[unit].allowed


def points(guess: float | Sequence[float | None], outcome: float | Sequence[float], allowed: float) -> int:
    """0 to 10: ten for the outcome itself, and in proportion less up to none for a miss of `allowed`.

    A curve gets the mean over its points, those that were not drawn counting nothing.
    """
    if isinstance(outcome, (int, float)):
        pairs: list[tuple[Any, float]] = [(guess, outcome)]
    else:
        pairs = list(zip(guess, outcome, strict=True))  # type: ignore[arg-type]
    shares = [0.0 if one is None else max(0.0, 1 - abs(one - true) / allowed) for one, true in pairs]
    return int(10 * sum(shares) / len(shares) + 0.5)
