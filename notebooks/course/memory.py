"""Memory that gives a careless kernel away: outputs full of garbage between guard zones, inputs amid NaN.

Every output starts as one number that no kernel comes by, so that "never written" is told from "computed wrongly",
and adding to it shows. The zones before and after hold the same; inputs lie in a sea of NaN (255 for bytes, -1 for
labels).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

#: Elements before and after each tensor: more than one tile without its mask overruns.
GUARD = 8192
GARBAGE = 12345.679
_GARBAGE = torch.tensor(GARBAGE).view(torch.int32).item()


@dataclass(frozen=True)
class Output:
    """A float32 or int32 tensor `values` that starts as garbage, inside a larger one."""

    name: str
    values: Tensor
    whole: Tensor  # the same memory as int32, guard zones included

    @property
    def untouched(self) -> Tensor:
        """Where nothing was written, bool, in the shape of `values`."""
        inner = self.whole[GUARD : len(self.whole) - GUARD]
        return (inner == _GARBAGE).view(self.values.shape)

    @property
    def overrun(self) -> tuple[int, int]:
        """How many elements were written before the output's start and after its end."""
        zones = self.whole[:GUARD], self.whole[len(self.whole) - GUARD :]
        before, after = (int((zone != _GARBAGE).sum()) for zone in zones)
        return before, after


def garbage(name: str, shape: Sequence[int], dtype: torch.dtype, device: str) -> Output:
    """An output of this shape; `dtype` is float32 or int32."""
    size = torch.Size(shape).numel()
    whole = torch.full((size + 2 * GUARD,), _GARBAGE, dtype=torch.int32, device=device)
    values = whole[GUARD : GUARD + size].view(dtype).view(tuple(shape))
    return Output(name, values, whole)


def surrounded(tensor: Tensor, device: str) -> Tensor:
    """A contiguous copy of `tensor` with poison before and after it: NaN, 255 in bytes, -1 in other integers."""
    poison = {torch.float32: float("nan"), torch.uint8: 255}.get(tensor.dtype, -1)
    size = tensor.numel()
    whole = torch.full((size + 2 * GUARD,), poison, dtype=tensor.dtype, device=device)
    inner = whole[GUARD : GUARD + size]
    inner.copy_(tensor.reshape(-1))
    return inner.view(tensor.shape)
