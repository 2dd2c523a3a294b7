"""Ratios, conditions and Markdown tables as text."""

from collections.abc import Iterable, Sequence

from benchmarks.rows import Machine, Row
from benchmarks.tables.stored import Sheet
from breaknet.quantities import digits, number_of, unit_of_time


def spread(row: Row) -> str:
    """The quartiles in the unit of the median."""
    low, high = (digits(end / unit_of_time(row.median)[1]) for end in (row.low, row.high))
    return low if low == high else f"{low} to {high}"


def ratio(value: float) -> str:
    """Two digits, three from 100 on."""
    return digits(value, 3 if value >= 99.5 else 2)


#: Launches by kind, in the singular and the plural.
_LAUNCHED = {
    "kernels": ("kernel", "kernels"),
    "copies": ("copy", "copies"),
    "host_launches": ("launch by the host", "launches by the host"),
    "torch_operators": ("torch operator", "torch operators"),
    "compiled_calls": ("compiled call", "compiled calls"),
}


def launches(row: Row) -> str:
    """The launches of one unit of work."""
    counts = []
    for name, number in row.launches.items():
        if number:
            one, several = _LAUNCHED.get(name, (name, name))
            figure = f"{number:,.0f}" if number == round(number) else digits(number)
            counts.append(f"{figure} {one if number == 1 else several}")
    return ", ".join(counts) or "-"


def mark(row: Row) -> str:
    """Behind a time that was extrapolated from a part."""
    extrapolated = row.conditions.get("extrapolated") and "extrapolated" not in row.title
    return " (extrapolated)" if extrapolated else ""


def table(header: Sequence[str], lines: Iterable[Sequence[str]], words: int = 1) -> str:
    """A Markdown table whose first `words` columns are text and whose others are numbers."""
    rule = [":--" if column < words else "--:" for column in range(len(header))]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (header, rule, *lines))


def machine(one: Machine) -> str:
    """The GPU, or the CPU and its cores."""
    return one.gpu or f"{one.cpu}, {number_of(one.cores, 'core')}"


def conditions(sheet: Sheet) -> str:
    """Machine, day, versions and data of a sheet, in a few lines."""
    one, facts = sheet.machine, sheet.rows[0].conditions
    where = [machine(one)]
    where += [f"power limit {one.power_limit_w:g} W"] if one.power_limit_w else []
    where += [f"driver {one.driver}"] if one.driver else []
    shown = ("python", "torch", "triton", "numba", "jax")
    versions = [f"{name} {one.versions[name]}" for name in shown if name in one.versions]
    batches = sorted({row.conditions["batch"] for row in sheet.rows if row.conditions.get("batch", 1) > 1})
    work = [str(facts.get("data", "")), str(facts.get("dtype", "float32"))]
    work += [f"batches of {' and '.join(map(str, batches))}"] if batches else []
    small = [] if sheet.size == "full" else [f"{sheet.size} size: a first look"]
    line = "; ".join([", ".join(where), ", ".join(versions), ", ".join(work), *small])
    few, *_, many = 2 * sorted(row.repeats for row in sheet.rows)
    calls = number_of(few, "call") if few == many else f"{few} to {many} calls"
    return f"Measured on {line}; commit {one.commit}, {one.date}. Medians of {calls} with quartiles."


def timed(rows: Iterable[Row]) -> str:
    """The parts that are timed and not timed, once for all rows that agree on it; which these are, unless all do."""
    agreed: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        if inside := row.conditions.get("timed"):
            agreed.setdefault((inside["in"], inside["out"]), []).append(row)
    titles = [title for agreeing in agreed.values() for title in dict.fromkeys(row.title for row in agreeing)]
    called = "title" if len(set(titles)) == len(titles) else "work"
    lines = []
    for (inside, out), agreeing in agreed.items():
        which = "; ".join(dict.fromkeys(getattr(row, called) for row in agreeing))
        lines.append(f"Timed{f' ({which})' if len(agreed) > 1 else ''}: {inside}; not timed: {out}.")
    return "\n".join(f"* {line}" for line in lines) if len(lines) > 1 else "".join(lines)


def paragraphs(*parts: str) -> str:
    """The parts that are not empty, with an empty line between."""
    return "\n\n".join(part for part in parts if part)
