"""Draws a lesson's figures in processes of their own, while experiments are still being trained.

Started before torch is imported in this process, they import matplotlib meanwhile, and no torch at all.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import get_context, parent_process
from pathlib import Path
from typing import Any

from numpy.typing import NDArray


class Illustrator:
    """Draws beside whatever else runs; use as a context manager.

    Args:
        processes: how many to start; with 0, and where none can be started (a system without semaphores, say),
            everything is drawn in this process when it is asked for its result.
    """

    def __init__(self, processes: int = 0) -> None:
        self._pool: ProcessPoolExecutor | None = None
        if processes:
            try:
                with _surroundings():
                    self._pool = ProcessPoolExecutor(processes, get_context("spawn"), initializer=_begin)
                    for _ in range(processes):  # each call starts one
                        self._pool.submit(_import_figures)
            # AssertionError: a daemonic process may have no children; RuntimeError: threads or an unguarded script
            except (OSError, ImportError, BrokenProcessPool, AssertionError, RuntimeError, ValueError):
                self._pool = None

    def __enter__(self) -> Illustrator:
        return self

    def __exit__(self, *exc: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)

    def figure(self, results: Mapping[str, Any], name: str, folder: Path) -> Callable[[], None]:
        """Begin to draw `folder`/`name`.png and .svg; call what this returns to wait until they are there.

        `results` must not change meanwhile. Waiting raises DataError where the folder cannot be written.
        """
        return self._ask(_figure, results, name, folder)

    def picture(self, kind: str, file: Path, arguments: Mapping[str, Any]) -> Callable[[], None]:
        """Begin to draw one of `pictures.DRAWN` from arrays alone; else as `figure`."""
        return self._ask(_picture, kind, file, arguments)

    def samples(self, images: NDArray[Any], labels: NDArray[Any], bad: NDArray[Any]) -> Callable[[], bytes]:
        """Begin to draw the sample digits (arguments as for `figures.sample_digits`); returns a way to get the PNG."""
        return self._ask(_samples, images, labels, bad)

    def _ask(self, draw: Callable[..., Any], *arguments: Any) -> Callable[[], Any]:
        future: Future[Any] | None = None
        if self._pool is not None:
            try:
                future = self._pool.submit(draw, *arguments)
            except BrokenProcessPool:
                self._pool = None

        def result() -> Any:
            if future is not None:
                try:
                    return future.result()
                except BrokenProcessPool:  # a process was killed: what it had to draw is drawn here
                    pass
            return draw(*arguments)

        return result


@contextmanager
def _surroundings() -> Iterator[None]:
    """Surroundings that processes started in this block inherit: no module of the current folder, no window, no Ctrl-C.

    Python puts the current folder before its own library for `python -c`, by which processes are started; a backend
    of matplotlib's may be meant for a notebook that is not here; and Ctrl-C, which is the parent's to act on, would
    reach a process while it is still importing.
    """
    before = {name: os.environ.get(name) for name in ("PYTHONSAFEPATH", "MPLBACKEND")}
    os.environ.update(PYTHONSAFEPATH="1", MPLBACKEND="agg")
    masked = None
    try:
        if hasattr(signal, "pthread_sigmask"):
            from multiprocessing import resource_tracker

            resource_tracker.ensure_running()  # it would unblock the signal again
            masked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        yield
    finally:
        if masked is not None:
            signal.pthread_sigmask(signal.SIG_SETMASK, masked)
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _begin() -> None:
    """In a new process: Ctrl-C is the parent's to act on, and without the parent there is nothing to do."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _import_figures() -> None:
    from . import figures  # noqa: F401


def _figure(results: Mapping[str, Any], name: str, folder: Path) -> None:
    from .figures import draw_figure

    draw_figure(results, name, folder)


def _picture(kind: str, file: Path, arguments: Mapping[str, Any]) -> None:
    from .pictures import draw_picture

    draw_picture(kind, file, arguments)


def _samples(images: NDArray[Any], labels: NDArray[Any], bad: NDArray[Any]) -> bytes:
    from .figures import png_bytes, sample_digits

    return png_bytes(sample_digits(images, labels, bad))
