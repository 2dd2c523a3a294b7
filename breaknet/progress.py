"""Progress of training: a plain-text bar for terminals and notebooks, or calls of a function."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any

#: Called as progress(epoch, epochs, train_cost) after each epoch, counted from 0.
ProgressCallable = Callable[[int, int, float], Any]

_COSTS_SHOWN = 4


class CallbackFailed(BaseException):
    """Carries an exception of the caller's callable through the backends unchanged."""

    def __init__(self, error: BaseException) -> None:
        self.error = error


class Progress:
    """Reports epochs to a bar (True), to a callable, or to nothing (False); use as a context manager.

    Raises:
        TypeError: for anything else.
    """

    def __init__(self, progress: object, epochs: list[int]) -> None:
        if not (isinstance(progress, bool) or callable(progress)):
            raise TypeError(
                f"progress: True, False or a callable(epoch, epochs, train_cost), not {progress!r}"
            )
        self._callable: Any = progress if callable(progress) else None
        self._wants_bar = progress is True
        self._epochs = epochs
        self._bar: Any = None
        self._costs: dict[int, float] = {}
        self._done: dict[int, int] = {}  # epochs by job

    def __enter__(self) -> Progress:
        if self._wants_bar and sys.stderr is not None:
            from tqdm import tqdm

            self._bar = tqdm(
                total=sum(self._epochs),
                desc="training",
                unit="epoch",
                ascii=" -#",
                ncols=100,
                mininterval=0.2,
                bar_format="{desc}: |{bar}| epoch {n_fmt} of {total_fmt}{postfix}, {remaining} left",
            )
        return self

    def __exit__(self, *exc: object) -> None:
        if self._bar is not None:
            with suppress(OSError, ValueError):
                self._bar.close()

    def report(self, job: int, epoch: int, train_cost: float) -> None:
        """Job number `job` has finished `epoch`."""
        if self._bar is not None:
            self._costs[job] = train_cost
            try:
                self._bar.set_postfix_str(f"cost {self._shown_costs()}", refresh=False)
                self._bar.update(epoch + 1 - self._done.get(job, 0))
            except (OSError, ValueError):  # standard error is closed or full: training goes on without a bar
                self._bar = None
            self._done[job] = epoch + 1
        elif self._callable is not None:
            try:
                self._callable(epoch, self._epochs[job], train_cost)
            except KeyboardInterrupt:
                raise
            except BaseException as error:
                raise CallbackFailed(error) from error

    def _shown_costs(self) -> str:
        """The last cost of each job, in order of jobs; of many jobs the first four."""
        costs = [f"{cost:.4f}" for _, cost in sorted(self._costs.items())]
        return " ".join(costs[:_COSTS_SHOWN]) + (" ..." if len(costs) > _COSTS_SHOWN else "")
