"""Training by the CPU backend, through its protocol, against float64."""

from dataclasses import replace

import pytest
import torch
from checks import start_of
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("numba")
from numba_jobs import assert_follows, assert_same, examples, job, train

from breaknet import reference
from breaknet.backends.interface import Examples
from breaknet.backends.numba_cpu import scheduler
from breaknet.model import all_finite


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
    learning_rate = 0.05 if batch_size < 1000 else 0.002
    one = job(
        examples(rows, 1, density), examples(37, 2, density), batch_size=batch_size,
        learning_rate=learning_rate, start=start_of(4, hidden),
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


@pytest.mark.parametrize("many", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_any_shape(many):
    @settings(max_examples=150 if many else 12, deadline=None, derandomize=not many)
    @given(
        first=st.integers(1, 128), second=st.integers(1, 128), rows=st.integers(1, 2500 if many else 150),
        batch_size=st.integers(1, 3000 if many else 200), floating=st.booleans(),
        density=st.sampled_from([0.0, 0.02, 0.2, 0.45, 1.0]) | st.floats(0, 1),
        learning_rate=st.sampled_from([1e-6, 0.01, 0.3]) | st.floats(1e-8, 1.0),
        blank=st.sets(st.sampled_from(["row", "column"])),
    )  # fmt: skip
    def check(first, second, rows, batch_size, floating, density, learning_rate, blank):
        """`blank`: whether every third row, and every second column, is all zero."""
        data = examples(rows, rows, density, floating)
        if "row" in blank:
            data.images[::3] = 0
        if "column" in blank:
            data.images[:, ::2] = 0
        # the contract is for a step at rates up to 1; the errors of many steps at such a rate feed each other
        learning_rate = min(learning_rate, 0.3 if batch_size < rows else 1.0) / max(1, batch_size / 100)
        one = job(
            data, examples(17, 5, density, floating), epochs=1, batch_size=batch_size,
            learning_rate=learning_rate, start=start_of(first, (first, second)),
        )  # fmt: skip
        assert_follows(one, train(one)[0])

    check()


def _assert_errs_as_torch(one, trained, floor: float = 0) -> None:
    """One step: at most four times the error of torch's float32 step, or `floor` of the update if that is more."""
    arguments = (one.start, one.train.images, one.train.labels, one.learning_rate)
    exact, single = reference.step(*arguments), reference.step(*arguments, torch.float32)
    for name, after in exact.items():
        ours = (trained.parameters[name][0].double() - after).norm()
        theirs = (single[name].double() - after).norm()
        allowed = max(4 * theirs, floor * (after - one.start[name]).norm())
        assert ours <= allowed + 1e-7 * one.start[name].double().norm(), name


@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.floats(-12, 38), st.integers(1, 40), st.integers(0, 9))
def test_learning_rates_from_tiny_to_huge(exponent, rows, seed):
    """Divergence exactly where float32 cannot hold the result."""
    data, learning_rate = examples(rows, seed), 10.0**exponent
    one = job(data, epochs=1, batch_size=rows, learning_rate=learning_rate, start=start_of(seed))
    (trained,) = train(one)
    exact = reference.step(one.start, data.images, data.labels, learning_rate)
    largest = max(float(value.abs().max()) for value in exact.values()) / torch.finfo(torch.float32).max
    if abs(largest - 1) < 1e-5:
        return  # either is right
    assert trained.diverged_at == (0 if largest > 1 else None)
    if largest < 1:
        _assert_errs_as_torch(one, trained, 1e-5)


def test_one_step_errs_at_most_four_times_torch():
    """At a learning rate beyond the contract's bound, from a state where sums cancel."""
    one = job(examples(100), epochs=1, learning_rate=3.0)
    _assert_errs_as_torch(one, train(one)[0])


# --- divergence ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("learning_rate", [1e38, 3e38])
def test_divergence_is_reported_with_its_epoch(learning_rate):
    """Learning rates at the edge of float32: the epoch is that of the first step that float32 cannot hold."""
    data = examples(10)
    one = job(data, data, epochs=6, batch_size=10, learning_rate=learning_rate)
    (trained,) = train(one)
    arguments = {"epochs": 6, "batch_size": 10, "learning_rate": learning_rate, "dtype": torch.float32}
    after = reference.epochs(one.start, data.images, data.labels, **arguments)
    epochs = [*(all_finite(parameters) for parameters in after), False].index(False)
    assert trained.diverged_at == (epochs if epochs < 6 else None)
    kept = trained.train_cost, trained.valid_cost, trained.parameters["output.bias"]
    assert {len(values) for values in kept} == {epochs}
    assert all_finite(trained.parameters)


def test_a_start_that_is_not_finite_diverges_at_once():
    start = start_of(0)
    start["hidden2.weight"][3, 3] = float("nan")
    seen = []
    (trained,) = train(job(examples(20), examples(5), start=start), report=lambda *call: seen.append(call))
    assert trained.diverged_at == 0
    assert len(trained.train_cost) == 0
    assert trained.parameters["hidden1.weight"].shape == (0, 16, 784)
    assert seen == []


# --- mutation tests: the checks above must notice -------------------------------------------------------------------


def _wrong_sign(batches):
    return batches._replace(value=-batches.value)


def _missing_pixel(batches):
    batches.value[len(batches.value) // 2] = 0
    return batches


def _neighbours_column(batches):
    batches.column[0] ^= 16
    return batches


def _wrong_label(prepared):
    prepared.truth[7] = (prepared.truth[7] + 1) % 10
    return prepared


@pytest.mark.parametrize(
    ("place", "name", "damage"),
    [
        (scheduler, "by_column", _wrong_sign),
        (scheduler, "by_column", _missing_pixel),
        (scheduler, "by_column", _neighbours_column),
        (scheduler.Prepared, "of", _wrong_label),
    ],
)
def test_damaged_images_and_labels_are_noticed(place, name, damage, monkeypatch):
    real = getattr(place, name)
    monkeypatch.setattr(place, name, lambda *arguments: damage(real(*arguments)))
    one = job(examples(100), epochs=1, batch_size=50)
    (trained,) = train(one)
    with pytest.raises(AssertionError):
        assert_follows(one, trained)


def test_a_learning_rate_that_is_off_is_noticed():
    one = job(examples(100), epochs=1)
    (trained,) = train(replace(one, learning_rate=0.05 * (1 + 1e-3)))
    with pytest.raises(AssertionError):
        assert_follows(one, trained)
