"""Everything that is measured, by suites. A suite is `ways(lab)`: what it would measure there, prepared only later.

from benchmarks.suites import SUITES
rows = measure(SUITES["models"](lab), lab)
"""

from __future__ import annotations

from collections.abc import Callable

from benchmarks import contenders
from benchmarks.lab import Lab
from benchmarks.measure import Way
from benchmarks.suites import (
    classroom,
    compiling,
    dispatch,
    epochs,
    evaluation,
    kernels,
    lesson,
    models,
    rivals,
)

SUITES: dict[str, Callable[[Lab], list[Way]]] = {
    "ladder": contenders.ways,
    "rivals": rivals.ways,
    "models": models.ways,
    "epochs": epochs.ways,
    "evaluation": evaluation.ways,
    "dispatch": dispatch.ways,
    "kernels": kernels.ways,
    "lesson": lesson.ways,
    "compiling": compiling.ways,
    "classroom": classroom.ways,
}
