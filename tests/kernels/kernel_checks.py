"""Shared by the tests of kernels: guard zones, surrounded inputs, and comparison with float64."""

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

GUARD = 4096  # elements before and after each output: more than a tile without its mask can overrun
SENTINEL = -77  # what guard zones and integer outputs hold beforehand; floating outputs hold NaN


class Guarded:
    """A tensor of NaN (integers: SENTINEL) between guard zones, so that what is not written shows as well."""

    def __init__(self, shape: Any, dtype: torch.dtype = torch.float32, device: Any = None) -> None:
        size = torch.Size(shape).numel()
        self._whole = torch.full((size + 2 * GUARD,), SENTINEL, dtype=dtype, device=device)
        self.tensor = self._whole[GUARD : GUARD + size].view(shape)
        if dtype.is_floating_point:
            self.tensor.fill_(float("nan"))

    def assert_intact(self, name: str = "an output") -> None:
        for zone in (self._whole[:GUARD], self._whole[-GUARD:]):
            assert bool((zone == SENTINEL).all()), f"{name}: a kernel wrote outside of its bounds"


@contextlib.contextmanager
def guarded_outputs() -> Iterator[None]:
    """Within it `torch.empty` and `torch.zeros` give guarded tensors, whose guard zones are checked at the end."""
    outputs: list[Guarded] = []

    def empty(*size: Any, dtype: torch.dtype = torch.float32, device: Any = None, **_: Any) -> Tensor:
        shape = size[0] if len(size) == 1 and not isinstance(size[0], int) else size
        outputs.append(Guarded(shape, dtype, device))
        return outputs[-1].tensor

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "empty", empty)
        patch.setattr(torch, "zeros", lambda *size, **options: empty(*size, **options).zero_())
        yield
    assert outputs, "nothing was allocated under guard"
    for output in outputs:
        output.assert_intact()


def surrounded(tensor: Tensor, device: torch.device, margin: int = 160) -> Tensor:
    """A copy of `tensor` (1-D or 2-D) within a larger buffer of NaN (255 for bytes): a read outside shows."""
    filler = 255 if tensor.dtype == torch.uint8 else float("nan") if tensor.is_floating_point() else SENTINEL
    sizes = [length + 2 * margin for length in tensor.shape]
    buffer = torch.full(sizes, filler, dtype=tensor.dtype, device=device)
    inner = buffer[tuple(slice(margin, margin + length) for length in tensor.shape)]
    inner.copy_(tensor)
    return inner


def error_of(result: Tensor, exact: Tensor) -> float:
    return float((result.detach().cpu().double() - exact.cpu()).norm())


def assert_close_to_exact(result: Tensor, exact: Tensor, by_torch: Tensor, what: str) -> None:
    """`result` errs at most 4 times what torch's float32 errs, against float64.

    Sums of the same length in another order may err a few times more or less; the 2.4e-7 of the norm on top are two
    ulp each for exp and division, for the sizes at which torch happens to be exact.
    """
    assert result.shape == exact.shape, f"{what}: shape {result.shape}, not {exact.shape}"
    allowed = 4 * error_of(by_torch, exact) + 2.4e-7 * float(exact.norm())
    error = error_of(result, exact)
    assert error <= allowed, f"{what}: error {error:.3g} over the allowed {allowed:.3g}"
