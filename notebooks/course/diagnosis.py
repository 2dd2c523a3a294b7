"""What a checker says: one line that names what is wrong with an output, or that all is right."""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from notebooks.course.memory import Output

#: What a kernel may err beside four times torch's float32: two ulp each for exp and division, of the whole norm.
TWO_ULP_TWICE = 2.4e-7
NOT_FILLED_IN = "not filled in yet"


@dataclass(frozen=True)
class Verdict:
    """A checker's answer; true where the exercise is solved. A notebook shows it in colour."""

    exercise: str
    passed: bool
    message: str

    def __bool__(self) -> bool:
        return self.passed

    def __repr__(self) -> str:
        return f"{self._word} {self.exercise}: {self.message}"

    @property
    def waiting(self) -> bool:
        """Whether the exercise is simply not done yet."""
        return self.message.startswith(NOT_FILLED_IN)

    def _repr_html_(self) -> str:
        colour = "#1a7f37" if self.passed else "#6b6b6b" if self.waiting else "#b3261e"
        text = f"<b>{html.escape(self._word)}</b> {html.escape(self.exercise)}: {html.escape(self.message)}"
        return (
            f'<div style="border-left: 4px solid {colour}; padding: 2px 10px; color: {colour}">{text}</div>'
        )

    @property
    def _word(self) -> str:
        return "✔" if self.passed else "○" if self.waiting else "✘"


#: A mistake that leaves a fingerprint: what it does instead, as a spec, by what a checker then says.
LookAlikes = Mapping[str, Callable[..., Tensor | tuple[Tensor, ...]]]


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
        untouched = output.untouched
        if bool(untouched.any()):
            first = untouched.nonzero()[0].tolist()
            count, all_of_them = int(untouched.sum()), untouched.numel()
            return f"`{output.name}`: {count} of {all_of_them} values were not written, the first at {first}"
    return None


def value_problem(name: str, found: Tensor, exact: Tensor, by_torch: Tensor) -> str | None:
    """What is wrong with an output's values, in one line; None where they are as good as float32 allows.

    Args:
        found: what the kernel wrote. exact: the spec in float64. by_torch: the spec in float32.
    """
    found = found.cpu()
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
            f"`{name}` is NaN at {first}: something outside of the tensors was read; "
            "does every tl.load carry a mask and other=0?"
        )
    error = (found.double() - exact).abs()
    allowed = allowance(exact, by_torch)
    if float(error.norm()) <= allowed:
        return None
    factor = _factor(found.double(), exact)
    if factor is not None:
        return f"`{name}` {factor}"
    place = tuple(int(i) for i in torch.unravel_index(error.argmax(), error.shape))
    return (
        f"`{name}` is off by up to {float(error.max()):.2g}, at {list(place)}: "
        f"{float(found[place]):.6g}, not {float(exact[place]):.6g}"
    )


def allowance(exact: Tensor, by_torch: Tensor) -> float:
    """The norm of the error that is allowed: four times what torch's float32 errs, and a little for exp."""
    return 4 * float((by_torch.double() - exact).norm()) + TWO_ULP_TWICE * float(exact.norm())


def look_alike(
    found: list[Tensor], arguments: Mapping[str, object], look_alikes: LookAlikes
) -> str | None:  # fmt: skip
    """The mistake whose result this is; None if it is none that is known."""
    for mistake, compute in look_alikes.items():
        results = compute(**arguments)
        results = results if isinstance(results, tuple) else (results,)
        if all(_alike(one.cpu(), other) for one, other in zip(found, results, strict=True)):
            return mistake
    return None


def _alike(found: Tensor, result: Tensor) -> bool:
    if found.shape != result.shape:
        return False
    return bool(torch.allclose(found.double(), result.double(), rtol=1e-4, atol=1e-6))


_FACTORS = {
    2.0: "is twice what it should be: off by a factor of 2",
    0.5: "is half of what it should be: a factor of 2 is missing",
    -1.0: "has the wrong sign",
    -2.0: "has the wrong sign and is off by a factor of 2",
    -0.5: "has the wrong sign, and a factor of 2 is missing",
}


def _factor(found: Tensor, exact: Tensor) -> str | None:
    """What constant factor `found` is off by, in words; None if it is not off by one."""
    square = float((exact * exact).sum())
    if square == 0:
        return None
    factor = float((found * exact).sum()) / square
    if float((found - factor * exact).norm()) > 1e-4 * float(exact.norm()):
        return None
    for known, words in _FACTORS.items():
        if abs(factor - known) < 1e-3 * abs(known):
            return words
    return f"is {factor:.5g} times what it should be, everywhere"
