"""Training by the CPU backend, through its protocol, against float64."""

from dataclasses import replace

import pytest
import torch
from checks import exact_step, start_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

pytest.importorskip("numba")
from numba_jobs import assert_follows, assert_same, examples, job, train

from breaknet.backends.interface import Examples
from breaknet.backends.numba_cpu import scheduler


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


SHAPES = {
    "first": st.integers(1, 128), "second": st.integers(1, 128), "blank": st.sets(st.sampled_from(["row", "column"])),
    "floating": st.booleans(),
}  # fmt: skip


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(
    rows=st.integers(1, 150), batch_size=st.integers(1, 200),
    density=st.sampled_from([0.0, 0.02, 0.2, 0.45, 1.0]), learning_rate=st.sampled_from([1e-6, 0.01, 0.3]), **SHAPES,
)  # fmt: skip
def test_any_shape(**case):
    _check_any_shape(**case)


@pytest.mark.slow
@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    rows=st.integers(1, 2500), batch_size=st.integers(1, 3000), density=st.floats(0, 1),
    learning_rate=st.floats(1e-8, 1.0), **SHAPES,
)  # fmt: skip
def test_many_shapes(**case):
    case["learning_rate"] /= max(1, case["batch_size"] / 100)
    _check_any_shape(**case)


def _check_any_shape(first, second, rows, batch_size, density, learning_rate, floating, blank):
    """`blank`: whether every third row, and every second column, is all zero."""
    data = examples(rows, rows, density, floating)
    if "row" in blank:
        data.images[::3] = 0
    if "column" in blank:
        data.images[:, ::2] = 0
    one = job(
        data, examples(17, 5, density, floating), epochs=1,
        batch_size=batch_size, learning_rate=learning_rate, start=start_of(first, (first, second)),
    )  # fmt: skip
    assert_follows(one, train(one)[0])


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(st.floats(-12, 38), st.integers(1, 40), st.integers(0, 9))
def test_learning_rates_from_tiny_to_huge(exponent, rows, seed):
    """One step: four times torch's error at most, and divergence exactly where float32 cannot hold the result."""
    data, rate = examples(rows, seed), 10.0**exponent
    one = job(data, epochs=1, batch_size=rows, learning_rate=rate, start=start_of(seed))
    (trained,) = train(one)
    exact = exact_step(one.start, data.images, data.labels, rate)
    single = exact_step(one.start, data.images, data.labels, rate, torch.float32)
    highest = max(float(value.abs().max()) for value in exact.values())
    if abs(highest / torch.finfo(torch.float32).max - 1) < 1e-5:
        return  # either is right
    if highest > torch.finfo(torch.float32).max:
        assert trained.diverged_at == 0
        return
    assert trained.diverged_at is None
    for name, reference in exact.items():
        ours = (trained.parameters[name][0].double() - reference).norm()
        theirs = (single[name].double() - reference).norm()
        update, before = (reference - one.start[name]).norm(), one.start[name].double().norm()
        assert ours <= max(4 * theirs, 1e-5 * update) + 1e-7 * before, name


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
    real = scheduler.by_column
    monkeypatch.setattr(scheduler, "by_column", lambda images, *rest: damage(images, real(images, *rest)))
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
    real = scheduler.Prepared.of
    monkeypatch.setattr(scheduler.Prepared, "of", lambda images, labels: _mislabelled(real(images, labels)))
    one = job(examples(100), epochs=1)
    (trained,) = train(one)
    monkeypatch.undo()
    with pytest.raises(AssertionError):
        assert_follows(one, trained)


def _mislabelled(prepared):
    prepared.truth[7] = (prepared.truth[7] + 1) % 10
    return prepared
