"""The names that markers use, and what each of them stands for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from benchmarks.rows import Machine, Row, stored
from benchmarks.t4 import storage
from benchmarks.tables import ladder, lesson, plots, prediction, tables
from benchmarks.tables.stored import Evidence
from benchmarks.tables.text import MISSING


@dataclass(frozen=True)
class Sources:
    """All that documents are written from."""

    rows: Sequence[tuple[Machine, Sequence[Row]]]
    prediction: storage.Stored | None

    @classmethod
    def stored(cls) -> Sources:
        """What the repository holds."""
        return cls(stored(), storage.load())

    @property
    def evidence(self) -> Evidence:
        return Evidence(self.rows)


def _by_device(name: str, write: Callable[[Evidence, str], str]) -> dict[str, Callable[[Sources], str]]:
    def on(device: str, sources: Sources) -> str:
        return write(sources.evidence, device)

    return {f"{name}-{device}": partial(on, device) for device in ("cpu", "cuda")}


def _plot(name: str, sources: Sources) -> str:
    plot = plots.PLOTS[name]
    return f"![{plot.alt}](images/{name}.svg)" if plot.sheet(sources.evidence) is not None else MISSING


CONTENTS: dict[str, Callable[[Sources], str]] = {
    **_by_device("ladder", ladder.ladder),
    **_by_device("rivals", tables.rivals),
    **_by_device("models", tables.models),
    **_by_device("epochs", tables.epochs),
    **_by_device("evaluation", tables.evaluation),
    **_by_device("dispatch", tables.dispatch),
    **_by_device("lesson", lesson.phases),
    **_by_device("classroom", tables.classroom),
    "compiling-cpu": lambda sources: tables.compiling(sources.evidence),
    "kernels-cuda": lambda sources: tables.kernels(sources.evidence),
    "lesson-summary": lambda sources: lesson.summary(sources.evidence),
    "lesson-sentence": lambda sources: lesson.sentence(sources.evidence),
    "t4": lambda sources: prediction.t4(sources.rows, sources.prediction),
    "t4-assumptions": lambda sources: prediction.assumptions(),
    **{f"plot-{name}": partial(_plot, name) for name in plots.PLOTS},
}
