"""From a SASS listing to nested loops: instructions, basic blocks, back edges.

A loop is natural: an edge of the control-flow graph that leads back to a block which dominates its source, and every
block from which that source can be reached without passing the head. Loops with one head are one loop.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import networkx as nx

from benchmarks.t4.instruction_mix import Instruction, parse

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

    def walk(self) -> Iterator[Loop]:
        """This loop and all within, outermost first."""
        yield self
        for loop in self.inner:
            yield from loop.walk()


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
