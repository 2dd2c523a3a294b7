"""The CPU backend through its protocol, against float64 and against itself."""

import logging
import os
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from checks import (
    assert_scores,
    assert_update,
    exact_epochs,
    exact_step,
    random_labels,
    sparse_images,
    start_of,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

pytest.importorskip("numba")
from breaknet.backends import numba_cpu
from breaknet.backends.numba_kernels import compiling, scheduling
from breaknet.backends.protocol import Examples, TrainingJob

CPU = torch.device("cpu")


def examples(count: int, seed: int = 0, density: float = 0.2, floating: bool = False) -> Examples:
    images = torch.from_numpy(sparse_images(count, seed, density))
    if floating:
        images = images.float() / 256
    return Examples(images, torch.from_numpy(random_labels(count, seed)).long())


def job(train: Examples, valid: Examples | None = None, **changes) -> TrainingJob:
    settings_ = {"epochs": 2, "batch_size": 100, "learning_rate": 0.05, "start": start_of(0)}
    return TrainingJob(train, valid, **(settings_ | changes))


def train(*jobs: TrainingJob, report=None):
    return numba_cpu.train(list(jobs), CPU, None, report)


def at_epoch(parameters, epoch):
    return {name: value[epoch] for name, value in parameters.items()}


def assert_same(first, second):
    for name, value in first.parameters.items():
        assert torch.equal(value, second.parameters[name]), name
    for curve in ("train_cost", "train_accuracy", "valid_cost", "valid_accuracy"):
        assert np.array_equal(getattr(first, curve), getattr(second, curve)), curve
    assert first.diverged_at == second.diverged_at


def assert_follows(one: TrainingJob, trained) -> None:
    """Each epoch's parameters against float64 from the epoch before, and the curves against the parameters."""
    before = one.start
    steps = -(-len(one.train) // one.batch_size)
    assert len(trained.train_cost) == one.epochs
    for epoch in range(one.epochs):
        found = at_epoch(trained.parameters, epoch)
        (exact,) = exact_epochs(
            before, one.train.images, one.train.labels, epochs=1, batch_size=one.batch_size,
            learning_rate=one.learning_rate,
        )  # fmt: skip
        assert_update(before, found, exact, steps)
        cost, accuracy = trained.train_cost[epoch], trained.train_accuracy[epoch]
        assert_scores(cost, accuracy, found, one.train.images, one.train.labels)
        if one.valid is not None:
            cost, accuracy = trained.valid_cost[epoch], trained.valid_accuracy[epoch]
            assert_scores(cost, accuracy, found, one.valid.images, one.valid.labels)
        before = found


# --- against float64 ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("hidden", "rows", "batch_size"),
    [
        ((16, 16), 250, 100),
        ((1, 1), 50, 7),
        ((128, 128), 70, 33),
        ((17, 40), 61, 20),
        ((5, 16), 40, 1),
        ((16, 16), 40, 4),
        ((16, 16), 40, 5),
        ((16, 16), 3, 1000),
        ((20, 9), 2600, 2500),
    ],
)
@pytest.mark.parametrize("density", [0.2, 0.9])
def test_steps_and_scores(hidden, rows, batch_size, density):
    rate = 0.05 if batch_size < 1000 else 0.002
    one = job(
        examples(rows, 1, density), examples(37, 2, density), batch_size=batch_size, learning_rate=rate,
        start=start_of(4, hidden),
    )  # fmt: skip
    (trained,) = train(one)
    assert_follows(one, trained)
    assert trained.diverged_at is None
    assert trained.device == "cpu"
    assert set(trained.seconds) == {"compile", "transfer", "training", "evaluation", "total"}


@pytest.mark.parametrize("density", [0.2, 0.9])
def test_floating_images_of_any_range(density):
    data = examples(120, 3, density, floating=True)
    data = Examples(data.images * 3 - (data.images != 0) * 1.5, data.labels)
    one = job(data, data, batch_size=50, learning_rate=0.02)
    (trained,) = train(one)
    assert_follows(one, trained)


def test_bytes_and_the_same_floats_give_the_same_bits():
    whole = examples(90)
    floating = Examples(whole.images.float() / 256, whole.labels)
    assert_same(*train(job(whole, whole), job(floating, floating)))


def test_images_without_a_pixel_and_columns_without_one():
    data = examples(64)
    data.images[::3] = 0
    data.images[:, 100:400] = 0
    one = job(data, data, batch_size=10)
    (trained,) = train(one)
    assert_follows(one, trained)
    unlit = trained.parameters["hidden1.weight"][:, :, 100:400]
    assert torch.equal(unlit[-1], one.start["hidden1.weight"][:, 100:400])
    black = Examples(torch.zeros_like(data.images), data.labels)
    assert_follows(job(black, black), train(job(black, black))[0])


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(
    st.integers(1, 128), st.integers(1, 128), st.integers(1, 150), st.integers(1, 200),
    st.sampled_from([0.0, 0.02, 0.2, 0.45, 1.0]), st.sampled_from([1e-6, 0.01, 0.3]), st.booleans(),
)  # fmt: skip
def test_any_shape(first, second, rows, batch_size, density, learning_rate, floating):
    _check_any_shape(first, second, rows, batch_size, density, learning_rate, floating)


@pytest.mark.slow
@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.integers(1, 128), st.integers(1, 128), st.integers(1, 2500), st.integers(1, 3000),
    st.floats(0, 1), st.floats(1e-8, 1.0), st.booleans(),
)  # fmt: skip
def test_many_shapes(first, second, rows, batch_size, density, learning_rate, floating):
    _check_any_shape(
        first, second, rows, batch_size, density, learning_rate / max(1, batch_size / 100), floating
    )


