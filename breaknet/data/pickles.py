"""Reads a pickle of nested tuples and lists of numpy arrays, and of nothing else, without unpickling it.

A pickle is a program for a small stack machine. The machine here knows only the instructions that such a pickle
needs, and runs no function of Python's: what the pickle calls is looked up by its name in a table of three. Nothing
is hashed, compared or copied that the file could make deep or large, the number of instructions is bounded, and an
array's bytes stay where they are in the content that was read.
"""

import codecs
import pickle
import struct
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

#: Six arrays take about 250 instructions.
MOST_INSTRUCTIONS = 20_000
_LONGEST_LINE = 1000

_CODES = ("f4", "f8", "u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8")

#: Instructions with a number, or with a number of bytes after it, by the struct format of the number.
_NUMBERS = {b"K": "<B", b"M": "<H", b"J": "<i"}
_TEXTS = {b"\x8c": "<B", b"X": "<I", b"\x8d": "<Q"}
_BYTES = {b"U": "<B", b"T": "<i", b"C": "<B", b"B": "<I", b"\x8e": "<Q", b"\x96": "<Q"}
_GETS = {b"h": "<B", b"j": "<I"}
_PUTS = {b"q": "<B", b"r": "<I"}
_CONSTANTS = {b"N": None, b"\x88": True, b"\x89": False}
_TUPLES = {b"\x85": 1, b"\x86": 2, b"\x87": 3}


class _Mark:
    """The beginning of a tuple or a list on the stack."""


class _Name:
    """A function or class that a pickle calls, by its module and name."""

    def __init__(self, module: str, name: str) -> None:
        self.whole = f"{module}.{name}"
        known = any(self.whole == one for one in (*_CALLS, "numpy.ndarray"))
        if not known:
            shown = f"{self.whole[:80]!r}"[1:-1]
            raise pickle.UnpicklingError(
                f"refused: this pickle asks for {shown}, where only numpy arrays are admitted"
            )


class _DataType:
    """An array's data type, of plain numbers."""

    def __init__(self, code: object, *_: object) -> None:
        text = _text(code)
        if text not in _CODES:
            raise pickle.UnpicklingError(f"holds an array of type {text[:20]!r}, not of plain numbers")
        self.numpy: np.dtype[Any] = np.dtype(text)

    def build(self, state: object) -> None:
        if not isinstance(state, tuple) or len(state) < 2:
            raise pickle.UnpicklingError("holds a broken data type")
        order = _text(state[1])
        if order in ("<", ">"):
            self.numpy = np.dtype(order + self.numpy.str[1:])


class Array:
    """An array; `array` is a view of the content that was read."""

    def __init__(self, *_: object) -> None:
        self.array: NDArray[Any] = np.empty(0, np.uint8)

    def build(self, state: object) -> None:
        if not isinstance(state, tuple) or len(state) != 5:
            raise pickle.UnpicklingError("holds a broken array")
        _version, shape, kind, fortran, content = state
        self.fill(content, kind, shape, "F" if fortran is True or fortran == 1 else "C")

    def fill(self, content: object, kind: object, shape: object, order: object) -> None:
        if not isinstance(kind, _DataType):
            raise pickle.UnpicklingError("holds an array without a data type")
        if isinstance(content, str):  # Python 2 bytes that were passed on as latin-1 text
            content = content.encode("latin1")
        whole = isinstance(shape, tuple) and len(shape) <= 4 and all(type(side) is int for side in shape)
        if not isinstance(content, (bytes, memoryview)) or not whole or not isinstance(shape, tuple):
            raise pickle.UnpicklingError("holds a broken array")
        flat = np.frombuffer(content, kind.numpy)
        self.array = flat.reshape(shape, order="F" if isinstance(order, str) and order == "F" else "C")


def _from_buffer(*arguments: object) -> Array:
    content, kind, shape, order = arguments
    array = Array()
    array.fill(content, kind, shape, order)
    return array


def _encode(*arguments: object) -> bytes:
    """_codecs.encode, by which Python 3 writes bytes into old pickle formats."""
    text, encoding = arguments
    if not isinstance(encoding, str) or encoding != "latin1" or not isinstance(text, str):
        raise pickle.UnpicklingError(f"holds text encoded as {str(encoding)[:20]!r}, not an array")
    return text.encode("latin1")


_CALLS: dict[str, Callable[..., Any]] = {
    "numpy.dtype": _DataType,
    "numpy.core.multiarray._reconstruct": Array,
    "numpy._core.multiarray._reconstruct": Array,
    "numpy.core.numeric._frombuffer": _from_buffer,
    "numpy._core.numeric._frombuffer": _from_buffer,
    "_codecs.encode": _encode,
}


def _text(value: object) -> str:
    if isinstance(value, memoryview):
        return bytes(value[:100]).decode("latin1")
    if not isinstance(value, str):
        raise pickle.UnpicklingError("holds something else where a name should be")
    return value


def read_arrays(content: bytes) -> object:
    """The nested tuples and lists of `Array` that a pickle holds.

    Raises:
        pickle.UnpicklingError: for anything else, naming it.
        EOFError: for a pickle that ends early.
        ValueError: for numbers or shapes that are none.
    """
    return _Machine(content).run()


