"""Stands for hypothesis, which it hides where its folder is on PYTHONPATH: property tests are skipped.

So that test files can be run on a machine that has only pytest: their other tests need nothing of hypothesis. Where
hypothesis is installed all the same, its pytest plugin has to be left out: -p no:hypothesispytest.
"""

from __future__ import annotations

from typing import Any

import pytest


class _Anything:
    """Any attribute, call or operator of it is itself."""

    def __getattr__(self, name: str) -> _Anything:
        if name.startswith("__"):
            raise AttributeError(name)
        return self

    def __call__(self, *arguments: Any, **named: Any) -> _Anything:
        return self

    def __or__(self, other: Any) -> _Anything:
        return self


strategies = HealthCheck = Phase = _Anything()


def given(*arguments: Any, **named: Any) -> Any:
    """Skip the test."""
    return pytest.mark.skip(reason="property tests are left out here")


def settings(*arguments: Any, **named: Any) -> Any:
    """Leave the test as it is."""
    return lambda test: test


def assume(condition: Any) -> bool:
    """Never called, since nothing is given."""
    return True


def note(value: Any) -> None:
    """Likewise."""


example = settings
