"""Parts of a checker: a verdict, guarded memory, and the first error in what a kernel wrote.

Every output starts as one number that no kernel computes by chance, between guard zones of the same, so that values
never written, writes out of bounds and sums added to old memory all show. Inputs lie amid NaN (255 for bytes, -1 for
labels), so that reads out of bounds show too.
"""

import html
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

#: Elements before and after each tensor: more than one block without its mask overruns.
GUARD = 8192
#: The bits of 12345.679, which no kernel computes by chance.
GARBAGE = torch.tensor(12345.679).view(torch.int32).item()
#: What a kernel may err beside four times torch's float32: two ulp each for exp and division, of the whole norm.
TWO_ULP_TWICE = 2.4e-7
NOT_FILLED_IN = "not filled in yet"


@dataclass(frozen=True)
class Verdict:
    """A checker's result; true where the exercise is solved. A notebook shows it in colour."""

    exercise: str
    passed: bool
    message: str
    progress: str = ""  # of the whole course

    def __bool__(self) -> bool:
        return self.passed

    def __repr__(self) -> str:
        return "\n  ".join(filter(None, (f"{self._mark[0]} {self.exercise}: {self.message}", self.progress)))

    @property
    def waiting(self) -> bool:
        """Whether the exercise is simply not done yet."""
        return self.message.startswith(NOT_FILLED_IN)

    def _repr_html_(self) -> str:
        mark, colour = self._mark
        text = f"<b>{mark}</b> {html.escape(self.exercise)}: {html.escape(self.message)}"
        style = f"border-left: 4px solid {colour}; padding: 2px 10px; color: {colour}"
        small = f'<div style="color: #6b6b6b; font-size: 85%">{html.escape(self.progress)}</div>'
        return f'<div style="{style}">{text}{small if self.progress else ""}</div>'

    @property
    def _mark(self) -> tuple[str, str]:
        return ("✔", "#1a7f37") if self.passed else ("○", "#6b6b6b") if self.waiting else ("✘", "#b3261e")


@dataclass(frozen=True)
class Output:
    """A float32 or int32 tensor `values` that starts as garbage, inside a larger one."""

    name: str
    values: Tensor
    whole: Tensor  # the same memory as int32, guard zones included


def garbage(name: str, shape: Sequence[int], dtype: torch.dtype, device: str) -> Output:
    """An output of this shape; `dtype` is float32 or int32."""
    size = torch.Size(shape).numel()
    whole = torch.full((size + 2 * GUARD,), GARBAGE, dtype=torch.int32, device=device)
    return Output(name, whole[GUARD : GUARD + size].view(dtype).view(tuple(shape)), whole)


def surrounded(tensor: Tensor, device: str) -> Tensor:
    """A contiguous copy of `tensor` with poison before and after it: NaN, 255 in bytes, -1 in other integers."""
    poison = {torch.float32: float("nan"), torch.uint8: 255}.get(tensor.dtype, -1)
    whole = torch.full((tensor.numel() + 2 * GUARD,), poison, dtype=tensor.dtype, device=device)
    inner = whole[GUARD:-GUARD].view(tensor.shape)
    inner.copy_(tensor)
    return inner


def memory_problem(outputs: list[Output]) -> str | None:
    """The first fault in the places that were written, in one line; None without one."""
    written = [(one.whole != GARBAGE).split((GUARD, one.values.numel(), GUARD)) for one in outputs]
    if not any(bool(zone.any()) for zones in written for zone in zones):
        return f"{NOT_FILLED_IN} (nothing was written)"
    for output, (before, _, after) in zip(outputs, written, strict=True):
        if after.any():
            return (
                f"{int(after.sum())} values were written beyond the end of `{output.name}` "
                f"{list(output.values.shape)}: rows or columns past the edge need a mask in tl.store"
            )
        if before.any():
            return (
                f"{int(before.sum())} values were written before the start of `{output.name}`: "
                "an offset is negative"
            )
    for output, (_, inside, _) in zip(outputs, written, strict=True):
        if not inside.all():
            missing = (~inside).view(output.values.shape).nonzero()
            total, first = output.values.numel(), missing[0].tolist()
            return f"`{output.name}`: {len(missing)} of {total} values were not written, the first at {first}"
    return None


def value_problem(name: str, found: Tensor, exact: Tensor, by_torch: Tensor) -> str | None:
    """The fault in an output's values, in one line; None where they are as good as float32 allows.

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


def _factor(found: Tensor, exact: Tensor) -> str | None:
    """The constant factor by which `found` is wrong, in words; None if it is not wrong by one."""
    square = float((exact * exact).sum())
    factor = float((found * exact).sum()) / square if square else 0.0
    if square == 0 or float((found - factor * exact).norm()) > 1e-4 * float(exact.norm()):
        return None
    sign = "has the wrong sign and " if factor < 0 else ""
    return f"{sign}is {factor:.5g} times what it should be, everywhere"
