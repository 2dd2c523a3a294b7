"""The folder that a lesson leaves behind: whole, or what was finished before it was interrupted."""

import copy
import json
import shutil
import threading
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from time import perf_counter
from typing import Any

from ..data.splits import Split
from ..errors import DataError
from ..files import replace_folder
from ..run import Run
from .experiments import Lesson, Results
from .figure_workers import Illustrator
from .report_questions import SECTIONS


class LessonFolder:
    """Runs a lesson into `folder`, which is replaced only once the new one is whole.

    While it runs, everything is written to `unfinished`, a folder beside it. After Ctrl-C, or an error once an
    experiment is done, that stays, with the checkpoints and curves of the finished experiments.

    Raises:
        DataError: where `folder` cannot be written, or holds something that is not a lesson.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder).absolute()
        self.unfinished = self.folder.with_name(f"{self.folder.name}.unfinished")
        self.finished: list[str] = []  # the experiments that are on disk
        self._drawings: list[Callable[[], None]] = []
        _check_replaceable(self.folder)
        try:
            if self.unfinished.exists():
                shutil.rmtree(self.unfinished)
            (self.unfinished / "checkpoints").mkdir(parents=True)
        except OSError as error:
            raise DataError(f"{self.folder}: cannot be written ({error.strerror or error})") from error

    def run(
        self,
        lesson: Lesson,
        seconds: dict[str, float] | None = None,
        illustrator: Illustrator | None = None,
    ) -> Results:
        """Run the lesson, draw its figures, write its report; `seconds` are phases that came before."""
        began = perf_counter()
        before = dict(seconds or {})
        illustrator = illustrator or Illustrator()
        try:
            data = lesson.training_data()
            # the fits' library comes meanwhile: the kernels' threads leave Python idle
            threading.Thread(target=import_module, args=("scipy.optimize",), daemon=True).start()
            samples = illustrator.samples(*_first(data["clean"], data["shuffled"]))
            results = lesson.run(lambda runs, results: self._keep(runs, results, illustrator))
            results["seconds"].update(before)
            self._illustrate(results, samples, began - sum(before.values()))
            replace_folder(self.unfinished, self.folder)
        except OSError as error:
            if isinstance(error, DataError):
                raise
            raise DataError(f"{self.folder}: cannot be written ({error.strerror or error})") from error
        return results

    def abandon(self) -> None:
        """Remove `unfinished` if it holds nothing finished; for when the lesson did not come to its end."""
        if not self.finished:
            shutil.rmtree(self.unfinished, ignore_errors=True)

    def _keep(self, runs: dict[str, Run], results: Results, illustrator: Illustrator) -> None:
        self._write_results(results)
        self.finished.extend(runs)
        as_they_are = copy.deepcopy(results)
        for section in SECTIONS:
            for name, _ in section.figures if section.name in runs else ():
                figures = self.unfinished / "figures"
                self._drawings.append(illustrator.figure(as_they_are, name, figures))
        for name, run in runs.items():
            run.checkpoints.save(self.unfinished / "checkpoints" / f"{name}.safetensors")

    def _illustrate(self, results: Results, samples: Callable[[], bytes], began: float) -> None:
        from .report import write_report

        seconds = results["seconds"]
        started = perf_counter()
        for drawn in self._drawings:
            drawn()
        sample_png = samples()
        seconds["figures"] = perf_counter() - started
        # the report shows these times, so its own and the total are what they are up to the page itself
        seconds["total"] = perf_counter() - began
        started = perf_counter()
        write_report(results, sample_png, self.unfinished)
        seconds["report"] = perf_counter() - started
        seconds["total"] += seconds["report"]
        self._write_results(results)

    def _write_results(self, results: Results) -> None:
        text = json.dumps(results, indent=1, allow_nan=False)
        (self.unfinished / "results.json").write_text(text + "\n", encoding="utf-8")


def _first(good: Split, bad: Split, count: int = 20) -> tuple[Any, Any, Any]:
    """The first images, with their true and their shuffled labels."""
    return good.images[:count], good.labels[:count], bad.labels[:count]


def _check_replaceable(folder: Path) -> None:
    """A folder with anything but a lesson in it is somebody's work: it is never replaced."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise DataError(f"{folder}: a file stands there; name a folder")
    try:
        empty = not any(folder.iterdir())
    except OSError as error:
        raise DataError(f"{folder}: cannot be read ({error.strerror or error})") from error
    if not empty and not _is_lesson(folder / "results.json"):
        raise DataError(f"{folder}: holds other things than a lesson; name a new or an empty folder")


def _is_lesson(results: Path) -> bool:
    try:
        found: Any = json.loads(results.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(found, dict) and "schema" in found and "experiments" in found
