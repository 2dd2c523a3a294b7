"""One person's page, without a browser: what is wanted, the one run being trained, and the runs that are kept."""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

from ..breakage import break_data, parse
from ..data.splits import Digits, Split
from ..model import MLP
from ..training import train
from . import pictures
from .settings import Settings, described_knobs
from .stories import described_stories
from .training import Cancelled, Progress, train_in_pieces

#: Runs that are compared with the current one, and finished runs that are kept to come back to.
MAX_PINS = 2
KEPT_RUNS = 6

#: Broken parts of data sets that are kept, and bytes of the images of those that are not in use.
KEPT_DATA = 4
KEPT_BYTES = 32 * 2**20

#: Seconds of training that a page gets.
MAX_SECONDS = 1_800

#: Called as emit(name, value) with JSON, from any thread; of each name only the newest value matters.
Emit = Callable[[str, Any], None]

_log = logging.getLogger("breaknet")


@dataclass(frozen=True)
class Wanted:
    """A page's wishes: the current settings, those pinned beside them, and a drawing."""

    current: Settings
    pins: tuple[Settings, ...] = ()
    drawing: str = ""

    @property
    def shown(self) -> tuple[Settings, ...]:
        return (self.current, *self.pins)

    @classmethod
    def from_json(cls, message: Any, most_examples: int) -> Wanted:
        """A page's message: {"link": TEXT, "pins": [TEXT, ...], "drawing": BASE64}, each optional.

        Raises:
            TypeError, ValueError: for anything else, in one line that says what is allowed.
        """
        if not isinstance(message, Mapping):
            raise TypeError(f"wanted: link, pins and drawing by name, not {message!r:.100}")
        unknown = sorted(set(map(str, message)) - {"link", "pins", "drawing"})
        if unknown:
            raise ValueError(f"wanted: link, pins and drawing, not {unknown[0]!r:.100}")
        pins = message.get("pins", [])
        if not isinstance(pins, list) or len(pins) > MAX_PINS:
            raise ValueError(f"pins: a list of at most {MAX_PINS} links, not {pins!r:.100}")
        current = Settings.from_link(message.get("link", ""), most_examples)
        return cls(
            current,
            tuple(Settings.from_link(pin, most_examples) for pin in pins),
            message.get("drawing", ""),
        )


@dataclass
class Shown:
    """A run as a page gets it, and its network."""

    settings: Settings
    progress: Progress
    snapshot: dict[str, Any]

    @property
    def model(self) -> MLP | None:
        return self.progress.model


def warm_up(digits: Digits, backend: str = "auto", device: str = "auto") -> None:
    """Train for a moment, so that whatever is compiled or loaded first is so before a page waits for its run."""
    train(digits.train[:100], valid=digits.valid[:100], epochs=1, backend=backend, device=device)


