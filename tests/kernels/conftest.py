"""Fixtures of the kernels' tests."""

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from kernel_checks import mutated


@pytest.fixture
def mutate(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Any]:
    """mutate(module, name, old, new): until the test ends, the function has `new` for `old` in its source."""

    def change(module: ModuleType, name: str, old: str = "@jit", new: str = "@jit", **replaced: Any) -> Any:
        mutant = mutated(getattr(module, name), old, new, tmp_path, **replaced)
        monkeypatch.setattr(module, name, mutant)
        return mutant

    return change
