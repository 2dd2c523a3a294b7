"""Least-squares fits: straight lines to late costs, logistic curves to rising accuracies.

Epochs are numbered from 0: the value at index e was taken after epoch e, and every fit uses e as its x. A fit
that cannot be made is reported through the logger "breaknet" and is None; it never stops a lesson.
"""

import logging
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

logger = logging.getLogger("breaknet")

#: Lines are fitted from this epoch on, and need two epochs at least.
FIRST_EPOCH_OF_LINES = 20

#: Start values (a, b, c, d) of the lesson's logistic fits.
STARTS = {"shuffled": (0.03, 1.0, 45.0, 0.12), "hundred": (0.9, 1.0, 40.0, 0.12)}

#: Ten times what scipy allows four parameters of itself: a slow fit still takes well under a second.
MAX_CALLS = 10_000


@dataclass(frozen=True)
class Line:
    """y = slope * epoch + intercept; for a cost, `slope` is the change of cost an epoch."""

    slope: float
    intercept: float

    def __call__(self, epochs: ArrayLike) -> NDArray[np.float64]:
        return self.slope * np.asarray(epochs, np.float64) + self.intercept


@dataclass(frozen=True)
class Logistic:
    """y = a / (1 + exp(-b (epoch - c))) + d, an accuracy in 0..1; with b > 0 it tends to a + d."""

    a: float
    b: float
    c: float
    d: float

    @property
    def capacity_percent(self) -> float:
        """The carrying capacity a + d in percent: the curve's limit."""
        return 100 * (self.a + self.d)

    def __call__(self, epochs: ArrayLike) -> NDArray[np.float64]:
        return _logistic(np.asarray(epochs, np.float64), self.a, self.b, self.c, self.d)

    @property
    def capacity_text(self) -> str:
        """The capacity as text; that of a fit that extrapolates can be far from any accuracy."""
        capacity = self.capacity_percent
        if abs(capacity) < 1000:
            return f"{capacity:.1f} %"
        return "over 1000 %" if capacity > 0 else "under -1000 %"

    def levels_off_within(self, epochs: int) -> bool:
        """Whether the curve has nearly reached its capacity after `epochs` epochs."""
        missing = abs(float(self(epochs - 1)) - (self.a + self.d))
        return epochs > 0 and missing <= max(0.1 * abs(self.a), 0.002)


def fit_line(values: ArrayLike, *, what: str = "curve") -> Line | None:
    """Least-squares line through `values` [E], one number an epoch, at epochs 20 to E - 1.

    Returns:
        The line, or None with a notice, which names the curve `what`, where fewer than two epochs count or a value
        is not finite.
    """
    curve = _usable(values, FIRST_EPOCH_OF_LINES, 2, f"line through the {what}")
    if curve is None:
        return None
    epochs = np.arange(FIRST_EPOCH_OF_LINES, len(curve), dtype=np.float64)
    late = curve[FIRST_EPOCH_OF_LINES:]
    centred = epochs - epochs.mean()
    slope = float(centred @ (late - late.mean()) / (centred @ centred))
    return Line(slope, float(late.mean() - slope * epochs.mean()))


def fit_logistic(
    values: ArrayLike, start: tuple[float, float, float, float], *, what: str = "curve"
) -> Logistic | None:
    """Least-squares logistic curve through accuracies `values` [E], unbounded from `start` = (a, b, c, d).

    Where the search ends at b < 0, the same curve is rewritten with b > 0, so that a + d is always its limit.

    Returns:
        The curve, or None with a notice where there are fewer than five epochs, a value is not finite, the
        search does not converge, or the values do not determine the capacity (they have not begun to rise).
    """
    curve = _usable(values, 0, 5, f"logistic fit to the {what}")
    if curve is None:
        return None

    from scipy.optimize import OptimizeWarning, curve_fit

    epochs = np.arange(len(curve), dtype=np.float64)
    with warnings.catch_warnings():
        # a covariance that cannot be estimated (a flat curve, a clean step) is handled below
        warnings.simplefilter("ignore", OptimizeWarning)
        try:
            found, covariance = curve_fit(_logistic, epochs, curve, p0=start, maxfev=MAX_CALLS)
        except RuntimeError:
            logger.warning("no logistic fit to the %s: the search did not converge", what)
            return None
    a, b, c, d = (float(number) for number in found)
    fit = Logistic(a, b, c, d) if b >= 0 else Logistic(-a, -b, c, a + d)
    if not np.isfinite([*found, fit.capacity_percent]).all():
        logger.warning("no logistic fit to the %s: the search diverged to infinity", what)
    elif c > epochs[-1] and not np.isfinite(covariance).all():
        logger.warning("no logistic fit to the %s: it has not begun to rise", what)
    else:
        return fit
    return None


def fit_experiment(name: str, curves: Mapping[str, Any]) -> dict[str, dict[str, float] | None]:
    """The fits of one of the lesson's experiments, as results.json holds them; a fit that failed is None.

    Args:
        name: "clean", "shuffled" or "hundred".
        curves: holds train_cost, valid_cost, train_accuracy, each [E].
    """
    if name == "clean":
        lines = {
            f"{part}_cost_line": fit_line(curves[f"{part}_cost"], what=f"{word} cost of the clean run")
            for part, word in (("train", "training"), ("valid", "validation"))
        }
        return {key: None if line is None else asdict(line) for key, line in lines.items()}
    if name not in STARTS:
        raise ValueError(f"name: clean, shuffled or hundred, not {name!r}")
    fit = fit_logistic(curves["train_accuracy"], STARTS[name], what=f"training accuracy of the {name} run")
    stored = None if fit is None else {**asdict(fit), "capacity_percent": fit.capacity_percent}
    return {"train_accuracy_logistic": stored}


def line_from(stored: Mapping[str, float] | None) -> Line | None:
    """The line that `fit_experiment` stored."""
    return None if stored is None else Line(**stored)


def logistic_from(stored: Mapping[str, float] | None) -> Logistic | None:
    """The curve that `fit_experiment` stored."""
    return None if stored is None else Logistic(*(stored[key] for key in "abcd"))


def _usable(values: ArrayLike, first_epoch: int, needed: int, fit: str) -> NDArray[np.float64] | None:
    """The values, or None with a notice unless `needed` or more stand at `first_epoch` and after, all finite."""
    curve = np.asarray(values, np.float64)
    late = curve[first_epoch:]
    if len(late) < needed:
        logger.warning("no %s: it needs %d epochs, here are %d", fit, first_epoch + needed, len(curve))
    elif not np.isfinite(late).all():
        logger.warning("no %s: it holds values that are not finite", fit)
    else:
        return curve
    return None


def _logistic(epochs: NDArray[np.float64], a: float, b: float, c: float, d: float) -> NDArray[np.float64]:
    # 1 / (1 + exp(-t)) = (1 + tanh(t / 2)) / 2; a product that overflows on the way saturates as it should
    with np.errstate(over="ignore"):
        return a * 0.5 * (1 + np.tanh(0.5 * b * (epochs - c))) + d
