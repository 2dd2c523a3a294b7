"""How a kernel is checked: guarded memory, the spec in float64, known mistakes by their results, and one verdict.

Every output starts as one number that no kernel computes by chance, between guard zones of the same, so that values
never written, writes out of bounds and sums added to old memory all show. Inputs lie amid NaN (255 for bytes, -1 for
labels), so that reads out of bounds show too.
"""

from __future__ import annotations

import html
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import torch
from torch import Tensor

from breaknet.kernels._triton import HAVE_TRITON, why_not
from notebooks.course.here import DEVICE

#: Elements before and after each tensor: more than one block without its mask overruns.
GUARD = 8192
GARBAGE = 12345.679
_GARBAGE = torch.tensor(GARBAGE).view(torch.int32).item()
#: What a kernel may err beside four times torch's float32: two ulp each for exp and division, of the whole norm.
TWO_ULP_TWICE = 2.4e-7
NOT_FILLED_IN = "not filled in yet"


@dataclass(frozen=True)
class Verdict:
    """A checker's result; true where the exercise is solved. A notebook shows it in colour."""

    exercise: str
    passed: bool
    message: str

    def __bool__(self) -> bool:
        return self.passed

    def __repr__(self) -> str:
        return f"{self._mark} {self.exercise}: {self.message}"

    @property
    def waiting(self) -> bool:
        """Whether the exercise is simply not done yet."""
        return self.message.startswith(NOT_FILLED_IN)

    def _repr_html_(self) -> str:
        colour = "#1a7f37" if self.passed else "#6b6b6b" if self.waiting else "#b3261e"
        text = f"<b>{self._mark}</b> {html.escape(self.exercise)}: {html.escape(self.message)}"
        style = f"border-left: 4px solid {colour}; padding: 2px 10px; color: {colour}"
        return f'<div style="{style}">{text}</div>'

    @property
    def _mark(self) -> str:
        return "✔" if self.passed else "○" if self.waiting else "✘"


@dataclass(frozen=True)
class Output:
    """A float32 or int32 tensor `values` that starts as garbage, inside a larger one."""

    name: str
    values: Tensor
    whole: Tensor  # the same memory as int32, guard zones included

    @property
    def untouched(self) -> Tensor:
        """Where nothing was written, bool, in the shape of `values`."""
        return (self.whole[GUARD:-GUARD] == _GARBAGE).view(self.values.shape)

    @property
    def overrun(self) -> tuple[int, int]:
        """How many elements were written before the output's start and after its end."""
        before, after = (int((zone != _GARBAGE).sum()) for zone in (self.whole[:GUARD], self.whole[-GUARD:]))
        return before, after


def garbage(name: str, shape: Sequence[int], dtype: torch.dtype, device: str) -> Output:
    """An output of this shape; `dtype` is float32 or int32."""
    size = torch.Size(shape).numel()
    whole = torch.full((size + 2 * GUARD,), _GARBAGE, dtype=torch.int32, device=device)
    return Output(name, whole[GUARD : GUARD + size].view(dtype).view(tuple(shape)), whole)


def surrounded(tensor: Tensor, device: str) -> Tensor:
    """A contiguous copy of `tensor` with poison before and after it: NaN, 255 in bytes, -1 in other integers."""
    poison = {torch.float32: float("nan"), torch.uint8: 255}.get(tensor.dtype, -1)
    whole = torch.full((tensor.numel() + 2 * GUARD,), poison, dtype=tensor.dtype, device=device)
    inner = whole[GUARD:-GUARD].view(tensor.shape)
    inner.copy_(tensor)
    return inner


#: Sets of a spec's arguments: CPU tensors of float32 or integers, and whole numbers.
Cases = Iterator[dict[str, Any]]
#: By a checker's message, the mistake that it is about: edits of the spec's source, text and replacement in turn.
LookAlikes = Mapping[str, tuple[str, ...]]


