"""The whole lesson's rows: the notebook's work is counted rightly, and a process's seconds are its own account."""

import os
from pathlib import Path

import pytest
from tiny import write_tiny_idx

from benchmarks.measure import Context
from benchmarks.problem import size_of
from benchmarks.suites import lesson
from breaknet.data import cache
from breaknet.lesson.experiments import BATCH_SIZE, EXPERIMENTS, PHASES


def test_the_notebooks_work_follows_from_the_lessons_experiments():
    train, valid = 50_000, 10_000
    *long, short = EXPERIMENTS
    epochs = sum(experiment.epochs for experiment in long)
    # accuracies are asked for where labels were shuffled
    samples = [
        experiment.epochs * ((experiment.examples or train) + valid)
        for experiment in EXPERIMENTS
        if experiment.shuffled
    ]
    assert {
        "steps": epochs * train // BATCH_SIZE,
        "short_epochs": short.epochs * short.examples // BATCH_SIZE,
        "cost_images": epochs * (train + valid) + short.epochs * (short.examples + valid),
        "samples": sum(samples),
        "copies": epochs + short.epochs,
    } == lesson.NOTEBOOK
    for kind, count in lesson.NOTEBOOK.items():  # a thousandth of it is whole numbers
        assert kind == "copies" or count % 1000 == 0, kind


@pytest.mark.parametrize("drawn", [True, False])
@pytest.mark.parametrize("cold", [True, False])
def test_cold_processes_find_their_caches_empty(cold, drawn, tmp_path, monkeypatch):
    monkeypatch.setenv("BREAKNET_DATA", str(write_tiny_idx(tmp_path / "data")))
    calls = []

    def note(folder, context, scale, with_figures, environment, source):
        assert with_figures is drawn
        assert scale == 1.0
        places = {environment.get(cache) for cache in lesson.CACHES}
        if cold:
            assert all(place.startswith(str(folder)) and not os.path.exists(place) for place in places)
        else:
            assert not any(str(place).startswith(str(folder)) for place in places)
        if drawn and not cold:
            assert source is None
            kept = Path(environment["XDG_CACHE_HOME"], "breaknet", "mnist.digits")
            assert len(cache.opened(kept, "MNIST").train) > 0
            assert "BREAKNET_DATA" not in environment
        else:
            assert source == os.environ["BREAKNET_DATA"]
        calls.append(folder)
        return {"total": 1.0}

    monkeypatch.setattr(lesson, "run_lesson", note)
    name = f"lesson/cuda/{'process' if drawn else 'bare'}-{'cold' if cold else 'warm'}"
    (one,) = [one for one in lesson.contenders(Context("cuda", size_of("full"))) if one.name == name]
    ready = one.prepare()
    assert len(calls) == (0 if cold else 1), "a warm process fills the caches first"
    ready.run()
    ready.run()
    assert len(set(calls)) == len(calls), "a folder of its own every time"
    assert ready.conditions["cold"] is cold
    assert ready.conditions["phases"] == {"total": 1.0}


@pytest.mark.parametrize("drawn", [True, False])
def test_a_process_runs_the_lesson_and_tells_its_phases(drawn, tmp_path, monkeypatch):
    pytest.importorskip("numba")
    monkeypatch.setenv("BREAKNET_DATA", str(write_tiny_idx(tmp_path / "data")))
    (tmp_path / "work").mkdir()
    data = os.environ["BREAKNET_DATA"]
    found = lesson.run_lesson(
        tmp_path / "work", Context("cpu", size_of("full")), 0.001, drawn, dict(os.environ), data
    )
    assert {*PHASES, "torch"} | ({"last_figure"} if drawn else set()) >= set(found)
    last_figure = found.pop("last_figure", found["total"])
    assert 0.3 * found["total"] < last_figure < found["total"] + 5
    assert {"torch", "imports", "data", "training", "evaluation", "fits", "total"} <= set(found)
    parts = sum(seconds for name, seconds in found.items() if name != "total")
    assert 0.5 * found["total"] < parts < 1.2 * found["total"]
    assert (tmp_path / "work" / "lesson" / "report.html").exists() is drawn


def test_a_process_that_fails_is_told_in_one_line(tmp_path, monkeypatch):
    nowhere = str(tmp_path / "nowhere")
    with pytest.raises(RuntimeError, match=r"the lesson ended with 1: .*nowhere"):
        lesson.run_lesson(tmp_path, Context("cpu", size_of("full")), 0.001, False, dict(os.environ), nowhere)
