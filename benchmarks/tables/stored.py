"""The stored rows that documents are written from: full sizes before quick ones, and never those of a rehearsal."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from benchmarks.rows import Machine, Row

#: Sizes whose times mean something, best first.
SIZES = ("full", "quick")


@dataclass(frozen=True)
class Sheet:
    """One group's rows of one machine and device, measured in one go."""

    machine: Machine
    rows: tuple[Row, ...]

    def row(self, name: str) -> Row | None:
        """The row of that name."""
        return next((row for row in self.rows if row.name == name), None)

    @property
    def size(self) -> str:
        """One of SIZES."""
        return str(self.rows[0].conditions.get("size"))


class Evidence:
    """Sheets by group and device."""

    def __init__(self, rows: Iterable[tuple[Machine, Sequence[Row]]]) -> None:
        self._sheets: dict[tuple[str, str], list[Sheet]] = {}
        for machine, some in rows:
            useful = [row for row in some if row.conditions.get("size") in SIZES]
            for key in dict.fromkeys((row.group, row.device) for row in useful):
                chosen = tuple(row for row in useful if (row.group, row.device) == key)
                self._sheets.setdefault(key, []).append(Sheet(machine, chosen))
        for sheets in self._sheets.values():
            sheets.sort(key=lambda sheet: sheet.machine.date, reverse=True)
            sheets.sort(key=lambda sheet: SIZES.index(sheet.size))

    def sheets(self, group: str, device: str) -> list[Sheet]:
        """One sheet for each machine with such rows: full sizes first, then the newest."""
        return self._sheets.get((group, device), [])

    def sheet(self, group: str, device: str) -> Sheet | None:
        """The first of them."""
        return next(iter(self.sheets(group, device)), None)
