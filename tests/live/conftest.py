"""No test of the page leaves a training at work: a thread that is left would count in another test."""

import time
from collections.abc import Iterator

import made_up_page
import pytest


@pytest.fixture(autouse=True)
def _nothing_is_left_running() -> Iterator[None]:
    yield
    while made_up_page.OPENED:
        made_up_page.OPENED.pop().session.close()
    ends = time.monotonic() + 120
    while (left := made_up_page.at_work()) and time.monotonic() < ends:
        time.sleep(0.01)
    assert not left
