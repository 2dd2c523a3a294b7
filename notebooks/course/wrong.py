"""Wrong solutions of the usual kinds, as edits of the right ones; the checkers must reject every one of them.

For a teacher they are also a list of what students get wrong, and of what the checker then says.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from notebooks.course import checks, checks_in_python, solutions
from notebooks.course.diagnosis import Verdict
from notebooks.course.show import Table

CHECKS: dict[str, Callable[[Any], Verdict]] = {**checks.KERNELS, **checks_in_python.FUNCTIONS}


@dataclass(frozen=True)
class Mistake:
    """One wrong solution: exercise, what is wrong, the edits that make it, and a part of what the checker says."""

    exercise: str
    what: str
    edits: tuple[tuple[str, str], ...]
    says: str

    def solution(self) -> Any:
        """The wrong kernel or function."""
        return solutions.solution(self.exercise, *self.edits)

    def verdict(self) -> Verdict:
        """What the checker says of it."""
        return CHECKS[self.exercise](self.solution())


_BARRIER = """\
        arrivals += PROGRAMS
        barrier(counter_ptr, arrivals, INTERPRETED)  # all have {}
"""

MISTAKES: tuple[Mistake, ...] = (
    Mistake("scale", "store without a mask", (("/ 256, mask=inside", "/ 256"),), "beyond the end of `x`"),
    Mistake("scale", "divided by 255", (("/ 256", "/ 255"),), "the lesson's pixels are byte / 256"),
    Mistake("scale", "not divided", ((" / 256", ""),), "the division by 256 is missing"),
    Mistake("scale", "every program does block 0", (("tl.program_id(0) * BLOCK", "0"),), "were not written"),
    Mistake(
        "forward",
        "store without the mask of rows",
        (("(row < batch)[:, None] & (unit < outputs)[None, :]", "(unit < outputs)[None, :]"),),
        "beyond the end of `y`",
    ),
    Mistake(
        "forward",
        "loads of x without a mask",
        ((", mask=x_inside, other=0.0)", ")"),),
        "something outside of the tensors was read",
    ),
    Mistake(
        "forward",
        "mask of k forgotten in both loads",
        (
            ("(row < batch)[:, None] & (k < inputs)[None, :]", "(row < batch)[:, None]"),
            ("(unit < outputs)[None, :] & (k < inputs)[:, None]", "(unit < outputs)[None, :]"),
        ),
        "`y`",
    ),
    Mistake(
        "forward", "sign inside of exp", (("tl.exp(-(z", "tl.exp((z"),), "the sign inside of exp is wrong"
    ),
    Mistake("forward", "no bias", (("z + bias[None, :]", "z"),), "without its bias"),
    Mistake(
        "forward", "no sigmoid", (("1 / (1 + tl.exp(-(z + bias[None, :])))", "z + bias[None, :]"),), "sigmoid"
    ),
    Mistake(
        "forward", "stops after one block", (("range(0, inputs, BLOCK_K)", "range(0, 1, BLOCK_K)"),), "loop"
    ),
    Mistake(
        "forward",
        "the same block over and over",
        (("k = first + tl.arange", "k = tl.arange"),),
        "`y`",
    ),
    Mistake(
        "backward", "the derivative forgotten", (("grad * y * (1 - y)", "grad"),), "derivative y (1 - y)"
    ),
    Mistake("backward", "half a derivative", (("grad * y * (1 - y)", "grad * y"),), "y (1 - y), not y"),
    Mistake("backward", "sign of dz", (("grad * y * (1 - y)", "grad * y * (y - 1)"),), "wrong sign"),
    Mistake(
        "backward",
        "one block of rows",
        (("range(0, batch, BLOCK_B)", "range(0, 1, BLOCK_B)"),),
        "first 32 rows",
    ),
    Mistake(
        "backward",
        "rows past the batch loaded",
        (("(row < batch)[:, None] & (unit < outputs)[None, :]", "(unit < outputs)[None, :]"),),
        "NaN",
    ),
    Mistake(
        "backward",
        "dbias not stored",
        (("tl.store(dbias_ptr + unit, dbias, mask=unit < outputs)", "pass"),),
        "`dbias`: ",
    ),
    Mistake(
        "cost", "factor 2 of the gradient", (("2 * difference", "difference"),), "a factor of 2 is missing"
    ),
    Mistake("cost", "sign", (("prediction - target", "target - prediction"),), "wrong sign"),
    Mistake(
        "cost",
        "padded values counted",
        (("tl.where(inside, prediction - target, 0.0)", "tl.where(inside, prediction - target, 0.1)"),),
        "`partial`",
    ),
    Mistake(
        "cost",
        "store without a mask",
        (("2 * difference, mask=inside", "2 * difference"),),
        "beyond the end of `gradient`",
    ),
    Mistake(
        "cost",
        "added to memory by atomics",
        (("tl.store(partial_ptr + tl.program_id(0), ", "tl.atomic_add(partial_ptr + tl.program_id(0), "),),
        "no atomics",
    ),
    Mistake(
        "rounds",
        "no barrier before the reads",
        ((_BARRIER.format("written"), ""),),
        "before it was written",
    ),
    Mistake(
        "rounds",
        "no barrier after the reads",
        ((_BARRIER.format("read"), ""),),
        "before all had read it",
    ),
    Mistake(
        "rounds",
        "both barriers wait for the same count",
        (
            (
                "arrivals += PROGRAMS\n        barrier(counter_ptr, arrivals, INTERPRETED)  # all have read",
                "barrier(counter_ptr, arrivals, INTERPRETED)  # all have read",
            ),
        ),
        "before all had read it",
    ),
    Mistake(
        "train_many",
        "labels of model 0",
        (("label_ptr + model * examples + row", "label_ptr + row"),),
        "labels of the first",
    ),
    Mistake("train_many", "rate of model 0", (("rate_ptr + model", "rate_ptr"),), "rate of the first"),
    Mistake(
        "train_many",
        "weights of model 0",
        (("place, mask=exists, other=0.0)", "unit[:, None] * inputs + k[None, :], mask=exists, other=0.0)"),),
        "weights of the first",
    ),
    Mistake("train_many", "factor 2", (("2 * (y - target)", "(y - target)"),), "a factor of 2 is missing"),
    Mistake("train_many", "uphill", (("weight -= rate", "weight += rate"),), "uphill"),
    Mistake(
        "train_many", "rows past the last batch", (("(row < examples)[:, None] & ", ""),), "`trained` is NaN"
    ),
    Mistake(
        "train_many",
        "all models in one place",
        (("tl.store(trained_ptr + place", "tl.store(trained_ptr + unit[:, None] * inputs + k[None, :]"),),
        "were not written",
    ),
    Mistake(
        "first_maximum",
        "the last maximum",
        (("column[None, :], BLOCK_C)", "column[None, :], -1)"), ("tl.min(", "tl.max(")),
        "the last one was taken",
    ),
    Mistake("first_maximum", "padding of zeros", (('-float("inf")', "0.0"),), "-inf"),
    Mistake(
        "first_maximum",
        "checkpoint 0 for all",
        (("place = (checkpoint * images + image)", "place = image"),),
        "predictions of the first",
    ),
    Mistake(
        "first_maximum",
        "store without a mask",
        (("tl.min(candidate, 1), mask=image < images", "tl.min(candidate, 1)"),),
        "predicted",
    ),
    Mistake(
        "split_product",
        "one product",
        ((" + (product(a_high, b_low) + product(a_low, b_high))", ""),),
        "nothing was gained",
    ),
    Mistake(
        "split_product",
        "one cross term",
        (("(product(a_high, b_low) + product(a_low, b_high))", "product(a_high, b_low)"),),
        "a low part",
    ),
    Mistake(
        "split_product",
        "another product",
        (
            (
                "return product(a_high, b_high) + (product(a_high, b_low) + product(a_low, b_high))",
                "return a @ b",
            ),
        ),
        "through `product`",
    ),
    Mistake(
        "blocks_per_sm",
        "shared memory forgotten",
        (("by_registers, by_shared,", "by_registers,"),),
        "shared memory",
    ),
    Mistake(
        "blocks_per_sm",
        "registers not rounded",
        (("-(-registers * 32 // 256) * 256", "registers * 32"),),
        "register file",
    ),
    Mistake(
        "blocks_per_sm",
        "registers of one thread",
        (("-(-registers * 32 // 256) * 256", "registers"),),
        "register file",
    ),
    Mistake("blocks_per_sm", "no limit of blocks", ((", sm.max_blocks_per_sm)", ")"),), "room for blocks"),
)


def of(exercise: str) -> Iterator[Mistake]:
    """The mistakes of one exercise."""
    return (mistake for mistake in MISTAKES if mistake.exercise == exercise)


def table(exercise: str) -> Table:
    """For a teacher: the mistakes of one exercise, and what the checker says to each."""
    lines = [(mistake.what, mistake.verdict().message) for mistake in of(exercise)]
    return Table(("a usual mistake", "what the checker says"), lines, words=True)
