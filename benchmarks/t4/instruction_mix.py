"""What one SASS instruction is to the model: the pipe it occupies, its bytes, the registers it reads and writes.

Register widths follow the mnemonic (.64, .128, WIDE), which is enough for chains of dependent instructions; flags
beyond that (reuse, negation) do not matter here.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from breaknet.kernels.host.machine_code import category

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
    def category(self) -> str:
        """Its category in the resource report."""
        return category(self.mnemonic)

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


def mix(instructions: Iterable[Instruction]) -> dict[str, int]:
    """Instructions by category, most frequent first."""
    return dict(Counter(one.category for one in instructions).most_common())
