"""The exercises' solutions, read from the notebooks' sources, and the usual mistakes, as edits of them.

    solution("forward")                         # the kernel, ready for `checks.forward`
    solution("forward", "-z", "z")              # the same with one edit of its source
    usual_mistakes("forward")                   # a table for instructors: mistakes, and the checker's messages

An exercise's cell is tagged `exercise-NAME`; `blanks` says how its solution is marked.
"""

from __future__ import annotations

import itertools
import linecache
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import torch

from breaknet.lesson.notebook_display import Markdown, table
from notebooks.course import barriers
from notebooks.course.blanks import blank, solved
from notebooks.course.checking import Verdict, edited
from notebooks.course.checks import KERNELS
from notebooks.course.checks_in_python import FUNCTIONS
from notebooks.course.here import INTERPRETED, tl, triton

#: The checkers by the exercises' names, in the course's order.
CHECKS: dict[str, Callable[[Any], Verdict]] = {**KERNELS, **FUNCTIONS}

_EXERCISE = re.compile(r'^# %% tags=\["exercise-(\w+)"\]\n(.*?)(?=^# %%)', re.MULTILINE | re.DOTALL)
_serial = itertools.count()

_ROWS = "(row < batch)[:, None] & "
_K_OF_X = "(row < batch)[:, None] & (k < inputs)[None, :]"
_K_OF_W = "(unit < outputs)[None, :] & (k < inputs)[:, None]"
_BARRIER = "        barrier(counter_ptr, arrivals, INTERPRETED)  # all have "
_WAIT = f"        arrivals += PROGRAMS\n{_BARRIER}"
_UNITS = "unit[:, None] * inputs + k[None, :]"
_CROSS_TERMS = "(product(a_high, b_low) + product(a_low, b_high))"
_ROUNDED = "-(-registers * 32 // 256) * 256"

