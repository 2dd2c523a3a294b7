"""PTX's instructions without memory, each one numpy operation on all threads of a block.

    step = arithmetic(instruction, registers)
    step()

(NVIDIA, PTX ISA 8.7, chapter 9.7.) `ex2.approx` and `div.full` are rounded as well as float32 can be, FMAs
through float64, which differs from them in rare last bits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial, reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tools.ptx_machine.parser import Immediate, Instruction, Name, Operand, Register, Vector
from tools.ptx_machine.races import WARP

Step = Callable[[], Any]

_DTYPES = {
    "b8": "u1", "u8": "u1", "s8": "i1", "b16": "u2", "u16": "u2", "s16": "i2",
    "f16": "f2", "f16x2": "2f2",
    "b32": "u4", "u32": "u4", "s32": "i4", "f32": "f4", "f32x2": "2f4",
    "b64": "u8", "u64": "u8", "s64": "i8", "f64": "f8", "pred": "?",
}  # fmt: skip
_FILES = {"p": "?", "rs": "u2", "r": "u4", "rd": "u8"}


def dtype_of(name: str) -> np.dtype[Any]:
    return np.dtype(_DTYPES[name])


class Registers:
    """The registers of a block: each is an array with a number for each thread, or for all, as are parameters."""

    def __init__(self, counts: dict[str, int], parameters: Iterable[str], threads: int) -> None:
        self.files = {name: np.zeros((count, threads), _FILES[name]) for name, count in counts.items()}
        self.special: dict[str, NDArray[Any]] = {
            "%tid.x": np.arange(threads, dtype=np.uint32),
            **{f"%ctaid.{axis}": np.zeros(1, np.uint32) for axis in "xyz"},
            "%laneid": np.arange(threads, dtype=np.uint32) % WARP,
            "global_smem": np.zeros(1, np.uint32),
            **{name: np.zeros(1, np.uint64) for name in parameters},
        }

    def register(self, operand: Operand) -> NDArray[Any]:
        assert isinstance(operand, Register), operand
        return self.files[operand.file][operand.number]

    def read(self, operand: Operand, kind: str) -> NDArray[Any]:
        """An operand as numbers of a type; narrower than its register they are its low bits."""
        dtype = dtype_of(kind)
        if isinstance(operand, Immediate):
            found = np.array([operand.value & (1 << 64) - 1], np.uint64)
        else:
            found = self.special[operand.text] if isinstance(operand, Name) else self.register(operand)
        return found.view(dtype)[:: found.itemsize // dtype.itemsize]

    def write(self, operand: Operand, kind: str) -> NDArray[Any]:
        """The place for an instruction's result of a type; it fills the register."""
        found, dtype = self.register(operand), dtype_of(kind)
        if found.itemsize != dtype.itemsize:
            raise ValueError(f"a result of type {kind} for a register of {found.itemsize} bytes")
        return found.view(dtype)


# ---- functions of numpy arrays -------------------------------------------------------------------------------------


def _fma(a: Any, b: Any, c: Any) -> Any:
    return np.multiply(a, b, dtype=np.float64) + c


def _wide(a: Any, b: Any, c: Any = 0) -> Any:
    return np.multiply(a, b, dtype=f"{a.dtype.kind}{2 * a.itemsize}") + c


def _divide(a: Any, b: Any) -> Any:
    """Whole numbers towards zero."""
    if a.dtype.kind == "f":
        return a / b
    quotient = np.abs(a.astype(np.int64)) // np.maximum(np.abs(b.astype(np.int64)), 1)
    return np.where(b == 0, -1, np.where((a < 0) != (b < 0), -quotient, quotient))


def _shift(operation: Any, a: Any, by: Any) -> Any:
    """Distances past the width give zeros, or the sign."""
    bits = 8 * a.itemsize
    near = operation(a, np.minimum(by, bits - 1).astype(a.dtype))
    return near if a.dtype.kind == "i" else np.where(by < bits, near, 0)


def _bit_field(a: Any, position: int, length: int) -> Any:
    wide = a.astype(f"{a.dtype.kind}8")
    return wide << 64 - position - length >> 64 - length


def _insert(a: Any, b: Any, position: int, length: int) -> Any:
    """The low bits of a, put into b."""
    mask = ((1 << length) - 1 << position) % (1 << 8 * a.itemsize)
    return b ^ ((a << position ^ b) & mask)


def _permute(a: Any, b: Any, selection: int) -> Any:
    found = 0
    for i in range(4):
        pick = selection >> 4 * i & 15
        byte = (a, b)[pick >> 2 & 1] >> 8 * (pick & 3) & 255
        if pick & 8:  # its sign, eight times
            byte = (byte >> 7) * 255
        found = found | byte << 8 * i
    return found


def _shuffle(source: Callable[[Any, Any], Any], a: Any, by: Any) -> Any:
    """From the lane of the same warp that `source` gives for the own lane and an operand."""
    threads = np.arange(a.size)
    return a[threads - threads % WARP + source(threads, by) % WARP]


