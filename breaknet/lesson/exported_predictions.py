"""Files of predictions that students saved from the report, read as what strangers send: bounded and checked.

A file is JSON: `format` "breaknet predictions", `schema` 1, `student`, `exported`, `report` (`id`, `data_source`,
`settings`), `points`, `predictions` and `outcome` (question -> a number, or a curve of that many points), and `axes`
(curve -> first and last place).
"""

import json
import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..data.bounded import read_bounded
from ..errors import DataError
from .predictions import CURVES, NUMBERS, POINTS

FORMAT = "breaknet predictions"
SCHEMA = 1

#: Bytes of a file, files in a folder, entries of all kinds in it, characters of a name.
MAX_BYTES = 256 * 1024
MAX_FILES = 2_000
MAX_ENTRIES = 20_000
MAX_NAME = 60
#: No number that can be predicted is larger; those of an axis are not either.
MAX_VALUE = 1e6

NUMBER_KEYS = {number.key for number in NUMBERS}
CURVE_KEYS = {curve.key for curve in CURVES}

Values = dict[str, Any]  # question -> a number, or a list of POINTS numbers or None


@dataclass(frozen=True)
class Outcome:
    """The outcome of a run by question, and the ends of its curves' axes."""

    values: Values
    axes: dict[str, tuple[float, float]]


@dataclass(frozen=True)
class Predicted:
    """One student's predictions, and the outcome that the student's report showed."""

    file: str
    student: str
    exported: str
    report: str
    data_source: str
    predictions: Values
    outcome: Outcome


@dataclass(frozen=True)
class ClassFiles:
    """The predictions of a class, one set a student and report, and a line for each file that was left out."""

    predicted: list[Predicted]
    left_out: list[str]


def read_folder(folder: Path) -> ClassFiles:
    """The files that end in .json in `folder` and below it, in the order of their names; no link is followed.

    Of several files of the same student on the same report, the one exported last counts.

    Raises:
        DataError: for a folder that cannot be read, that holds too much, or that holds no predictions.
    """
    latest: dict[tuple[str, str], Predicted] = {}
    left_out = []
    for path in _json_files(folder):
        name = path.relative_to(folder).as_posix()
        try:
            found = read_file(path, name)
        except DataError as error:
            left_out.append(str(error))
            continue
        key = found.student.casefold() or name, found.report
        before = latest.get(key)
        if before is not None:
            older, newer = sorted((before, found), key=lambda one: one.exported)
            left_out.append(f"{older.file}: {newer.file} is of the same student, and newer")
            found = newer
        latest[key] = found
    if not latest:
        reason = f"; {left_out[0]}" if left_out else ""
        raise DataError(f"{folder}: no file of predictions that can be read{reason}")
    return ClassFiles(list(latest.values()), left_out)


def _json_files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise DataError(f"{folder}: no folder to read")
    found, entries = [], 0
    for top, folders, files in os.walk(folder):
        folders.sort()
        entries += len(folders) + len(files)
        if entries > MAX_ENTRIES:
            raise DataError(
                f"{folder}: over {MAX_ENTRIES:,} files; name the folder with the predictions alone"
            )
        found += [Path(top, name) for name in files if name.lower().endswith(".json") and name[0] != "."]
    if len(found) > MAX_FILES:
        raise DataError(f"{folder}: {len(found):,} files of predictions; at most {MAX_FILES:,} are read")
    return sorted(found)


def read_file(path: Path, name: str) -> Predicted:
    """One file, checked; `name` is what errors call it.

    Raises:
        DataError: for a file that is not one of predictions, with what is wrong.
    """
    try:
        if path.is_symlink():
            raise ValueError("a link")
        content = read_bounded(path, MAX_BYTES)
        whole = json.loads(content.decode("utf-8"), parse_constant=_no_constant)
        return _checked(whole, name)
    except RecursionError:
        raise DataError(f"{name}: nested too deeply") from None
    except DataError as error:
        raise DataError(str(error).replace(str(path), name)) from None
    except UnicodeDecodeError:
        raise DataError(f"{name}: no text") from None
    except json.JSONDecodeError as error:
        raise DataError(f"{name}: no JSON ({error.msg} in line {error.lineno})") from None
    except ValueError as error:
        raise DataError(f"{name}: {error}") from None


def _no_constant(word: str) -> Any:
    raise ValueError(f"{word} is no number")


def _checked(whole: Any, name: str) -> Predicted:
    whole = _mapping(whole, "the file")
    if whole.get("format") != FORMAT:
        raise ValueError("no predictions that a report saved")
    if whole.get("schema") != SCHEMA or isinstance(whole["schema"], bool):
        raise ValueError(f"schema: {SCHEMA}, not {_short(whole.get('schema'))}")
    if whole.get("points") != POINTS:
        raise ValueError(f"points: {POINTS}, not {_short(whole.get('points'))}")
    report = _mapping(whole.get("report"), "report")
    axes = {}
    for key, ends in _mapping(whole.get("axes"), "axes").items():
        if key in CURVE_KEYS:
            if (
                not isinstance(ends, list)
                or len(ends) != 2
                or not all(map(_is_number, ends))
                or ends[0] >= ends[1]
            ):
                raise ValueError(f"axes: {key}: two numbers in order")
            axes[key] = (float(ends[0]), float(ends[1]))
    outcome = _values(whole.get("outcome"), "outcome", gaps=False)
    return Predicted(
        name,
        printable_name(whole.get("student")),
        printable_name(whole.get("exported")),
        printable_name(report.get("id")),
        printable_name(report.get("data_source")),
        _values(whole.get("predictions"), "predictions", gaps=True),
        Outcome({key: value for key, value in outcome.items() if key in NUMBER_KEYS or key in axes}, axes),
    )


def _mapping(value: Any, what: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{what}: an object, not {_short(value)}")
    return value


def _values(found: Any, what: str, gaps: bool) -> Values:
    """Those of known questions; others, which a later version may ask, are left out."""
    values: Values = {}
    for key, value in _mapping(found, what).items():
        if key in NUMBER_KEYS:
            if not _is_number(value):
                raise ValueError(f"{what}: {key}: a number up to {MAX_VALUE:,.0f}, not {_short(value)}")
            values[key] = float(value)
        elif key in CURVE_KEYS:
            whole = isinstance(value, list) and len(value) == POINTS
            if not whole or not all(_is_number(one) or (gaps and one is None) for one in value):
                raise ValueError(f"{what}: {key}: {POINTS} numbers")
            values[key] = [None if one is None else float(one) for one in value]
    return values


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= MAX_VALUE


def _short(value: Any) -> str:
    return repr(value)[:40]


def printable_name(value: Any) -> str:
    """A text from a file as one line: without control characters and marks of direction, of bounded length."""
    if not isinstance(value, str):
        return ""
    return " ".join("".join(one if one.isprintable() else " " for one in value[:1000]).split())[:MAX_NAME]


def common_outcome(predicted: list[Predicted]) -> tuple[Outcome, int]:
    """The outcome that most of the reports showed, and how many files have another."""
    told = [json.dumps([one.outcome.values, one.outcome.axes], sort_keys=True) for one in predicted]
    most, count = Counter(told).most_common(1)[0]
    return predicted[told.index(most)].outcome, len(predicted) - count
