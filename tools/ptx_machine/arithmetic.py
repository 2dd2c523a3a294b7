"""PTX's instructions without memory, each one numpy operation on all threads of a block.

    step = ARITHMETIC[instruction.parts[0]](instruction, registers)
    step()

(NVIDIA, PTX ISA 8.7, chapter 9.7.) `ex2.approx` and `div.full` are rounded as well as float32 can be, FMAs
through float64, which differs from them in rare last bits.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tools.ptx_machine.parser import Immediate, Instruction, Name, Operand, Register, Vector
from tools.ptx_machine.races import WARP

Step = Callable[[], Any]

_DTYPES = {
    "b8": np.uint8, "u8": np.uint8, "s8": np.int8, "b16": np.uint16, "u16": np.uint16, "s16": np.int16,
    "b32": np.uint32, "u32": np.uint32, "s32": np.int32, "f32": np.float32,
    "b64": np.uint64, "u64": np.uint64, "s64": np.int64, "f64": np.float64, "pred": np.bool_,
}  # fmt: skip
_FILES = {"p": np.bool_, "rs": np.uint16, "r": np.uint32, "rd": np.uint64}


def dtype_of(name: str) -> Any:
    return np.dtype(_DTYPES[name])


class Registers:
    """The registers of a block: each is an array with a number for each thread."""

    def __init__(self, counts: dict[str, int], threads: int) -> None:
        self.threads = threads
        self.files = {name: np.zeros((counts[name], threads), kind) for name, kind in _FILES.items()}
        self.special = {
            "%tid.x": np.arange(threads, dtype=np.uint32),
            **{f"%ctaid.{axis}": np.zeros(1, np.uint32) for axis in "xyz"},
            "%laneid": np.arange(threads, dtype=np.uint32) % WARP,
            "global_smem": np.zeros(1, np.uint32),
        }

    def register(self, register: Register) -> NDArray[Any]:
        return self.files[register.file][register.number]

    def read(self, operand: Operand, kind: str) -> NDArray[Any]:
        """An operand as numbers of a type; narrower than its register they are its low bits."""
        if kind == "f32x2":  # two for each thread
            assert isinstance(operand, Register), operand
            return self.register(operand).view(np.float32)
        dtype = dtype_of(kind)
        if isinstance(operand, Immediate):
            if isinstance(operand.value, float):
                whole = np.array([operand.value], np.float64 if dtype.itemsize == 8 else np.float32)
                return whole.view(dtype)
            return np.array([operand.value & (1 << 64) - 1], np.uint64).view(dtype)[:1]
        if isinstance(operand, Name):
            return self.special[operand.text].view(dtype)
        assert isinstance(operand, Register), operand
        found = self.register(operand)
        return found if dtype == np.bool_ else found.view(dtype)[:: found.itemsize // dtype.itemsize]

    def write(self, operand: Operand, kind: str) -> NDArray[Any]:
        """Where an instruction's result of a type goes; it fills the register."""
        assert isinstance(operand, Register), operand
        if kind == "f32x2":
            return self.register(operand).view(np.float32)
        found, dtype = self.register(operand), dtype_of(kind)
        if found.itemsize != dtype.itemsize:
            raise ValueError(f"a result of type {kind} for a register of {found.itemsize} bytes")
        return found.view(dtype)


def _plain(function: Any) -> Callable[[Instruction, Registers], Step]:
    """function(sources ..., out) of one type, the last part of the opcode."""

    def build(instruction: Instruction, registers: Registers) -> Step:
        kind = instruction.parts[-1]
        target, *sources = instruction.operands
        return partial(
            function, *(registers.read(one, kind) for one in sources), registers.write(target, kind)
        )

    return build


def _extreme(operation: Any) -> Callable[[Instruction, Registers], Step]:
    """The least or the largest of two or three; NaN counts only where all are."""

    def build(instruction: Instruction, registers: Registers) -> Step:
        if "NaN" in instruction.parts:
            raise ValueError(instruction.text)
        kind, (target, *sources) = instruction.parts[-1], instruction.operands
        out, (a, b, *others) = registers.write(target, kind), [registers.read(one, kind) for one in sources]
        if not others:
            return partial(operation, a, b, out)
        return lambda: operation(operation(a, b), others[0], out)

    return build


def _fma(a: Any, b: Any, c: Any, out: Any) -> None:
    exact = np.multiply(a, b, dtype=np.float64)
    rounded = np.add(exact, c, out=exact) if exact.shape == out.shape else exact + c
    np.copyto(out, rounded, casting="same_kind")


def _divide(a: Any, b: Any, out: Any) -> None:
    """Towards zero."""
    a, b = a.astype(np.int64), b.astype(np.int64)
    quotient = np.abs(a) // np.maximum(np.abs(b), 1)
    out[:] = np.where(b == 0, -1, np.where((a < 0) != (b < 0), -quotient, quotient))