def _reduce(combine: np.ufunc, a: Any, members: Any) -> Any:
    """For every thread of a warp the sum, the least and so on of all of them."""
    if (members != 2**32 - 1).any():
        raise ValueError("redux.sync: of whole warps only")
    return np.repeat(combine.reduce(a.reshape(-1, WARP), axis=1, dtype=a.dtype), WARP)


def _fold(operation: np.ufunc) -> Callable[..., Any]:
    return lambda *values: reduce(operation, values)


#: By the first parts of the opcode what an instruction computes, and of which types the result and the sources are:
#: "t" the opcode's last part, "wide" twice its bits, "#" a constant, "31" that constant, "_" left out, "..." more so.
_FUNCTIONS: dict[str, tuple[Callable[..., Any], str]] = {
    "mov": (lambda a: a, "t t"),
    "add": (np.add, "t t t"),
    "sub": (np.subtract, "t t t"),
    "neg": (np.negative, "t t"),
    "abs": (np.abs, "t t"),
    "mul": (np.multiply, "t t t"),
    "mul.hi": (lambda a, b: a.astype(np.int64) * b.astype(np.int64) >> 32, "t t t"),
    "mul.wide": (_wide, "wide t t"),
    "mad": (lambda a, b, c: a * b + c, "t t t t"),
    "mad.wide": (_wide, "wide t t wide"),
    "fma": (_fma, "t t t t"),
    "div": (_divide, "t t t"),
    "rem": (lambda a, b: np.fmod(a.astype(np.int64), b.astype(np.int64)), "t t t"),
    "min": (_fold(np.fmin), "t t ..."),  # NaN counts only where all are
    "max": (_fold(np.fmax), "t t ..."),
    "min.NaN": (_fold(np.minimum), "t t ..."),
    "max.NaN": (_fold(np.maximum), "t t ..."),
    "ex2": (np.exp2, "t t"),
    "and": (np.bitwise_and, "t t t"),
    "or": (np.bitwise_or, "t t t"),
    "xor": (np.bitwise_xor, "t t t"),
    "not": (np.invert, "t t"),
    "popc": (np.bitwise_count, "t t"),
    "shl": (partial(_shift, np.left_shift), "t t b32"),
    "shr": (partial(_shift, np.right_shift), "t t b32"),
    "bfe": (_bit_field, "t t # #"),
    "bfi": (_insert, "t t t # #"),
    "prmt": (_permute, "t t t #"),
    "selp": (lambda a, b, choice: np.where(choice, a, b), "t t t pred"),
    "shfl.sync.bfly": (partial(_shuffle, np.bitwise_xor), "t t b32 31 _"),
    "shfl.sync.idx": (partial(_shuffle, lambda own, lane: lane), "t t b32 31 _"),
    "redux.sync.add": (partial(_reduce, np.add), "t t b32"),
    "redux.sync.min": (partial(_reduce, np.minimum), "t t b32"),
    "redux.sync.max": (partial(_reduce, np.maximum), "t t b32"),
    "redux.sync.and": (partial(_reduce, np.bitwise_and), "t t b32"),
    "redux.sync.or": (partial(_reduce, np.bitwise_or), "t t b32"),
    "redux.sync.xor": (partial(_reduce, np.bitwise_xor), "t t b32"),
    "setp.eq": (np.equal, "pred t t"),
    "setp.ne": (lambda a, b: (a < b) | (a > b), "pred t t"),
    "setp.lt": (np.less, "pred t t"),
    "setp.le": (np.less_equal, "pred t t"),
    "setp.gt": (np.greater, "pred t t"),
    "setp.ge": (np.greater_equal, "pred t t"),
    "setp.equ": (lambda a, b: ~((a < b) | (a > b)), "pred t t"),  # these are true as well where one is NaN
    "setp.neu": (np.not_equal, "pred t t"),
    "setp.ltu": (lambda a, b: ~(a >= b), "pred t t"),
    "setp.leu": (lambda a, b: ~(a > b), "pred t t"),
    "setp.gtu": (lambda a, b: ~(a <= b), "pred t t"),
    "setp.geu": (lambda a, b: ~(a < b), "pred t t"),
    "setp.num": (lambda a, b: (a == a) & (b == b), "pred t t"),
    "setp.nan": (lambda a, b: (a != a) | (b != b), "pred t t"),
}


# ---- from instructions to steps ------------------------------------------------------------------------------------


