"""Progress of training: a bar and notices where somebody looks, or calls of a function; elsewhere nothing.

None    in a notebook a bar once a second has passed, and the notices of compiling; elsewhere nothing
True    a bar at once, and the notices
False   nothing
"""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from time import perf_counter
from typing import Any

from .backends.interface import TrainingJob
from .errors import shown
from .quantities import duration

_COSTS_SHOWN = 4
_NAMES_SHOWN = 3

PATIENCE = 1.0  # seconds before a bar that nobody asked for, and before a rate is believed
_BETWEEN_DRAWINGS = 0.2
_BURST = 0.05  # reports this close to the first one tell of epochs that were trained before it

_log = logging.getLogger("breaknet")


class CallbackFailed(BaseException):
    """Carries an exception of the caller's callable through the backends unchanged."""

    def __init__(self, error: BaseException) -> None:
        self.error = error


def in_notebook() -> bool:
    """Whether this process runs the cells of a notebook."""
    return hasattr(_shell(), "kernel")


def _shell() -> Any:
    return getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()


@contextmanager
def notices(progress: object) -> Iterator[None]:
    """A block whose notices, such as that of compiling, are printed as `progress` wants it."""
    notebook = in_notebook()
    # where the caller has notices logged already, there is nothing to do
    if progress is False or not (notebook or progress is True) or _log.isEnabledFor(logging.INFO):
        yield
        return
    with _printer.printing():
        yield


class _Printer(logging.Filter):
    """Prints breaknet's notices, and keeps from the log what it would not have got without this."""

    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.Lock()
        self._users = 0
        self._level = logging.NOTSET

    @contextmanager
    def printing(self) -> Iterator[None]:
        with self._lock:
            self._users += 1
            if self._users == 1:
                self._level = _log.level
                _log.setLevel(logging.INFO)
                _log.addFilter(self)
        try:
            yield
        finally:
            with self._lock:
                self._users -= 1
                if not self._users:
                    _log.removeFilter(self)
                    _log.setLevel(self._level)

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno >= logging.WARNING:
            return True
        if in_notebook():  # beside what the cell prints, and not in the red of standard error
            _shell().display_pub.publish({"text/plain": record.getMessage()})
        else:
            print(record.getMessage(), file=sys.stderr, flush=True)
        return False


_printer = _Printer()


class TimeLeft:
    """The seconds that the rest of some work takes, from how fast it has gone since it was first heard of."""

    def __init__(self, total: float) -> None:
        self.total = total
        self._first: tuple[float, float] | None = None  # the moment, and what was done by then
        self._begun = 0.0

    def after(self, done: float) -> str:
        """The text to show once so much is done: "" before a second has passed, too short to guess by."""
        now = perf_counter()
        if self._first is None or now - self._begun < _BURST:
            self._begun = self._begun or now
            self._first = now, done
        moment, before = self._first
        if done >= self.total:
            return ""
        if now - moment < PATIENCE or done <= before:
            return ""
        seconds = (self.total - done) / (done - before) * (now - moment)
        return f"{duration(seconds)} left"


