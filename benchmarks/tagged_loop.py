"""The exchange that could replace the trainer's barriers: words that carry the number of their round.

A float32 and its tag travel in one 8-byte word, which hardware writes whole. Whoever needs the value polls the word
itself until the tag is that of the round: no counter, no fence. Two buffers take turns, so that a program one round
ahead overwrites nothing that another still waits for: it could write round r + 2 only after it had seen everybody's
r + 1, which each writes after having seen all of r. NCCL's LL protocol works this way.
"""

from __future__ import annotations

import torch

from breaknet.kernels._triton import interpreted, jit, tl
from breaknet.kernels.host.targets import padded
from breaknet.kernels.host.trainers import OPTIONS


@jit
def words_seen(word_ptr, INTERPRETED: tl.constexpr):
    """The words as they are now, each read whole. The interpreter knows no inline assembly but has real atomics."""
    if INTERPRETED:
        return tl.atomic_add(word_ptr, 0, sem="relaxed", scope="gpu")
    else:
        return tl.inline_asm_elementwise(
            "ld.relaxed.gpu.global.b64 $0, [$1];",
            "=l,l",
            [word_ptr.to(tl.int64)],
            dtype=tl.int64,
            is_pure=False,
            pack=1,
        )


@jit(do_not_specialize=["rounds", "first_program"])
def tagged_loop_kernel(
    words_ptr, total_ptr, rounds, first_program,
    PROGRAMS: tl.constexpr, SLOTS: tl.constexpr, INTERPRETED: tl.constexpr,
):  # fmt: skip
    """Every program sends a value each round and waits for all programs' values; total [PROGRAMS] adds them up."""
    program = first_program + tl.program_id(0)
    slot = tl.arange(0, SLOTS)
    inside = slot < PROGRAMS
    total = tl.zeros([SLOTS], tl.int64)
    tag = tl.zeros([], tl.int64)
    for _ in range(rounds):
        tag += 1
        buffer_ptr = words_ptr + (tag % 2) * SLOTS
        value = program + tag  # 32 bits of any meaning
        tl.store(buffer_ptr + program, (tag << 32) | value)
        words = words_seen(buffer_ptr + slot, INTERPRETED)
        while tl.sum((inside & ((words >> 32) != tag)).to(tl.int32)) > 0:
            words = words_seen(buffer_ptr + slot, INTERPRETED)
        total += tl.where(inside, words & 0xFFFFFFFF, 0)
    tl.store(total_ptr + program, tl.sum(total))


class TaggedLoop:
    """`programs` programs, all resident, that exchange a word with one another `rounds` times in one launch.

    Under the interpreter, which runs one program after another, there can be one only.
    """

    def __init__(self, programs: int, rounds: int, device: torch.device) -> None:
        if device.type != "cuda" and programs != 1:
            raise ValueError(f"programs: 1 under the interpreter, not {programs}")
        self.programs, self.rounds, self.device = programs, rounds, device
        self.slots = padded(programs, 1)
        self.words = torch.zeros(2 * self.slots, dtype=torch.int64, device=device)
        self.total = torch.zeros(programs, dtype=torch.int64, device=device)

    def run(self) -> None:
        """Launch and wait."""
        self.words.zero_()
        options = {} if interpreted() else OPTIONS | {"launch_cooperative_grid": True}
        tagged_loop_kernel[(self.programs,)](
            self.words, self.total, self.rounds, 0,
            PROGRAMS=self.programs, SLOTS=self.slots, INTERPRETED=interpreted(), **options,
        )  # fmt: skip
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def check(self) -> None:
        """Every program has received every value of every round. Raises AssertionError if not."""
        assert self.total.tolist() == [expected_total(self.programs, self.rounds)] * self.programs


def expected_total(programs: int, rounds: int) -> int:
    """The sum over rounds 1..R and programs 0..P-1 of program + round."""
    return rounds * programs * (programs - 1) // 2 + programs * rounds * (rounds + 1) // 2
