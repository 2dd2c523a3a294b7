"""A fake hypothesis, for machines that have only pytest: it skips property tests, so that the others of a file run.

It hides the real one where its folder is on PYTHONPATH, whose pytest plugin has to be left out: -p no:hypothesispytest.
"""

from collections.abc import Callable
from typing import Any
from unittest.mock import MagicMock

import pytest

strategies = HealthCheck = Phase = assume = note = MagicMock()


def given(*arguments: Any, **named: Any) -> pytest.MarkDecorator:
    """Skip the test."""
    return pytest.mark.skip(reason="property tests are left out here")


def settings(*arguments: Any, **named: Any) -> Callable[[Any], Any]:
    """Leave the test as it is."""
    return lambda test: test


example = settings
