"""The files that a sweep leaves beside its shards: table.csv, the pictures, and one HTML page with both."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from ..files import written_whole
from ..html import data_uri
from .maps import pictures
from .runner import SweepResult
from .table import Table, text_of

#: Rows of the page's table; the whole table is table.csv.
MAX_ROWS = 60


def write_page(
    result: SweepResult, title: str = "A sweep of broken data", text: Sequence[tuple[str, Sequence[str]]] = ()
) -> Path:
    """Write table.csv, figures/NAME.svg and report.html into the sweep's folder; return the page's path.

    Args:
        text: sections above the pictures, each a heading and its paragraphs.

    Raises:
        DataError: where the folder cannot be written.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    table = result.results
    table.write_csv(result.folder / "table.csv")
    drawn = pictures(table, result.data_source)
    for name, (_, svg) in drawn.items():
        with written_whole(result.folder / "figures" / f"{name}.svg") as unfinished:
            unfinished.write_bytes(svg)
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    page = environment.get_template("sweep.html.j2").render(
        title=title,
        source=result.data_source,
        text=text,
        pictures=[{"title": heading, "uri": data_uri(svg)} for heading, svg in drawn.values()],
        axes=table.axes,
        rows=_rows(table),
        cells=len(table.cells()),
        networks=len(table),
        stuck=_stuck(table, range(len(table))),
        facts=facts(result, table),
    )
    path = result.folder / "report.html"
    with written_whole(path) as unfinished:
        unfinished.write_text(page, encoding="utf-8")
    return path


def _rows(table: Table) -> list[list[str]]:
    """Settings and accuracies, the best validation accuracy first."""
    found = []
    for cell in table.cells():
        figures = [table.mean_and_spread(cell, name) for name in ("train_accuracy", "valid_accuracy", "gap")]
        found.append((figures[1][0], cell, figures))
    found.sort(key=lambda one: -one[0] if math.isfinite(one[0]) else math.inf)
    return [
        [
            *(text_of(value) for value in cell.place),
            str(len(cell.rows)) + (f", {stuck} stuck" if (stuck := _stuck(table, cell.rows)) else ""),
            *(_percent(*one) for one in figures),
        ]
        for _, cell, figures in found[:MAX_ROWS]
    ]


def _stuck(table: Table, rows: Iterable[int]) -> int:
    """The number of these networks that learned nothing any more at their end."""
    return sum(table.columns["stuck_at"][row] is not None for row in rows)


def _percent(mean: float, spread: float) -> str:
    if not math.isfinite(mean):
        return "diverged"
    return f"{100 * mean:.1f} %" + (f" ± {100 * spread:.1f}" if math.isfinite(spread) else "")


def facts(result: SweepResult, table: Table) -> list[tuple[str, Any]]:
    columns = table.columns
    used = sorted(set(zip(columns["backend"], columns["plan"], columns["device"], strict=True)))
    diverged = sum(one is not None for one in columns["diverged_at"])
    return [
        ("Data", result.data_source),
        ("Networks", f"{len(table):,}" + (f", of which {diverged:,} diverged" if diverged else "")),
        ("Steps of training", f"{sum(columns['steps']):,} in all"),
        ("Axes", ", ".join(table.axes) or "none but the seed"),
        ("Seeds", f"{len(set(columns['seed']))}"),
        ("Trained on", "; ".join(f"{backend} (plan {plan}) on {device}" for backend, plan, device in used)),
    ]
