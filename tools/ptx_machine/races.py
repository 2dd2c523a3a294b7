"""Races in the memory of a kernel: two accesses of one place, one of them a write, that nothing orders.

Within a block `bar.sync` orders the accesses of different warps, and `bar.warp.sync` a write and a read within one.
Between blocks a release and an acquire of one counter do, together with the `bar.sync` before and after them: a block's
clock counts its barriers, a release publishes the clocks it knows, and an acquire takes them over (vector clocks, as in
Flanagan and Freund, FastTrack, PLDI 2009).
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tools.ptx_machine.memory import PLACE, Fault

WARP = 32
_NOBODY = -1


class SharedRaces:
    """Of one block's shared memory, since its last barrier."""

    def __init__(self, places: int, warps: int) -> None:
        self.writer = np.full(places, _NOBODY, np.int16)  # a thread
        self.ordered = np.zeros(places, bool)  # whether the writer's warp has seen the write
        self.readers = np.zeros((warps, places), bool)

    def read(self, threads: NDArray[Any], places: NDArray[Any]) -> None:
        warps = threads // WARP
        writer = self.writer[places]
        wrong = (writer != threads) & (writer != _NOBODY)
        if wrong.any():
            wrong &= (writer // WARP != warps) | ~self.ordered[places]
            if wrong.any():
                raise Fault(f"race: shared memory at {_first(places, wrong)} is read while it is written")
        self.readers[warps, places] = True

    def write(self, threads: NDArray[Any], places: NDArray[Any]) -> None:
        warps = threads // WARP
        writer = self.writer[places]
        readers = self.readers[:, places].sum(0) - self.readers[warps, places]
        wrong = ((writer != _NOBODY) & (writer // WARP != warps)) | (readers > 0)
        if wrong.any():
            raise Fault(f"race: shared memory at {_first(places, wrong)} is written while others use it")
        self.writer[places] = threads
        self.ordered[places] = False

    def barrier(self) -> None:
        self.writer.fill(_NOBODY)
        self.ordered.fill(False)
        self.readers.fill(False)

    def warp_barrier(self) -> None:
        self.ordered.fill(True)


def _first(places: NDArray[Any], wrong: NDArray[Any]) -> int:
    return PLACE * int(places[wrong][0])


class Clocks:
    """A block's knowledge of the others: it comes after all that block b did before its barrier number known[b]."""

    def __init__(self, block: int, blocks: int) -> None:
        self.block, self.known, self.taken = block, np.zeros(blocks, np.int32), np.zeros(blocks, np.int32)
        self.known[block] = 1

    @property
    def now(self) -> int:
        return int(self.known[self.block])

    def barrier(self) -> None:
        np.maximum(self.known, self.taken, out=self.known)
        self.known[self.block] += 1


class GlobalRaces:
    """Of all blocks of a launch, in all its tensors; `clocks` are those of the block at work."""

    clocks: Clocks

    def __init__(self, places: int, blocks: int) -> None:
        if places * blocks > 2**27:
            raise ValueError(f"{places} places and {blocks} blocks: too many to look for races")
        self.writer = np.full(places, _NOBODY, np.int32)  # a block
        self.warp = np.zeros(places, np.int16)
        self.wrote_at = np.zeros(places, np.int32)
        self.adder = np.full(places, _NOBODY, np.int32)
        self.added_at = np.zeros(places, np.int32)
        self.read_at = np.zeros((blocks, places), np.int32)
        self.read_by = np.zeros((blocks, places), np.int8)  # a warp, or _NOBODY for several
        self.published: dict[int, NDArray[np.int32]] = {}

    def _after_writes(self, warps: Any, places: NDArray[Any], what: str) -> None:
        clocks, writer, when = self.clocks, self.writer[places], self.wrote_at[places]
        mine = writer == clocks.block
        wrong = (writer != _NOBODY) & ~mine & (when >= clocks.known[writer])
        wrong |= mine & (when == clocks.now) & (self.warp[places] != warps)
        if wrong.any():
            raise Fault(f"race: place {int(places[wrong][0])} of global memory is {what}, written by block "
                        f"{int(writer[wrong][0])}")  # fmt: skip

    def _after_additions(self, places: NDArray[Any], what: str) -> None:
        adder, when = self.adder[places], self.added_at[places]
        wrong = (adder != _NOBODY) & (when >= self.clocks.known[adder])
        if wrong.any():
            raise Fault(f"race: place {int(places[wrong][0])} of global memory is {what} and added to")

    def read(self, threads: NDArray[Any], places: NDArray[Any]) -> None:
        warps, block, now = threads // WARP, self.clocks.block, self.clocks.now
        self._after_writes(warps, places, "read")
        self._after_additions(places, "read")
        again = (self.read_at[block, places] == now) & (self.read_by[block, places] != warps)
        self.read_by[block, places] = np.where(again, _NOBODY, warps)
        self.read_at[block, places] = now

    def write(self, threads: NDArray[Any], places: NDArray[Any]) -> None:
        warps, clocks = threads // WARP, self.clocks
        self._after_writes(warps, places, "written")
        self._after_additions(places, "written")
        wrong = self.read_at[:, places] >= np.maximum(clocks.known, 1)[:, None]
        wrong[clocks.block] &= self.read_by[clocks.block, places] != warps
        if wrong.any():
            raise Fault(f"race: place {int(places[wrong.any(0)][0])} of global memory is written, read by block "
                        f"{int(wrong.any(1).argmax())}")  # fmt: skip
        self.writer[places], self.warp[places], self.wrote_at[places] = clocks.block, warps, clocks.now

    def add(self, threads: NDArray[Any], places: NDArray[Any]) -> None:
        self._after_writes(threads // WARP, places, "added to")
        self.adder[places], self.added_at[places] = self.clocks.block, self.clocks.now

    def release(self, threads: NDArray[Any], places: NDArray[Any]) -> None:
        """An addition that publishes what the block knows."""
        self.add(threads, places)
        for place in places.tolist():
            self.published[place] = np.maximum(self.published.get(place, 0), self.clocks.known)

    def relaxed(self, threads: NDArray[Any], places: NDArray[Any]) -> None:
        """A poll: whatever it reads, it orders nothing."""

    def acquire(self, threads: NDArray[Any], places: NDArray[Any]) -> None:
        """A poll that takes over, from the next barrier on, what was published at its place."""
        np.maximum(self.clocks.taken, self.published.get(int(places[0]), 0), out=self.clocks.taken)

    def acq_rel(self, threads: NDArray[Any], places: NDArray[Any]) -> None:
        """An addition that takes over what was published at its place before, and publishes what the block knows."""
        self.acquire(threads, places)
        self.release(threads, places)