@dataclass(frozen=True)
class Exercise:
    """A kernel to be written.

    Attributes:
        name: as messages give it.
        spec: what it computes.
        outputs: the names of the results, in the spec's order.
        cases: the spec's arguments to try it on.
        launch: runs a kernel: `launch(kernel, *outputs, **arguments)`, all tensors on the device; a problem in one
            line, or None.
        look_alikes: usual mistakes, recognised by their results.
        hint: the message where values are wrong and no look-alike fits.
    """

    name: str
    spec: Callable[..., Any]
    outputs: tuple[str, ...]
    cases: Callable[[], Cases]
    launch: Callable[..., str | None]
    look_alikes: LookAlikes = field(default_factory=dict)
    hint: str = ""

    def __call__(self, kernel: Any) -> Verdict:
        """Check `kernel`; the message is about the first case that is wrong."""
        if not HAVE_TRITON:
            return Verdict(self.name, False, f"cannot be checked here: {why_not()}")
        cases = list(self.cases())
        for case in cases:
            problem = self._problem(kernel, case)
            if problem is not None:
                where = "" if problem.startswith(NOT_FILLED_IN) else f" ({_described(case)})"
                return Verdict(self.name, False, f"{problem}{where}")
        return Verdict(self.name, True, f"correct on {len(cases)} sets of inputs, to float32's accuracy")

    def exact(self, case: dict[str, Any]) -> list[Tensor]:
        """The spec's results in float64."""
        floats = {name: value.double() for name, value in _tensors(case).items() if value.is_floating_point()}
        return _as_list(self.spec(**{**case, **floats}))

    def _problem(self, kernel: Any, case: dict[str, Any]) -> str | None:
        by_torch = _as_list(self.spec(**case))
        inputs = {name: surrounded(value, DEVICE) for name, value in _tensors(case).items()}
        outputs = [
            garbage(name, one.shape, one.dtype, DEVICE)
            for name, one in zip(self.outputs, by_torch, strict=True)
        ]
        try:
            problem = self.launch(kernel, *(output.values for output in outputs), **{**case, **inputs})
            if DEVICE == "cuda":
                torch.cuda.synchronize()
        except Exception as error:  # whatever a student's kernel raises becomes the message
            return stopped(error)
        for name, value in inputs.items():
            if not torch.equal(value.cpu(), case[name]):
                problem = problem or f"the input `{name}` was written to"
        return problem or memory_problem(outputs) or self._value_problem(outputs, by_torch, case)

    def _value_problem(
        self, outputs: list[Output], by_torch: list[Tensor], case: dict[str, Any]
    ) -> str | None:
        found = [output.values.cpu() for output in outputs]
        problems = map(value_problem, self.outputs, found, self.exact(case), by_torch)
        problem = next((one for one in problems if one is not None), None)
        if problem is None:
            return None
        return self._look_alike(found, case) or self.hint or problem

    def _look_alike(self, found: list[Tensor], case: dict[str, Any]) -> str | None:
        """The message of the mistake that gives these results; None if no known one does."""
        for message, edits in self.look_alikes.items():
            results = _as_list(_edited_spec(self.spec, edits)(**case))
            if all(map(_alike, found, results)):
                return message
        return None


@cache
def _edited_spec(spec: Callable[..., Any], edits: tuple[str, ...]) -> Callable[..., Any]:
    room = dict(inspect.getmodule(spec).__dict__, GARBAGE=GARBAGE)
    exec("from __future__ import annotations\n" + edited(inspect.getsource(spec), edits), room)
    return room[spec.__name__]


def edited(source: str, edits: Sequence[str]) -> str:
    """`source` after replacing `edits[0]` by `edits[1]`, `edits[2]` by `edits[3]`, and so on.

    Raises:
        ValueError: a text to replace that is not there exactly once.
    """
    for old, new in zip(edits[::2], edits[1::2], strict=True):
        if source.count(old) != 1:
            raise ValueError(f"edits: {old!r} is in the source {source.count(old)} times, not once")
        source = source.replace(old, new)
    return source


