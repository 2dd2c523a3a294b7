"""A student's predictions in the lesson's notebook: asked for, drawn beside the outcome, and summed up at the end.

    mine = Predictions()
    mine.figure(figures.clean_cost(results), results, "clean", train_cost=0.1)
    mine.outcomes(results, "clean", train_cost=0.1)
    mine.summary()

Without an entry a cell shows a line that asks for it; `skip=True`, in a call or for all of them, shows the outcome.
"""

from collections.abc import Callable, Sequence
from numbers import Real

from matplotlib.figure import Figure

from ..model import MLP
from .experiments import outcome
from .figures import TRAIN, VALID
from .notebook_display import Markdown, parameter_table, table
from .predictions import NUMBERS, Number, Results, allowed_miss, points, query, written

#: The axis of a figure grows for a prediction up to this many times its height, so that no curve becomes flat.
ROOM = 1.6

#: Curves of many runs that can be predicted as numbers, one a run: the runs' key, the outcomes' key, a value in words.
CURVES: dict[str, tuple[str, str, Callable[[float], str]]] = {
    "label_noise": ("fractions", "valid_accuracy", lambda share: f"{100 * share:g} % shuffled"),
    "capacity": ("examples", "best_train_accuracy", lambda count: f"{count:,} examples"),
}


class Predictions:
    """The predictions of one student; `skip` shows all outcomes without."""

    def __init__(self, skip: bool = False) -> None:
        self._skip = skip
        self._made: dict[
            str, tuple[str, str, str, str, str, int]
        ] = {}  # key -> the cells of its row, its points

    def figure(
        self, figure: Figure, results: Results, name: str, *, skip: bool = False, **predictions: float | None
    ) -> Figure | Markdown:
        """A figure of experiment `name` with the predictions marked in it, or a line that asks for them.

        Args:
            predictions: by what was predicted, accuracies in percent; None where there is no prediction.

        Raises:
            TypeError: for a prediction of something else, or one that is neither a number nor None.
        """
        asked = _numbers(name, predictions)
        if not self._may_look(skip, [guess for _, guess in asked]):
            return please([number.text for number, _ in asked])
        marks = {number.part: guess for number, guess in asked}
        return with_prediction(figure, training=marks.get("train"), validation=marks.get("valid"))

    def outcomes(
        self, results: Results, name: str, *, skip: bool = False, **predictions: float | None
    ) -> Markdown:
        """A table of predictions of experiment `name` beside the outcomes; arguments as for `figure`."""
        asked = _numbers(name, predictions)
        if not self._may_look(skip, [guess for _, guess in asked]):
            return please([number.text for number, _ in asked])
        run = outcome(results, name)
        if not run.get("train_cost", True):
            return Markdown("No epoch was completed, so there is nothing to compare with.")
        rows, queries = [], []
        for number, guess in asked:
            found = number.outcome(run)
            if found is None:
                continue
            allowed = allowed_miss(number.unit, len(run.get("train_cost", ())))
            rows.append(self._row(number.key, name, number.text, number.unit, guess, found, allowed))
            if guess is not None and (said := query(number.unit, guess)):
                queries.append(f"{number.text}: {said}")
        return table(HEADER, rows, "\n\n".join(queries))

    def curve(
        self,
        draw: Callable[..., Figure],
        results: Results,
        name: str,
        values: Sequence[float] | None,
        *,
        skip: bool = False,
    ) -> Figure | Markdown:
        """The figure of many runs, label_noise or capacity, with what was predicted for each of them, in percent.

        Args:
            draw: `figures.label_noise` or `figures.capacity`.
            values: a number for each run; None where there is no prediction.

        Raises:
            TypeError: for values that are no numbers.
            ValueError: for another number of values than runs.
        """
        key, of, words = CURVES[name]
        run = outcome(results, name)
        if not self._may_look(skip, [values]):
            return please([words(place) for place in run[key]])
        if values is None:
            return draw(results)
        if len(values) != len(run[key]):
            raise ValueError(f"{name}: {len(run[key])} numbers, not {len(values)}")
        guesses = [_number(value, name) for value in values]
        scale = 100 if name == "label_noise" else 1
        for place, guess, found in zip(run[key], guesses, run[of], strict=True):
            if found is not None:
                self._row(f"{name}.{place}", name, words(place), "percent", guess, 100 * found, 50)
        return draw(results, {scale * place: guess for place, guess in zip(run[key], guesses, strict=True)})

    def parameters(self, model: MLP, prediction: float | None = None, *, skip: bool = False) -> Markdown:
        """The model's parameter tensors and their total beside its prediction."""
        guess = _number(prediction, "parameters")
        if not self._may_look(skip, [guess]):
            return please(["number of parameters"])
        total = sum(one.numel() for one in model.parameters())
        rows = [("parameters", "–" if guess is None else f"{guess:,.0f}", f"{total:,}")]
        beside = table(("", "your prediction", "outcome"), rows)
        return Markdown(f"{parameter_table(model)}\n\n{beside}")

    def summary(self) -> Markdown:
        """All predictions that were compared with their outcomes, with their points."""
        if not self._made:
            return Markdown("You have made no predictions yet.")
        made = self._made.values()
        rows = [(f"{experiment}: {text}", *cells, str(earned)) for experiment, text, *cells, earned in made]
        total = f"{sum(row[-1] for row in made)} of {10 * len(made)} points for {len(made)} predictions."
        rule = (
            "Ten points for the outcome itself, and in proportion less the further off: none for a miss of 0.5 in "
            "cost, of 50 percentage points of accuracy, or of half of the epochs."
        )
        return table((*HEADER, "points"), rows, f"**{total}** {rule}")

    def _may_look(self, skip: bool, guesses: Sequence[object]) -> bool:
        return skip or self._skip or any(guess is not None for guess in guesses)

    def _row(
        self,
        key: str,
        experiment: str,
        text: str,
        unit: str,
        guess: float | None,
        found: float,
        allowed: float,
    ) -> tuple[str, ...]:
        """The cells of a prediction in a table; it is kept for the summary."""
        if guess is None:
            return (text, "–", written(unit, found), "–")
        cells = text, written(unit, guess), written(unit, found), written(unit, abs(guess - found))
        self._made[key] = (experiment.replace("_", " "), *cells, points(guess, found, allowed))
        return cells