def _remainder(a: Any, b: Any, out: Any) -> None:
    a, b = a.astype(np.int64), b.astype(np.int64)
    rest = np.abs(a) % np.maximum(np.abs(b), 1)
    out[:] = np.where(a < 0, -rest, rest)


def _div(instruction: Instruction, registers: Registers) -> Step:
    return _plain(np.divide if instruction.parts[-1][0] == "f" else _divide)(instruction, registers)


def _mul(instruction: Instruction, registers: Registers) -> Step:
    single = instruction.parts[-1][0] == "f"
    return (_plain(np.multiply) if single else _multiply_add)(instruction, registers)


def _multiply_add(instruction: Instruction, registers: Registers) -> Step:
    kind, (target, *sources) = instruction.parts[-1], instruction.operands
    a, b = (registers.read(one, kind) for one in sources[:2])
    if instruction.parts[1] == "wide":
        wide = kind[0] + str(2 * int(kind[1:]))
        out = registers.write(target, wide)
        c = registers.read(sources[2], wide) if len(sources) > 2 else np.zeros(1, out.dtype)
        return lambda: np.add(np.multiply(a, b, dtype=out.dtype, casting="unsafe"), c, out=out)
    out = registers.write(target, kind)
    if instruction.parts[1] == "hi":
        return lambda: np.copyto(out, (a.astype(np.int64) * b.astype(np.int64)) >> 32, casting="unsafe")
    if len(sources) > 2:
        c = registers.read(sources[2], kind)
        return lambda: np.add(a * b, c, out=out)
    return partial(np.multiply, a, b, out)


def _shift(operation: Any) -> Callable[[Instruction, Registers], Step]:
    """Distances past the width give zeros, or the sign."""

    def build(instruction: Instruction, registers: Registers) -> Step:
        kind, (target, value, distance) = instruction.parts[-1], instruction.operands
        a, by = registers.read(value, kind), registers.read(distance, "b32")
        out = registers.write(target, kind)
        bits = 8 * out.itemsize

        def step() -> None:
            near = operation(a, np.minimum(by, bits - 1).astype(out.dtype))
            out[:] = near if kind[0] == "s" else np.where(by < bits, near, 0)

        return step

    return build


def _compare(instruction: Instruction, registers: Registers) -> Step:
    how, kind = instruction.parts[1], instruction.parts[-1]
    target, *sources = instruction.operands
    a, b = (registers.read(one, kind) for one in sources)
    out = registers.write(target, "pred")
    if how in ("num", "nan"):
        return lambda: np.equal(np.isnan(a) | np.isnan(b), how == "nan", out=out)
    names = {"eq": "equal", "ne": "not_equal", "lt": "less", "gt": "greater"}
    names |= {"le": "less_equal", "ge": "greater_equal"}
    if kind[0] == "f" and how[-1] == "u":  # true as well where one is NaN
        ordered = getattr(np, names[how[:-1]])
        return lambda: np.copyto(out, ordered(a, b) | np.isnan(a) | np.isnan(b))
    if kind[0] == "f" and how == "ne":
        return lambda: np.copyto(out, (a != b) & ~np.isnan(a) & ~np.isnan(b))
    return partial(getattr(np, names[how]), a, b, out)


def _select(instruction: Instruction, registers: Registers) -> Step:
    kind, (target, *sources, predicate) = instruction.parts[-1], instruction.operands
    a, b = (registers.read(one, kind) for one in sources)
    out, choice = registers.write(target, kind), registers.read(predicate, "pred")
    return lambda: np.copyto(out, np.where(choice, a, b))


def _mov(instruction: Instruction, registers: Registers) -> Step:
    kind, (target, source) = instruction.parts[-1], instruction.operands
    if isinstance(target, Vector):  # {low, high} = wide
        narrow = f"b{int(kind[1:]) // len(target.parts)}"
        pieces = registers.read(source, kind).view(dtype_of(narrow))
        outs = [(None if one == Name("_") else registers.write(one, narrow)) for one in target.parts]
        return lambda: [
            np.copyto(out, pieces[i :: len(outs)]) for i, out in enumerate(outs) if out is not None
        ]
    if isinstance(source, Vector):
        narrow = f"b{int(kind[1:]) // len(source.parts)}"
        pieces = registers.write(target, kind).view(dtype_of(narrow))
        parts = [registers.read(one, narrow) for one in source.parts]
        return lambda: [np.copyto(pieces[i :: len(parts)], part) for i, part in enumerate(parts)]
    return partial(np.copyto, registers.write(target, kind), registers.read(source, kind))


