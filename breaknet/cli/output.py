"""Output of the command line: plain text, results on standard output, all else on standard error."""

from __future__ import annotations

import io
import json
import logging
import sys
import textwrap
import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..quantities import number_of

if TYPE_CHECKING:
    from ..data.splits import Digits
    from ..run import Evaluation, Run

_LONGEST_LINE = 1000  # characters; a report of what a hostile file holds could have millions

_verbose = False


def configure(verbose: bool, quiet: bool) -> None:
    """Set up one command's notices: breaknet's logger at INFO, only errors if `quiet`."""
    global _verbose
    _verbose = verbose
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a name that its encoding lacks is shown escaped
            stream.reconfigure(errors="backslashreplace")
    log = logging.getLogger("breaknet")
    log.setLevel(logging.ERROR if quiet else logging.INFO)
    log.propagate = False
    log.handlers = [_Handler()]
    warnings.showwarning = lambda message, *_, **__: None if quiet else notice(f"Warning: {message}")


class _Handler(logging.Handler):
    """Writes to the standard error of the moment, which may have been replaced."""

    def emit(self, record: logging.LogRecord) -> None:
        notice(record.getMessage())


def verbose() -> bool:
    """Whether the command asked for tracebacks."""
    return _verbose


def printable(text: str) -> str:
    """Text from anywhere as a terminal may be given it: control characters escaped, lines of bounded length."""
    lines = []
    for line in text.split("\n"):
        shown = (
            line if len(line) <= _LONGEST_LINE else f"{line[:_LONGEST_LINE]}... ({len(line):,} characters)"
        )
        if not shown.isprintable():
            shown = "".join(
                one if one.isprintable() else one.encode("unicode_escape", "backslashreplace").decode()
                for one in shown
            )
        lines.append(shown)
    return "\n".join(lines)


def notice(text: str) -> None:
    """Lines on standard error, above a progress bar if one is being drawn; lost where it is closed or full."""
    if sys.stderr is None:
        return
    tqdm = sys.modules.get("tqdm")
    with suppress(OSError, ValueError):
        if tqdm is not None:
            tqdm.tqdm.write(printable(text), file=sys.stderr)
        else:
            _print(text, file=sys.stderr, flush=True)


def error_line(text: str) -> None:
    """The one line on standard error that tells what went wrong; only the first line of `text`."""
    notice(f"breaknet: {(text.splitlines() or [''])[0]}")


def _print(text: str, **how: Any) -> None:
    print(printable(text), **how)


def banner(title: str, text: str) -> None:
    """A notice between two rules of 80 exclamation marks."""
    rule = "!" * 80
    notice(f"\n{rule}\n!!  {title}\n{rule}\n{text}\n{rule}\n")


def show_json(value: Any) -> None:
    print(json.dumps(value, indent=1, allow_nan=True))


def show_class(rows: Sequence[tuple[str, ...]], students: int, page: str) -> None:
    _print(f"Predictions of {number_of(students, 'student')}:\n")
    if rows:
        _print(table(("question", "predictions", "median", "outcome"), rows))
    _print(f"\nRead {page}")


def show_lesson(results: dict[str, Any], folder: Path) -> None:
    from ..lesson.experiments import CURVES
    from ..lesson.fits import logistic_from
    from ..lesson.many_runs_sentences import MANY_RUNS
    from ..lesson.report_sentences import alarms
    from ..lesson.report_sentences import notice as notice_of
    from ..lesson.words import slope_text

    _print(f"\nThe lesson on {results['data_source']} ({results['backend']} on {results['device']}):\n")
    header = ("experiment", "epochs", "train cost", "valid cost", "train accuracy", "valid accuracy")
    rows = []
    for name, experiment in results["experiments"].items():
        curves = [experiment[key] for key in CURVES]
        last = [curve[-1] if curve else float("nan") for curve in curves]
        costs = [f"{value:.4f}" for value in last[:2]]
        rows.append((name, str(len(curves[0])), *costs, *(f"{100 * value:.1f} %" for value in last[2:])))
    _print(table(header, rows))
    fits = {name: experiment["fits"] for name, experiment in results["experiments"].items()}
    for part in ("train", "valid"):
        line = fits["clean"][f"{part}_cost_line"]
        slope = "no line fitted" if line is None else f"{slope_text(line['slope'])} an epoch from epoch 20 on"
        _print(f"clean: slope of the {part} cost: {slope}")
    for name in ("shuffled", "hundred"):
        fit = logistic_from(fits[name]["train_accuracy_logistic"])
        found = "no fit" if fit is None else fit.capacity_text
        _print(f"{name}: carrying capacity of the train accuracy: {found}")
    for name in [name for name in MANY_RUNS if name in results]:
        said = notice_of(results, name)[0]
        _print(f"{name.replace('_', ' ')}: {said[0].lower()}{said[1:]}")
    for line in alarms(results):
        _print(f"\n! {line}")
    _print(f"\n{_seconds(results['seconds'])}")
    _print(f"\nRead {folder / 'report.html'}")


