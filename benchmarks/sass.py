"""SASS listings as instructions in nested loops: the pipe of each, its bytes, the registers it reads and writes.

Register widths follow the mnemonic (.64, .128, WIDE), which is enough for chains of dependent instructions; flags
beyond that (reuse, negation) do not matter here. A loop is natural: an edge of the control-flow graph that leads back
to a block which dominates its source, and every block from which that source can be reached without passing the
head. Loops with one head are one loop.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import networkx as nx

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
    code, labels = _instructions(sass)
    if not code:
        raise ValueError("sass: a listing by nvdisasm -c, not one without instructions")
    graph = _graph(code, labels)
    reached = {at for start in graph for at in range(start, graph.nodes[start]["end"])}
    heads, members = _natural_loops(graph)
    return _nest(code, reached, heads, members)


def _instructions(sass: str) -> tuple[list[Instruction], dict[str, int]]:
    code: list[Instruction] = []
    labels: dict[str, int] = {}
    for line in sass.splitlines():
        if label := _LABEL.match(line):
            labels[label.group(1)] = len(code)
        elif found := _LINE.match(line):
            code.append(parse(found.group(1)))
    return code, labels


def _natural_loops(graph: nx.DiGraph) -> tuple[list[int], list[set[int]]]:
    """Heads (positions) and, for each, the positions of all its instructions."""
    dominator = nx.immediate_dominators(graph, 0)
    blocks: dict[int, set[int]] = {}
    for source, head in graph.edges:
        if _dominates(dominator, head, source):
            within = nx.ancestors(graph.subgraph(set(graph) - {head}), source) if source != head else set()
            blocks.setdefault(head, {head}).update({source} | within)
    ends = {start: graph.nodes[start]["end"] for start in graph}
    heads = sorted(blocks)
    return heads, [{at for block in blocks[head] for at in range(block, ends[block])} for head in heads]


def _graph(code: Sequence[Instruction], labels: dict[str, int]) -> nx.DiGraph:
    """Basic blocks that can be reached, by the position of their first instruction, and the jumps between them.

    `end` of a block is the position behind its last instruction.
    """
    returns = any(one.mnemonic.startswith("RET") for one in code)
    targets = {
        at: labels[label] for at, one in enumerate(code) if (label := _jump(one, returns)) and label in labels
    }
    starts = {0, *targets.values()}
    starts |= {at + 1 for at, one in enumerate(code) if at in targets or one.leaves}
    ordered = sorted(start for start in starts if start < len(code))
    graph: nx.DiGraph = nx.DiGraph()
    for start, end in zip(ordered, [*ordered[1:], len(code)], strict=True):
        graph.add_node(start, end=end)
    for start in ordered:
        end = graph.nodes[start]["end"]
        last = code[end - 1]
        if end - 1 in targets:
            graph.add_edge(start, targets[end - 1])
        if end < len(code) and (last.guarded or not (last.leaves or end - 1 in targets)):
            graph.add_edge(start, end)
    # the padding branch to itself behind the end, and what only diverged threads would reach, are never run
    return graph.subgraph(nx.descendants(graph, 0) | {0})


def _jump(instruction: Instruction, returns: bool) -> str | None:
    """The label that control goes to.

    BSSY names one too, but only says where diverged threads meet again; BRA.DIV is taken by diverged warps alone, and
    these kernels have none. Where nothing `returns`, the compiler uses CALL to leave a loop.
    """
    jumps = ("BRA", "BRX", "JMP") if returns else ("BRA", "BRX", "JMP", "CALL")
    if not instruction.mnemonic.startswith(jumps) or instruction.mnemonic.startswith("BRA.DIV"):
        return None
    found = _TARGET.search(instruction.text)
    return found.group(1) if found else None


def _dominates(dominator: dict[int, int | None], head: int, block: int) -> bool:
    at: int | None = block
    while at is not None:
        if at == head:
            return True
        above = dominator.get(at)
        at = None if above == at else above  # the root is its own, or none, by version of networkx
    return False


def _nest(code: Sequence[Instruction], reached: set[int], heads: list[int], members: list[set[int]]) -> Loop:
    """Every instruction goes to the smallest loop that holds it, every loop into the smallest around it."""

    def within(positions: set[int], loops: list[int]) -> tuple[Instruction | Loop, ...]:
        outermost = [
            one for one in loops if not any(members[one] < members[other] for other in loops if other != one)
        ]
        items: list[tuple[int, Instruction | Loop]] = []
        inside: set[int] = set()
        for one in outermost:
            deeper = [other for other in loops if other != one and members[other] < members[one]]
            items.append((heads[one], Loop(heads[one], within(members[one], deeper))))
            inside |= members[one]
        items += [(at, code[at]) for at in positions - inside]
        return tuple(item for _, item in sorted(items, key=lambda pair: pair[0]))

    return Loop(0, within(reached, list(range(len(heads)))))
