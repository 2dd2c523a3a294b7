"""Documents and their markers: `<!-- table: NAME -->` what is written `<!-- end -->`, on one line or on several."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path

ROOT = Path(__file__).parents[2]
_PLACE = re.compile(r"<!-- table: ([\w-]+) -->(.*?)<!-- end -->", re.DOTALL)
_MARKER = re.compile(r"<!-- (?:table: [^>]*|end) -->")


def documents(root: Path = ROOT) -> list[Path]:
    """README.md and the pages of docs/."""
    return [root / "README.md", *sorted((root / "docs").glob("*.md"))]


def places(text: str) -> list[str]:
    """The names of a document's places, in order."""
    return [name for name, _ in _PLACE.findall(text)]


def rendered(text: str, write: Mapping[str, Callable[[], str]]) -> str:
    """`text` with every place written anew; one that begins within a line stays in it.

    Raises:
        ValueError: an unknown name, or a marker without its partner.
    """

    def fill(found: re.Match[str]) -> str:
        name, before = found.groups()
        if name not in write:
            raise ValueError(f"table: one of {', '.join(sorted(write))}, not {name!r}")
        if _MARKER.search(before):
            raise ValueError(f"table {name!r}: another marker before its end")
        inline = "\n" not in before
        space = "" if inline else "\n"
        return f"<!-- table: {name} -->{space}{write[name]()}{space}<!-- end -->"

    lone = _MARKER.search(_PLACE.sub("", text))
    if lone:
        raise ValueError(f"marker without its partner: {lone.group(0)}")
    return _PLACE.sub(fill, text)
