"""A loop of grid barriers alone: the cost of the two that a step of the cooperative trainer has."""

import torch

from breaknet.kernels._triton import INTERPRETED, jit, tl
from breaknet.kernels.grid_barrier import COUNTER_STRIDE, grid_barrier
from breaknet.kernels.host.trainers import OPTIONS


@jit(do_not_specialize=["rounds"])
def barrier_loop_kernel(arrivals_ptr, seen_ptr, rounds, PROGRAMS: tl.constexpr):
    target = 0
    for _ in range(rounds):
        target += PROGRAMS
        grid_barrier(arrivals_ptr, target)
    tl.store(seen_ptr + tl.program_id(0), target)


class BarrierLoop:
    """`programs` programs, all resident, that meet `rounds` times in one launch.

    Under the interpreter, which runs one program after another, there can be one only.
    """

    def __init__(self, programs: int, rounds: int, device: torch.device) -> None:
        if device.type != "cuda" and programs != 1:
            raise ValueError(f"programs: 1 under the interpreter, not {programs}")
        self.programs, self.rounds, self.device = programs, rounds, device
        self._arrivals = torch.zeros(COUNTER_STRIDE, dtype=torch.int32, device=device)
        self._seen = torch.zeros(programs, dtype=torch.int32, device=device)

    def run(self) -> None:
        """Launch and wait."""
        self._arrivals.zero_()
        options = {} if INTERPRETED else OPTIONS | {"launch_cooperative_grid": True}
        barrier_loop_kernel[(self.programs,)](
            self._arrivals, self._seen, self.rounds, PROGRAMS=self.programs, **options
        )
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def check(self) -> None:
        """Every program has gone through every barrier. Raises AssertionError if not."""
        expected = self.programs * self.rounds
        assert int(self._arrivals[0]) == expected, f"{int(self._arrivals[0])} arrivals, not {expected}"
        assert bool((self._seen == expected).all()), "a program that did not come to the end"
