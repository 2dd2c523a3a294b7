"""Data and results in a notebook: small pages of HTML with digits as pictures and curves as SVG.

Colours come from the page (currentColor) or are readable on white and on black, so light and dark themes both work. All
text from outside is escaped. No matplotlib: these are drawn whenever a cell ends with a run.
"""

import base64
import io
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray

TRAIN, VALID = "#e8590c", "#228be6"

_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _TOP = 300, 150, 46, 22, 20
_POINTS = 200  # of a curve at most: more cannot be told apart at this size

Curve = NDArray[np.float64]


def page(title: str, *parts: str) -> str:
    """A heading, and parts that are HTML already, below each other."""
    return f'<div style="line-height:1.4"><b>{escape(title)}</b>{"".join(parts)}</div>'


def facts(pairs: Mapping[str, Any]) -> str:
    """Names and values on one line."""
    shown = (
        f"{escape(name)} {escape(str(value))}" for name, value in pairs.items() if value not in ("", None)
    )
    return f'<div style="opacity:.75">{" &middot; ".join(shown)}</div>'


def warning(text: str) -> str:
    """A line that is not to be overlooked."""
    return f'<div style="color:#e03131;font-weight:bold">{escape(text)}</div>'


def digits(images: NDArray[np.uint8], labels: NDArray[np.uint8]) -> str:
    """Images [N, 784] side by side, each with its label below."""
    shown = (
        '<figure style="display:inline-block;margin:4px 3px 0 0;text-align:center">'
        f'<img alt="" width="42" height="42" style="image-rendering:pixelated" src="{_png(image)}">'
        f"<figcaption>{int(label)}</figcaption></figure>"
        for image, label in zip(images, labels, strict=True)
    )
    return f"<div>{''.join(shown)}</div>"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of texts."""
    head = "".join(f"<th>{escape(cell)}</th>" for cell in header)
    body = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return f'<table style="text-align:right;color:inherit"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'


def curves(
    epochs: NDArray[np.int64], train: Curve, valid: Curve | None, title: str, percent: bool = False
) -> str:
    """One or two curves [E], E >= 1, against the epochs [E] as SVG: training solid, validation dashed."""
    lines = [("training", train, TRAIN, "none"), ("validation", valid, VALID, "6 3")]
    shown = [(name, line, colour, dash) for name, line, colour, dash in lines if line is not None]
    values = np.concatenate([line for _, line, _, _ in shown])
    low, high = float(values.min()), float(values.max())
    margin = 0.05 * (high - low) or 0.05 * abs(high) or 1.0
    low, high = low - margin, high + margin
    right, bottom = _WIDTH - 8, _HEIGHT - _BOTTOM
    wide = max(1, int(epochs[-1] - epochs[0]))

    def place(epoch: int, value: float) -> str:
        x = _LEFT + (right - _LEFT) * (epoch - epochs[0]) / wide
        y = bottom - (bottom - _TOP) * (value - low) / (high - low)
        return f"{x:.1f},{y:.1f}"

    def text(x: float, y: float, content: str, anchor: str = "start", colour: str = "currentColor") -> str:
        return f'<text x="{x}" y="{y}" text-anchor="{anchor}" fill="{colour}">{escape(content)}</text>'

    drawn = [f'<path d="M{_LEFT},{_TOP}V{bottom}H{right}" stroke="currentColor" fill="none" opacity=".5"/>']
    digits_shown = 0 if high - low > 0.02 else 2
    for value in dict.fromkeys((low + margin, high - margin)):
        label = f"{100 * value:.{digits_shown}f} %" if percent else f"{value:.3g}"
        drawn.append(text(_LEFT - 5, float(place(int(epochs[0]), value).split(",")[1]) + 4, label, "end"))
    drawn += [
        text(_LEFT, _HEIGHT - 6, f"epoch {epochs[0]}"),
        text(right, _HEIGHT - 6, str(epochs[-1]), "end"),
    ]
    drawn.append(text(_LEFT, 12, title))
    steps = np.unique(np.linspace(0, len(epochs) - 1, _POINTS).round().astype(int))
    for number, (name, line, colour, dash) in enumerate(shown):
        points = " ".join(place(int(epochs[step]), float(line[step])) for step in steps)
        if len(steps) == 1:
            drawn.append(
                f'<circle cx="{points.split(",")[0]}" cy="{points.split(",")[1]}" r="3" fill="{colour}"/>'
            )
        drawn.append(
            f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.8" stroke-dasharray="{dash}"/>'
        )
        if len(shown) > 1:
            drawn.append(text(right - 65 * (1 - number), 12, name, "end", colour))
    return (
        f'<svg role="img" aria-label="{escape(title)}" viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" '
        f'height="{_HEIGHT}" style="font:11px sans-serif;margin-right:12px">{"".join(drawn)}</svg>'
    )


def _png(image: NDArray[np.uint8]) -> str:
    """The address of an image [784]."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(image.reshape(28, 28)).save(buffer, "png")
    return data_uri(buffer.getvalue())


def data_uri(image: bytes) -> str:
    """An address that holds the whole of a PNG or an SVG."""
    kind = "png" if image.startswith(b"\x89PNG") else "svg+xml"
    return f"data:image/{kind};base64,{base64.b64encode(image).decode()}"