def _check_any_shape(first, second, rows, batch_size, density, learning_rate, floating):
    one = job(
        examples(rows, rows, density, floating), examples(17, 5, density, floating), epochs=1,
        batch_size=batch_size, learning_rate=learning_rate, start=start_of(first, (first, second)),
    )  # fmt: skip
    assert_follows(one, train(one)[0])


def test_one_step_errs_at_most_four_times_torch():
    """At a learning rate beyond the contract's bound, from a state where sums cancel."""
    data = examples(100)
    one = job(data, epochs=1, learning_rate=3.0)
    (trained,) = train(one)
    exact = exact_step(one.start, data.images, data.labels, 3.0)
    single = exact_step(one.start, data.images, data.labels, 3.0, torch.float32)
    for name, reference in exact.items():
        ours = (trained.parameters[name][0].double() - reference).norm()
        theirs = (single[name].double() - reference).norm()
        assert ours <= 4 * theirs + 1e-7 * reference.norm(), name


# --- the same bits --------------------------------------------------------------------------------------------------


def _mixed_jobs() -> list[TrainingJob]:
    shared, valid = examples(230), examples(90, 1)
    shuffled = Examples(shared.images, shared.labels.flip(0))
    return [
        job(shared, valid, epochs=7),
        job(shuffled, valid, epochs=7),
        job(examples(20, 2), valid, epochs=31, batch_size=6, learning_rate=0.02),
        job(shared, examples(9000, 3), epochs=3, batch_size=64, start=start_of(1, (30, 7))),
    ]


def test_bits_do_not_depend_on_threads_chunks_or_neighbours(monkeypatch):
    jobs = _mixed_jobs()
    monkeypatch.setenv("BREAKNET_THREADS", "1")
    alone = [train(one)[0] for one in jobs]
    for threads, chunk in ((1, 0.25), (2, 1e-9), (3, 1e-3), (5, 0.25)):
        monkeypatch.setenv("BREAKNET_THREADS", str(threads))
        monkeypatch.setattr(scheduling, "CHUNK", chunk)
        for first, second in zip(alone, train(*jobs), strict=True):
            assert_same(first, second)


def test_evaluation_of_checkpoints_gives_the_curves_bits(monkeypatch):
    one = _mixed_jobs()[3]
    (trained,) = train(one)
    scores = numba_cpu.evaluate(trained.parameters, one.valid, CPU, False)
    assert np.array_equal(scores.cost, trained.valid_cost)
    assert np.array_equal(scores.accuracy, trained.valid_accuracy)
    assert scores.confusion is None


def test_evaluation_with_confusion():
    data = examples(9001, 4)
    start = {name: value[None].repeat(6, *[1] * value.ndim) for name, value in start_of(2).items()}
    start["output.bias"] += torch.linspace(-1, 1, 6)[:, None] * torch.arange(10)
    scores = numba_cpu.evaluate(start, data, CPU, True)
    for model in range(6):
        parameters = at_epoch(start, model)
        assert_scores(scores.cost[model], scores.accuracy[model], parameters, data.images, data.labels)
        activation = data.images.double() / 256
        for layer in ("hidden1", "hidden2", "output"):
            weight, bias = parameters[f"{layer}.weight"].double(), parameters[f"{layer}.bias"].double()
            activation = torch.sigmoid(activation @ weight.T + bias)
        counts = torch.zeros(10, 10, dtype=torch.int64)
        counts.index_put_((data.labels, activation.argmax(1)), torch.tensor(1), accumulate=True)
        assert np.abs(scores.confusion[model] - counts.numpy()).sum() <= 2  # but for near ties
        assert np.trace(scores.confusion[model]) == round(scores.accuracy[model] * len(data))


# --- divergence -----------------------------------------------------------------------------------------------------