class Session:
    """Trains what one page wants, one run at a time in a thread of its own, and emits what there is to see.

    A run that is wanted no more ends at its next epoch's end, and only then the next one begins. Emitted are:

    knobs    once: ranges, breakages, stories, the source of the data
    asked    the settings that were understood, {"settings", "link", "pins", "python"}
    runs     one snapshot of each shown run that has any epoch, the current one first
    status   {"phase": "training" | "done" | "error", "text": ...}
    drawn    the drawing as the networks see it, with their outputs in the order of `runs`

    Args:
        digits: the data that are broken.
        emit: takes what there is to see.
        slots: held while a piece of a run is trained; sessions of one process share it.
        backend, device: as for `breaknet.train`.
    """

    def __init__(
        self,
        digits: Digits,
        emit: Emit,
        slots: AbstractContextManager[Any] | None = None,
        backend: str = "auto",
        device: str = "auto",
    ) -> None:
        self._digits = digits
        self._emit = emit
        self._slots = slots or nullcontext()
        self._where = {"backend": backend, "device": device}
        self._emitting = (
            threading.RLock()
        )  # of two threads that send the same, whoever read it last sends last
        self._changed = threading.Condition()  # guards what follows
        self._wanted: Wanted | None = None
        self._closed = False
        self._runs: OrderedDict[Settings, Shown] = OrderedDict()  # those used last at the end
        self._failed: dict[Settings, str] = {}
        self._seconds = 0.0  # spent on runs
        self._data: OrderedDict[tuple[str, str, int, int], Split] = OrderedDict()  # the worker's alone
        self._worker: threading.Thread | None = None
        knobs = described_knobs(len(digits.train))
        emit("knobs", {**knobs, "stories": described_stories(), "source": digits.source, "pins": MAX_PINS})

    def want(self, message: Any) -> None:
        """Take a page's message (see `Wanted.from_json`); a wrong one is answered by a status and changes nothing."""
        try:
            wanted = Wanted.from_json(message, len(self._digits.train))
            digit = pictures.read_drawing(wanted.drawing)
        except (TypeError, ValueError) as error:
            self._emit("status", {"phase": "error", "text": str(error)})
            return
        with self._changed:
            if self._closed:
                return
            before, self._wanted = self._wanted, wanted
            self._failed = {one: text for one, text in self._failed.items() if one in wanted.shown}
            if self._worker is None:
                self._worker = threading.Thread(target=self._work_on, name="breaknet-play", daemon=True)
                self._worker.start()
            self._changed.notify_all()
        if before is None or before.shown != wanted.shown:
            self._emit("asked", self._asked(wanted))
            self._emit_runs()
            run = self._runs.get(wanted.current)
            if run is not None:
                self._emit_status(wanted.current, run.progress)
        elif digit is None or before.drawing != wanted.drawing:
            self._emit_drawn()

    def close(self, timeout: float = 0.0) -> None:
        """End the run at its next epoch's end and the thread with it; waits up to `timeout` seconds for that."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        if timeout and self._worker is not None:
            self._worker.join(timeout)

    def _asked(self, wanted: Wanted) -> dict[str, Any]:
        return {
            "settings": wanted.current.described(),
            "link": wanted.current.link,
            "pins": [pin.link for pin in wanted.pins],
            "python": wanted.current.python(self._digits.source, **self._where),
        }

    def _next(self) -> Settings | None:
        """The first of the shown settings that is not finished; the current one has precedence. Lock held."""
        assert self._wanted is not None
        for settings in self._wanted.shown:
            run = self._runs.get(settings)
            if settings not in self._failed and (run is None or not run.progress.finished):
                return settings
        return None

    def _work_on(self) -> None:
        """The worker's loop: train the next run there is; sleep when there is none."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or self._next() is not None)
                if self._closed:
                    return
                settings = self._next()
                assert settings is not None
            began = time.perf_counter()
            try:
                self._train(settings)
            except Cancelled:
                with self._changed:
                    self._runs.pop(settings, None)
            except Exception as error:
                if not isinstance(error, (TypeError, ValueError)):
                    _log.warning("a run failed: %s: %s", type(error).__name__, error)
                text = str(error).strip() or type(error).__name__
                with self._changed:
                    self._failed[settings] = text
                self._emit("status", {"phase": "error", "text": text, "link": settings.link})
            finally:
                self._seconds += time.perf_counter() - began

    def _cancelled(self, settings: Settings) -> bool:
        with self._changed:
            return self._closed or self._next() != settings

    def _train(self, settings: Settings) -> None:
        if self._seconds > MAX_SECONDS:
            raise ValueError(f"this page has trained for {MAX_SECONDS // 60} minutes; reload it to go on")
        began = time.perf_counter()
        self._emit("status", {"phase": "training", "text": "breaking the data", "link": settings.link})
        train, valid = self._broken(settings)
        original = self._digits.train[: settings.examples]
        examples = pictures.of_examples(train, original)
        self._emit_status(settings, Progress(settings.epochs))
        pieces = train_in_pieces(
            settings, train, valid, lambda: self._cancelled(settings), self._slots, **self._where
        )
        for progress in pieces:
            snapshot = {
                "link": settings.link,
                "settings": settings.described(),
                "python": settings.python(self._digits.source, **self._where),
                "epochs": progress.epochs,
                "done": progress.done,
                "diverged_at": progress.diverged_at,
                "stuck_at": progress.stuck_at,
                "curves": {
                    name: [round(value, 6) for value in curve] for name, curve in progress.curves.items()
                },
                "counts": [len(train), len(valid)],
                "examples": examples,
                "seconds": round(time.perf_counter() - began, 3),
            }
            if progress.model is not None:
                snapshot |= pictures.of_network(progress.model, valid, **self._where)
            with self._changed:
                self._runs[settings] = Shown(settings, progress, snapshot)
                self._runs.move_to_end(settings)
                self._forget_runs()
            if self._cancelled(settings) and not progress.finished:
                raise Cancelled
            self._emit_runs()
            self._emit_status(settings, progress)

    def _emit_status(self, settings: Settings, progress: Progress) -> None:
        wanted = self._wanted.current if self._wanted else settings
        if progress.finished and wanted in self._runs:  # a pinned run that has ended is no news
            settings, progress = wanted, self._runs[wanted].progress
        elif wanted in self._failed:
            self._emit("status", {"phase": "error", "text": self._failed[wanted], "link": wanted.link})
            return
        text = f"epoch {progress.done:,} of {progress.epochs:,}"
        if progress.diverged_at is not None:
            text = f"diverged: a parameter was not finite at the end of epoch {progress.diverged_at}"
        phase = "done" if progress.finished else "training"
        self._emit("status", {"phase": phase, "text": text, "link": settings.link})

    def _broken(self, settings: Settings) -> tuple[Split, Split]:
        """Training and validation data as the settings say."""
        whole = {"train": self._digits.train[: settings.examples], "valid": self._digits.valid}
        train, valid = (self._broken_part(settings, part, split) for part, split in whole.items())
        return train, valid

    def _broken_part(self, settings: Settings, part: str, split: Split) -> Split:
        """One part, broken; those of the last few settings are kept."""
        steps = [step for step in parse(settings.breakage) if step.concerns(part)]
        key = (part, " + ".join(map(str, steps)), settings.seed, len(split))
        if key not in self._data:
            for step in steps:  # one at a time, so that it can be cancelled between them
                if self._cancelled(settings):
                    raise Cancelled
                with self._slots:
                    split = break_data(split, str(step), settings.seed, part)
            self._data[key] = split
            while len(self._data) > 2 and (
                len(self._data) > KEPT_DATA
                or sum(one.images.nbytes for one in self._data.values()) > KEPT_BYTES
            ):
                self._data.popitem(last=False)
        self._data.move_to_end(key)
        return self._data[key]

    def _forget_runs(self) -> None:
        """Drop the runs used longest ago, but none that is shown. Lock held."""
        assert self._wanted is not None
        for settings in list(self._runs):
            if len(self._runs) <= KEPT_RUNS:
                return
            if settings not in self._wanted.shown:
                del self._runs[settings]

    def _shown(self) -> list[Shown]:
        """The runs to be seen, in the order of what is wanted, as far as they have begun."""
        with self._changed:
            wanted = self._wanted.shown if self._wanted else ()
            return [self._runs[settings] for settings in wanted if settings in self._runs]

    def _emit_runs(self) -> None:
        with self._emitting:
            self._emit("runs", [run.snapshot for run in self._shown()])
            self._emit_drawn()

    def _emit_drawn(self) -> None:
        with self._emitting:
            with self._changed:
                drawing = self._wanted.drawing if self._wanted else ""
            digit = pictures.read_drawing(drawing)
            runs = self._shown()
            if digit is None:
                self._emit("drawn", None)
                return
            drawn = pictures.of_drawing(digit, [run.model for run in runs])
            self._emit("drawn", {**drawn, "links": [run.settings.link for run in runs]})