class _Machine:
    def __init__(self, content: bytes) -> None:
        self.content = memoryview(content)
        self.place = 0
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def run(self) -> object:
        for _ in range(MOST_INSTRUCTIONS):
            code = bytes(self.take(1))
            if code == b".":
                return self.pop()
            self.step(code)
        raise pickle.UnpicklingError(
            f"has over {MOST_INSTRUCTIONS:,} instructions, far more than arrays need"
        )

    def step(self, code: bytes) -> None:
        stack = self.stack
        if code in _CONSTANTS:
            stack.append(_CONSTANTS[code])
        elif code in _NUMBERS:
            stack.append(self.number(_NUMBERS[code]))
        elif code in _BYTES:
            stack.append(self.take(self.number(_BYTES[code])))
        elif code in _TEXTS:
            stack.append(bytes(self.take(self.number(_TEXTS[code]))).decode("utf-8", "surrogatepass"))
        elif code in _TUPLES:
            stack.append(tuple(reversed([self.pop() for _ in range(_TUPLES[code])])))
        elif code in _GETS:
            stack.append(self.recall(self.number(_GETS[code])))
        elif code in _PUTS:
            self.memo[self.number(_PUTS[code])] = self.top()
        elif code in self._OTHERS:
            self._OTHERS[code](self)
        else:
            raise pickle.UnpicklingError(
                f"refused: this pickle has an instruction {code!r} that no array needs"
            )

    # ---- what is read

    def take(self, count: int) -> memoryview:
        if count < 0 or count > len(self.content) - self.place:
            raise EOFError
        self.place += count
        return self.content[self.place - count : self.place]

    def number(self, kind: str) -> int:
        value: int = struct.unpack(kind, self.take(struct.calcsize(kind)))[0]
        return value

    def line(self, longest: int = _LONGEST_LINE) -> bytes:
        end = self.content.obj.find(b"\n", self.place, self.place + longest + 1)  # type: ignore[attr-defined]
        if end < 0:
            raise EOFError
        return bytes(self.take(end + 1 - self.place)[:-1])

    # ---- what is on the stack

    def top(self) -> Any:
        if not self.stack or self.stack[-1] is _Mark:
            raise pickle.UnpicklingError("takes from an empty stack")
        return self.stack[-1]

    def pop(self) -> Any:
        value = self.top()
        self.stack.pop()
        return value

    def since_mark(self) -> list[Any]:
        values: list[Any] = []
        while self.stack:
            value = self.stack.pop()
            if value is _Mark:
                return values[::-1]
            values.append(value)
        raise pickle.UnpicklingError("takes from an empty stack")

    def recall(self, number: int) -> Any:
        if number not in self.memo:
            raise pickle.UnpicklingError(f"refers to a value {number} that it does not hold")
        return self.memo[number]

    # ---- instructions

    def _skip(self, count: int) -> None:
        self.take(count)

    def _integer(self) -> None:
        text = self.line()
        self.stack.append({b"00": False, b"01": True}.get(text) if text in (b"00", b"01") else int(text))

    def _long(self) -> None:
        self.stack.append(int(self.line().rstrip(b"L")))

    def _long_bytes(self) -> None:
        self.stack.append(int.from_bytes(self.take(self.number("<B")), "little", signed=True))

    def _quoted(self) -> None:
        text = self.line(len(self.content))
        if len(text) < 2 or text[:1] != text[-1:] or text[:1] not in (b"'", b'"'):
            raise pickle.UnpicklingError("holds a broken string")
        self.stack.append(memoryview(codecs.escape_decode(text[1:-1])[0]))

    def _unicode_line(self) -> None:
        self.stack.append(self.line(len(self.content)).decode("raw-unicode-escape"))

    def _append(self) -> None:
        self._extend([self.pop()])

    def _extend(self, values: list[Any]) -> None:
        target = self.top()
        if type(target) is not list:
            raise pickle.UnpicklingError("appends to something that is no list")
        target.extend(values)

    def _stack_name(self) -> None:
        name, module = self.pop(), self.pop()
        self.stack.append(_Name(_text(module), _text(name)))

    def _line_name(self) -> None:
        self.stack.append(_Name(self.line().decode("latin1"), self.line().decode("latin1")))

    def _call(self) -> None:
        arguments, function = self.pop(), self.pop()
        if not isinstance(function, _Name) or type(arguments) is not tuple or function.whole not in _CALLS:
            raise pickle.UnpicklingError("refused: this pickle calls something that is no function")
        try:
            self.stack.append(_CALLS[function.whole](*arguments))
        except TypeError as error:
            raise pickle.UnpicklingError("calls a function with other arguments than arrays need") from error

    def _build(self) -> None:
        state, target = self.pop(), self.top()
        if not isinstance(target, (Array, _DataType)):
            raise pickle.UnpicklingError("refused: this pickle builds something else than arrays")
        target.build(state)

    def _memoize(self) -> None:
        self.memo[len(self.memo)] = self.top()

    def _put_line(self) -> None:
        self.memo[int(self.line())] = self.top()

    _OTHERS: ClassVar[dict[bytes, Callable[["_Machine"], object]]] = {
        b"\x80": lambda self: self._skip(1),
        b"\x95": lambda self: self._skip(8),
        b"(": lambda self: self.stack.append(_Mark),
        b")": lambda self: self.stack.append(()),
        b"]": lambda self: self.stack.append([]),
        b"t": lambda self: self.stack.append(tuple(self.since_mark())),
        b"l": lambda self: self.stack.append(self.since_mark()),
        b"e": lambda self: self._extend(self.since_mark()),
        b"a": _append,
        b"I": _integer,
        b"L": _long,
        b"\x8a": _long_bytes,
        b"S": _quoted,
        b"V": _unicode_line,
        b"c": _line_name,
        b"\x93": _stack_name,
        b"R": _call,
        b"b": _build,
        b"\x94": _memoize,
        b"p": _put_line,
        b"g": lambda self: self.stack.append(self.recall(int(self.line()))),
    }
