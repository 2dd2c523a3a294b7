"""A way that is wrong gets no time, one that fails is left out, and a row carries the conditions it was measured in."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest
import torch

from benchmarks.floors import Work
from benchmarks.lab import Lab
from benchmarks.measure import Missing, Ready, Session, TooLong, Way, WrongResult, check, measure
from benchmarks.sizes import size_of
from breaknet import Digits, Split


@pytest.fixture
def lab():
    return Lab("cpu", size_of("rehearse"), given_ceilings={"bytes_per_s": 1e9, "flop_per_s": 1e9})


def wrong(ready):
    raise AssertionError("hidden1.weight: error 1.0e+00, update 2.0e+00")


def failing(ready):
    raise RuntimeError("no such kernel\nand more")


def way(name, change=lambda ready: ready, **fields):
    def prepare():
        ready = Ready(lambda: None, 2.0, {"torch_operators": 3.0}, Work(1e6, 1e3), {"batch": 10})
        return change(ready)

    usual = {"group": "ladder", "title": name, "work": "one step", "device": "cpu", "contest": "steps"}
    return Way(name=name, prepare=prepare, **(usual | fields))


def test_a_row_carries_its_conditions(lab):
    (found,) = measure([way("a")], lab)
    assert found.launches == {"torch_operators": 3.0}
    assert found.floor == {"bytes": 1e6, "operations": 1e3, "seconds": 1e-3}
    assert found.distance == found.median / 1e-3
    expected = {
        "size": "rehearse", "data": "noisy prototypes", "dtype": "float32", "cold": False, "extrapolated": False,
        "units_a_call": 2.0, "batch": 10, "threads": torch.get_num_threads(), "interleaved_with": [],
    }  # fmt: skip
    assert expected.items() <= found.conditions.items()
    assert {"load", "prepare_seconds"} <= set(found.conditions)


def test_the_time_is_that_of_a_unit(lab):
    session = Session()
    calls = [0]

    def slow(ready):
        def run():
            calls[0] += 1
            torch.rand(100_000).sort()

        return replace(ready, run=run, units=50.0)

    (found,) = measure([way("a", slow)], replace_size(lab, repeats=3), session=session)
    assert calls == [3]
    assert found.repeats == 3
    assert found.median == sorted(session.times["a"].seconds)[1]
    assert 0 < found.median * 50 < 10


def replace_size(lab, **changes):
    return Lab(lab.device, replace(lab.size, **changes), lab.given, lab.given_ceilings)


def test_ways_of_one_contest_are_timed_in_turn(lab):
    called = []
    noted = [
        way(name, lambda ready, name=name: replace(ready, run=partial(called.append, name))) for name in "ab"
    ]
    other = way("c", lambda ready: replace(ready, run=partial(called.append, "c")), contest="scores")
    rows = measure([*noted, other], replace_size(lab, repeats=3))
    assert "".join(called) == "abababccc"
    assert [row.conditions["interleaved_with"] for row in rows] == [["b"], ["a"], []]


def test_a_wrong_way_gets_no_time(lab):
    with pytest.raises(WrongResult, match=r"a is wrong and gets no time: hidden1\.weight: error"):
        measure([way("a", wrong)], lab)
    with pytest.raises(WrongResult):
        check(way("a", wrong))


def test_the_others_survive_one_that_is_wrong_fails_or_is_missing(lab):
    session = Session()
    broken_later = way("d", lambda ready: replace(ready, run=partial(failing, ready)))
    missing = way("e", needs=("a_package_that_is_not_there",))
    ways = [way("a", wrong), way("b"), way("c", failing), broken_later, missing, way("f", contest="scores")]
    rows = measure(ways, lab, survive=True, session=session)
    assert [row.name for row in rows] == ["b", "f"]
    assert session.failures == {
        "a": "WrongResult: a is wrong and gets no time: hidden1.weight: error 1.0e+00, update 2.0e+00",
        "c": "RuntimeError: no such kernel",
        "d": "RuntimeError: no such kernel",
    }
    assert session.missing == {"e": "e needs a_package_that_is_not_there"}


@pytest.mark.parametrize(
    ("bad", "error"),
    [
        (way("c", failing), RuntimeError),
        (way("d", lambda ready: replace(ready, run=partial(failing, ready))), RuntimeError),
        (way("e", needs=("a_package_that_is_not_there",)), Missing),
    ],
)
def test_without_surviving_the_first_failure_is_raised(bad, error, lab):
    with pytest.raises(error):
        measure([way("a"), bad], lab)


def test_a_series_ends_where_a_call_would_be_too_long(lab):
    session = Session(pace={"curve": (10, 0.5)})
    points = [
        way(f"curve/{scale}", series="curve", scale=scale, contest=str(scale)) for scale in (100, 1_000)
    ]
    rows = measure(points[:1], lab, session=session)
    assert [row.name for row in rows] == ["curve/100"]
    assert session.pace["curve"][0] == 100
    session.pace["curve"] = 100, 2.0
    with pytest.raises(TooLong, match="curve/1000: one call would take about 20 s"):
        measure(points[1:], lab, session=session)


def test_a_way_may_have_fewer_repeats(lab):
    rows = measure([way("a", repeats=1), way("b"), way("c", repeats=9)], replace_size(lab, repeats=3))
    assert [row.repeats for row in rows] == [1, 3, 3]


def test_products_below_float32_are_refused(lab, monkeypatch):
    monkeypatch.setattr(torch, "get_float32_matmul_precision", lambda: "high")
    with pytest.raises(ValueError, match="float32 products"):
        measure([way("a")], lab)


@pytest.mark.skipif(torch.cuda.is_available(), reason="for machines without a GPU")
def test_a_gpu_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match="torch finds none"):
        measure([way("a")], Lab("cuda", size_of("quick")))


def test_a_device_of_another_kind_is_refused():
    with pytest.raises(ValueError, match='device: "cpu" or "cuda"'):
        Lab("tpu", size_of("quick"))


def test_blank_images_and_single_labels_are_refused(lab):
    data = lab.data
    blank = Split(data.train.images * 0, data.train.labels)
    one = Split(data.train.images, data.train.labels * 0)
    for train, told in ((blank, "images with ink"), (one, "labels of two digits or more")):
        given = Digits(train, data.valid, data.test, "made up")
        with pytest.raises(ValueError, match=told):
            _ = Lab("cpu", lab.size, given).data
