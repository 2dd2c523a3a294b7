"""How a kernel is checked: cases of ragged sizes, guarded memory, the spec in float64, and a list of usual mistakes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, get_args, get_type_hints

import torch
from torch import Tensor

from breaknet.kernels._triton import HAVE_TRITON, why_not
from notebooks.course.diagnosis import (
    NOT_FILLED_IN,
    LookAlikes,
    Verdict,
    look_alike,
    memory_problem,
    value_problem,
)
from notebooks.course.here import DEVICE
from notebooks.course.memory import Output, garbage, surrounded


@dataclass(frozen=True)
class Case:
    """One set of inputs. `settings` are the spec's arguments that are no tensors; `text` is what a message says."""

    text: str
    inputs: Mapping[str, Tensor]
    settings: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Exercise:
    """A kernel to be written.

    Attributes:
        name: as the notebook says it.
        spec: what it computes; inputs and settings are its arguments, in order.
        outputs: the names of the results, in the spec's order.
        cases: the inputs to try it on, CPU tensors of float32 or integers.
        launch: runs a kernel: `launch(kernel, inputs, outputs, settings)`, all tensors on the device.
        look_alikes: specs of usual mistakes, called as the spec is.
        hint: what to say where values are wrong and no look-alike fits.
    """

    name: str
    spec: Callable[..., Any]
    outputs: tuple[str, ...]
    cases: Callable[[], Iterator[Case]]
    launch: Callable[[Any, Mapping[str, Tensor], list[Tensor], Mapping[str, int]], str | None]
    look_alikes: LookAlikes = field(default_factory=dict)
    hint: str = ""

    def __call__(self, kernel: Any) -> Verdict:
        """Check `kernel`; the first case that is wrong is told."""
        if not HAVE_TRITON:
            return Verdict(self.name, False, f"cannot be checked here: {why_not()}")
        tried = 0
        for case in self.cases():
            problem = self._problem(kernel, case)
            if problem is not None:
                waiting = problem.startswith(NOT_FILLED_IN)
                return Verdict(self.name, False, problem if waiting else f"{problem} ({case.text})")
            tried += 1
        return Verdict(self.name, True, f"right on {tried} sets of inputs, to float32's last digits")

    def exact(self, case: Case) -> list[Tensor]:
        """The spec's results in float64."""
        doubled = {
            name: value.double() if value.is_floating_point() else value
            for name, value in case.inputs.items()
        }
        return _as_list(self.spec(**doubled, **case.settings))

    def _problem(self, kernel: Any, case: Case) -> str | None:
        exact, by_torch = self.exact(case), _as_list(self.spec(**case.inputs, **case.settings))
        inputs = {name: surrounded(value, DEVICE) for name, value in case.inputs.items()}
        outputs = [
            garbage(name, one.shape, one.dtype, DEVICE)
            for name, one in zip(self.outputs, by_torch, strict=True)
        ]
        try:
            problem = self.launch(kernel, inputs, [output.values for output in outputs], case.settings)
            if DEVICE == "cuda":
                torch.cuda.synchronize()
        except Exception as error:  # whatever a student's kernel raises is told, not raised
            return f"it stopped with {_in_one_line(error)}"
        for name, value in case.inputs.items():
            if not torch.equal(inputs[name].cpu(), value):
                problem = problem or f"the input `{name}` was written to"
        return problem or memory_problem(outputs) or self._value_problem(outputs, exact, by_torch, case)

    def _value_problem(
        self, outputs: list[Output], exact: list[Tensor], by_torch: list[Tensor], case: Case
    ) -> str | None:
        found = [output.values for output in outputs]
        problems = [
            value_problem(output.name, *of_one)
            for output, *of_one in zip(outputs, found, exact, by_torch, strict=True)
        ]
        problem = next((one for one in problems if one is not None), None)
        if problem is None:
            return None
        arguments = {**case.inputs, **case.settings}
        return look_alike(found, arguments, self.look_alikes) or self.hint or problem


def annotated_shapes(spec: Callable[..., Any]) -> tuple[dict[str, tuple[str, ...]], list[tuple[str, ...]]]:
    """The letters of a spec's tensor arguments by name, and those of its results in order."""
    hints = get_type_hints(spec, include_extras=True)
    returned = hints.pop("return")
    results = get_args(returned) if getattr(returned, "__origin__", None) is tuple else (returned,)
    letters = {name: one.__metadata__[1] for name, one in hints.items() if hasattr(one, "__metadata__")}
    return letters, [one.__metadata__[1] for one in results]


def _as_list(results: Tensor | tuple[Tensor, ...]) -> list[Tensor]:
    return list(results) if isinstance(results, tuple) else [results]


def _in_one_line(error: Exception) -> str:
    """What a student needs of an exception: its kind and the last line that says something."""
    while error.__cause__ is not None and isinstance(error.__cause__, Exception):
        error = error.__cause__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[-1]}" if lines else type(error).__name__
