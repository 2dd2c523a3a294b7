"""Numbers as the lesson writes them: never as a power of ten."""

import math
from decimal import Decimal


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
