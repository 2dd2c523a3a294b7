"""The folder that a lesson leaves behind: whole, or what was finished before it was interrupted."""

import copy
import json
import logging
import os
import re
import shutil
import threading
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from ..data.splits import Split
from ..errors import DataError
from ..files import (
    Lock,
    cannot_be,
    kind_of,
    make_parents,
    put_back,
    real_path,
    remove_empty,
    replace_folder,
    written_whole,
)  # fmt: skip
from ..run import Run
from ..views import weight_images
from .experiments import EXPERIMENTS, Lesson, Results, outcome
from .figure_workers import Illustrator
from .report_questions import SECTIONS, place_of

TITLES = {"clean": "Clean labels", "shuffled": "Shuffled labels", "hundred": "100 shuffled examples"}

RESULTS = "results.json"
FOLDERS = ("checkpoints", "figures", "pictures")
#: Every file that a lesson may write.
FILES = {
    RESULTS,
    "report.html",
    "answers.html",
    *(f"checkpoints/{experiment.name}.safetensors" for experiment in EXPERIMENTS),
    *(
        f"{place_of(name)}/{name}.{kind}"
        for section in SECTIONS
        for name, _ in section.figures
        for kind in ("png", "svg")
    ),
    *(f"{place_of(name)}/{name}.png" for section in SECTIONS for name, _ in section.pictures),
}
#: What `written_whole` leaves of one of them when it is killed.
_PARTIAL = re.compile(r"(checkpoints/|figures/|pictures/)?\.[a-z_]+\.[a-z]+\.[0-9a-f]{8}")

_log = logging.getLogger("breaknet")


class LessonFolder:
    """Runs a lesson into `folder`, which is replaced only once the new one is whole.

    Whether that can be done is decided at once, and nobody else can write a lesson there until this one ends. What
    is finished is written to `unfinished`, a folder beside it. After Ctrl-C, or an error once an experiment is done,
    that stays, with the checkpoints and curves of the finished experiments; what an earlier lesson left there stays
    until this one has finished an experiment.

    Raises:
        ValueError: for an empty name.
        DataError: where `folder` cannot be written, holds something that is not a lesson, or another lesson is being
            written there.
    """

    def __init__(self, folder: Path | str) -> None:
        self.folder = real_path(folder, "out")
        if self.folder in (Path.cwd(), *Path.cwd().parents):
            raise DataError(f"{self.folder}: the current folder, or above it; name another one")
        self.unfinished = self.folder.with_name(f"{self.folder.name}.unfinished")
        self.finished: list[str] = []  # the experiments that are on disk
        self._aside = self.folder.with_name(f".{self.folder.name}.replaced")
        self._drawings: list[Callable[[], None]] = []
        self._drawn: set[str] = set()  # the experiments whose figures have been asked for
        self._begun = False  # whether `unfinished` is this lesson's
        self._lock: Lock | None = None
        _check_replaceable(self.folder)
        self._made = make_parents(self.folder)
        try:
            self._claim()
        except BlockingIOError as error:
            raise DataError(f"{self.folder}: another lesson is being written there") from error
        except OSError as error:
            self.abandon()
            raise (
                error if isinstance(error, DataError) else cannot_be("written", self.folder, error)
            ) from error

    def _claim(self) -> None:
        self._lock = Lock(self.folder.with_name(f".{self.folder.name}.lock"))
        if self._aside.exists():
            if not self.folder.exists():
                put_back(self.folder, self._aside)
                _log.info("%s: put back what was there before a lesson was killed", self.folder)
            elif _foreign(self._aside) is None:
                shutil.rmtree(self._aside)
            else:
                raise DataError(f"{self._aside}: holds other things than a lesson; move it away")
        _check_replaceable(self.folder)
        if self.unfinished.exists() or self.unfinished.is_symlink():
            _check_replaceable(self.unfinished)
        else:
            self.unfinished.mkdir()
            self._begun = True

    def run(
        self,
        lesson: Lesson,
        seconds: dict[str, float] | None = None,
        illustrator: Illustrator | None = None,
        answers: bool = False,
    ) -> Results:
        """Run the lesson, draw its figures, write its report; `seconds` are phases that came before.

        With `answers` the folder also gets answers.html, the report for a teacher.
        """
        began = perf_counter()
        before = dict(seconds or {})
        illustrator = illustrator or Illustrator()
        try:
            lesson.settings.check_size(self.folder)
            data = lesson.training_data()
            # the fits' library comes meanwhile: the kernels' threads leave Python idle
            threading.Thread(target=import_module, args=("scipy.optimize",), daemon=True).start()
            samples = illustrator.samples(*_first(data["clean"], data["shuffled"], lesson.digits.names))
            valid = lesson.digits.valid
            results = lesson.run(lambda runs, results: self._keep(runs, results, illustrator, valid))
            results["seconds"].update(before)
            self._illustrate(results, samples, began - sum(before.values()), answers)
            _check_replaceable(self.folder)  # minutes have passed
            replace_folder(self.unfinished, self.folder, self._aside)
        except DataError:
            raise
        except OSError as error:
            raise cannot_be("written", self.folder, error) from error
        finally:
            self.abandon()
        return results

    def abandon(self) -> None:
        """Let the folder go, and remove what holds nothing finished."""
        if self._begun and not self.finished:
            shutil.rmtree(self.unfinished, ignore_errors=True)
            self._begun = False
        self._release()
        remove_empty(self._made)

    def _release(self) -> None:
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def _begin(self) -> None:
        """Make `unfinished` this lesson's, without what an earlier one left."""
        if not self._begun:
            shutil.rmtree(self.unfinished)
            self.unfinished.mkdir()
            self._begun = True

    def _keep(self, runs: dict[str, Run], results: Results, illustrator: Illustrator, valid: Split) -> None:
        self._begin()
        # the results tell of checkpoints that are there, so they come after them
        for name, run in runs.items():
            run.checkpoints.save(self.unfinished / "checkpoints" / f"{name}.safetensors")
        self._write_results(results)
        self.finished.extend(runs)
        as_they_are = copy.deepcopy(results)
        for section in SECTIONS:
            if section.name in self._drawn or outcome(results, section.name) is None:
                continue
            self._drawn.add(section.name)
            for name, _ in section.figures:
                self._drawings.append(illustrator.figure(as_they_are, name, self.unfinished / place_of(name)))
            for name, _ in section.pictures if section.name in runs else ():
                arguments = _drawn_from(name, runs[section.name], results, valid)
                if arguments is not None:
                    file = self.unfinished / place_of(name) / f"{name}.png"
                    self._drawings.append(illustrator.picture(name.rpartition("_")[2], file, arguments))

    def _illustrate(
        self, results: Results, samples: Callable[[], bytes], began: float, answers: bool
    ) -> None:
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
        if answers:
            write_report(results, sample_png, self.unfinished, answers=True)
        seconds["report"] = perf_counter() - started
        seconds["total"] += seconds["report"]
        entries = _entries(self.unfinished)
        results["files"] = {name: entries[name] for name in sorted(FILES & entries.keys() - {RESULTS})}
        self._write_results(results)

    def _write_results(self, results: Results) -> None:
        text = json.dumps(results, indent=1, allow_nan=False)
        with written_whole(self.unfinished / RESULTS) as unfinished:
            unfinished.write_text(text + "\n", encoding="utf-8")