#: By exercise and mistake: a part of the checker's message, and the edits, text and replacement in turn.
MISTAKES: dict[str, dict[str, tuple[str, ...]]] = {
    "scale": {
        "store without a mask": ("beyond the end of `x`", "/ 256, mask=inside", "/ 256"),
        "divided by 255": ("the lesson's pixels are byte / 256", "/ 256", "/ 255"),
        "not divided": ("the division by 256 is missing", " / 256", ""),
        "every program does block 0": ("were not written", "tl.program_id(0) * BLOCK", "0"),
    },
    "forward": {
        "store without the mask of rows": ("beyond the end of `y`", f"y_inside = {_ROWS}", "y_inside = "),
        "loads of x without a mask": ("something outside the tensors", ", mask=x_inside, other=0.0)", ")"),
        "mask of k forgotten in both loads": (
            "`y`",
            *(_K_OF_X, "(row < batch)[:, None]"),
            *(_K_OF_W, "(unit < outputs)[None, :]"),
        ),
        "sign inside exp": ("the sign inside exp is wrong", "tl.exp(-(z", "tl.exp((z"),
        "no bias": ("without its bias", "z + bias[None, :]", "z"),
        "no sigmoid": ("sigmoid", "1 / (1 + tl.exp(-(z + bias[None, :])))", "z + bias[None, :]"),
        "stops after one block": ("loop", "range(0, inputs, BLOCK_K)", "range(0, 1, BLOCK_K)"),
        "the same block again and again": ("`y`", "k = first + tl.arange", "k = tl.arange"),
    },
    "backward": {
        "the derivative forgotten": ("derivative y (1 - y)", "grad * y * (1 - y)", "grad"),
        "half a derivative": ("y (1 - y), not y", "grad * y * (1 - y)", "grad * y"),
        "the sigmoid of y": (
            "already the sigmoid's result",
            "dz = grad * y * (1 - y)",
            "s = 1 / (1 + tl.exp(-y))\n        dz = grad * s * (1 - s)",
        ),
        "sign of dz": ("wrong sign", "grad * y * (1 - y)", "grad * y * (y - 1)"),
        "one block of rows": ("first 32 rows", "range(0, batch, BLOCK_B)", "range(0, 1, BLOCK_B)"),
        "rows past the batch loaded": ("NaN", f"    inside = {_ROWS}", "    inside = "),
        "dbias not stored": ("`dbias`: ", "tl.store(dbias_ptr + unit, dbias, mask=unit < outputs)", "pass"),
    },
    "cost": {
        "factor 2 of the gradient": ("a factor of 2 is missing", "2 * difference", "difference"),
        "sign": ("wrong sign", "prediction - target", "target - prediction"),
        "no target": ("the target was taken as 0", "prediction - target, 0.0)", "prediction, 0.0)"),
        "padded values counted": ("`partial`", "prediction - target, 0.0)", "prediction - target, 0.1)"),
        "store without a mask": (
            "beyond the end of `gradient`",
            "2 * difference, mask=inside",
            "2 * difference",
        ),
        "added to memory by atomics": ("no atomics", "tl.store(partial_ptr", "tl.atomic_add(partial_ptr"),
    },
    "rounds": {
        "no barrier before the reads": ("before it was written", f"{_WAIT}written\n", ""),
        "no barrier after the reads": ("before all had read it", f"{_WAIT}read\n", ""),
        "both barriers wait for the same count": (
            "before all had read it",
            f"{_WAIT}read",
            f"{_BARRIER}read",
        ),
    },
    "train_many": {
        "labels of network 0": ("labels of the first", "label_ptr + network * examples", "label_ptr"),
        "learning rate of network 0": (
            "the first learning rate",
            "learning_rate_ptr + network",
            "learning_rate_ptr",
        ),
        "weights of network 0": ("weights of the first", "weight_ptr + place", f"weight_ptr + {_UNITS}"),
        "factor 2": ("a factor of 2 is missing", "2 * (y - target)", "(y - target)"),
        "uphill": ("uphill", "weight -= ", "weight += "),
        "every step from the first weights": (
            "every step started from the first weights",
            *("    learning_rate = ", "    start = weight\n    learning_rate = "),
            *("tl.trans(weight)", "tl.trans(start)"),
        ),
        "rows past the last batch": ("`trained` is NaN", "(row < examples)[:, None] & ", ""),
        "all networks in one place": ("were not written", "trained_ptr + place", f"trained_ptr + {_UNITS}"),
    },
    "first_maximum": {
        "the last maximum": (
            "the last one was taken",
            *("column[None, :], BLOCK_C)", "column[None, :], -1)"),
            *("tl.min(", "tl.max("),
        ),
        "padding of zeros": ("-inf", '-float("inf")', "0.0"),
        "checkpoint 0 for all": (
            "predictions of the first",
            "place = (checkpoint * images + image)",
            "place = image",
        ),
        "store without a mask": (
            "predicted",
            "tl.min(candidate, 1), mask=image < images",
            "tl.min(candidate, 1)",
        ),
    },
    "split_product": {
        "one product": ("nothing was gained", f" + {_CROSS_TERMS}", ""),
        "one cross term": ("a low part", _CROSS_TERMS, "product(a_high, b_low)"),
        "another product": ("use `product`", f"product(a_high, b_high) + {_CROSS_TERMS}", "a @ b"),
    },
    "blocks_per_sm": {
        "shared memory forgotten": ("shared memory", "by_registers, by_shared,", "by_registers,"),
        "registers not rounded": ("register file", _ROUNDED, "registers * 32"),
        "registers of one thread": ("register file", _ROUNDED, "registers"),
        "no limit of blocks": ("room for blocks", ", sm.max_blocks_per_sm)", ")"),
    },
}


def mistaken(exercise: str, mistake: str) -> Any:
    """The wrong kernel or function that `mistake` describes."""
    return solution(exercise, *MISTAKES[exercise][mistake][1:])


def usual_mistakes(exercise: str) -> Markdown:
    """For instructors: the usual mistakes in one exercise, and the checker's message for each."""
    messages = {
        mistake: CHECKS[exercise](mistaken(exercise, mistake)).message for mistake in MISTAKES[exercise]
    }
    return table(("a usual mistake", "the checker's message"), messages.items(), right=False)


def source(name: str, version: str = "instructor") -> str:
    """The code of one exercise's cell; `version` is "instructor" (solved) or "student" (blank).

    Raises:
        ValueError: no such exercise.
    """
    if name not in _cells():
        raise ValueError(f"name: one of {', '.join(names())}, not {name!r}")
    return (solved if version == "instructor" else blank)(_cells()[name]).strip() + "\n"


@cache
def _cells() -> dict[str, str]:
    sources = sorted(Path(__file__).parents[1].glob("gpu_*.py"))
    text = "\n".join(file.read_text(encoding="utf-8") for file in sources)
    return dict(_EXERCISE.findall(text))


def names() -> list[str]:
    """All exercises, in the course's order."""
    return list(_cells())


def solution(name: str, *edits: str, version: str = "instructor") -> Any:
    """What the cell of exercise `name` defines, after replacing `edits[0]` by `edits[1]` and so on in its source.

    Raises:
        ValueError: no such exercise, or a text to replace that is not there exactly once.
    """
    return compiled(name, edited(source(name, version), edits))


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
