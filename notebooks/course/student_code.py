"""A student's kernel as code: mistakes that its text shows, the line at which it stopped, and who does the work."""

import ast
import inspect
import linecache
import math
import textwrap
import traceback
from typing import Any

from torch import Tensor


def mistake(kernel: Any) -> str | None:
    """The mistake in a kernel that shows before it is launched, in one line; None if none does."""
    if inspect.isfunction(kernel):
        return (
            f"`{kernel.__name__}` is a plain Python function: write @triton.jit in the line above its `def`"
        )
    names = getattr(kernel, "arg_names", ())
    for line, code, base, _ in _subscripts(kernel):
        if base in names and base.endswith("_ptr"):
            return (
                f"line {line}, `{code}`: a pointer is not indexed as an array of NumPy is; "
                f"tl.load({base} + offsets, mask=..., other=0) reads, "
                f"tl.store({base} + offsets, values, mask=...) writes"
            )
    return None


def stopped(error: BaseException, kernel: Any = None) -> str:
    """The part of an exception that a student needs: its kind, the last line of its text, and the line of the cell."""
    place = _place(error)
    while isinstance(error.__cause__, Exception):
        error = error.__cause__
        place = _place(error) or place
    for line, code, base, plain in _subscripts(kernel):
        if not plain:
            return (
                f"line {line}, `{code}`: a block has no elements to pick out; it takes [:, None] and [None, :] only. "
                f"What is to be read of `{base}` is chosen by the offsets in tl.load"
            )
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = ": ".join([type(error).__name__, *lines[-1:]])
    return f"it stopped with {said}{f' ({place})' if place else ''}"


def _place(error: BaseException) -> str:
    """The number and text of the line of a student's cell at which `error` was raised; empty where it is not known."""
    node, source = getattr(error, "node", None), getattr(error, "src", None)
    if node is not None and isinstance(source, str):  # Triton's compiler: lines from the kernel's own first
        lines = source.splitlines()
        return (
            f"line {node.lineno} of the kernel: `{lines[node.lineno - 1].strip()}`"
            if node.lineno <= len(lines)
            else ""
        )
    for frame, number in reversed(list(traceback.walk_tb(error.__traceback__))):
        file = frame.f_code.co_filename
        if file.startswith("<course exercise") or "ipykernel" in file or "<ipython-input" in file:
            return f"line {number} of the cell: `{linecache.getline(file, number).strip()}`"
    return ""


def _subscripts(kernel: Any) -> list[tuple[int, str, str, bool]]:
    """Each `base[...]` in a kernel's body: its line, its code, the base, and whether it only adds axes."""
    function = getattr(kernel, "fn", None)
    if not inspect.isfunction(function):
        return []
    try:
        source = textwrap.dedent(inspect.getsource(function))
        (defined,) = ast.parse(source).body
    except (OSError, TypeError, ValueError, SyntaxError):
        return []
    found = []
    for node in (one for statement in getattr(defined, "body", ()) for one in ast.walk(statement)):
        if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name):
            line = function.__code__.co_firstlineno + node.lineno - 1
            found.append((line, ast.unparse(node), node.value.id, _adds_axes(node.slice)))
    return found


def _adds_axes(index: ast.expr) -> bool:
    parts = index.elts if isinstance(index, ast.Tuple) else [index]
    return all(
        (isinstance(one, ast.Slice) and not (one.lower or one.upper or one.step))
        or (isinstance(one, ast.Constant) and one.value is None)
        for one in parts
    )


class FirstProgram:
    """A kernel of whose grid only the first program is launched."""

    def __init__(self, kernel: Any) -> None:
        self.kernel = kernel
        self.programs = 1  # of the whole grid

    def __getitem__(self, grid: tuple[int, ...]) -> Any:
        self.programs = math.prod(grid)
        return self.kernel[(1,) * len(grid)]


def all_by_the_first(whole: FirstProgram, written: list[Tensor], untouched: int) -> str | None:
    """After a launch of the first program alone: that it wrote everything, in one line; None if it did its part.

    `written` are the outputs, which began as the bits `untouched`.
    """
    import torch

    if whole.programs == 1 or any(bool((one.view(torch.int32) == untouched).any()) for one in written):
        return None
    return (
        f"the values are right, but every program does all of the work: {whole.programs} programs are launched, and "
        "the first one alone writes everything; tl.program_id(0) says which part is a program's own"
    )