class _Forgiving:
    """A stream that may be closed or full. Where a write fails, tqdm would keep its lock for ever."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> None:
        with suppress(OSError, ValueError):
            self._stream.write(text)

    def flush(self) -> None:
        with suppress(OSError, ValueError):
            self._stream.flush()


class Bar:
    """A bar with a text before and after it: a widget in a notebook that has ipywidgets, else plain text."""

    def __init__(self, total: float, leave: bool = True) -> None:
        notebook = in_notebook()
        widgets = notebook and find_spec("ipywidgets") is not None
        module = __import__("tqdm.notebook" if widgets else "tqdm", fromlist=["tqdm"])
        self._bar: Any = module.tqdm(
            total=total, leave=leave, ascii=None if widgets else " -#", ncols=None if widgets else 100,
            bar_format="{desc} |{bar}| {unit}", unit="", miniters=0, mininterval=0,
            file=_Forgiving(sys.stdout if notebook else sys.stderr),
        )  # fmt: skip
        self._next = 0.0

    def due(self) -> bool:
        """Whether it is time to show something new."""
        return perf_counter() >= self._next

    def show(self, before: str, done: float, after: str) -> None:
        self._next = perf_counter() + _BETWEEN_DRAWINGS
        self._bar.unit = after
        self._bar.n = min(done, self._bar.total)
        self._bar.set_description_str(before, refresh=False)
        self._bar.refresh()

    def close(self) -> None:
        self._bar.close()


def open_bar(total: float, leave: bool = True) -> Bar | None:
    """A bar; None where there is no standard error."""
    return Bar(total, leave) if sys.stderr is not None else None


class Progress:
    """Reports epochs of `jobs` as the caller wants it; use as a context manager.

    Raises:
        TypeError: for something else than None, True, False or a callable.
    """

    def __init__(self, progress: object, jobs: Sequence[TrainingJob]) -> None:
        if not (progress is None or isinstance(progress, bool) or callable(progress)):
            raise TypeError(
                "progress: True, False or a callable(epoch, epochs, train_cost), or None for a bar in notebooks "
                f"only, not {shown(progress)}"
            )
        self._callable: Any = progress if callable(progress) else None
        self._asked = progress is True
        self._wants_bar = self._asked or (progress is None and in_notebook())
        self._notices = notices(progress)
        self._jobs = jobs
        self._sizes = [len(job.train) + (len(job.valid) if job.valid is not None else 0) for job in jobs]
        self._total = float(sum(size * job.epochs for size, job in zip(self._sizes, jobs, strict=True)))
        self._left = TimeLeft(self._total)
        self._bar: Bar | None = None
        self._costs: dict[int, float] = {}
        self._done: dict[int, int] = {}  # epochs by job
        self._work = 0.0  # images gone through
        self._last = 0
        self._began = perf_counter()

    def __enter__(self) -> Progress:
        self._notices.__enter__()
        if self._asked:
            self._open_bar()
        return self

    def __exit__(self, *exc: object) -> None:
        if self._bar is not None:
            self._show(self._bar)
            self._bar.close()
        self._notices.__exit__(None, None, None)

    def report(self, job: int, epoch: int, train_cost: float) -> None:
        """Job number `job` has finished `epoch`."""
        if self._callable is not None:
            try:
                self._callable(epoch, self._jobs[job].epochs, train_cost)
            except KeyboardInterrupt:
                raise
            except BaseException as error:
                raise CallbackFailed(error) from error
        if not self._wants_bar:
            return
        self._costs[job] = train_cost
        self._work += (epoch + 1 - self._done.get(job, 0)) * self._sizes[job]
        self._done[job] = epoch + 1
        self._last = job
        if self._bar is None and perf_counter() - self._began >= PATIENCE:
            self._open_bar()
        left = self._left.after(self._work)
        if self._bar is not None and self._bar.due():
            self._show(self._bar, left)

    def _open_bar(self) -> None:
        self._bar = open_bar(self._total, leave=self._asked)
        if self._bar is None:
            self._wants_bar = False
        else:
            self._show(self._bar)

    def _show(self, bar: Bar, left: str = "") -> None:
        costs = f"cost {self._shown_costs()}" if self._costs else ""
        bar.show(self._stand(), self._work, ", ".join(filter(None, (costs, left))))

    def _stand(self) -> str:
        """Which jobs are trained and how far they are: "clean + shuffled, epoch 71 of 100"."""
        going = [job for job, done in sorted(self._done.items()) if done < self._jobs[job].epochs]
        going = going or ([self._last] if self._done else list(range(len(self._jobs))))
        names = [
            self._jobs[job].name or (f"run {job}" if len(self._jobs) > 1 else "training") for job in going
        ]
        shown = (
            " + ".join(names) if len(names) <= _NAMES_SHOWN else f"{len(names):,} of {len(self._jobs):,} runs"
        )
        lengths = {self._jobs[job].epochs for job in going}
        done = [self._done.get(job, 0) for job in going]
        if len(lengths) == 1:
            return f"{shown}, epoch {min(done):,} of {lengths.pop():,}"
        return f"{shown}, {100 * self._work / self._total:.0f} %"

    def _shown_costs(self) -> str:
        """The last cost of each job, in order of jobs; of many jobs the first four."""
        costs = [f"{cost:.4f}" for _, cost in sorted(self._costs.items())[: _COSTS_SHOWN + 1]]
        return " ".join(costs[:_COSTS_SHOWN]) + (" ..." if len(costs) > _COSTS_SHOWN else "")
