"""One run in pieces: its curves grow piece by piece, it can be cancelled at an epoch's end, its bits are `train`'s."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

from ..backends import select
from ..data.splits import Split
from ..model import MLP
from ..training import Job, train_many
from .settings import Settings

#: Seconds that the first piece of a run is guessed to take, and that later ones grow to.
FIRST_PIECE = 0.15
PIECE = 0.6

#: ... and its most steps with the torch backend.
FIRST_STEPS = 400

#: FMAs a second, of all cores together, to guess the first piece.
GUESSED_SPEED = 1.6e10

CURVES = ("train_cost", "valid_cost", "train_accuracy", "valid_accuracy")


class Cancelled(BaseException):
    """Raised by a run's progress to end it; no Exception, so that nothing on the way takes it for a failure."""


@dataclass
class Progress:
    """The state of a run: epochs done, the four curves so far, the network after the last epoch."""

    epochs: int
    curves: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in CURVES})
    model: MLP | None = None  # None before the first epoch with finite parameters
    diverged_at: int | None = None
    stuck_at: int | None = None

    @property
    def done(self) -> int:
        return len(self.curves["train_cost"])

    @property
    def finished(self) -> bool:
        return self.diverged_at is not None or self.done == self.epochs


def train_in_pieces(
    settings: Settings,
    train: Split,
    valid: Split,
    cancelled: Callable[[], bool],
    slot: AbstractContextManager[object],
    backend: str = "auto",
    device: str = "auto",
) -> Iterator[Progress]:
    """Train on `train` as `settings` says; yield the same Progress after every piece, the last time when finished.

    `slot` is held while a piece is trained. `cancelled` is asked at every epoch's end.

    Raises:
        Cancelled: once `cancelled` says so.
    """

    def ask(epoch: int, epochs: int, train_cost: float) -> None:
        if cancelled():
            raise Cancelled

    progress = Progress(settings.epochs)
    length = max(1, int(FIRST_PIECE * GUESSED_SPEED / settings.work * settings.epochs))
    if select.choices(backend, device)[0].name == "torch":  # whose steps take long, however small they are
        length = max(1, min(length, FIRST_STEPS // -(-len(train) // settings.batch_size)))
    while not progress.finished:
        with slot:
            ask(0, 0, 0)
            began = time.perf_counter()
            _train_piece(progress, settings, train, valid, min(length, settings.epochs - progress.done), ask,
                         backend, device)  # fmt: skip
            seconds = time.perf_counter() - began
        yield progress
        if seconds < PIECE:  # each call reads and compresses its images again, so few calls are better
            length = max(length + 1, int(length * min(4.0, PIECE / max(seconds, 1e-3))))


def _train_piece(
    progress: Progress, settings: Settings, train: Split, valid: Split, epochs: int,
    ask: Callable[[int, int, float], None], backend: str, device: str,
) -> None:  # fmt: skip
    """Train `epochs` more, from where `progress` stands, and record them in it."""
    start = (
        {"seed": settings.seed, "hidden": settings.hidden}
        if progress.model is None
        else {"init": progress.model}
    )
    job = Job(
        train,
        valid,
        epochs,
        settings.batch_size,
        settings.learning_rate,
        **start,  # type: ignore[arg-type]
    )
    with warnings.catch_warnings():  # the page itself says what became of a run
        warnings.simplefilter("ignore", RuntimeWarning)
        run = train_many([job], backend=backend, device=device, progress=ask, checkpoints="last")[0]
    if run.stuck_at != 0 or progress.stuck_at is None:  # else it is stuck as it was
        progress.stuck_at = None if run.stuck_at is None else progress.done + run.stuck_at
    for name in CURVES:
        progress.curves[name].extend(getattr(run, name).tolist())
    if run.diverged_at is not None:
        progress.diverged_at = progress.done
    if len(run.checkpoints):
        progress.model = run.checkpoints[-1]
