"""Numbers as the lesson writes them, never as a power of ten, and what it calls the classes of the data at hand."""

import math
import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

#: Data whose classes are digits; of all others the lesson knows no more than their names.
OF_DIGITS = ("MNIST", "synthetic digits")

_OTHER = (("handwritten digits", "images"), ("digits", "classes"), ("digit", "class"))


def percent(share: float) -> str:
    """0.1449 -> "14.5 %"."""
    return f"{100 * share:.1f} %"


def cost(value: float) -> str:
    """A cost to three significant digits."""
    return f"{Decimal(f'{value:.2e}'):f}"


def slope_text(slope: float) -> str:
    """A slope with its sign to two significant digits: -0.00027."""
    if not math.isfinite(slope) or slope == 0:
        return f"{slope:g}"
    return f"{Decimal(f'{slope:.1e}'):+f}" if abs(slope) >= 1e-9 else "0.0000000"


def worded(text: str, results: Mapping[str, Any]) -> str:
    """A text about digits as one about the data at hand: of other data than digits it says images and classes."""
    if results["data_source"] in OF_DIGITS:
        return text
    for digit, other in _OTHER:
        text = re.sub(rf"\b{digit}\b", other, text)
    return text


def class_names(results: Mapping[str, Any]) -> Sequence[str]:
    """The names of the ten classes, by their labels."""
    names: Sequence[str] = results.get("labels", tuple("0123456789"))
    return names
