"""A wrong contender gets no time, one that fails is left out, and a row carries the conditions it was measured in."""

import gc
from dataclasses import replace
from functools import partial

import pytest
import torch

from benchmarks import measure as measure_module
from benchmarks.floors import Work
from benchmarks.measure import (
    Contender,
    Context,
    Missing,
    Ready,
    Session,
    WrongResult,
    enough,
    interleaved,
    measure,
)
from benchmarks.problem import size_of
from breaknet import Digits, Split


@pytest.fixture
def context():
    return Context("cpu", size_of("rehearse"), given_ceilings={"bytes_per_s": 1e9, "flop_per_s": 1e9})


def wrong(ready):
    raise AssertionError("hidden1.weight: error 1.0e+00, update 2.0e+00")


def failing(ready):
    raise RuntimeError("no such kernel\nand more")


def contender(name, change=lambda ready: ready, **fields):
    def prepare():
        ready = Ready(lambda: None, 2.0, {"torch_operators": 3.0}, Work(1e6, 1e3), {"batch": 10})
        return change(ready)

    usual = {"group": "ladder", "title": name, "work": "one step", "comparison": "steps"}
    return Contender(name=f"step/cpu/{name}", prepare=prepare, **(usual | fields))


def test_a_row_carries_its_conditions(context):
    (found,) = measure([contender("a")], context)
    assert found.launches == {"torch_operators": 3.0}
    assert found.floor == {"bytes": 1e6, "operations": 1e3, "seconds": 1e-3}
    assert found.distance == found.median / 1e-3
    expected = {
        "size": "rehearse", "data": "noisy prototypes", "dtype": "float32", "cold": False, "extrapolated": False,
        "units_a_call": 2.0, "batch": 10, "threads": torch.get_num_threads(), "interleaved_with": [],
    }  # fmt: skip
    assert expected.items() <= found.conditions.items()
    assert {"load", "prepare_seconds"} <= set(found.conditions)


def test_times_are_those_of_a_unit_call_by_call(context, monkeypatch):
    """Two units a call; the first two readings are of the preparation."""
    seconds = (10.0, 2.0, 4.0, 8.0, 6.0)
    clock = iter([0.0, 1.0, *(mark for one in seconds for mark in (100.0, 100.0 + one))])
    monkeypatch.setattr(measure_module, "perf_counter", lambda: next(clock))
    monkeypatch.setattr(measure_module, "LONG", ())
    session = Session()
    (found,) = measure([contender("a", series="s")], replace_size(context, repeats=5), session=session)
    assert session.times == {"step/cpu/a": [5.0, 1.0, 2.0, 4.0, 3.0]}
    assert (found.low, found.median, found.high, found.repeats) == (2.0, 3.0, 4.0, 5)
    assert session.pace == {"s": (1.0, 6.0)}
    assert found.conditions["prepare_seconds"] == 1.0


def replace_size(context, **changes):
    return Context(context.device, replace(context.size, **changes), context.given, context.given_ceilings)


def test_contenders_of_one_comparison_are_timed_in_turn(context):
    called = []

    def noted(name, **fields):
        return contender(name, lambda ready: replace(ready, run=partial(called.append, name)), **fields)

    rows = measure([noted("a"), noted("b"), noted("c", comparison="x")], replace_size(context, repeats=3))
    assert "".join(called) == "abababccc"
    assert [row.conditions["interleaved_with"] for row in rows] == [["step/cpu/b"], ["step/cpu/a"], []]


def test_the_others_survive_one_that_is_wrong_fails_or_is_missing(context):
    session = Session()
    calls = []

    def fails_later():
        calls.append(1)
        if len(calls) == 2:
            failing(None)

    broken_later = contender("d", lambda ready: replace(ready, run=fails_later))
    missing = contender("e", needs=("a_package_that_is_not_there",))
    contenders = [
        contender("a", wrong),
        contender("b"),
        contender("c", failing),
        broken_later,
        missing,
        contender("f", comparison="scores"),
    ]
    rows = measure(contenders, replace_size(context, repeats=4), survive=True, session=session)
    assert [(row.name, row.repeats) for row in rows] == [("step/cpu/b", 4), ("step/cpu/f", 4)]
    assert len(calls) == 2, "what has failed is not called again"
    assert session.failures == {
        "step/cpu/a": "WrongResult: step/cpu/a is wrong and gets no time: hidden1.weight: error 1.0e+00, "
        "update 2.0e+00",
        "step/cpu/c": "RuntimeError: no such kernel",
        "step/cpu/d": "RuntimeError: no such kernel",
    }
    assert session.missing == {"step/cpu/e": "step/cpu/e needs a_package_that_is_not_there"}


