"""The names that markers use, and what each of them stands for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from benchmarks import plots
from benchmarks.rows import Machine, Row, stored
from benchmarks.t4 import storage
from benchmarks.tables import comparisons, ladder, lesson, prediction
from benchmarks.tables.evidence import Evidence
from benchmarks.tables.words import MISSING


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
    **_by_device("rivals", comparisons.rivals),
    **_by_device("models", comparisons.models),
    **_by_device("epochs", comparisons.epochs),
    **_by_device("evaluation", comparisons.evaluation),
    **_by_device("dispatch", comparisons.dispatch),
    **_by_device("lesson", lesson.phases),
    **_by_device("classroom", comparisons.classroom),
    "compiling-cpu": lambda sources: comparisons.compiling(sources.evidence),
    "kernels-cuda": lambda sources: comparisons.kernels(sources.evidence),
    "lesson-summary": lambda sources: lesson.summary(sources.evidence),
    "lesson-sentence": lambda sources: lesson.sentence(sources.evidence),
    "t4": lambda sources: prediction.t4(sources.rows, sources.prediction),
    "t4-assumptions": lambda sources: prediction.assumptions(),
    **{f"plot-{name}": partial(_plot, name) for name in plots.PLOTS},
}
