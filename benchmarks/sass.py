"""SASS listings as instructions in nested loops: the pipe of each, its bytes, the registers it reads and writes.

Register widths follow the mnemonic (.64, .128, WIDE), which is enough for chains of dependent instructions; flags
beyond that (reuse, negation) do not matter here. A loop goes from the target of a backward branch to the last such
branch to it: the compiler lays loops out in one piece.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

#: Pipes and the mnemonics they execute; the first that matches counts, the rest is "int". "control" only issues.
PIPES: tuple[tuple[str, str], ...] = (
    ("control", r"BR[AX]|B(SSY|SYNC|MOV|REAK|AR)|EXIT|RET|CALL|NOP|WARPSYNC|MEMBAR|DEPBAR|(CGA)?ERRBAR|CCTL"),
    # the uniform path and constants: a unit of its own, seldom busy
    ("control", r"U[A-Z]|R2UR|S2UR|VOTEU|LDC"),
    ("tensor", r"HMMA|HGMMA|IMMA|QMMA"),
    ("shared", r"LDS|STS|SHFL"),
    ("global", r"LDG|STG|LD\b|ST\b|LD\.|ST\.|RED|ATOM|LDL|STL"),
    ("special", r"MUFU|I2F\b|I2F\.|F2I|F2F|POPC|FLO|BREV"),
    ("fp32", r"FFMA|FADD|FMUL|IMAD|HFMA2|HADD2|HMUL2"),
)
_PIPE = tuple((name, re.compile(pattern)) for name, pattern in PIPES)
_GUARD = re.compile(r"@(!?)(U?P\d+|U?PT)\s+")
_REGISTER = re.compile(r"(?<![\w.])(UR|R|UP|P)(\d+)(\.64)?(?![\w])")
_PREDICATE = re.compile(r"!?U?P(\d+|T)$")
#: These store or only act: no operand of theirs is written.
_WRITES_NOTHING = re.compile(
    r"ST[SGL]?(M|\.|$)|RED|BAR|BR[AX]|B(SSY|SYNC)|EXIT|MEMBAR|CCTL|NOP|(CGA)?ERRBAR|WARPSYNC"
)
_TWO_PREDICATES = re.compile(r"U?([IFDH]SETP|PLOP3)")


@dataclass(frozen=True)
class Instruction:
    """One instruction of a listing; `text` is the line without its address and guard."""

    mnemonic: str
    text: str
    guarded: bool  # under a predicate
    writes: tuple[str, ...]
    reads: tuple[str, ...]

    @cached_property
    def pipe(self) -> str:
        """The unit that executes it, by `PIPES`."""
        return next((name for name, pattern in _PIPE if pattern.match(self.mnemonic)), "int")

    @cached_property
    def fmas(self) -> int:
        """Fused multiply-adds of one thread."""
        return 2 if self.mnemonic.startswith("FFMA2") else int(self.mnemonic.startswith("FFMA"))

    @cached_property
    def words(self) -> int:
        """32-bit registers a thread that a load, store or wide result moves."""
        if match := re.search(r"M88(?:\.(\d))?", self.mnemonic):
            return int(match.group(1) or 1)
        if ".128" in self.mnemonic:
            return 4
        wide = ".64" in self.mnemonic or ".WIDE" in self.mnemonic or self.mnemonic.startswith("CS2R")
        return 2 if wide and not self.mnemonic.startswith("CS2R.32") else 1

    @cached_property
    def bytes_a_thread(self) -> int:
        """What a load or store moves for each thread."""
        if re.search(r"\.[US]8\b", self.mnemonic):
            return 1
        return 2 if re.search(r"\.[US]16\b", self.mnemonic) else 4 * self.words

    @property
    def leaves(self) -> bool:
        """Whether the kernel may end here."""
        return self.mnemonic.startswith(("EXIT", "RET"))

    @property
    def meets(self) -> bool:
        """Whether all warps of the block wait for each other here."""
        return self.mnemonic.startswith("BAR")


def parse(text: str) -> Instruction:
    """An instruction from a line's text, such as "@P0 FFMA R1, R2, R3, R1"."""
    guard = _GUARD.match(text)
    body = text[guard.end() :] if guard else text
    mnemonic, _, rest = body.strip().partition(" ")
    operands = [operand.strip() for operand in rest.split(",") if operand.strip()]
    written = _written(mnemonic, operands)
    one = Instruction(mnemonic, body.strip(), guard is not None, (), ())
    writes = _span(operands[:written], one.words)
    reads: list[str] = [guard.group(2)] if guard else []
    for operand in operands[written:]:
        # a 64-bit address is a pair, a stored value and a wide addend as wide as the instruction says
        wide = 2 if one.pipe == "global" and "[" in operand else 1
        if written == 0 and "[" not in operand and one.pipe in ("shared", "global"):
            wide = one.words
        if ".WIDE" in mnemonic and operand is operands[-1]:
            wide = 2
        reads += _span([operand], wide)
    return Instruction(mnemonic, body.strip(), guard is not None, writes, tuple(dict.fromkeys(reads)))


