"""A prediction is shown only where the model has been right on a measured GPU, with the kernel that was measured."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from made_up_rows import everything, machine, row

from benchmarks import t4_gate
from benchmarks.rows import Machine, Row
from benchmarks.t4_gate import (
    BARRIER,
    COOPERATIVE,
    EVALUATION,
    FIGURES,
    PACKED,
    Check,
    Prediction,
    checks,
    evidence,
    kernel_of,
    refusal,
)
from benchmarks.t4_model import H200, Estimate
from benchmarks.tables.t4 import NOT_COMPUTED, table_of

Rows = list[tuple[Machine, list[Row]]]
PREDICTED = 5e-6
ESTIMATE = Estimate(PREDICTED / 2, PREDICTED, PREDICTED * 2)
ROWS = {
    COOPERATIVE: "step/cuda/cooperative",
    PACKED: "step/cuda/packed",
    EVALUATION: "accuracy/cuda/all-checkpoints",
}


def measured(
    factor: float, gpu: str | None = "NVIDIA H200", kernels=tuple(ROWS), commit: str = "abc1234"
) -> Rows:
    """Rows of a GPU that took `factor` times the prediction."""
    rows = [row(ROWS[kernel], PREDICTED * factor, models=40, images=50_000) for kernel in kernels]
    return [(machine("cuda", gpu=gpu, commit=commit), rows)]


def made(rows: Rows, now: float = PREDICTED) -> Prediction:
    """A prediction made when these rows were new; `now` of the present kernels."""
    checked = {key: (PREDICTED, now) for key, *_ in evidence(rows)}
    return Prediction("3.7.1", dict.fromkeys(FIGURES, ESTIMATE), checked)


def reasons(rows: Rows, now: float = PREDICTED) -> dict[str, str | None]:
    found = checks(rows, made(rows, now))
    return {name: refusal(rests_on, found) for name, (_, _, rests_on) in FIGURES.items()}


@pytest.mark.parametrize("factor", [1.0, 1.9, 1 / 1.9])
def test_the_gate_opens_within_a_factor_of_two(factor: float):
    assert set(reasons(measured(factor)).values()) == {None}


@pytest.mark.parametrize("factor", [2.1, 1 / 2.1])
def test_the_gate_closes_beyond_it(factor: float):
    for reason in reasons(measured(factor)).values():
        assert reason is not None
        assert "off by a factor of 2.1 on the H200" in reason


def test_one_kernel_that_is_off_closes_it_for_what_rests_on_it():
    rows = measured(1.0, kernels=(PACKED, COOPERATIVE)) + measured(2.1, kernels=(EVALUATION,))
    assert {name for name, reason in reasons(rows).items() if reason is None} == {"step", "packed"}


@pytest.mark.parametrize("gpu", [None, "NVIDIA GeForce RTX 4090"])
def test_without_a_known_gpu_nothing_is_shown(gpu: str | None):
    for rows in ([], measured(1.0, gpu=gpu), everything("cpu")):
        assert all("no measured GPU to check" in str(reason) for reason in reasons(rows).values())
        assert table_of(rows, made(rows)) == table_of(rows, None) == ""


def test_a_figure_needs_a_row_of_each_kernel_that_it_rests_on():
    found = reasons(measured(1.0, kernels=(COOPERATIVE,)))
    assert {name for name, reason in found.items() if reason is None} == {"step"}, (
        "the lesson needs evaluation too"
    )
    assert found["lesson"] == "not shown: no measured GPU to check the present evaluation against"


def test_a_row_counts_only_for_the_kernel_it_was_measured_with():
    """The model says something else of the present kernel than it said when the row was new."""
    assert set(reasons(measured(1.0), now=PREDICTED * 1.04).values()) == {None}
    for factor in (1.0, 2.1):
        for reason in reasons(measured(factor), now=PREDICTED * 1.1).values():
            assert "no measured GPU to check the present" in str(reason)


def test_every_measurement_counts():
    rows = measured(1.0) + measured(2.1, kernels=(COOPERATIVE,), commit="def5678")
    assert len(checks(rows, made(rows))) == 4
    assert reasons(rows)["step"] is not None


@pytest.mark.parametrize(
    ("name", "kernel"),
    [
        ("step/cuda/cooperative", COOPERATIVE),
        ("comparison/cuda/one/breaknet", COOPERATIVE),
        ("kernels/cuda/step/whole-run", COOPERATIVE),
        ("models/cuda/breaknet/4096", PACKED),
        ("kernels/cuda/packed/training", PACKED),
        ("evaluation/cuda/kernel/100x60000", EVALUATION),
        ("kernels/cuda/barrier", BARRIER),
        ("step/cuda/fused", None),
        ("step/cuda/cooperative-2", None),
        ("models/cuda/jax-vmap/16", None),
    ],
)
def test_rows_that_the_model_predicts(name: str, kernel: str | None):
    assert kernel_of(row(name, 1.0)) == kernel
    assert kernel_of(row(name, 1.0, size="rehearse")) is None


def test_calls_that_are_mostly_launches_are_no_evidence():
    assert kernel_of(row("accuracy/cuda/all-checkpoints", 1e-5, units_a_call=101)) == EVALUATION
    assert kernel_of(row("accuracy/cuda/all-checkpoints", 1e-5, units_a_call=99)) is None


def test_a_barrier_is_predicted_without_compiling():
    low, high = 4.5 * H200.l2_latency / H200.clock_hz, 9 * H200.l2_latency / H200.clock_hz
    assert low < t4_gate.predicted(row("kernels/cuda/barrier", 1e-6), H200) < high
    with pytest.raises(ValueError, match="row: one that the model predicts, not 'step/cuda/fused'"):
        t4_gate.predicted(row("step/cuda/fused", 1e-6), H200)


def test_a_ratio_is_predicted_over_measured():
    check = Check("a kernel", "a row", "T4", 3.0, 2.0)
    assert check.ratio == 1.5
    assert check.holds
    assert not replace(check, predicted=4.1).holds
    assert not replace(check, predicted=0.9).holds


def test_the_table_shows_figures_with_their_checks():
    rows = measured(1.25)
    text = table_of(rows, made(rows))
    assert text.count("| 5.0 us | 2.5 us and 10 us |") == len(FIGURES)
    assert text.count("| 5.0 us | 6.25 us | 0.80 | yes |") == 3
    assert "predicted, not measured" in text


def test_the_table_shows_no_figure_that_the_rows_refuse():
    rows = measured(2.1)
    text = table_of(rows, made(rows))
    assert "2.5 us and 10 us" not in text
    assert text.count("not shown: the model is off by a factor of 2.1") == len(FIGURES)
    assert table_of(rows, made(rows, now=1.0)).count("no, an earlier kernel") == 3


def test_rows_that_are_newer_than_the_prediction_show_nothing():
    rows = measured(1.0)
    assert table_of(rows, None) == NOT_COMPUTED
    assert table_of(rows, made(measured(1.0, kernels=(PACKED,)))) == NOT_COMPUTED
    assert table_of(rows, made(measured(1.0, commit="def5678"))) == NOT_COMPUTED


def test_predictions_are_kept_and_read_again(tmp_path: Path, monkeypatch):
    pytest.importorskip("triton")
    path = tmp_path / "prediction.json"
    assert t4_gate.load(path) is None
    figures = {name: (title, lambda gpu: ESTIMATE, kernels) for name, (title, _, kernels) in FIGURES.items()}
    monkeypatch.setattr(t4_gate, "FIGURES", figures)
    for now in (PREDICTED, 2 * PREDICTED):
        monkeypatch.setattr(t4_gate, "predicted", lambda row, gpu, now=now: now)
        saved = t4_gate.save(measured(1.0), path)
        assert saved == t4_gate.load(path)
        assert saved is not None
        assert set(saved.checked.values()) == {(PREDICTED, now)}, "the first prediction of a row stays"
    assert t4_gate.save(measured(1.0, gpu=None), path) is None, "nothing is kept without a GPU"
    assert not path.exists()
