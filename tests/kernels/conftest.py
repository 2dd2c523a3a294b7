"""Fixtures of the kernels' tests: kernels with a line changed."""

import inspect
import itertools
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

_serial = itertools.count()


@pytest.fixture
def any_column_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    """The interpreter's products are those of float64, rounded, while the test runs.

    NumPy's own sum up in an order that depends on which column of a matrix it is, which those of a GPU do not.
    """
    interpreter = pytest.importorskip("triton.runtime.interpreter")

    def create_dot(self: Any, a: Any, b: Any, sums: Any, *_: Any) -> Any:
        product = a.data.astype(np.float64) @ b.data.astype(np.float64)
        return interpreter.TensorHandle((product + sums.data).astype(sums.data.dtype), sums.dtype.scalar)

    monkeypatch.setattr(interpreter.InterpreterBuilder, "create_dot", create_dot)


@pytest.fixture
def mutate(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Any]:
    """mutate(module, name, old, new): until the test ends, the kernel has `new` for `old` in its source.

    And other globals where they are named.
    """

    def change(module: ModuleType, name: str, old: str = "@jit", new: str = "@jit", **replaced: Any) -> Any:
        source = inspect.getsource(getattr(module, name).fn)
        assert old in source, f"{old!r} is not in the source of {name}"
        path = tmp_path / f"mutant_{next(_serial)}.py"
        path.write_text(source.replace(old, new))
        mutant = ModuleType(path.stem)
        kept = {key: value for key, value in vars(module).items() if not key.startswith("__")}
        vars(mutant).update(kept | replaced, __file__=str(path))
        exec(compile(path.read_text(), str(path), "exec"), vars(mutant))
        monkeypatch.setattr(module, name, vars(mutant)[name])
        return vars(mutant)[name]

    return change


@pytest.fixture
def mutated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, repository: Path
) -> Iterator[Callable[[str, str, str], str]]:
    """mutated(module, old, new): the name of a copy of the kernels in which `old` reads `new` in one module."""
    monkeypatch.syspath_prepend(tmp_path)

    def copy(module: str, old: str, new: str) -> str:
        name = f"mutated_kernels_{next(_serial)}"
        for path in (repository / "kernels").rglob("*.py"):
            source = path.read_text(encoding="utf-8").replace("breaknet.kernels", name)
            if path.stem == module:
                assert old in source, f"nothing to replace: {module} has no {old!r}"
                source = source.replace(old, new)
            target = tmp_path / name / path.relative_to(repository / "kernels")
            target.parent.mkdir(exist_ok=True)
            target.write_text(source, encoding="utf-8")
        return name

    yield copy
    for name in [name for name in sys.modules if name.startswith("mutated_kernels_")]:
        del sys.modules[name]
