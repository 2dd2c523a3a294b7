"""Tables of ways side by side: rivals, the classroom, many networks, epochs and images, evaluation and so on."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from benchmarks.rows import Row
from benchmarks.tables.stored import Evidence, Sheet
from benchmarks.tables.text import (
    MISSING,
    conditions,
    count,
    launches,
    mark,
    paragraphs,
    ratio,
    spread,
    table,
    time,
    timed,
)


def _on_every_machine(evidence: Evidence, group: str, device: str, write: Callable[[Sheet], str]) -> str:
    parts = []
    for sheet in evidence.sheets(group, device):
        parts += [conditions(sheet), write(sheet), timed(sheet.rows)]
    return paragraphs(*parts) or MISSING


def _against(rows: Sequence[Row], ours: Row | None) -> list[list[str]]:
    """Title, time, quartiles, and how many times ours it takes."""
    return [
        [
            row.title + mark(row),
            time(row.median),
            spread(row),
            ratio(row.median / ours.median) if ours else "-",
        ]
        for row in rows
    ]


def _by_work(evidence: Evidence, group: str, device: str, ours: str) -> str:
    """Rows named group, device, work and way: a table for each work, all ways against `ours`."""

    def write(sheet: Sheet) -> str:
        parts = []
        for work in dict.fromkeys(row.name.split("/")[2] for row in sheet.rows):
            prefix = f"{group}/{device}/{work}/"
            rows = sheet.starting(prefix)
            header = [rows[0].work, "time", "quartiles", "times ours"]
            parts.append(table(header, _against(rows, sheet.row(f"{prefix}{ours}"))))
        return paragraphs(*parts)

    return _on_every_machine(evidence, group, device, write)


def rivals(evidence: Evidence, device: str) -> str:
    """One network, then two side by side."""
    return _by_work(evidence, "rivals", device, "breaknet")


def classroom(evidence: Evidence, device: str) -> str:
    """The classroom's notebook and its functions, as written and with breaknet's names."""
    return _by_work(evidence, "classroom", device, "drop-in")


def models(evidence: Evidence, device: str) -> str:
    """Networks side by side down, ways across."""
    return _on_every_machine(evidence, "models", device, lambda sheet: _grid(sheet, "networks", 2))


def epochs(evidence: Evidence, device: str) -> str:
    """Whole calls of `breaknet.train`: epochs and images down, backends across."""
    return _on_every_machine(evidence, "epochs", device, lambda sheet: _grid(sheet, "epochs x images", 2))


def evaluation(evidence: Evidence, device: str) -> str:
    """Networks and images down, ways across; the rivals against our whole call, and prepared like them."""
    return _on_every_machine(
        evidence, "evaluation", device, lambda sheet: _grid(sheet, "networks x images", 2, "kernel")
    )


def _grid(sheet: Sheet, down: str, at: int, prepared: str = "") -> str:
    """Rows named group/device/WAY/POINT: points down, ways across, and how many times the first way the others take.

    A way called `prepared` is ours as well: others are divided by it too.
    """
    ways: dict[str, str] = {}
    points: dict[str, dict[str, Row]] = {}
    for row in sheet.rows:
        way, point = row.name.split("/")[at : at + 2]
        ways.setdefault(way, row.title)
        points.setdefault(point, {})[way] = row
    first, *others = ways
    pairs = [(way, base) for way in others if way != prepared for base in (first, prepared) if base in ways]
    after = {first: "times ours", prepared: "times ours prepared"}
    header = [down, *ways.values(), *(f"{ways[way]}, {after[base]}" for way, base in pairs)]
    lines = []
    for point, found in sorted(points.items(), key=lambda pair: [int(part) for part in pair[0].split("x")]):
        times = [time(found[way].median) + mark(found[way]) if way in found else "-" for way in ways]
        factors = [
            ratio(found[way].median / found[base].median) if way in found and base in found else "-"
            for way, base in pairs
        ]
        lines.append([_point(point), *times, *factors])
    return table(header, lines)


def _point(point: str) -> str:
    return " x ".join(f"{int(part):,}" for part in point.split("x"))


def dispatch(evidence: Evidence, device: str) -> str:
    """Single calls, each against torch's own operators."""

    def write(sheet: Sheet) -> str:
        parts = []
        for what in dict.fromkeys(row.name.split("/")[2] for row in sheet.rows):
            rows = sheet.starting(f"dispatch/{device}/{what}/")
            base = sheet.row(f"dispatch/{device}/{what}/torch")
            lines = []
            for row in rows:
                factor = ratio(row.median / base.median) if base else "-"
                lines.append([row.title, launches(row), time(row.median), spread(row), factor])
            header = [rows[0].work, "launches a call", "time a call", "quartiles", "times torch's"]
            parts.append(table(header, lines, words=2))
        return paragraphs(*parts)

    return _on_every_machine(evidence, "dispatch", device, write)


def compiling(evidence: Evidence) -> str:
    """Targets down; the process that compiles the lesson's kernels for them, the first time and again."""

    def write(sheet: Sheet) -> str:
        lines = []
        for target in dict.fromkeys(row.name.split("/")[2] for row in sheet.rows):
            cold, warm = (sheet.row(f"compiling/cpu/{target}/{cache}") for cache in ("cold", "warm"))
            first, again = (time(row.median) if row else "-" for row in (cold, warm))
            part = time(cold.conditions["phases"]["compiling"]) if cold else "-"
            lines.append([target, first, part, again])
        return table(["compiled for", "the first time", "of it compiling", "again"], lines)

    return _on_every_machine(evidence, "compiling", "cpu", write)


def kernels(evidence: Evidence) -> str:
    """What the GPU kernels' design rests on."""

    def write(sheet: Sheet) -> str:
        lines = [[row.work, row.title, time(row.median), spread(row)] for row in sheet.rows]
        return paragraphs(table(["work", "way", "time", "quartiles"], lines, words=2), _rates(sheet))

    return _on_every_machine(evidence, "kernels", "cuda", write)


def _rates(sheet: Sheet) -> str:
    """Networks a second, without and with the judging of their checkpoints."""
    training, judging = (sheet.row(f"kernels/cuda/packed/{part}") for part in ("training", "evaluation"))
    if training is None:
        return ""
    told = training.conditions
    said = f"{ratio(1 / training.median)} a second trained"
    if judging is not None:
        said += (
            f", {ratio(1 / (training.median + judging.median))} a second with all their checkpoints judged"
        )
    return f"Networks, {count(told['epochs'], 'epoch')} of {told['images']:,} images each: {said}."
