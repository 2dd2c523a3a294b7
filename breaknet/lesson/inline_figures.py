"""Figures as parts of a page: SVG without files, its colours the page's own, so that they follow a dark mode."""

from __future__ import annotations

import json
import math
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from markupsafe import Markup
    from matplotlib.figure import Figure

#: Colours of the figures -> variables of the page's style.
COLORS = {
    "#d62f2f": "var(--train)",
    "#1b4f9c": "var(--valid)",
    "#111111": "var(--ink)",
    "#000000": "var(--ink)",
    "#262626": "var(--ink)",
    "#6b6b6b": "var(--soft)",
    "#555555": "var(--soft)",
    "#d9d9d9": "var(--line)",
    "#cccccc": "var(--line)",
    "#ffffff": "var(--figure)",
}

_COLOR = re.compile(r"(fill|stroke): ?(#[0-9a-f]{6})\b")
_ID = re.compile(r'(\bid="|url\(#|\bhref="#)')
#: Where matplotlib keeps what `axes_text` says of them.
_DESCRIPTION = re.compile(r"<dc:description>(.*?)</dc:description>", re.DOTALL)
_LEFT_OUT = re.compile(r"<\?xml.*?\?>|<!DOCTYPE.*?>|<!--.*?-->|<metadata>.*?</metadata>", re.DOTALL)


def inlined(svg: str, name: str, label: str) -> Markup:
    """The `<svg>` element of a file that matplotlib wrote, described by `label`, to stand in a page beside others.

    Its ids begin with `name`, its colours are variables of the page, and its size and metadata are gone; `viewBox`
    stays. What has no colour of its own takes the `fill` of the page.
    """
    from markupsafe import Markup, escape

    text = _ID.sub(rf"\g<1>{name}-", _LEFT_OUT.sub("", svg).strip())
    text = _COLOR.sub(lambda found: f"{found[1]}: {COLORS.get(found[2], found[2])}", text)
    head, _, rest = text.partition(">")
    head = re.sub(r' (width|height|version)="[^"]*"', "", head)
    return Markup(f'{head} role="img" aria-label="{escape(label)}">{rest}')


def axes_text(figure: Figure) -> str:
    """JSON: `area`, the edges of the axes in the SVG's units (left, top, right, bottom), and what `x` and `y` span.

    A logarithmic axis spans powers of ten.
    """
    axes = figure.axes[0]
    width, height = 72 * figure.get_size_inches()
    box = axes.get_position()
    edges = box.x0 * width, (1 - box.y1) * height, box.x1 * width, (1 - box.y0) * height
    x = [math.log10(end) if axes.get_xscale() == "log" else end for end in axes.get_xlim()]
    spans = {"area": edges, "x": x, "y": axes.get_ylim()}
    return json.dumps({key: [round(float(value), 6) for value in values] for key, values in spans.items()})


def axes_of(svg: str) -> dict[str, Any] | None:
    """Places and spans of a figure's axes (`axes_text`); None for other pictures."""
    found = _DESCRIPTION.search(svg)
    try:
        axes = json.loads(found[1].replace("&quot;", '"')) if found else None
    except ValueError:
        return None
    return axes if isinstance(axes, dict) else None
