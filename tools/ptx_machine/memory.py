"""The memory that PTX reads and writes: tensors by their addresses, and a block's shared memory.

Found as on a GPU with compute-sanitizer, or sooner: an address outside all tensors of the launch (memcheck), an
address that is no multiple of the access's size, and a race (`races`). Shared memory is full of NaN until written.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

#: Bytes of memory that count as one place when races are looked for.
PLACE = 4
#: Memory as numbers of a dtype, for each address the number there, and for each the number of its first place.
Found = tuple[NDArray[Any], NDArray[np.int64], NDArray[np.int64]]

_SHIFT = {1: 0, 2: 1, 4: 2, 8: 3}


class Fault(AssertionError):
    """An act for which a GPU would stop, or whose result is undefined."""


class Memory:
    """Regions by their first addresses."""

    def __init__(self, space: str, regions: dict[int, NDArray[np.uint8]]) -> None:
        self.space, self.place_count = space, 0
        self.regions: list[tuple[int, NDArray[np.uint8], int]] = []  # with the number of their first place
        for begin, content in sorted(regions.items()):
            self.regions.append((begin, content, self.place_count))
            self.place_count += -(-content.size // PLACE)

    def words(self, addresses: NDArray[np.int64], dtype: Any, size: int) -> Found:
        """The words at these addresses, all of them in one region, `size` bytes being accessed at each."""
        if np.bitwise_or.reduce(addresses) & (size - 1):
            raise Fault(f"{self.space} memory: an access of {size} bytes at no multiple of them")
        low, high = int(addresses.min()), int(addresses.max())
        for begin, content, first in self.regions:
            if begin <= low < begin + content.size:
                past = high + size - begin - content.size
                if past > 0:
                    raise Fault(f"{self.space} memory: {past} bytes past the end of {content.size} bytes")
                offsets = addresses - begin
                usable = content.size // dtype.itemsize * dtype.itemsize
                places = (offsets >> _SHIFT[PLACE]) + first
                return content[:usable].view(dtype), offsets >> _SHIFT[dtype.itemsize], places
        raise Fault(f"{self.space} memory: address {low:#x} to {high:#x} in nothing that was allocated")


def shared_memory(size: int) -> Memory:
    """One block's, from address 0."""
    return Memory("shared", {0: np.full(-(-size // PLACE) * PLACE, 0xFF, np.uint8)})


def global_memory(tensors: list[Tensor]) -> Memory:
    """The storages of a launch's tensors."""
    storages = [one.untyped_storage() for one in tensors if one.untyped_storage().nbytes()]
    return Memory(
        "global", {one.data_ptr(): torch.empty(0, dtype=torch.uint8).set_(one).numpy() for one in storages}
    )