@pytest.mark.parametrize(
    ("bad", "error"),
    [
        (contender("c", failing), RuntimeError),
        (contender("d", lambda ready: replace(ready, run=partial(failing, ready))), RuntimeError),
        (contender("e", needs=("a_package_that_is_not_there",)), Missing),
        (contender("f", wrong), WrongResult),
    ],
)
def test_without_surviving_the_first_failure_is_raised(bad, error, context):
    with pytest.raises(error):
        measure([contender("a"), bad], context)


def test_a_series_ends_where_a_call_would_be_too_long(context):
    session = Session(pace={"curve": (10, 0.5)})
    fits, long = (contender(f"c{scale}", series="curve", scale=scale) for scale in (100, 1_000))
    assert [row.name for row in measure([fits], context, session=session)] == ["step/cpu/c100"]
    assert session.pace["curve"][0] == 100
    session.pace["curve"] = 100, 2.0
    with pytest.raises(Missing, match="step/cpu/c1000: one call would take about 20 s"):
        measure([long], context, session=session)


def test_a_contender_may_have_fewer_repeats(context):
    rows = measure(
        [contender("a", repeats=1), contender("b"), contender("c", repeats=9)],
        replace_size(context, repeats=3),
    )
    assert [row.repeats for row in rows] == [1, 3, 3]


def test_products_below_float32_are_refused(context, monkeypatch):
    monkeypatch.setattr(torch, "get_float32_matmul_precision", lambda: "high")
    with pytest.raises(ValueError, match="float32 products"):
        measure([contender("a")], context)


def test_devices_that_are_not_there_are_refused():
    with pytest.raises(ValueError, match='device: "cpu" or "cuda"'):
        Context("tpu", size_of("quick"))
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match="torch finds none"):
            measure([contender("a")], Context("cuda", size_of("quick")))


def test_blank_images_and_single_labels_are_refused(context):
    data = context.data
    blank = Split(data.train.images * 0, data.train.labels)
    one = Split(data.train.images, data.train.labels * 0)
    for train, message in ((blank, "images with ink"), (one, "labels of two digits or more")):
        given = Digits(train, data.valid, data.test, "made up")
        with pytest.raises(ValueError, match=message):
            _ = Context("cpu", context.size, given).data


def test_units_can_be_grouped():
    """The call and its floor a second stay the same."""
    ready = Ready(lambda: None, 200.0, {"kernels": 0.5}, Work(1e6, 1e3), {"batch": 10}).grouped(50)
    assert (ready.units, ready.launches, ready.work) == (4.0, {"kernels": 25.0}, Work(5e7, 5e4))
    assert Ready(ready.run, 200.0).grouped(50).work is None


def test_a_long_call_is_made_less_often(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(measure_module, "perf_counter", lambda: now[0])
    called = []

    def take(name, seconds):
        called.append(name)
        now[0] += seconds

    calls = {name: (partial(take, name, seconds), 9) for name, seconds in (("long", 4.0), ("short", 0.1))}
    found = interleaved(calls, pytest.fail)
    assert [len(times) for times in found.values()] == [3, 9]
    assert called[:6] == ["long", "short"] * 3
    assert [enough(9, [seconds]) for seconds in (0.1, 1.0, 1.1, 3.1, 10.1, 30.1)] == [9, 9, 5, 3, 2, 1]
    assert (enough(2, [3.0]), enough(9, [])) == (2, 9)


@pytest.mark.parametrize("was", [True, False])
def test_the_garbage_collector_rests_and_is_left_as_it_was(was):
    seen = []
    before = gc.isenabled()
    try:
        (gc.enable if was else gc.disable)()
        interleaved({"a": (lambda: seen.append(gc.isenabled()), 2)}, pytest.fail)
        assert gc.isenabled() is was
    finally:
        (gc.enable if before else gc.disable)()
    assert seen == [False, False]
