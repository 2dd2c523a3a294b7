"""Numbers, counts and times as text."""

from __future__ import annotations


def digits(value: float, figures: int = 3) -> str:
    """`figures` significant digits, never with an exponent: 0.0123, 4.56, 789, 12,300."""
    if value == 0:
        return "0"
    rounded = float(f"{value:.{figures - 1}e}")
    decimals = max(0, figures - 1 - int(f"{rounded:e}".partition("e")[2]))
    return f"{rounded:,.{decimals}f}"


def time(seconds: float, figures: int = 3) -> str:
    """With the unit that suits it: 62.0 us, 1.05 s."""
    unit, scale = unit_of_time(seconds)
    return f"{digits(seconds / scale, figures)} {unit}"


def unit_of_time(seconds: float) -> tuple[str, float]:
    """The unit that suits a time, and its seconds."""
    units = (("s", 1.0), ("ms", 1e-3), ("us", 1e-6))
    # what rounds to 1,000 us is 1.00 ms
    return next((one for one in units if seconds >= 0.9995 * one[1]), ("ns", 1e-9))


def duration(seconds: float) -> str:
    """A time in words: "45 s", "12 min", "3.5 h"."""
    if seconds < 90:
        return f"{seconds:.0f} s" if seconds >= 1 else "1 s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:,.1f} h"


def number_of(number: float, one: str, several: str = "") -> str:
    """ "1 core", "2 cores"; "1 launch", "2 launches"."""
    return f"{number:,} {one if number == 1 else several or one + 's'}"