def arithmetic(instruction: Instruction, registers: Registers) -> Step:
    """Raises ValueError, KeyError or AssertionError for an instruction that is not known."""
    parts, kind, (target, *sources) = instruction.parts, instruction.parts[-1], instruction.operands
    if parts[0] == "cvt":
        return _convert(instruction, registers)
    if parts[0] == "mma":
        return _multiply_matrices(instruction, registers)
    if parts[0] == "mov" and (isinstance(target, Vector) or isinstance(sources[0], Vector)):
        return _move_parts(instruction, registers)
    prefixes = (".".join(parts[:count]) for count in (3, 2, 1))
    function, names = _FUNCTIONS[next((one for one in prefixes if one in _FUNCTIONS), parts[0])]
    types = {"t": kind, "wide": kind.replace("32", "64").replace("16", "32")}
    first, *others = names.split()
    if others[-1] == "...":
        others[-1:] = others[-2:-1] * (len(sources) - 1)
    values: list[Any] = []
    for source, name in zip(sources, others, strict=True):
        if name == "#":
            assert isinstance(source, Immediate), source
            values.append(source.value)
        elif name.isdigit():
            assert source == Immediate(int(name)), source
        elif name != "_":
            values.append(registers.read(source, types.get(name, name)))
    out = registers.write(target, types.get(first, first))
    if isinstance(function, np.ufunc):
        return partial(function, *values, out)
    return lambda: np.copyto(out, function(*values), casting="unsafe")


def _convert(instruction: Instruction, registers: Registers) -> Step:
    (to, of), (target, *sources) = instruction.parts[-2:], instruction.operands
    if to[0] != "f" and of[0] == "f":
        raise ValueError(instruction.text)
    if to == "f16x2":  # the first goes to the upper half
        (high, low), pair = (registers.read(one, of) for one in sources), registers.write(target, to)
        return lambda: np.copyto(pair, np.stack((low, high), -1), casting="unsafe")
    a, through = registers.read(sources[0], of), dtype_of(to)
    out = registers.write(target, f"{to[0]}{8 * registers.register(target).itemsize}")
    return lambda: np.copyto(out, a.astype(through), casting="unsafe")


def _move_parts(instruction: Instruction, registers: Registers) -> Step:
    """mov between a register and a vector of narrower ones, of which the first holds the low bits."""
    kind, (target, source) = instruction.parts[-1], instruction.operands
    packs = isinstance(source, Vector)
    vector, whole = (
        (source, registers.write(target, kind)) if packs else (target, registers.read(source, kind))
    )
    assert isinstance(vector, Vector), vector
    count = len(vector.parts)
    narrow = f"b{int(kind[1:]) // count}"
    pairs = []
    for i, one in enumerate(vector.parts):
        piece = whole.view(dtype_of(narrow))[i::count]
        if packs:
            pairs.append((piece, registers.read(one, narrow)))
        elif one != Name("_"):
            pairs.append((registers.write(one, narrow), piece))

    def step() -> None:
        for out, a in pairs:
            np.copyto(out, a)

    return step


#: Products of matrices that are known: 16 x K times K x 8 for each warp, added to float32, by the type of numbers.
_MMA = {
    "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32": "bf16",
    "mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32": "f16",
}


def _multiply_matrices(instruction: Instruction, registers: Registers) -> Step:
    """Of a fragment lane i holds numbers 2 (i % 4) and the next of row i / 4: of A, of C, and of B transposed.

    A register holds two of A's or B's, one of C's. Those that follow lie 8 rows below, then 8 columns to the right.
    Sums are those of float64, rounded: how a tensor core rounds in between is not modelled.
    """
    kind = _MMA.get(".".join(instruction.parts))
    if kind is None:
        raise ValueError(instruction.text)
    out, a, b, c = (
        [registers.register(one) for one in operand.parts]
        for operand in instruction.operands
        if isinstance(operand, Vector)
    )

    def numbers(files: list[NDArray[Any]], rows: int) -> NDArray[Any]:
        """float64 [warps, rows, 8 len(files) / (rows / 8)] of fragments."""
        pairs = np.stack(files).reshape(
            -1, rows // 8, files[0].size // WARP, 8, 4
        )  # right, below, warp, row, lane
        if kind == "f16":
            halves = pairs.view(np.float16).reshape(*pairs.shape, 2)
        else:
            halves = np.stack([pairs << 16, pairs & 0xFFFF0000], axis=-1).astype(np.uint32).view(np.float32)
        return halves.transpose(2, 1, 3, 0, 4, 5).reshape(halves.shape[2], rows, -1).astype(np.float64)

    def step() -> None:
        warps = c[0].size // WARP
        sums = np.stack(c).view(np.float32).reshape(2, 2, warps, 8, 4)  # below, right by one, warp, row, lane
        product = numbers(a, 16) @ numbers(b, 8).transpose(0, 2, 1)
        total = sums.transpose(2, 0, 3, 4, 1).reshape(warps, 16, 8) + product
        parts = total.astype(np.float32).reshape(warps, 2, 8, 4, 2).transpose(1, 4, 0, 2, 3).reshape(4, -1)
        for file, part in zip(out, parts, strict=True):
            file[:] = part.view(np.uint32)

    return step
