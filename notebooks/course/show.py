"""Tables and source code as a notebook shows them, and as a terminal does."""

from __future__ import annotations

import html
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Table:
    """A small table: the first column in words, the others to the right unless `words` says that they are words too."""

    header: Sequence[str]
    lines: Sequence[Sequence[str]]
    notes: Sequence[str] = ()
    words: bool = False

    def __repr__(self) -> str:
        everything = [list(self.header), *map(list, self.lines)]
        widths = [max(len(line[column]) for line in everything) for column in range(len(self.header))]
        text = [
            "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
            for line in everything
        ]
        return "\n".join([*text, *self.notes])

    def _repr_html_(self) -> str:
        sides = ["left", *["left" if self.words else "right"] * (len(self.header) - 1)]

        def row(cells: Sequence[str], tag: str) -> str:
            wrap = "" if self.words or tag == "th" else "; white-space: nowrap"
            return "".join(
                f'<{tag} style="text-align: {side}{wrap}">{html.escape(cell)}</{tag}>'
                for cell, side in zip(cells, sides, strict=True)
            )

        body = "".join(f"<tr>{row(line, 'td')}</tr>" for line in self.lines)
        notes = "".join(f"<p><small>{html.escape(note)}</small></p>" for note in self.notes)
        return f"<table><thead><tr>{row(self.header, 'th')}</tr></thead><tbody>{body}</tbody></table>{notes}"


@dataclass(frozen=True)
class Source:
    """Code that a notebook shows as it is."""

    text: str

    def __repr__(self) -> str:
        return self.text


def shown(function: Callable[..., Any]) -> Source:
    """The source of a spec."""
    return Source(inspect.getsource(function).strip())