def test_divergence_ends_a_job_at_its_epoch_and_leaves_the_others():
    data = examples(50)
    bright = Examples(torch.full((8, 784), 3e38) * (torch.rand(8, 784) < 0.1), data.labels[:8])
    healthy = job(data, data, epochs=4)
    poisoned = job(bright, data, epochs=9, learning_rate=1e3)
    first, second = train(poisoned, healthy)
    assert second.diverged_at is None
    assert len(second.train_cost) == 4
    assert first.diverged_at is not None
    epochs = first.diverged_at
    assert len(first.train_cost) == len(first.valid_cost) == len(first.parameters["output.bias"]) == epochs
    for value in first.parameters.values():
        assert torch.isfinite(value).all()


def test_divergence_is_reported_with_its_epoch(monkeypatch):
    """Learning rates at the edge of float32: the epoch is that of the first step that float32 cannot hold."""
    data = examples(10)
    for rate in (1e38, 3e38):
        one = job(data, data, epochs=6, batch_size=10, learning_rate=rate)
        (trained,) = train(one)
        current, expected = one.start, None
        for epoch in range(one.epochs):
            current = exact_step(current, data.images, data.labels, rate, torch.float32)
            if not all(torch.isfinite(value).all() for value in current.values()):
                expected = epoch
                break
        assert trained.diverged_at == expected


def test_a_start_that_is_not_finite_diverges_at_once():
    start = start_of(0)
    start["hidden2.weight"][3, 3] = float("nan")
    seen = []
    (trained,) = train(job(examples(20), examples(5), start=start), report=lambda *call: seen.append(call))
    assert trained.diverged_at == 0
    assert len(trained.train_cost) == 0
    assert trained.parameters["hidden1.weight"].shape == (0, 16, 784)
    assert seen == []


# --- how it runs ----------------------------------------------------------------------------------------------------


def test_reports_come_in_order_in_the_calling_thread():
    calls = []

    def report(index, epoch, cost):
        assert threading.current_thread() is threading.main_thread()
        calls.append((index, epoch, cost))

    results = train(*_mixed_jobs(), report=report)
    for index, result in enumerate(results):
        mine = [(epoch, cost) for which, epoch, cost in calls if which == index]
        assert mine == list(enumerate(result.train_cost))


def _thread_names() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("breaknet")]


def test_an_exception_in_report_ends_training_quickly():
    train(job(examples(200)))
    began = time.perf_counter()

    def report(index, epoch, cost):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(job(examples(2000), examples(2000), epochs=10_000), report=report)
    assert time.perf_counter() - began < 10
    assert _thread_names() == []