def show_run(run: Run, source: str, files: Mapping[str, str | None]) -> None:
    """A run's last figures, and which files it went to."""
    _print(f"{run!r} on {source}")
    if len(run.train_cost):
        _print(f"train: cost {run.train_cost[-1]:.4f}, accuracy {100 * run.train_accuracy[-1]:.2f} %")
        if run.valid_cost is not None and run.valid_accuracy is not None:
            _print(f"valid: cost {run.valid_cost[-1]:.4f}, accuracy {100 * run.valid_accuracy[-1]:.2f} %")
    _print(_seconds(run.seconds))
    for name, path in files.items():
        if path is not None:
            _print(f"{name}: {path}")


def show_evaluation(result: Evaluation, on: str) -> None:
    count = len(result.cost)
    _print(f"{number_of(count, 'checkpoint')} on {on} ({result.backend} on {result.device})")
    if not count:
        return
    best = int(result.cost.argmin())
    shown = sorted({0, best, count - 1} | {round(step * (count - 1) / 10) for step in range(11)})
    rows = [
        (str(epoch), f"{result.cost[epoch]:.5f}", f"{100 * result.accuracy[epoch]:.2f} %",
         "lowest cost" if epoch == best else "")
        for epoch in shown
    ]  # fmt: skip
    _print(table(("epoch", "cost", "accuracy", ""), rows))
    if result.confusion is not None:
        _print("\nlast epoch, rows: true labels, columns: answers")
        header = ("", *map(str, range(10)))
        counts = [(str(digit), *map(str, row)) for digit, row in enumerate(result.confusion[-1])]
        _print(table(header, counts))


def count_labels(digits: Digits) -> dict[str, Any]:
    """Numbers of images, in all and of each digit, by split."""
    import numpy as np

    splits = {"train": digits.train, "valid": digits.valid, "test": digits.test}
    return {
        name: {"images": len(split), "digits": np.bincount(split.labels, minlength=10).tolist()}
        for name, split in splits.items()
    }


def show_data(digits: Digits) -> None:
    _print(f"{digits.source}: 28 x 28 grey images, one byte a pixel\n")
    header = ("split", "images", *map(str, range(10)))
    rows = [
        (name, f"{found['images']:,}", *map(str, found["digits"]))
        for name, found in count_labels(digits).items()
    ]
    _print(table(header, rows))
    if len(digits.train):
        _print(f"\nThe first training image, a {digits.names[digits.train.labels[0]]}:")
        for row in digits.train.images[0].reshape(28, 28)[::2]:
            _print("".join(" .:-=+*#%@"[value * 10 // 256] * 2 for value in row.tolist()).rstrip())


def show_breakages(as_json: bool) -> None:
    from ..breakage import BREAKAGES

    if as_json:
        show_json(
            [
                {
                    "name": known.name, "example": known.example, "part": known.part, "teaches": known.lesson,
                    "parameters": [vars(parameter) for parameter in known.parameters],
                }
                for known in BREAKAGES.values()
            ]
        )  # fmt: skip
        return
    for known in BREAKAGES.values():
        print(textwrap.fill(f"{known.example}   [{known.part}]"))
        print(textwrap.indent(textwrap.fill(known.lesson, 96), "    "))


def show_examination(found: dict[str, Any]) -> None:
    _print("versions: " + ", ".join(f"{name} {version}" for name, version in found["versions"].items()))
    machine = found["machine"]
    _print(f"machine: {machine['system']}, {machine['cores']} cores")
    if found["gpus"]:
        for gpu in found["gpus"]:
            kind = f"{gpu['capability']}, {gpu['multiprocessors']} multiprocessors, {gpu['gib']} GiB"
            _print(f"GPU: {gpu['name']} ({kind})")
    else:
        from .doctor import no_gpu_advice

        _print(f"GPU: none ({no_gpu_advice()})")
    for name, backend in found["backends"].items():
        _print(
            f"backend {name}: " + ("works here" if backend["usable"] else f"not here: {backend['reason']}")
        )
        for check in backend["checks"]:
            _print(f"  {'ok    ' if check['ok'] else 'FAILED'} {check['name']}: {check['detail']}")
    auto = found["auto"]
    if auto["backend"]:
        _print(f"auto picks: {auto['backend']} on {auto['device']} ({auto['why']})")
    else:
        _print(f"auto picks nothing: {auto['why']}")


def _seconds(phases: Mapping[str, float]) -> str:
    return "seconds: " + ", ".join(f"{phase} {value:.2f}" for phase, value in phases.items())


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A plain-text table: the first column to the left, all others, which hold numbers, to the right."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    form = "  ".join(f"{{:{'>' if place else '<'}{width}}}" for place, width in enumerate(widths))
    return "\n".join(form.format(*row).rstrip() for row in (header, *rows))
