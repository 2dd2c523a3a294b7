"""The memory that PTX reads and writes: tensors by their addresses, and a block's shared memory.

Found as on a GPU with compute-sanitizer, or sooner: an address outside all tensors of the launch (memcheck), an
address that is no multiple of the access's size, and a race (`races`). Shared memory is full of NaN until written.
"""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Bytes of memory that count as one place when races are looked for.
PLACE = 4
#: Memory as numbers of a dtype, for each address the number there, and for each the number of its first place.
Found = tuple[NDArray[Any], NDArray[np.int64], NDArray[np.int64]]

_SHIFT = {1: 0, 2: 1, 4: 2, 8: 3}


class Fault(AssertionError):
    """What a GPU would stop for, or what it would do with an undefined result."""


class SharedMemory:
    """One block's, from address 0."""

    def __init__(self, size: int) -> None:
        self.bytes = np.full(-(-size // PLACE) * PLACE, 0xFF, np.uint8)

    def words(self, addresses: NDArray[np.int64], dtype: Any, size: int) -> Found:
        """Where addresses lead, `size` bytes being accessed at each."""
        _check_alignment(addresses, size, "shared")
        if addresses.max() + size > self.bytes.size or addresses.min() < 0:
            raise Fault(f"shared memory: address {addresses.max()}, of {self.bytes.size} bytes")
        return self.bytes.view(dtype), addresses >> _SHIFT[dtype.itemsize], addresses >> _SHIFT[PLACE]


class GlobalMemory:
    """The storages of a launch's tensors."""

    def __init__(self, tensors: list[Any]) -> None:
        storages = {one.untyped_storage().data_ptr(): one.untyped_storage().nbytes() for one in tensors}
        self.regions: list[tuple[int, int, NDArray[np.uint8]]] = []
        self.places: list[int] = []  # number of each region's first place
        count = 0
        for begin, size in sorted(storages.items()):
            if not size:
                continue
            content = np.ctypeslib.as_array(ctypes.cast(begin, ctypes.POINTER(ctypes.c_uint8)), (size,))
            self.regions.append((begin, begin + size, content))
            self.places.append(count)
            count += -(-size // PLACE)
        self.place_count = count

    def words(self, addresses: NDArray[np.int64], dtype: Any, size: int) -> Found:
        """As `SharedMemory.words`, of the tensor that holds all the addresses."""
        _check_alignment(addresses, size, "global")
        low, high = int(addresses.min()), int(addresses.max())
        for (begin, end, content), first in zip(self.regions, self.places, strict=True):
            if begin <= low < end:
                if high + size > end:
                    raise Fault(
                        f"global memory: {high + size - end} bytes past the end of {end - begin} bytes"
                    )
                offsets = addresses - begin
                usable = (end - begin) // dtype.itemsize * dtype.itemsize
                places = (offsets >> _SHIFT[PLACE]) + first
                return content[:usable].view(dtype), offsets >> _SHIFT[dtype.itemsize], places
        raise Fault(f"global memory: address {low:#x} to {high:#x} in no tensor")


def _check_alignment(addresses: NDArray[np.int64], size: int, space: str) -> None:
    if np.bitwise_or.reduce(addresses) & (size - 1):
        raise Fault(f"{space} memory: an access of {size} bytes at no multiple of them")
