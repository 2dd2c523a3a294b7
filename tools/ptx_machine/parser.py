"""A parser of PTX as Triton writes it: registers, parameters and instructions.

    program = parse(ptx)
    program.code[program.labels["$L__BB0_2"]]       # an Instruction

Only what Triton emits is understood: one entry, one block of declarations, registers %p %rs %r %rd. ValueError for
anything else. (NVIDIA, PTX ISA 8.7, chapters 4 and 5.)
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from typing import NamedTuple


class Register(NamedTuple):
    """%r12 is Register("r", 12)."""

    file: str
    number: int


class Immediate(NamedTuple):
    """A number's bits; `single` where it was written as a float32 or float64 (0f..., 0d...)."""

    value: int | float


class Address(NamedTuple):
    """[base + offset]; base is a register, the name of a parameter or the start of shared memory, or None."""

    base: Register | str | None
    offset: int


class Name(NamedTuple):
    """A label, a special register such as %tid.x, or a symbol."""

    text: str


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
_PARAMETER = re.compile(r"\.param \.(\w+) .*?(\w+)$")
_REGISTERS = re.compile(r"\.reg \.\w+\s+%([a-z]+)<(\d+)>")
_LABEL = re.compile(r"(\$\w+):")
_INSTRUCTION = re.compile(r"(?:@(!?)%p(\d+)\s+)?([a-z][\w.]*)\s*(.*)", re.DOTALL)
_OPERAND = re.compile(r"\{[^}]*\}|\[[^\]]*\]|[^,\s][^,]*")
_FILES = {"p": 1, "rs": 16, "r": 32, "rd": 64}


def parse(ptx: str) -> Program:
    """The one kernel of a PTX module."""
    entry = _ENTRY.search(ptx)
    if entry is None:
        raise ValueError("ptx: no entry with .reqntid found")
    name, parameters, threads = entry.groups()
    begin = ptx.index("{", entry.end())
    end = ptx.index("\n}", begin)
    first_line = ptx.count("\n", 0, begin) + 1
    registers = dict.fromkeys(_FILES, 0)
    code: list[Instruction] = []
    labels: dict[str, int] = {}
    source = ""
    for number, line in enumerate(ptx[begin + 1 : end].split("\n"), first_line):
        text = line.split("//")[0].strip()
        if declared := _REGISTERS.match(text):
            if declared[1] not in registers:
                raise ValueError(f"ptx, line {number}: registers %{declared[1]}")
            registers[declared[1]] = int(declared[2])
        elif label := _LABEL.match(text):
            labels[label[1]] = len(code)
        elif text.startswith(".loc"):
            source = line.partition("//")[2].strip()
        elif text and not text.startswith("."):
            code += [_instruction(one.strip(), number, source) for one in text.split(";") if one.strip()]
    return Program(name, int(threads), registers, _parameters(parameters), tuple(code), labels)


def _parameters(text: str) -> dict[str, str]:
    found = (_PARAMETER.match(one.strip()) for one in text.split(","))
    return {one[2]: one[1] for one in found if one is not None}


def _instruction(text: str, line: int, source: str) -> Instruction:
    match = _INSTRUCTION.fullmatch(text)
    if match is None:
        raise ValueError(f"ptx, line {line}: {text!r}")
    negated, predicate, opcode, operands = match.groups()
    guard = None if predicate is None else (int(predicate), not negated)
    found = tuple(_operand(one.strip(), line) for one in _OPERAND.findall(operands))
    return Instruction(tuple(opcode.split(".")), found, guard, line, text, source)


def _operand(text: str, line: int) -> Operand:
    if text.startswith("{"):
        return Vector(tuple(_operand(one.strip(), line) for one in text[1:-1].split(",")))  # type: ignore[misc]
    if text.startswith("["):
        base, _, offset = text[1:-1].replace("+-", "+ -").partition("+")
        found = _operand(base.strip(), line)
        shift = int(offset) if offset else 0
        if isinstance(found, Immediate):
            return Address(None, int(found.value) + shift)
        return Address(found.text if isinstance(found, Name) else found, shift)  # type: ignore[arg-type]
    if register := re.fullmatch(r"%(p|rs|rd|r)(\d+)", text):
        return Register(register[1], int(register[2]))
    if single := re.fullmatch(r"0f([0-9A-Fa-f]{8})", text):
        return Immediate(struct.unpack(">f", bytes.fromhex(single[1]))[0])
    if double := re.fullmatch(r"0d([0-9A-Fa-f]{16})", text):
        return Immediate(struct.unpack(">d", bytes.fromhex(double[1]))[0])
    if re.fullmatch(r"-?(0x[0-9A-Fa-f]+|\d+)U?", text):
        return Immediate(int(text.rstrip("U"), 0))
    if re.fullmatch(r"[%$\w][\w.]*", text):
        return Name(text)
    raise ValueError(f"ptx, line {line}: operand {text!r}")