def stopped(error: BaseException) -> str:
    """What a student needs of an exception: its kind and the last line of its text."""
    while isinstance(error.__cause__, Exception):
        error = error.__cause__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"it stopped with {': '.join([type(error).__name__, *lines[-1:]])}"


def memory_problem(outputs: list[Output]) -> str | None:
    """What is wrong with where the outputs were written, in one line; None if nothing is."""
    if all(bool(output.untouched.all()) and output.overrun == (0, 0) for output in outputs):
        return f"{NOT_FILLED_IN} (nothing was written)"
    for output in outputs:
        before, after = output.overrun
        if after:
            return (
                f"{after} values were written beyond the end of `{output.name}` {list(output.values.shape)}: "
                "rows or columns past the edge need a mask in tl.store"
            )
        if before:
            return f"{before} values were written before the start of `{output.name}`: an offset is negative"
    for output in outputs:
        if count := int(output.untouched.sum()):
            first = output.untouched.nonzero()[0].tolist()
            total = output.values.numel()
            return f"`{output.name}`: {count} of {total} values were not written, the first at {first}"
    return None


def value_problem(name: str, found: Tensor, exact: Tensor, by_torch: Tensor) -> str | None:
    """What is wrong with an output's values, in one line; None where they are as good as float32 allows.

    Args:
        found: what the kernel wrote. exact: the spec in float64. by_torch: the spec in float32.
    """
    if not found.is_floating_point():
        wrong = (found != exact).nonzero()
        if not len(wrong):
            return None
        place = tuple(wrong[0].tolist())
        return (
            f"`{name}`: {len(wrong)} of {found.numel()} values are wrong, the first at {list(place)}: "
            f"{found[place].item()}, not {exact[place].item()}"
        )
    if bool(found.isnan().any()):
        first = found.isnan().nonzero()[0].tolist()
        return (
            f"`{name}` is NaN at {first}: something outside the tensors was read; "
            "does every tl.load have a mask and other=0?"
        )
    error = (found.double() - exact).abs()
    if float(error.norm()) <= allowance(exact, by_torch):
        return None
    if factor := _factor(found.double(), exact):
        return f"`{name}` {factor}"
    place = tuple(int(i) for i in torch.unravel_index(error.argmax(), error.shape))
    return (
        f"`{name}` is off by up to {float(error.max()):.2g}, at {list(place)}: "
        f"{float(found[place]):.6g}, not {float(exact[place]):.6g}"
    )


def allowance(exact: Tensor, by_torch: Tensor) -> float:
    """The norm of the error that is allowed: four times that of torch's float32, and a little for exp."""
    return 4 * float((by_torch.double() - exact).norm()) + TWO_ULP_TWICE * float(exact.norm())


def _tensors(case: dict[str, Any]) -> dict[str, Tensor]:
    return {name: value for name, value in case.items() if isinstance(value, Tensor)}


def _described(case: dict[str, Any]) -> str:
    """A case in a message: the sizes of its tensors, and its numbers."""
    return ", ".join(
        f"{name} {list(value.shape) if isinstance(value, Tensor) else value}" for name, value in case.items()
    )


def _as_list(results: Tensor | tuple[Tensor, ...]) -> list[Tensor]:
    return list(results) if isinstance(results, tuple) else [results]


def _alike(found: Tensor, result: Tensor) -> bool:
    same_shape = found.shape == result.shape
    return same_shape and torch.allclose(found.double(), result.double(), rtol=1e-4, atol=1e-6)


def _factor(found: Tensor, exact: Tensor) -> str | None:
    """The constant factor by which `found` is wrong, in words; None if it is not wrong by one."""
    square = float((exact * exact).sum())
    factor = float((found * exact).sum()) / square if square else 0.0
    if square == 0 or float((found - factor * exact).norm()) > 1e-4 * float(exact.norm()):
        return None
    sign = "has the wrong sign and " if factor < 0 else ""
    return f"{sign}is {factor:.5g} times what it should be, everywhere"
