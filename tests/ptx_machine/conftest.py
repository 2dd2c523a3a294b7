"""Fixtures of the tests on the PTX machine."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def _compiled() -> None:
    """No GPU for all tests alike: each has fake ones of its own, or none."""
