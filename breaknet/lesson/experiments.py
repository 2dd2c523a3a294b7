"""The lesson's experiments: as data, trained, fitted, and collected in one dictionary, `results`.

results.json holds `results`; figures and report are made from it and from nothing else.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from time import perf_counter
from typing import Any

from ..backends import select
from ..breakage import shuffle_labels
from ..data.splits import Digits, Split
from ..evaluation import evaluate
from ..inputs import check_count, check_learning_rate, check_seed
from ..model import check_hidden
from ..resources import check_disk, check_memory, check_time
from ..run import Run
from ..training import Job, train_many
from ..versions import versions
from ..views import confidently_wrong
from .fits import fit_experiment
from .learning_rate import rates_tried
from .many_runs import (
    FRACTIONS,
    NOISE_EPOCHS,
    STEPS,
    WIDTH_EPOCHS,
    WIDTHS,
    capacity,
    capacity_by_width,
    label_noise,
)
from .words import OF_DIGITS

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
    "label_noise": "accuracy against shuffled labels: training and evaluation",
    "capacity": "what can be memorised: training and evaluation",
    "pictures": "what the pictures show",
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
    """Seeds, lengths, network, backend and device of a lesson.

    Raises:
        TypeError, ValueError: for a setting of another kind or out of range; it is named as on the command line.
    """

    seed: int = 0  # draws the starting parameters
    epochs_scale: float = 1.0  # finite, over 0
    backend: str = "auto"
    device: str = "auto"
    shuffle_seed: int | None = None  # shuffles the labels; None: `seed` does
    epochs_all: int | None = None  # of the runs on all training examples; None: 100
    batch_size: int = BATCH_SIZE
    learning_rate: float | None = None  # None: LEARNING_RATE
    hidden: tuple[int, int] = HIDDEN
    capacity: bool = False  # whether to measure as well how much can be memorised

    def __post_init__(self) -> None:
        check_seed(self.seed)
        if self.shuffle_seed is not None:
            check_seed(self.shuffle_seed, "shuffle_seed")
        if isinstance(self.epochs_scale, bool) or not isinstance(self.epochs_scale, (int, float)):
            raise TypeError(f"epochs_scale: a number, not {self.epochs_scale!r}")
        if not math.isfinite(self.epochs_scale) or self.epochs_scale <= 0:
            raise ValueError(f"epochs_scale: finite and over 0, not {self.epochs_scale!r}")
        if self.epochs_scale > 1e9:
            raise ValueError(f"epochs_scale: at most 1e9, not {self.epochs_scale!r}")
        if self.epochs_all is not None:
            check_count(self.epochs_all, "epochs")
        check_count(self.batch_size, "batch_size")
        if self.learning_rate is not None:
            check_learning_rate(self.learning_rate)
        check_hidden(self.hidden)

    @property
    def labels_seed(self) -> int:
        """The seed of the shuffled labels."""
        return self.seed if self.shuffle_seed is None else self.shuffle_seed

    def epochs(self, experiment: Experiment) -> int:
        """The experiment's number of epochs: scaled, 1 or more."""
        of_all = self.epochs_all if experiment.examples is None else None
        return self.scaled(of_all or experiment.epochs)

    def scaled(self, epochs: int) -> int:
        """A number of epochs times `epochs_scale`, 1 or more."""
        return max(1, round(self.epochs_scale * epochs))

    def check_size(self, folder: Path | None = None) -> None:
        """Raise ValueError or DataError where the checkpoints do not fit into memory, or onto the disk of `folder`."""
        runs = [(self.epochs(experiment), self.hidden) for experiment in EXPERIMENTS]
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
        bad = shuffle_labels(self.digits.train, seed=self.settings.labels_seed)
        return {
            experiment.name: (bad if experiment.shuffled else self.digits.train)[: experiment.examples]
            for experiment in EXPERIMENTS
        }

    def run(self, finished: Callable[[dict[str, Run], Results], Any] = lambda runs, results: None) -> Results:
        """Train everything, side by side where the backend can, and return `results`.

        `finished(runs, results)` is called after each group of experiments, with its runs by name and the
        results so far. What consists of many runs hands over none of them.
        """
        settings = self.settings
        settings.check_size()
        data = self.training_data()
        self._check_time(data)
        results = self._empty_results()
        results["labels"] = list(self.digits.names)
        results["settings"]["examples"] = len(data["clean"])
        if self._rates:
            results["settings"]["learning_rates_tried"] = self._rates
        for group in self._groups():
            jobs = [
                Job(
                    data[experiment.name],
                    valid=self.digits.valid,
                    epochs=settings.epochs(experiment),
                    seed=settings.seed,
                    name=experiment.name,
                    **self._network(),
                )
                for experiment in group
            ]
            runs = train_many(jobs, **self._running())
            named = {experiment.name: run for experiment, run in zip(group, runs, strict=True)}
            _add_runs(results, named)
            self._look_at(results, named)
            finished(named, results)
        for name, made in self._many_runs(data).items():
            began = perf_counter()
            results[name] = made()
            results["seconds"][name] = perf_counter() - began
            finished({}, results)
        return results

    def _look_at(self, results: Results, runs: dict[str, Run]) -> None:
        """Add what the pictures of these runs are drawn from, on the validation set after the last epoch."""
        began = perf_counter()
        for name, run in runs.items():
            if not len(run.checkpoints):
                continue
            counts = evaluate(
                run.model, self.digits.valid, confusion=True, backend=self.settings.backend,
                device=self.settings.device,
            ).confusion  # fmt: skip
            wrong = confidently_wrong(run, self.digits.valid)
            results["experiments"][name]["confusion"] = counts[0].tolist() if counts is not None else None
            results["experiments"][name]["mistakes"] = [vars(one) for one in wrong]
        results["seconds"]["pictures"] += perf_counter() - began

    def _many_runs(self, data: dict[str, Split]) -> dict[str, Callable[[], Results]]:
        """The experiments that consist of many runs, by name, in their order."""
        settings, network, running = self.settings, self._network(), self._running()
        made: dict[str, Callable[[], Results]] = {
            "label_noise": partial(
                label_noise,
                self.digits,
                epochs=settings.scaled(NOISE_EPOCHS),
                seed=settings.seed,
                shuffle_seed=settings.labels_seed,
                network=network,
                running=running,
            )
        }
        if settings.capacity:
            made["capacity"] = partial(self._capacity, data["shuffled"])
        return made

    def _capacity(self, shuffled: Split) -> Results:
        settings, running = self.settings, self._running()
        by_examples = capacity(
            shuffled,
            steps=settings.scaled(STEPS),
            seed=settings.seed,
            network=self._network(),
            running=running,
        )
        smaller = self._rates[-1] / LEARNING_RATE if self._rates else 1.0  # what the data ask for
        by_width = capacity_by_width(
            shuffled,
            widths={hidden: smaller * rate for hidden, rate in WIDTHS.items()},
            epochs=settings.scaled(WIDTH_EPOCHS),
            seed=settings.seed,
            running=running,
        )
        return {**by_examples, "widths": by_width}

    def _network(self) -> dict[str, Any]:
        """Arguments of a Job that all runs have in common."""
        settings = self.settings
        rate = settings.learning_rate or (self._rates or [LEARNING_RATE])[-1]
        return {"batch_size": settings.batch_size, "learning_rate": rate, "hidden": settings.hidden}

    @cached_property
    def _rates(self) -> list[float]:
        """The learning rates that were tried on data of other kinds than the lesson's own; none on those."""
        settings = self.settings
        if settings.learning_rate is not None or self.digits.source in OF_DIGITS:
            return []
        network = {"seed": settings.seed, "batch_size": settings.batch_size, "hidden": settings.hidden}
        running = {"backend": settings.backend, "device": settings.device}
        return rates_tried(self.digits.train, LEARNING_RATE, network, running)

    def _running(self) -> dict[str, Any]:
        settings = self.settings
        return {"backend": settings.backend, "device": settings.device, "progress": self.progress}

    def _check_time(self, data: dict[str, Split]) -> None:
        """Refuse what would take over a year."""
        settings = self.settings
        lengths = [(settings.epochs(one), len(data[one.name])) for one in EXPERIMENTS]
        lengths += [(settings.scaled(NOISE_EPOCHS), len(data["clean"]))] * len(FRACTIONS)
        backend = select.choices(settings.backend, settings.device)[0].name
        valid = len(self.digits.valid)
        check_time(
            backend,
            [(epochs, settings.hidden, count + valid, settings.batch_size) for epochs, count in lengths],
        )

    def _groups(self) -> list[tuple[Experiment, ...]]:
        """Experiments to train in one call. Those of a group end together, so Ctrl-C loses no finished one."""
        first = select.choices(self.settings.backend, self.settings.device)[0]
        clean, shuffled, hundred = EXPERIMENTS
        together = [(clean,), (shuffled,)] if first.name == "torch" else [(clean, shuffled)]
        return [*together, (hundred,)]

    def _empty_results(self) -> Results:
        settings = self.settings
        return {
            "schema": SCHEMA,
            "data_source": self.digits.source,
            "settings": {
                "seed": settings.seed,
                "shuffle_seed": settings.labels_seed,
                "epochs_scale": settings.epochs_scale,
                **self._network(),
                "hidden": list(settings.hidden),
                "epochs": {experiment.name: settings.epochs(experiment) for experiment in EXPERIMENTS},
            },
            "versions": versions(),
            "backend": "",
            "plan": "",
            "device": "",
            "seconds": {phase: 0.0 for phase in PHASES if phase != "capacity" or settings.capacity},
            "experiments": {},
        }


def outcome(results: Mapping[str, Any], name: str) -> Any:
    """The results of an experiment, one of the three or one of many runs; None where it was not run."""
    return results["experiments"].get(name, results.get(name))


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
    """One run's entry of results["experiments"]: four curves [epochs], `diverged_at`, `stuck_at` and its fits."""
    curves = {key: getattr(run, key).tolist() for key in CURVES}
    ends = {"diverged_at": run.diverged_at, "stuck_at": getattr(run, "stuck_at", None)}
    return {**curves, **ends, "fits": fit_experiment(name, curves)}
