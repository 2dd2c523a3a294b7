"""The exercises' solutions, read from the notebooks' sources.

    solution("forward")                         # the kernel, ready for `checks.forward`
    solution("forward", "-z", "z")              # the same with one edit of its source

An exercise's cell is tagged `exercise-NAME`; `blanks` says how its solution is marked.
"""

import itertools
import linecache
import re
from functools import cache
from pathlib import Path
from typing import Any

import torch

from notebooks.course import barriers
from notebooks.course.blanks import blank, solved
from notebooks.course.here import INTERPRETED, tl, triton

_EXERCISE = re.compile(r'^# %% tags=\["exercise-(\w+)"\]\n(.*?)(?=^# %%)', re.MULTILINE | re.DOTALL)
_serial = itertools.count()


def source(name: str, version: str = "instructor") -> str:
    """The code of one exercise's cell; `version` is "instructor" (solved) or "student" (blank).

    Raises:
        ValueError: no such exercise.
    """
    if name not in cells():
        raise ValueError(f"name: one of {', '.join(cells())}, not {name!r}")
    return (solved if version == "instructor" else blank)(cells()[name]).strip() + "\n"


@cache
def cells() -> dict[str, str]:
    """The exercises' cells as they are written, by name, in the course's order."""
    sources = sorted(Path(__file__).parents[1].glob("gpu_*.py"))
    text = "\n".join(file.read_text(encoding="utf-8") for file in sources)
    return dict(_EXERCISE.findall(text))


def solution(name: str, *edits: str, version: str = "instructor") -> Any:
    """The definitions of the cell of exercise `name`, after replacing `edits[0]` by `edits[1]` and so on in its source.

    Raises:
        ValueError: no such exercise, or a text to replace that is not there exactly once.
    """
    code = source(name, version)
    for old, new in zip(edits[::2], edits[1::2], strict=True):
        if code.count(old) != 1:
            raise ValueError(f"edits: {old!r} is in the source {code.count(old)} times, not once")
        code = code.replace(old, new)
    return compiled(name, code)


def compiled(name: str, code: str) -> Any:
    """The last function that `code` defines. Triton reads a kernel's source, so it is kept for `inspect`."""
    file = f"<course exercise {name} {next(_serial)}>"
    linecache.cache[file] = (len(code), None, code.splitlines(keepends=True), file)
    # what the notebook's first cells have imported by then
    room: dict[str, Any] = {"__name__": f"course_{name}", "torch": torch, "triton": triton, "tl": tl}
    room |= {"barrier": barriers.barrier, "delay": barriers.delay, "INTERPRETED": INTERPRETED}
    exec(compile(code, file, "exec"), room)
    defined = re.findall(r"^def (\w+)\(", code, re.MULTILINE)
    return room[defined[-1]]