def _written(mnemonic: str, operands: list[str]) -> int:
    """How many of the first operands are results."""
    if not operands or _WRITES_NOTHING.match(mnemonic):
        return 0
    if mnemonic.startswith(("SHFL", "ATOM")) and _PREDICATE.match(operands[0]):
        return 2
    carries = len(operands) > 2 and _PREDICATE.match(operands[1]) and not operands[1].startswith("!")
    if _TWO_PREDICATES.match(mnemonic) or (carries and re.match(r"U?(IADD3|LEA|IMAD)", mnemonic)):
        return 2
    return 1


def _span(operands: Iterable[str], words: int) -> tuple[str, ...]:
    """All registers that the operands name, each of them `words` wide unless it is a predicate."""
    found = []
    for operand in operands:
        for kind, number, pair in _REGISTER.findall(operand):
            width = 1 if kind.endswith("P") else max(words, 2 if pair else 1)
            found += [f"{kind}{int(number) + extra}" for extra in range(width)]
    return tuple(found)


_LABEL = re.compile(r"\s*(\.L_\w+):")
_LINE = re.compile(r"\s*/\*[0-9a-f]+\*/\s+(.*?)\s*;")
_TARGET = re.compile(r"`\((\.L_\w+)\)")
_JUMPS = ("BRA", "BRX", "JMP")


@dataclass(frozen=True)
class Loop:
    """A loop, or the whole kernel: its own instructions and the loops directly inside it, by position."""

    head: int  # position of its first instruction; 0 for the whole kernel
    body: tuple[Instruction | Loop, ...]

    @property
    def inner(self) -> tuple[Loop, ...]:
        """The loops directly inside."""
        return tuple(item for item in self.body if isinstance(item, Loop))

    @property
    def own(self) -> tuple[Instruction, ...]:
        """The instructions that are in no deeper loop."""
        return tuple(item for item in self.body if isinstance(item, Instruction))

    def shape(self) -> str:
        """The nesting alone, such as "(()())": two loops side by side."""
        return "".join(f"({loop.shape()})" for loop in self.inner)


def read(sass: str) -> Loop:
    """The whole kernel of an nvdisasm listing (`nvdisasm -c`) as nested loops.

    Raises:
        ValueError: no instruction in it.
    """
    code: list[Instruction] = []
    labels: dict[str, int] = {}
    for line in sass.splitlines():
        if label := _LABEL.match(line):
            labels[label.group(1)] = len(code)
        elif found := _LINE.match(line):
            code.append(parse(found.group(1)))
    if not code:
        raise ValueError("sass: a listing by nvdisasm -c, not one without instructions")
    jumps = _jumps(code, labels)
    reached = _reached(code, jumps)
    ends: dict[int, int] = {}
    for at in reached:
        if jumps.get(at, at + 1) <= at:
            ends[jumps[at]] = at + 1
    return _nest(code, reached, sorted(ends.items()))


def _jumps(code: Sequence[Instruction], labels: dict[str, int]) -> dict[int, int]:
    """Targets by the positions of branches.

    BSSY names one too, but only says where diverged threads meet again; BRA.DIV is taken by diverged warps alone, and
    these kernels have none. Where nothing returns, the compiler uses CALL to leave a loop.
    """
    returns = any(one.mnemonic.startswith("RET") for one in code)
    mnemonics = _JUMPS if returns else (*_JUMPS, "CALL")
    found = {}
    for at, one in enumerate(code):
        target = _TARGET.search(one.text)
        if target and one.mnemonic.startswith(mnemonics) and not one.mnemonic.startswith("BRA.DIV"):
            found[at] = labels[target.group(1)]
    return found


def _reached(code: Sequence[Instruction], jumps: dict[int, int]) -> list[int]:
    """Positions that are run: not the padding behind the end, nor paths for diverged threads."""
    reached: set[int] = set()
    todo = [0]
    while todo:
        at = todo.pop()
        if at in reached or at >= len(code):
            continue
        reached.add(at)
        if at in jumps:
            todo.append(jumps[at])
        if code[at].guarded or not (code[at].leaves or at in jumps):
            todo.append(at + 1)
    return sorted(reached)


def _nest(
    code: Sequence[Instruction], reached: Sequence[int], loops: Sequence[tuple[int, int]], head: int = 0
) -> Loop:
    """The positions with the loops (head, end) among them; loops that cross are refused."""
    body: list[Instruction | Loop] = []
    at = 0
    while at < len(reached):
        here = next((loop for loop in loops if loop[0] == reached[at]), None)
        if here is None:
            body.append(code[reached[at]])
            at += 1
            continue
        inside = [position for position in reached[at:] if position < here[1]]
        if here[1] > reached[-1] + 1:
            raise ValueError(f"sass: loops that nest, not one at {here} that crosses {reached[-1] + 1}")
        body.append(_nest(code, inside, [loop for loop in loops if loop != here], here[0]))
        at += len(inside)
    return Loop(head, tuple(body))
