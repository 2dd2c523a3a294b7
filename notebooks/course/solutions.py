"""The exercises' solutions, which stand in one place: the cells of `gpu_performance.py` tagged `instructor`.

    solution("forward")                         # the kernel, ready for `checks.forward`
    solution("forward", ("-z", "z"))            # the same with one edit of its source

An exercise's cells are tagged `exercise-NAME` besides `student` (the empty one) or `instructor` (the solution).
"""

from __future__ import annotations

import itertools
import json
import linecache
import re
from functools import cache
from pathlib import Path
from typing import Any

import torch

from notebooks.course import barriers
from notebooks.course.here import INTERPRETED, tl, triton

COURSE = Path(__file__).parents[1] / "gpu_performance.py"
_CELL = re.compile(r"^# %%.*?tags=(\[[^\]]*\])", re.MULTILINE)
_serial = itertools.count()


def source(name: str, version: str = "instructor") -> str:
    """The code of one exercise's cell; `version` is "instructor" or "student".

    Raises:
        ValueError: no such cell.
    """
    found = _cells().get((name, version))
    if found is None:
        names = ", ".join(sorted({exercise for exercise, _ in _cells()}))
        raise ValueError(f"name: one of {names}, not {name!r} for {version!r}")
    return found


@cache
def _cells() -> dict[tuple[str, str], str]:
    found = {}
    for cell in re.split(r"^(?=# %%)", COURSE.read_text(encoding="utf-8"), flags=re.MULTILINE):
        head = _CELL.match(cell)
        tags = json.loads(head[1]) if head else []
        exercise = next((tag.removeprefix("exercise-") for tag in tags if tag.startswith("exercise-")), None)
        if exercise is not None:
            version = "student" if "student" in tags else "instructor"
            found[exercise, version] = cell.partition("\n")[2].strip() + "\n"
    return found


def names() -> list[str]:
    """All exercises, in the course's order."""
    return [exercise for exercise, version in _cells() if version == "instructor"]


def solution(name: str, *edits: tuple[str, str], version: str = "instructor") -> Any:
    """What the cell of exercise `name` defines, after replacing text in its source.

    Raises:
        ValueError: no such exercise, or a text to replace that is not there exactly once.
    """
    code = source(name, version)
    for old, new in edits:
        if code.count(old) != 1:
            raise ValueError(f"{name}: {old!r} stands {code.count(old)} times in the solution, not once")
        code = code.replace(old, new)
    return compiled(name, code)


def compiled(name: str, code: str) -> Any:
    """The last function that `code` defines. Triton reads a kernel's source, so that it is kept for `inspect`."""
    file = f"<course exercise {name} {next(_serial)}>"
    linecache.cache[file] = (len(code), None, code.splitlines(keepends=True), file)
    # what the notebook's first cells have imported by then
    room: dict[str, Any] = {"__name__": f"course_{name}", "torch": torch, "triton": triton, "tl": tl}
    room |= {"barrier": barriers.barrier, "dawdle": barriers.dawdle, "INTERPRETED": INTERPRETED}
    exec(compile(code, file, "exec"), room)
    defined = re.findall(r"^def (\w+)\(", code, re.MULTILINE)
    return room[defined[-1]]
