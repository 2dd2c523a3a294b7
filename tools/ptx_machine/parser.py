"""A parser of PTX as Triton writes it: registers, parameters and instructions.

    program = parse(ptx)
    program.code[program.labels["$L__BB0_2"]]       # an Instruction

Only what Triton emits is understood: one entry, one block of declarations, registers %p %rs %r %rd. ValueError for
anything else. (NVIDIA, PTX ISA 8.7, chapters 4 and 5.)
"""

import re
from dataclasses import dataclass
from typing import Any, NamedTuple


class Register(NamedTuple):
    """%r12 is Register("r", 12)."""

    file: str
    number: int


class Immediate(NamedTuple):
    """A whole number, or the bits of a float32 or float64 (0f..., 0d...)."""

    value: int


class Name(NamedTuple):
    """A label, a special register such as %tid.x, or a symbol."""

    text: str


class Address(NamedTuple):
    """[base + offset]; base may be the name of a parameter or the start of shared memory."""

    base: Register | Name | Immediate
    offset: int


class Vector(NamedTuple):
    """{a, b, ...}."""

    parts: tuple[Register | Name, ...]


Operand = Register | Immediate | Address | Name | Vector


@dataclass(frozen=True)
class Instruction:
    """`parts` is the opcode at its dots. `guard` is (number of the predicate, whether it must be true) or None.

    `source` is the line of Python that it comes from, as Triton says it.
    """

    parts: tuple[str, ...]
    operands: tuple[Operand, ...]
    guard: tuple[int, bool] | None
    line: int
    text: str
    source: str


@dataclass(frozen=True)
class Program:
    name: str
    threads: int
    registers: dict[str, int]  # how many there are of each file
    parameters: dict[str, str]  # type by name, in order
    code: tuple[Instruction, ...]
    labels: dict[str, int]  # the instruction that a label stands before


_ENTRY = re.compile(r"\.visible \.entry (\w+)\((.*?)\)\s*\.reqntid (\d+)", re.DOTALL)
_PARAMETER = re.compile(r"\.param \.(\w+) [^,]*?(\w+)\s*(?:,|$)")
_REGISTERS = re.compile(r"\.reg \.\w+\s+%(\w+)<(\d+)>")
_LABEL = re.compile(r"(\$\w+):")
_INSTRUCTION = re.compile(r"(?:@(!?)%p(\d+)\s+)?([a-z][\w.:]*)\s*(.*)", re.DOTALL)
_OPERAND = re.compile(r"\{[^}]*\}|\[[^\]]*\]|[^,\s][^,]*")


def parse(ptx: str) -> Program:
    """The one kernel of a PTX module."""
    entry = _ENTRY.search(ptx)
    if entry is None:
        raise ValueError("ptx: no entry with .reqntid found")
    name, parameters, threads = entry.groups()
    begin = ptx.index("{", entry.end())
    lines = ptx[begin + 1 : ptx.index("\n}", begin)].split("\n")
    registers: dict[str, int] = {}
    code: list[Instruction] = []
    labels: dict[str, int] = {}
    source = ""
    for number, line in enumerate(lines, ptx.count("\n", 0, begin) + 1):
        text = line.split("//")[0].strip()
        if declared := _REGISTERS.match(text):
            registers[declared[1]] = int(declared[2])
        elif label := _LABEL.match(text):
            labels[label[1]] = len(code)
        elif text.startswith(".loc"):
            source = line.partition("//")[2].strip()
        elif text and not text.startswith("."):
            code += [_instruction(one.strip(), number, source) for one in text.split(";") if one.strip()]
    types = {parameter: kind for kind, parameter in _PARAMETER.findall(parameters)}
    return Program(name, int(threads), registers, types, tuple(code), labels)


def _instruction(text: str, line: int, source: str) -> Instruction:
    match = _INSTRUCTION.fullmatch(text)
    if match is None:
        raise ValueError(f"ptx, line {line}: {text!r}")
    negated, predicate, opcode, operands = match.groups()
    guard = None if predicate is None else (int(predicate), not negated)
    found = tuple(_operand(one.strip(), line) for one in _OPERAND.findall(operands))
    # a block's own shared memory, as Triton 3.9 writes it
    parts = tuple(opcode.replace("shared::cta", "shared").split("."))
    return Instruction(parts, found, guard, line, text, source)


def _operand(text: str, line: int) -> Any:
    if text.startswith("{"):
        return Vector(tuple(_operand(one.strip(), line) for one in text[1:-1].split(",")))
    if text.startswith("["):
        base, _, offset = text[1:-1].replace("+-", "+ -").partition("+")
        return Address(_operand(base.strip(), line), int(offset or 0))
    if register := re.fullmatch(r"%(p|rs|rd|r)(\d+)", text):
        return Register(register[1], int(register[2]))
    if floating := re.fullmatch(r"0[fd]([0-9A-Fa-f]+)", text):
        return Immediate(int(floating[1], 16))
    if re.fullmatch(r"-?(0x[0-9A-Fa-f]+|\d+)U?", text):
        return Immediate(int(text.rstrip("U"), 0))
    if re.fullmatch(r"[%$\w][\w.]*", text):
        return Name(text)
    raise ValueError(f"ptx, line {line}: operand {text!r}")