def _convert(instruction: Instruction, registers: Registers) -> Step:
    to, of = instruction.parts[-2:]
    if to[0] != "f" and of[0] == "f":
        raise ValueError(instruction.text)
    target, source = instruction.operands
    a = registers.read(source, of)
    if to[0] == "f":
        return partial(np.copyto, registers.write(target, to), a, casting="unsafe")
    file = registers.register(target).dtype  # type: ignore[arg-type]
    wide = ("s" if to[0] == "s" else "u") + str(8 * file.itemsize)
    out, through = registers.write(target, wide), dtype_of(to)
    return lambda: np.copyto(out, a.astype(through), casting="unsafe")


def _bit_field(instruction: Instruction, registers: Registers) -> Step:
    kind, (target, source, position, length) = instruction.parts[-1], instruction.operands
    assert isinstance(position, Immediate), instruction.text
    assert isinstance(length, Immediate), instruction.text
    a, out = registers.read(source, kind), registers.write(target, kind)
    left = out.dtype.type(32 - position.value - length.value)
    right = out.dtype.type(32 - length.value)
    if left < 0 or not length.value:
        raise ValueError(instruction.text)
    return lambda: np.right_shift(np.left_shift(a, left), right, out=out)


def _permute(instruction: Instruction, registers: Registers) -> Step:
    target, *sources, selection = instruction.operands
    assert isinstance(selection, Immediate), instruction.text
    a, b = (registers.read(one, "b32") for one in sources)
    out = registers.write(target, "b32")
    picks = [int(selection.value) >> 4 * i & 15 for i in range(4)]

    def step() -> None:
        found = np.zeros(out.shape, np.uint32)
        for i, pick in enumerate(picks):
            source = a if pick & 7 < 4 else b
            byte = source >> np.uint32(8 * (pick & 3)) & np.uint32(255)
            if pick & 8:  # its sign, eight times
                byte = (byte >> np.uint32(7)) * np.uint32(255)
            found |= byte << np.uint32(8 * i)
        out[:] = found

    return step


def _insert(instruction: Instruction, registers: Registers) -> Step:
    """bfi: the low bits of a, put into b."""
    target, *sources, position, length = instruction.operands
    assert isinstance(position, Immediate), instruction.text
    assert isinstance(length, Immediate), instruction.text
    a, b = (registers.read(one, "b32") for one in sources)
    out, shift = registers.write(target, "b32"), np.uint32(position.value)
    mask = np.uint32(((1 << int(length.value)) - 1) << int(shift) & 0xFFFFFFFF)
    return lambda: np.copyto(out, (a << shift) & mask | b & ~mask)


def _shuffle(instruction: Instruction, registers: Registers) -> Step:
    how, (target, source, lane, clamp, _) = instruction.parts[2], instruction.operands
    if clamp != Immediate(31) or how not in ("bfly", "idx"):
        raise ValueError(instruction.text)
    a, by, out = registers.read(source, "b32"), registers.read(lane, "b32"), registers.write(target, "b32")
    threads = np.arange(registers.threads)
    own = threads % WARP

    def step() -> None:
        other = own ^ by if how == "bfly" else by
        out[:] = a[threads - own + (other % WARP).astype(np.int64)]

    return step


_REDUCTIONS: dict[str, np.ufunc] = {
    "add": np.add, "min": np.minimum, "max": np.maximum, "and": np.bitwise_and, "or": np.bitwise_or,
    "xor": np.bitwise_xor,
}  # fmt: skip


def _reduce(instruction: Instruction, registers: Registers) -> Step:
    """Every thread of a warp gets the sum, the least and so on of all of them."""
    (_, _, how, kind), (target, source, mask) = instruction.parts, instruction.operands
    a, members, out = registers.read(source, kind), registers.read(mask, "b32"), registers.write(target, kind)
    combine = _REDUCTIONS[how]

    def step() -> None:
        if (members.view(np.int32) != -1).any():
            raise ValueError(f"{instruction.text}: of whole warps only")
        warps = np.broadcast_to(a, (registers.threads,)).reshape(-1, WARP)
        out[:] = np.repeat(combine.reduce(warps, axis=1, dtype=out.dtype), WARP)

    return step


ARITHMETIC: dict[str, Callable[[Instruction, Registers], Step]] = {
    "add": _plain(np.add), "sub": _plain(np.subtract), "neg": _plain(np.negative), "fma": _plain(_fma),
    "min": _extreme(np.fmin), "max": _extreme(np.fmax), "and": _plain(np.bitwise_and), "or": _plain(np.bitwise_or),
    "xor": _plain(np.bitwise_xor), "not": _plain(np.invert), "popc": _plain(np.bitwise_count),
    "ex2": _plain(np.exp2), "rem": _plain(_remainder), "div": _div, "mul": _mul, "mad": _multiply_add,
    "shl": _shift(np.left_shift), "shr": _shift(np.right_shift), "setp": _compare, "selp": _select, "mov": _mov,
    "cvt": _convert, "bfe": _bit_field, "bfi": _insert, "prmt": _permute, "shfl": _shuffle, "redux": _reduce,
}  # fmt: skip
