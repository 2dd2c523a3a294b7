"""A barrier between the programs of one launch, all of which must be resident (a cooperative launch).

One int32 counter in global memory, zero before the launch, counts arrivals and is never reset within it: barrier n of
`programs` programs is open once the counter reaches n * programs. A counter that only grows cannot lose a wake-up.

What makes it sound: `debug_barrier` orders the block's own threads before the arrival; the arrival is a release and
the poll an acquire at GPU scope, so that what any program wrote before its barrier is seen by all after theirs; the
poll stays inside its loop, and the closing `debug_barrier` keeps the block together.
"""

from breaknet.kernels._triton import jit, tl
from breaknet.kernels.device_functions import INTERPRETED

# A counter has a 128-byte line to itself, so that jobs do not slow each other's polls.
COUNTER_STRIDE = 32  # int32 words


@jit
def arrivals_seen(counter_ptr):
    """The counter's value, by an acquire load. The interpreter knows no inline assembly but has real atomics."""
    if INTERPRETED:
        return tl.atomic_add(counter_ptr, 0, sem="acquire", scope="gpu")
    else:
        address = counter_ptr.to(tl.int64)
        return tl.inline_asm_elementwise(
            "ld.acquire.gpu.global.s32 $0, [$1];", "=r,l", [address], dtype=tl.int32, is_pure=False, pack=1
        )


@jit
def grid_barrier(counter_ptr, target):
    """Return once `target` arrivals, this program's among them, have been counted since the launch began."""
    tl.debug_barrier()
    tl.atomic_add(counter_ptr, 1, sem="release", scope="gpu")
    while arrivals_seen(counter_ptr) < target:
        pass
    tl.debug_barrier()
