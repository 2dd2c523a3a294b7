"""`python -m benchmarks.tables`: write every measured figure of the documents again, from stored rows only."""

import argparse
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from benchmarks import t4_gate
from benchmarks.processes import ROOT
from benchmarks.rows import Machine, Row, stored
from benchmarks.tables import lesson, plots, t4, tables
from benchmarks.tables.stored import Evidence
from breaknet.errors import DataError

_PLACE = re.compile(r"<!-- table: ([\w-]+) -->(.*?)<!-- end -->", re.DOTALL)
_MARKER = re.compile(r"<!-- (?:table: [^>]*|end) -->")


def contents(
    rows: Sequence[tuple[Machine, Sequence[Row]]], counted: t4_gate.Counted | None
) -> dict[str, Callable[[], str]]:
    """The names that markers use, and what writes the text for each from these rows."""
    evidence = Evidence(rows)
    groups = {
        "ladder": tables.listings,
        "comparison": tables.listings,
        "models": partial(tables.grid, down="networks"),
        "epochs": partial(tables.grid, down="epochs x images"),
        "evaluation": partial(tables.grid, down="networks x images"),
        "dispatch": tables.listings,
        "lesson": lesson.phases,
        "classroom": tables.listings,
    }
    written = {group: partial(tables.section, evidence, group, write) for group, write in groups.items()}
    on_one_device = {"compiling": tables.compiling, "kernels": tables.kernels}
    return written | {
        **{
            name: partial(tables.section, evidence, name, on_one_device[name], False)
            for name in on_one_device
        },
        "lesson-summary": partial(lesson.summary, evidence),
        "lesson-sentence": partial(lesson.sentence, evidence),
        "t4": partial(t4.table_of, rows, counted),
    }


def documents() -> list[Path]:
    """README.md and the pages of docs/."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def rendered(text: str, write: Mapping[str, Callable[[], str]]) -> str:
    """`text` with every place written again; one that begins within a line stays in it.

    Raises:
        ValueError: an unknown name, or a marker without its partner.
    """

    def fill(found: re.Match[str]) -> str:
        name, before = found.groups()
        if name not in write:
            raise ValueError(f"table: one of {', '.join(sorted(write))}, not {name!r}")
        if _MARKER.search(before):
            raise ValueError(f"table {name!r}: another marker before its end")
        space = "\n" if "\n" in before else ""
        content = write[name]()
        return f"<!-- table: {name} -->{space}{content}{space if content else ''}<!-- end -->"

    lone = _MARKER.search(_PLACE.sub("", text))
    if lone:
        raise ValueError(f"marker without its partner: {lone.group(0)}")
    return _PLACE.sub(fill, text)


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns 1, with a line for each document that differs, where only to check; else 0."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tables", description=__doc__)
    parser.add_argument("--check", action="store_true", help="only say which documents differ from the rows")
    only_check = parser.parse_args(arguments).check
    try:
        rows = stored()
        write = contents(rows, t4_gate.load())
        old = {path: path.read_text(encoding="utf-8") for path in documents()}
        new = {path: rendered(text, write) for path, text in old.items()}
    except (DataError, ValueError) as error:
        print(f"tables: {error}", file=sys.stderr)
        return 1
    different = [path for path in old if new[path] != old[path]]
    names = [str(path.relative_to(ROOT)) for path in different]
    names += [f"docs/images/{name}.svg" for name in plots.different(Evidence(rows))]
    if only_check:
        for name in names:
            print(f"{name}: not what the rows give; run python -m benchmarks.tables", file=sys.stderr)
        return 1 if names else 0
    for path in different:
        path.write_text(new[path], encoding="utf-8")
    plots.write(Evidence(rows))
    for name in names:
        print(f"{name}: written again")
    return 0


if __name__ == "__main__":
    sys.exit(main())