_ENDLESS = """
import sys
sys.path[:0] = {paths!r}
import test_numba_backend as here
one = here.job(here.examples(3000), here.examples(500), epochs=2000, batch_size=1)
here.train(here.job(here.examples(20), epochs=1))
print("ready", flush=True)
here.train(one, one, one)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="signals are sent otherwise on Windows")
def test_ctrl_c_ends_training():
    import signal

    here = Path(__file__)
    program = _ENDLESS.format(paths=[str(here.parent), str(here.parents[1]), str(here.parents[2])])
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout.readline() == "ready\n"
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        began = time.perf_counter()
        _, errors = process.communicate(timeout=30)
    finally:
        process.kill()
    assert "KeyboardInterrupt" in errors
    assert time.perf_counter() - began < 10  # half a second where the processors are free


def test_thread_count(monkeypatch):
    monkeypatch.delenv("BREAKNET_THREADS", raising=False)
    assert numba_cpu.thread_count() >= 1
    monkeypatch.setenv("BREAKNET_THREADS", "3")
    assert numba_cpu.thread_count() == 3
    for wrong in ("0", "-1", "two", "1.5"):
        monkeypatch.setenv("BREAKNET_THREADS", wrong)
        with pytest.raises(ValueError, match=r"BREAKNET_THREADS: .* not"):
            numba_cpu.thread_count()


def test_what_it_cannot_take():
    assert numba_cpu.unavailable(CPU) is None
    assert "cuda" in numba_cpu.unavailable(torch.device("cuda"))
    assert numba_cpu.unsupported_hidden((128, 1)) is None
    assert "129" in numba_cpu.unsupported_hidden((16, 129))
    assert "129" in numba_cpu.unsupported(job(examples(3), start=start_of(0, (129, 2))))


def test_inputs_are_left_alone():
    data, valid = examples(60), examples(30, 1, floating=True)
    one = job(data, valid)
    before = [tensor.clone() for tensor in (data.images, data.labels, valid.images, *one.start.values())]
    train(one)
    after = (data.images, data.labels, valid.images, *one.start.values())
    assert all(torch.equal(x, y) for x, y in zip(before, after, strict=True))


# --- sabotage: the checks above must notice -------------------------------------------------------------------------


def _wrong_sign(images, batches):
    return batches._replace(value=-batches.value)


def _missing_pixel(images, batches):
    batches.value[len(batches.value) // 2] = 0
    return batches


def _neighbours_column(images, batches):
    batches.column[0] ^= 16
    return batches


@pytest.mark.parametrize("damage", [_wrong_sign, _missing_pixel, _neighbours_column])
def test_a_damaged_gradient_is_noticed(damage, monkeypatch):
    real = scheduling.by_column
    monkeypatch.setattr(scheduling, "by_column", lambda images, *rest: damage(images, real(images, *rest)))
    one = job(examples(100), epochs=1, batch_size=50)
    (trained,) = train(one)
    with pytest.raises(AssertionError):
        assert_follows(one, trained)


def test_a_learning_rate_that_is_off_is_noticed():
    one = job(examples(100), epochs=1)
    (trained,) = train(replace(one, learning_rate=0.05 * (1 + 1e-3)))
    with pytest.raises(AssertionError):
        assert_follows(one, trained)


def test_a_missing_image_in_the_scores_is_noticed(monkeypatch):
    real = scheduling.Prepared.of
    monkeypatch.setattr(scheduling.Prepared, "of", lambda images, labels: _mislabelled(real(images, labels)))
    one = job(examples(100), epochs=1)
    (trained,) = train(one)
    monkeypatch.undo()
    with pytest.raises(AssertionError):
        assert_follows(one, trained)


def _mislabelled(prepared):
    prepared.truth[7] = (prepared.truth[7] + 1) % 10
    return prepared


# --- compiling ------------------------------------------------------------------------------------------------------

_FIRST_RUN = """
import logging, sys, time
sys.path[:0] = {paths!r}
logging.basicConfig(level=logging.INFO, format="%(message)s")
import test_numba_backend as here
(trained,) = here.train(here.job(here.examples(30), here.examples(10, 1)))
here.assert_follows(here.job(here.examples(30), here.examples(10, 1)), trained)
print(trained.seconds["compile"])
"""


def _in_a_new_process(cache: Path, **environment: str) -> tuple[float, str]:
    here = Path(__file__)
    program = _FIRST_RUN.format(paths=[str(here.parent), str(here.parents[1]), str(here.parents[2])])
    done = subprocess.run(
        [sys.executable, "-c", program], env=dict(os.environ, NUMBA_CACHE_DIR=str(cache), **environment),
        capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return float(done.stdout), done.stderr


@pytest.mark.slow
def test_the_second_process_loads_what_the_first_compiled(tmp_path):
    first, notice = _in_a_new_process(tmp_path)
    assert notice.count("compiling the CPU kernels") == 1
    second, silence = _in_a_new_process(tmp_path)
    assert second < first / 4
    assert "compiling" not in silence


@pytest.mark.slow
@pytest.mark.parametrize("processor", ["generic", "haswell"])
def test_the_kernels_are_right_for_other_processors(processor, tmp_path):
    import llvmlite.binding as llvm

    if processor == "haswell" and not llvm.get_host_cpu_features().get("fma", False):
        pytest.skip("the processor has no AVX2 and FMA")
    features = {"NUMBA_CPU_FEATURES": ""} if processor == "generic" else {}
    _in_a_new_process(tmp_path, NUMBA_CPU_NAME=processor, **features)


def test_a_change_in_any_part_makes_the_stored_code_stale():
    from breaknet.backends.numba_kernels.training import train_epochs

    stamp = train_epochs._cache._cache_file._source_stamp
    assert stamp[-1] == compiling._sources_digest()


def test_the_notice_comes_once_and_only_where_something_is_compiled(monkeypatch, caplog):
    from numba import njit, types

    monkeypatch.setattr(compiling, "_notice", compiling._Notice())
    caplog.set_level(logging.INFO, "breaknet")
    ours = njit(lambda x: x + 1)
    assert compiling.ready([(ours, (types.int64,)), (ours, (types.float32,))]) > 0
    assert [record.getMessage()[:25] for record in caplog.records] == ["compiling the CPU kernels"]
    assert compiling.ready([(ours, (types.int64,))]) == 0
    monkeypatch.setattr(compiling, "_notice", compiling._Notice())
    caplog.clear()
    compiling.ready([(ours, (types.int64,))])
    assert not caplog.records


def test_it_works_where_nothing_can_be_stored(monkeypatch):
    from numba.core import caching

    def double(x):
        return 2 * x

    monkeypatch.setattr(caching.CacheImpl, "_locator_classes", [])
    assert compiling.kernel(double)(21) == 42