HEADER = ("", "your prediction", "outcome", "off by")


def please(texts: Sequence[str]) -> Markdown:
    """A line that asks for predictions."""
    return Markdown(
        f"**Your prediction first:** {', '.join(texts)}. Write it into the cell above instead of `None`, run that "
        "cell, then this one. (To look without, add `skip=True` to the call.)"
    )


def _numbers(name: str, predictions: dict[str, float | None]) -> list[tuple[Number, float | None]]:
    known = {number.key: number for number in NUMBERS}
    found = []
    for quantity, guess in predictions.items():
        number = known.get(f"{name}.{quantity}")
        if number is None:
            names = [key.partition(".")[2] for key in known if key.startswith(f"{name}.")]
            raise TypeError(f"predictions: any of {', '.join(names)}, not {quantity}")
        found.append((number, _number(guess, number.text)))
    return found


def _number(value: object, what: str) -> float | None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, Real)):
        raise TypeError(f"{what}: a number or None, not {value!r}")
    return None if value is None else float(value)


def with_prediction(
    figure: Figure, *, training: float | None = None, validation: float | None = None
) -> Figure:
    """Mark what was predicted for the end of the curves in one of the lesson's figures, and return the figure.

    The axis grows to hold a prediction, but not so far that the curves become flat: one beyond stands at the edge, with
    an arrow.

    Args:
        figure: of a cost or an accuracy; the predictions are in its units (accuracies in percent).
        training, validation: the predictions for the two curves; None marks nothing.

    Raises:
        TypeError: for a prediction that is neither a number nor None.
    """
    guesses = (_number(training, "training"), TRAIN), (_number(validation, "validation"), VALID)
    marked = sorted((guess, style["color"]) for guess, style in guesses if guess is not None)
    if not marked:
        return figure
    axes = figure.axes[0]
    left, bottom, width, height = axes.get_position().bounds
    axes.set_position((left, bottom, width - 0.15, height))  # the texts stand to the right of the curves
    low, high = _limits(*axes.get_ylim(), [guess for guess, _ in marked])
    axes.set_ylim(low, high)
    heights = [min(max(guess, low), high) for guess, _ in marked]
    close = len(marked) == 2 and heights[1] - heights[0] < 0.07 * (high - low)
    downs = (-8, 8) if close else (0, 0)
    for (guess, color), at, down in zip(marked, heights, downs, strict=False):
        arrow = " ↑" if guess > high else " ↓" if guess < low else ""
        place = (axes.get_xlim()[1], at)
        axes.plot(*place, "D", markersize=8, color=color, mfc="white", mew=2, clip_on=False, zorder=5)
        axes.annotate(
            f"you: {guess:.3g}{arrow}", place, (10, down), textcoords="offset points", va="center",
            color=color, fontsize=11.5, fontweight="bold",
        )  # fmt: skip
    return figure


def _limits(low: float, high: float, guesses: Sequence[float]) -> tuple[float, float]:
    """The ends of an axis that grows for each end's prediction where it may, and else not at all."""
    height = high - low
    room = 0.06 * height  # where the axis is made longer, no mark stands on its very edge
    lowest, highest = min(guesses) - room, max(guesses) + room
    return (
        lowest if high - ROOM * height <= lowest < low - room else low,
        highest if high + room < highest <= low + ROOM * height else high,
    )
