"""`breaknet.sweep`: from a grid of jobs to a folder of results, of which what is already there is not done again."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..backends import select
from ..data.mnist import load_mnist
from ..data.splits import Digits
from ..inputs import knows_other_names
from ..model import MLP
from ..progress import TimeLeft, in_notebook, notices, open_bar
from ..quantities import duration, number_of
from ..resources import check_disk
from .grid import MAX_JOBS, MAX_JOBS_AT_ALL, Setting, read_file, settings
from .shards import Shard, Speed, cut, model_of, trained
from .store import Store, parquet, read_all
from .table import Table

ENGINES = ("local", "ray")

#: An estimate over this many seconds is asked about first.
MAX_SECONDS = 3600.0

#: Below this many images in all training passes nobody cares how long it takes, so speed is not measured.
SMALL = 3_000_000

#: Seconds of a launch on a GPU, about.
LAUNCH_SECONDS = 0.25

#: Shards of jobs -> the rows of each as it is done, in any order.
Engine = Callable[[Digits, list[Shard]], Iterable[tuple[Shard, list[dict[str, Any]]]]]


@dataclass(frozen=True)
class Plan:
    """The jobs of a sweep: those finished, and the shards of those to do."""

    settings: list[Setting]
    finished: int  # of the settings, from earlier runs
    shards: list[Shard]  # of the others
    parameters: bool = False  # whether those of every network are kept

    @property
    def seconds(self) -> float:
        return sum(shard.seconds for shard in self.shards)

    @property
    def launches(self) -> int:
        """Of the trainer, at least: one for each shard and shape of network, and one for every quarter of a second."""
        shapes = (len({setting.hidden for setting in shard.settings}) for shard in self.shards)
        return sum(
            max(count, round(shard.seconds / LAUNCH_SECONDS))
            for count, shard in zip(shapes, self.shards, strict=True)
        )

    @property
    def bytes(self) -> int:
        """Of memory for the largest shard, beside what Python and its libraries take."""
        return max((shard.bytes for shard in self.shards), default=0)

    def __str__(self) -> str:
        left = sum(len(shard.settings) for shard in self.shards)
        done = f" ({self.finished:,} of them done)" if self.finished else ""
        shards = number_of(len(self.shards), "shard")
        launches = number_of(self.launches, "launch", "launches")
        return (
            f"{number_of(len(self.settings), 'job')}{done}, {left:,} to do in {shards} and about {launches}, "
            f"{self.bytes / 2**20:,.0f} MiB of memory, about {duration(self.seconds)}"
        )


@dataclass(frozen=True, eq=False)
class SweepResult:
    """A finished sweep."""

    folder: Path
    settings: list[Setting] = field(repr=False)
    data_source: str
    trained: int  # jobs that this call trained; the others were there

    @property
    def results(self) -> Table:
        """Every job's settings, final figures and curves."""
        return Table.of(self._store_rows())

    @property
    def table(self) -> Any:
        """One row for each job, without curves: a pandas DataFrame where pandas is installed, else {column: list}."""
        return self.results.tidy()

    def model(self, row: int) -> MLP:
        """The network of a row of the table, as it was after the last epoch of which the row has a curve's point.

        Raises:
            ValueError: where its parameters were not kept (`parameters=True` keeps them).
        """
        setting = self.settings[row]
        (kept,) = read_all(self.folder, [setting.key], parameters=True)["parameters"] or [None]
        if kept is None:
            raise ValueError(f"row: {row} has no parameters kept; a sweep with parameters=True keeps them")
        return model_of(kept, setting.hidden)

    def _store_rows(self) -> dict[str, list[Any]]:
        return read_all(self.folder, [setting.key for setting in self.settings])


@knows_other_names
def sweep(
    grid: Mapping[str, Any] | str | os.PathLike[str],
    *,
    data: Digits | str | os.PathLike[str] | None = None,
    out: str | os.PathLike[str] = "breaknet-sweep",
    backend: str = "auto",
    device: Any = "auto",
    engine: str = "local",
    address: str | None = None,
    parameters: bool = False,
    yes: bool = False,
    progress: bool | None = None,
) -> SweepResult:
    """Train every network of a grid, on data broken in each of its ways, and keep the results in a folder.

    Args:
        grid: a TOML file, or a mapping with the same keys (`breaknet.sweeps.grid` lists them), each one value or a list
            of values: every combination is a job.
        data: Digits, or what `load_mnist` takes.
        out: the folder of results. Jobs that are finished there (with their shard) are not done again.
        backend, device: as in `train`.
        engine: "local", or "ray" for a Ray cluster.
        address: of the Ray cluster; None: the environment's (RAY_ADDRESS), else one on this machine.
        parameters: keep every network's final parameters as well, for `result.model(row)`: 52 kB each with widths
            16, 16. Jobs that were finished without them are done again.
        yes: go on with more than 200,000 jobs, or more than an estimated hour.
        progress: None for a bar in a notebook, and nothing elsewhere; True for a bar, False for silence.

    Raises:
        TypeError, ValueError: for a grid or arguments that are wrong, or too large without `yes`; nothing has been
            done then.
        DataError: for a folder that is not a sweep's or a result file that is broken; nothing is overwritten.
        ImportError: without pyarrow (`pip install 'breaknet[sweep]'`), or without Ray for that engine.
    """
    chosen = engine_named(engine, backend, device, address, parameters)
    digits, plan, store = prepared(
        grid, data=data, out=out, backend=backend, device=device, parameters=parameters, yes=yes
    )
    return run(digits, plan, store, chosen, progress)


