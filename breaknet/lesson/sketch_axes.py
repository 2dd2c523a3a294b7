"""The axes that a curve is predicted in: where they stand in their SVG, their ticks, and curves as paths in them.

Their ranges do not depend on the outcome as long as it fits in, so that empty axes give nothing away.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from .predictions import POINTS, UNITS

#: The edges of the axes in their SVG of 480 x 340: left, top, right, bottom.
AREA = (58, 14, 448, 292)

#: What a horizontal axis is called, by the `along` of its curves.
X_LABELS = {
    "epoch": "epoch",
    "fractions": "share of shuffled labels in percent",
    "examples": "number of shuffled examples",
}


@dataclass(frozen=True)
class SketchAxes:
    """Axes from `left` to `right` (powers of ten of examples) and from 0 to `top`; ticks are (place, text)."""

    along: str
    y_label: str
    left: float
    right: float
    top: float
    x_ticks: list[tuple[float, str]]
    y_ticks: list[tuple[float, str]]

    @property
    def x_label(self) -> str:
        return X_LABELS[self.along]

    def path(self, values: Sequence[float | None]) -> str:
        """The SVG path of `POINTS` values; a gap where one is None."""
        left, upper, right, lower = AREA
        parts, pen = [], "M"
        for place, value in enumerate(values):
            if value is None:
                pen = "M"
                continue
            x = left + (right - left) * place / (POINTS - 1)
            y = lower - (lower - upper) * value / self.top
            parts.append(f"{pen}{x:.1f} {min(max(y, -1e4), 1e4):.1f}")
            pen = "L"
        return "".join(parts)

    def place_texts(self) -> list[str]:
        """The `POINTS` places of a curve in words: epoch 20, 35 % shuffled, 1,000 examples."""
        step = (self.right - self.left) / (POINTS - 1)
        places = [self.left + step * place for place in range(POINTS)]
        if self.along == "epoch":
            return [f"epoch {place:.0f}" for place in places]
        if self.along == "fractions":
            return [f"{place:.0f} % shuffled" for place in places]
        return [f"{10**place:,.0f} examples" for place in places]


def sketch_axes(
    unit: str, along: str, places: Sequence[float], outcomes: Sequence[Sequence[float]]
) -> SketchAxes:
    """Axes for curves of `unit` from the first to the last of `places`.

    They are higher than usual only where an outcome would not fit in. Numbers of examples have a tick each.
    """
    kind = UNITS[unit]
    highest = max((value for values in outcomes for value in values), default=0.0)
    top, step = kind.top, kind.step
    if highest > top:
        step = round_step(highest, 6)
        top = step * math.ceil(highest / step)
    first, last = places[0], max(places[-1], places[0] + 1e-9)
    if along == "epoch":
        last = max(last, 1)
    marks = [(tick, f"{tick:g}") for tick in ticks(last, round_step(last, 5))]
    if along == "examples":
        marks = [(place, f"{10**place:,.0f}") for place in places]
    left, upper, right, lower = AREA
    return SketchAxes(
        along,
        kind.label,
        first,
        last,
        top,
        [(left + (right - left) * (place - first) / (last - first), text) for place, text in marks],
        [(lower - (lower - upper) * tick / top, f"{tick:g}") for tick in ticks(top, step)],
    )


def ticks(end: float, step: float) -> list[float]:
    """0, step, 2 step ... up to `end`."""
    return [round(number * step, 10) for number in range(int(end / step + 1e-9) + 1)]


def round_step(end: float, most: int) -> float:
    """The smallest of 1, 2, 5, 10, 20 ... (or 0.1, 0.2 ...) with at most `most` steps to `end`."""
    power = 10.0 ** math.floor(math.log10(end / most))
    return next(one * power for one in (1, 2, 5, 10, 20) if end / (one * power) <= most)
