"""Numbers as the lesson writes them."""


def percent(share: float) -> str:
    """0.1449 -> "14.5 %"."""
    return f"{100 * share:.1f} %"


def cost(value: float) -> str:
    """A cost to three significant digits."""
    return f"{value:#.3g}"