def checked(
    grid: Mapping[str, Any] | str | os.PathLike[str], backend: str, device: Any, yes: bool
) -> Mapping[str, Any]:
    """The grid, read from its file; all that can be wrong before data are loaded is said here."""
    given = grid if isinstance(grid, Mapping) else read_file(Path(grid))
    settings(given, MAX_JOBS_AT_ALL, MAX_JOBS_AT_ALL if yes else MAX_JOBS)
    select.choices(backend, device)
    parquet()
    return given


def prepared(
    grid: Mapping[str, Any] | str | os.PathLike[str],
    *,
    data: Any = None,
    out: str | os.PathLike[str] = "breaknet-sweep",
    backend: str = "auto",
    device: Any = "auto",
    parameters: bool = False,
    yes: bool = False,
) -> tuple[Digits, Plan, Store]:
    """Everything that comes before the first job, checked: the digits, the plan and the folder. Writes nothing."""
    given = checked(grid, backend, device, yes)
    digits = data if isinstance(data, Digits) else load_mnist(data)
    chosen = settings(given, len(digits.train), MAX_JOBS_AT_ALL)
    store = Store(out, digits)
    finished = store.finished(parameters)
    left = [setting for setting in chosen if setting.key not in finished]
    if parameters:
        check_disk(store.shards, [(1, setting.hidden) for setting in left])
    small = sum(setting.epochs * setting.examples for setting in left) < SMALL
    speed = Speed.guessed() if small else Speed.measured(digits, left, backend, device)
    plan = Plan(chosen, len(chosen) - len(left), cut(left, speed, len(digits.valid)), parameters)
    if plan.seconds > MAX_SECONDS and not yes:
        raise ValueError(f"sweep: {plan}; over an hour needs --yes (yes=True)")
    return digits, plan, store


def engine_named(
    engine: str, backend: str, device: Any, address: str | None = None, parameters: bool = False
) -> Engine:
    """The engine of that name.

    Raises:
        ValueError: for another name, or an address without Ray.
        ImportError: for "ray" where Ray is not installed.
    """
    if engine not in ENGINES:
        raise ValueError(f"engine: {' or '.join(ENGINES)}, not {engine!r}")
    if engine == "ray":
        from .ray_engine import RayEngine

        return RayEngine(backend, device, address, parameters)
    if address is not None:
        raise ValueError("address: only with the ray engine")

    def local(digits: Digits, shards: list[Shard]) -> Iterator[tuple[Shard, list[dict[str, Any]]]]:
        for shard in shards:
            yield shard, trained(digits, shard.settings, backend, device, parameters)

    return local


def run(
    digits: Digits, plan: Plan, store: Store, engine: Engine, progress: bool | None = False
) -> SweepResult:
    """Do what is left of a plan, shard by shard, each kept as soon as it is done."""
    count = 0
    with store.locked(), _bar(plan, progress) as advance:
        finished = store.finished(plan.parameters)  # by another process since the plan was made
        left = [shard for shard in plan.shards if not all(one.key in finished for one in shard.settings)]
        for shard, rows in engine(digits, left) if left else ():
            store.write(rows)
            count += len(rows)
            advance(shard)
    return SweepResult(store.folder, plan.settings, digits.source, count)


@contextmanager
def _bar(plan: Plan, progress: bool | None) -> Iterator[Callable[[Shard], None]]:
    wanted = in_notebook() if progress is None else progress
    bar = open_bar(plan.seconds) if wanted and plan.shards else None
    if bar is None:
        yield lambda shard: None
        return
    left, finished, seconds = TimeLeft(plan.seconds), plan.finished, 0.0

    def show() -> None:
        bar.show(f"sweep, {finished:,} of {len(plan.settings):,} jobs", seconds, left.after(seconds))

    def advance(shard: Shard) -> None:
        nonlocal finished, seconds
        finished += len(shard.settings)
        seconds += shard.seconds
        show()

    show()
    try:
        with notices(progress):
            yield advance
    finally:
        bar.close()
