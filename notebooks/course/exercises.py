"""An exercise: how an answer is checked, and the usual mistakes, as edits of the solution in the notebook."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from breaknet.kernels._triton import HAVE_TRITON, why_not
from breaknet.lesson.notebook_display import Markdown, table
from notebooks.course import progress
from notebooks.course.checking import (
    GARBAGE,
    NOT_FILLED_IN,
    Verdict,
    garbage,
    memory_problem,
    surrounded,
    value_problem,
)
from notebooks.course.here import DEVICE
from notebooks.course.solutions import cells, solution
from notebooks.course.student_code import FirstProgram, all_by_the_first, mistake, stopped

#: By the edits of the solution, text and replacement in turn: the checker's message, or a part of it.
Mistakes = Mapping[tuple[str, ...], str]


@dataclass(frozen=True)
class Exercise:
    """An exercise, to be called with an answer. `check(answer)` of a subclass: whether it is right, the message.

    Attributes:
        tag: of its cell in the notebooks, without `exercise-`.
        name: as messages give it.
        mistakes: usual ones.
    """

    tag: str
    name: str
    mistakes: Mistakes = field(kw_only=True)

    def __call__(self, answer: Any) -> Verdict:
        """Check a kernel or a function; the message is about the first input for which it is wrong."""
        try:
            verdict = Verdict(self.name, *self.check(answer))
        except Exception as error:  # whatever a student's function raises becomes the message
            verdict = Verdict(self.name, False, stopped(error))
        return replace(verdict, progress=progress.line(list(cells()), self.tag if verdict.passed else None))

    def usual_mistakes(self) -> Markdown:
        """For instructors: the usual mistakes, and the checker's message for each."""
        rows = [(_shown(edits), self(solution(self.tag, *edits)).message) for edits in self.mistakes]
        return table(("a usual mistake", "the checker's message"), rows, right=False)


@dataclass(frozen=True)
class Kernel(Exercise):
    """A kernel to be written.

    Attributes:
        spec: what it computes.
        outputs: the names of the results, in the spec's order.
        cases: the spec's arguments to try it on: CPU tensors of float32 or integers, and whole numbers.
        launch: runs a kernel: `launch(kernel, *outputs, **arguments)`, all tensors on the device. A problem is
            returned in one line.
        look_alikes: mistakes recognised by their results: whoever gets the same gets the message.
        hint: the message where values are wrong and no look-alike fits.
        wait: whether programs wait for each other, so that none can be launched alone.
    """

    spec: Callable[..., Any]
    outputs: list[str]
    cases: list[dict[str, Any]]
    launch: Callable[..., Any]
    look_alikes: Mistakes = field(default_factory=dict)
    hint: str = ""
    wait: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "mistakes", {**self.look_alikes, **self.mistakes})

    def check(self, answer: Any) -> tuple[bool, str]:
        if not HAVE_TRITON:
            return False, f"cannot be checked here: {why_not()}"
        if (seen := mistake(answer)) is not None:
            return False, seen
        for case in self.cases:
            problem = self._problem(answer, case)
            if problem is not None:
                where = "" if problem.startswith(NOT_FILLED_IN) else f" ({_described(case)})"
                return False, f"{problem}{where}"
        if not self.wait and (
            problem := next(filter(None, (self._alone(answer, case) for case in self.cases)), None)
        ):
            return False, problem
        return True, f"correct on {len(self.cases)} sets of inputs, to float32's accuracy"

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
        results = [output.values for output in outputs]
        try:
            returned = self.launch(kernel, *results, **{**case, **inputs})
            if DEVICE == "cuda":
                torch.cuda.synchronize()
        except Exception as error:  # whatever a student's kernel raises becomes the message
            return stopped(error, kernel)
        if isinstance(returned, str):
            return returned
        for name, value in inputs.items():
            if not torch.equal(value.cpu(), case[name]):
                return f"the input `{name}` was written to"
        if problem := memory_problem(outputs):
            return problem
        found = [one.cpu() for one in results]
        problems = filter(None, map(value_problem, self.outputs, found, self.exact(case), by_torch))
        if problem := next(problems, None):
            return self._look_alike(results, {**case, **inputs}) or self.hint or problem
        return None

    def _alone(self, kernel: Any, case: dict[str, Any]) -> str | None:
        """Whether the first program of a right kernel does the work of all, in words."""
        inputs = {name: surrounded(value, DEVICE) for name, value in _tensors(case).items()}
        results = [garbage("", one.shape, one.dtype, DEVICE).values for one in _as_list(self.spec(**case))]
        first = FirstProgram(kernel)
        self.launch(first, *results, **{**case, **inputs})
        return all_by_the_first(first, results, GARBAGE)

    def _look_alike(self, found: list[Tensor], arguments: dict[str, Any]) -> str | None:
        """The message of the mistake that gives these results; None if no known one does."""
        for edits, message in self.look_alikes.items():
            results = [garbage("", one.shape, one.dtype, DEVICE).values for one in found]
            self.launch(solution(self.tag, *edits), *results, **arguments)
            if all(torch.allclose(*pair, rtol=1e-4, atol=1e-6) for pair in zip(found, results, strict=True)):
                return message
        return None


def _shown(edits: tuple[str, ...]) -> str:
    """Edits of a solution, in Markdown."""
    codes = [f"`{' '.join(code.split())}`" if code.strip() else "nothing" for code in edits]
    return "; ".join(f"{old} → {new}" for old, new in zip(codes[::2], codes[1::2], strict=True))


def _tensors(case: dict[str, Any]) -> dict[str, Tensor]:
    return {name: value for name, value in case.items() if isinstance(value, Tensor)}


def _described(case: dict[str, Any]) -> str:
    """A case in a message: the sizes of its tensors, and its numbers."""
    return ", ".join(
        f"{name} {list(value.shape) if isinstance(value, Tensor) else value}" for name, value in case.items()
    )


def _as_list(results: Tensor | tuple[Tensor, ...]) -> list[Tensor]:
    return list(results) if isinstance(results, tuple) else [results]
