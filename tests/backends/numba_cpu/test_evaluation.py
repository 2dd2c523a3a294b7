"""Evaluation by the CPU backend, and the same bits whatever runs beside a job or a model."""

import numpy as np
import pytest
import torch
from checks import assert_scores, start_of

pytest.importorskip("numba")
from numba_jobs import CPU, assert_same, examples, mixed_jobs, train

from breaknet import reference
from breaknet.backends.numba_cpu import backend, evaluation, scheduler
from breaknet.backends.numba_cpu.sparse_images import EMPTY_IMAGES


def test_bits_do_not_depend_on_threads_chunks_or_neighbours(monkeypatch):
    jobs = mixed_jobs()
    monkeypatch.setenv("BREAKNET_THREADS", "1")
    alone = [train(one)[0] for one in jobs]
    for threads, chunk in ((1, 0.25), (2, 1e-9), (3, 1e-3), (5, 0.25)):
        monkeypatch.setenv("BREAKNET_THREADS", str(threads))
        monkeypatch.setattr(scheduler, "CHUNK", chunk)
        for first, second in zip(alone, train(*jobs), strict=True):
            assert_same(first, second)


def test_evaluation_of_checkpoints_gives_the_curves_bits(monkeypatch):
    one = mixed_jobs()[3]
    (trained,) = train(one)
    scores = backend.evaluate(trained.parameters, one.valid, CPU, False)
    assert np.array_equal(scores.cost, trained.valid_cost)
    assert np.array_equal(scores.accuracy, trained.valid_accuracy)
    assert scores.confusion is None


def test_evaluation_with_confusion():
    data = examples(9001, 4)
    start = {name: value[None].repeat(6, *[1] * value.ndim) for name, value in start_of(2).items()}
    start["output.bias"] += torch.linspace(-1, 1, 6)[:, None] * torch.arange(10)
    scores = backend.evaluate(start, data, CPU, True)
    for model in range(6):
        parameters = {name: value[model] for name, value in start.items()}
        assert_scores(scores.cost[model], scores.accuracy[model], parameters, data.images, data.labels)
        exact = reference.evaluation(parameters, data.images, data.labels).confusion
        assert np.abs(scores.confusion[model] - exact.numpy()).sum() <= 2  # but for near ties
        assert np.trace(scores.confusion[model]) == round(scores.accuracy[model] * len(data))


@pytest.mark.parametrize("density", [0.2, 0.9])
@pytest.mark.parametrize("count", [1, 15, 17])
def test_a_model_scores_the_same_alone_and_beside_any_other(density, count):
    """Four models share the reading of the images, and sixteen images their lanes: neither may leak."""
    data = examples(count, 5, density)
    models = {name: torch.stack([value] * 5) for name, value in start_of(3, (18, 5)).items()}
    for name, value in start_of(4, (18, 5)).items():
        models[name][1] = value
    models["hidden2.weight"][2] = 3e38
    models["hidden1.weight"][3, 0] = float("nan")
    together = backend.evaluate(models, data, CPU, True)
    for m in range(5):
        alone = backend.evaluate({name: value[m : m + 1] for name, value in models.items()}, data, CPU, True)
        assert np.array_equal(alone.cost, together.cost[m : m + 1], equal_nan=True)
        assert np.array_equal(alone.accuracy, together.accuracy[m : m + 1])
        assert np.array_equal(alone.confusion[0], together.confusion[m])
    assert np.isnan(together.cost).tolist() == [False, False, False, True, False]
    assert together.cost[0] == together.cost[4]
    assert together.confusion.sum() == 5 * count


def test_rows_of_tables_begin_at_cache_lines():
    """Elsewhere every result is the same and a third more time is taken, so nothing but this would tell."""
    for rows in (1, 7, 1215):
        terms = EMPTY_IMAGES._replace(source=np.zeros(rows, np.int64))
        tables = [evaluation.table_for(terms, 18) for _ in range(5)]  # different places in memory
        assert all(table.ctypes.data % 64 == 0 for table in tables)
        assert all(table.shape == (evaluation.MODELS * 2 * rows * 16,) for table in tables)