def _drawn_from(name: str, run: Run, results: Results, valid: Split) -> dict[str, Any] | None:
    """The arrays that the picture EXPERIMENT_KIND is drawn from; None where the run left no network."""
    experiment, _, kind = name.rpartition("_")
    found = results["experiments"][experiment]
    if not len(run.checkpoints):
        return None
    title, names = TITLES[experiment], {"names": results["labels"]}
    if kind == "weights":
        return {"model": weight_images(run), "title": f"{title}: weights of the first hidden layer"}
    if kind == "confusion":
        return {"model": np.asarray(found["confusion"]), "title": f"{title}: answers by true label", **names}
    wrong = found["mistakes"]
    images = valid.images[[one["index"] for one in wrong]]
    return {"images": images, "wrong": wrong, "title": f"{title}: the surest mistakes", **names}


def _first(good: Split, bad: Split, names: Sequence[str], count: int = 20) -> tuple[Any, Any, Any]:
    """The first images, with the names of their true and their shuffled labels."""
    named = np.asarray(names)
    return good.images[:count], named[good.labels[:count]], named[bad.labels[:count]]


def _check_replaceable(folder: Path) -> None:
    """Raise DataError for anything but nothing, an empty folder or a lesson: somebody's work is never replaced."""
    kind = kind_of(folder)
    if kind is None:
        return
    if kind != "a folder":
        raise DataError(f"{folder}: {kind} stands there; name a folder")
    if os.path.ismount(folder):
        raise DataError(f"{folder}: a mount point, which cannot be replaced; name a folder in it")
    foreign = _foreign(folder)
    if foreign is not None:
        raise DataError(
            f"{folder}: holds other things than a lesson ({foreign!r}); name a new or an empty folder"
        )


def _foreign(folder: Path) -> str | None:
    """The first thing in a folder that no lesson wrote there, by name; None if there is none.

    A lesson's results list its files with their sizes. Those of a lesson that did not come to its end, or of an
    older one, do not: then every name must be one that a lesson writes.
    """
    try:
        found = _entries(folder)
    except OSError as error:
        raise cannot_be("read", folder, error) from error
    if RESULTS in found:
        listed = _listed_files(folder / RESULTS)
        if listed is None:
            return RESULTS
    elif "report.html" in found:
        return "report.html"
    else:
        listed = {}
    for name, size in sorted(found.items()):
        ours = name in FILES or (name in FOLDERS and size is None) or _PARTIAL.fullmatch(name)
        missing = listed and name in FILES - {RESULTS, *listed}
        if not ours or missing or listed.get(name, size) != size:
            return name
    return None


def _entries(folder: Path) -> dict[str, int | None]:
    """Everything in a folder, by its name from there: the sizes of plain files, None for folders, -1 for the rest."""
    found: dict[str, int | None] = {}
    for entry in os.scandir(folder):
        if entry.is_dir(follow_symlinks=False):
            found[entry.name] = None
            found.update((f"{entry.name}/{name}", size) for name, size in _entries(Path(entry.path)).items())
        else:
            found[entry.name] = entry.stat().st_size if entry.is_file(follow_symlinks=False) else -1
    return found


def _listed_files(results: Path) -> dict[str, Any] | None:
    """The files that a lesson's results list, none in those of an older or unfinished one; None for no results."""
    try:
        found: Any = json.loads(results.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(found, dict) or "schema" not in found or "experiments" not in found:
        return None
    files = found.get("files")
    return files if isinstance(files, dict) else {}
