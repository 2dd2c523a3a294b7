"""The lesson's three experiments: as data, trained, fitted, and collected in one dictionary, `results`.

results.json holds `results`; figures and report are made from it and from nothing else.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

from ..backends import select
from ..breakage import shuffle_labels
from ..data.splits import Digits, Split
from ..inputs import check_seed
from ..resources import check_disk, check_memory, check_time
from ..run import Run
from ..training import Job, train_many
from ..versions import versions
from .fits import fit_experiment

SCHEMA = 1
HIDDEN = (16, 16)
BATCH_SIZE = 100
LEARNING_RATE = 0.05

#: The phases in results["seconds"], in their order, as the report names them.
PHASES = {
    "torch": "importing torch",
    "imports": "starting Python and its other libraries",
    "data": "opening the data",
    "compile": "compiling",
    "transfer": "moving data and parameters to the device and back",
    "training": "training",
    "evaluation": "cost and accuracy of every epoch",
    "fits": "fits",
    "figures": "waiting for the figures",
    "report": "this page",
    "total": "in all, up to this page",
}

CURVES = ("train_cost", "valid_cost", "train_accuracy", "valid_accuracy")

Results = dict[str, Any]


@dataclass(frozen=True)
class Experiment:
    """One training run of the lesson: epochs, labels, and the part of the training images."""

    name: str
    epochs: int
    shuffled: bool
    examples: int | None = None  # the first so many; None for all


EXPERIMENTS = (
    Experiment("clean", epochs=100, shuffled=False),
    Experiment("shuffled", epochs=100, shuffled=True),
    Experiment("hundred", epochs=1000, shuffled=True, examples=100),
)


@dataclass(frozen=True)
class Settings:
    """Seed, scale, backend and device of a lesson.

    Raises:
        TypeError, ValueError: for a seed or an `epochs_scale` out of range.
    """

    seed: int = 0  # draws the starting parameters and shuffles the labels
    epochs_scale: float = 1.0  # finite, over 0
    backend: str = "auto"
    device: str = "auto"

    def __post_init__(self) -> None:
        check_seed(self.seed)
        if isinstance(self.epochs_scale, bool) or not isinstance(self.epochs_scale, (int, float)):
            raise TypeError(f"epochs_scale: a number, not {self.epochs_scale!r}")
        if not math.isfinite(self.epochs_scale) or self.epochs_scale <= 0:
            raise ValueError(f"epochs_scale: finite and over 0, not {self.epochs_scale!r}")
        if self.epochs_scale > 1e9:
            raise ValueError(f"epochs_scale: at most 1e9, not {self.epochs_scale!r}")

    def epochs(self, experiment: Experiment) -> int:
        """The experiment's number of epochs: scaled, 1 or more."""
        return max(1, round(self.epochs_scale * experiment.epochs))

    def check_size(self, folder: Path | None = None) -> None:
        """Raise ValueError or DataError where the checkpoints do not fit into memory, or onto the disk of `folder`."""
        runs = [(self.epochs(experiment), HIDDEN) for experiment in EXPERIMENTS]
        check_memory(runs)
        if folder is not None:
            check_disk(folder, runs)


@dataclass(frozen=True, eq=False)
class Lesson:
    """Runs the experiments on `digits`.

    Args:
        digits: the data set.
        settings: seed, scale and backend.
        progress: as for `breaknet.train`.
    """

    digits: Digits
    settings: Settings = Settings()
    progress: Any = False

    def training_data(self) -> dict[str, Split]:
        """The training data of each experiment, by name; clean and shuffled share their images."""
        bad = shuffle_labels(self.digits.train, seed=self.settings.seed)
        return {
            experiment.name: (bad if experiment.shuffled else self.digits.train)[: experiment.examples]
            for experiment in EXPERIMENTS
        }

    def run(self, finished: Callable[[dict[str, Run], Results], Any] = lambda runs, results: None) -> Results:
        """Train all experiments, side by side where the backend can, and return `results`.

        `finished(runs, results)` is called after each group of experiments, with its runs by name and the
        results so far.
        """
        self.settings.check_size()
        data = self.training_data()
        backend = select.choices(self.settings.backend, self.settings.device)[0].name
        check_time(
            backend,
            [
                (self.settings.epochs(one), HIDDEN, len(data[one.name]) + len(self.digits.valid), BATCH_SIZE)
                for one in EXPERIMENTS
            ],
        )
        results = self._empty_results()
        for group in self._groups():
            jobs = [
                Job(
                    data[experiment.name],
                    valid=self.digits.valid,
                    epochs=self.settings.epochs(experiment),
                    batch_size=BATCH_SIZE,
                    learning_rate=LEARNING_RATE,
                    hidden=HIDDEN,
                    seed=self.settings.seed,
                )
                for experiment in group
            ]
            runs = train_many(
                jobs, backend=self.settings.backend, device=self.settings.device, progress=self.progress
            )
            named = {experiment.name: run for experiment, run in zip(group, runs, strict=True)}
            _add_runs(results, named)
            finished(named, results)
        return results

    def _groups(self) -> list[tuple[Experiment, ...]]:
        """Experiments to train in one call. Those of a group end together, so Ctrl-C loses no finished one."""
        first = select.choices(self.settings.backend, self.settings.device)[0]
        clean, shuffled, hundred = EXPERIMENTS
        together = [(clean,), (shuffled,)] if first.name == "torch" else [(clean, shuffled)]
        return [*together, (hundred,)]

    def _empty_results(self) -> Results:
        return {
            "schema": SCHEMA,
            "data_source": self.digits.source,
            "settings": {
                "seed": self.settings.seed,
                "epochs_scale": self.settings.epochs_scale,
                "hidden": list(HIDDEN),
                "batch_size": BATCH_SIZE,
                "learning_rate": LEARNING_RATE,
                "epochs": {experiment.name: self.settings.epochs(experiment) for experiment in EXPERIMENTS},
            },
            "versions": versions(),
            "backend": "",
            "plan": "",
            "device": "",
            "seconds": dict.fromkeys(PHASES, 0.0),
            "experiments": {},
        }


def _add_runs(results: Results, runs: dict[str, Run]) -> None:
    for key in ("backend", "plan", "device"):
        used = [*results[key].split(", "), *(getattr(run, key) for run in runs.values())]
        results[key] = ", ".join(dict.fromkeys(value for value in used if value))
    for phase in ("compile", "transfer", "training", "evaluation"):
        # runs of one call share their time, so it is not added up
        results["seconds"][phase] += max(run.seconds.get(phase, 0.0) for run in runs.values())
    began = perf_counter()
    results["experiments"].update((name, summary(name, run)) for name, run in runs.items())
    results["seconds"]["fits"] += perf_counter() - began


def summary(name: str, run: Run) -> dict[str, Any]:
    """What results["experiments"] holds of one run: its four curves [epochs], `diverged_at` and its fits."""
    curves = {key: getattr(run, key).tolist() for key in CURVES}
    return {**curves, "diverged_at": run.diverged_at, "fits": fit_experiment(name, curves)}
