"""Calls are made in turn, the long ones less often, and one that raises does not stop the others."""

from __future__ import annotations

import gc
from functools import partial
from itertools import pairwise

import pytest

from benchmarks import measure
from benchmarks.measure import Times, enough, interleaved


def test_calls_are_made_in_turn():
    called = []
    found = interleaved({name: partial(called.append, name) for name in "abc"}, 4)
    assert "".join(called) == "abcabcabcabc"
    assert {name: len(times.seconds) for name, times in found.items()} == {"a": 4, "b": 4, "c": 4}


def test_every_call_may_have_repeats_of_its_own():
    called = []
    found = interleaved({name: partial(called.append, name) for name in "ab"}, {"a": 3, "b": 1})
    assert "".join(called) == "abaa"
    assert len(found["b"].seconds) == 1


def test_times_are_those_of_the_calls(monkeypatch):
    clock = iter([10.0, 12.0, 20.0, 21.0, 30.0, 35.0, 40.0, 41.5])
    monkeypatch.setattr(measure, "perf_counter", lambda: next(clock))
    found = interleaved({"a": lambda: None, "b": lambda: None}, 2)
    assert found == {"a": Times((2.0, 5.0)), "b": Times((1.0, 1.5))}


def test_a_long_call_is_made_less_often(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(measure, "perf_counter", lambda: now[0])
    called = []

    def take(name, seconds):
        called.append(name)
        now[0] += seconds

    found = interleaved({"long": partial(take, "long", 4.0), "short": partial(take, "short", 0.1)}, 9)
    assert len(found["long"].seconds) == 3
    assert len(found["short"].seconds) == 9
    assert called[:6] == ["long", "short"] * 3


def test_longer_calls_never_get_more_repeats():
    wanted = [enough(9, [seconds]) for seconds in (0.1, 1.0, 1.1, 3.1, 10.1, 30.1)]
    assert wanted == [9, 9, 5, 3, 2, 1]
    assert all(later <= earlier for earlier, later in pairwise(wanted))
    assert enough(2, [3.0]) == 2
    assert enough(9, []) == 9


def _fails_at(call, counter):
    counter.append(1)
    if len(counter) == call:
        raise RuntimeError("lost")


def test_a_call_that_raises_ends_the_timing_unless_it_may_be_broken():
    with pytest.raises(RuntimeError, match="lost"):
        interleaved({"bad": partial(_fails_at, 2, [])}, 3)


def test_the_others_go_on_without_a_call_that_raises():
    broken: dict[str, Exception] = {}
    called: list[int] = []
    calls = {"bad": partial(_fails_at, 2, called), "good": lambda: None}
    found = interleaved(calls, 4, broken=broken)
    assert list(found) == ["good"]
    assert len(found["good"].seconds) == 4
    assert len(called) == 2
    assert str(broken["bad"]) == "lost"


@pytest.mark.parametrize("was", [True, False])
def test_the_garbage_collector_rests_and_is_left_as_it_was(was):
    seen = []
    before = gc.isenabled()
    try:
        (gc.enable if was else gc.disable)()
        interleaved({"a": lambda: seen.append(gc.isenabled())}, 2)
        assert gc.isenabled() is was
    finally:
        (gc.enable if before else gc.disable)()
    assert seen == [False, False]


def test_quartiles():
    assert Times((5.0, 1.0, 2.0, 4.0, 3.0)).quartiles() == (2.0, 3.0, 4.0)
    assert Times((7.0,)).quartiles() == (7.0, 7.0, 7.0)


@pytest.mark.parametrize("repeats", [0, {"a": 0}])
def test_no_repeats_are_refused(repeats):
    with pytest.raises(ValueError, match="repeats: 1 or more, not 0"):
        interleaved({"a": lambda: None}, repeats)
