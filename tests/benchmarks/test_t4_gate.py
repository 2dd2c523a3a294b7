"""A prediction is shown only where the model has been right on a measured GPU."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from made_up_rows import everything, machine, row

from benchmarks.rows import Machine, Row
from benchmarks.t4 import gate, storage
from benchmarks.t4.__main__ import line, main, readable
from benchmarks.t4.gate import (
    EVALUATION,
    FIGURES,
    NO_ROWS,
    PACKED,
    PERSISTENT,
    Check,
    checks,
    kernel_of,
    refusal,
)
from benchmarks.t4.rates import H100, T4
from benchmarks.t4.workloads import Estimate
from benchmarks.tables.prediction import NOT_COMPUTED, t4

PREDICTED = 5e-6
ROWS = {
    PERSISTENT: "step/cuda/persistent",
    PACKED: "step/cuda/many-models",
    EVALUATION: "score/cuda/all-checkpoints",
}


def estimate(*_: object) -> Estimate:
    return Estimate(PREDICTED / 2, PREDICTED, PREDICTED * 2, {"clk": 1.0})


def seconds(*_: object) -> float:
    return PREDICTED


def measured(
    factor: float, gpu: str | None = "NVIDIA H100 80GB HBM3", kernels=tuple(ROWS)
) -> list[tuple[Machine, list[Row]]]:
    """Rows of a GPU that took `factor` times what is predicted."""
    rows = [row(ROWS[kernel], PREDICTED * factor, models=40, images=50_000) for kernel in kernels]
    return [(machine("cuda", gpu=gpu), rows)]


def reasons(rows: list[tuple[Machine, list[Row]]]) -> dict[str, str | None]:
    found = checks(rows, seconds)
    return {figure.name: refusal(figure, found) for figure in FIGURES}


@pytest.mark.parametrize("factor", [1.0, 1.9, 1 / 1.9])
def test_the_gate_opens_within_a_factor_of_two(factor: float):
    assert set(reasons(measured(factor)).values()) == {None}


@pytest.mark.parametrize("factor", [2.1, 1 / 2.1])
def test_the_gate_closes_beyond_it(factor: float):
    for reason in reasons(measured(factor)).values():
        assert reason is not None
        assert "off by a factor of 2.1 on the H100 SXM" in reason


def test_one_kernel_that_is_off_closes_it_for_all():
    rows = measured(1.0, kernels=(PACKED, EVALUATION)) + measured(2.1, kernels=(PERSISTENT,))
    assert all(reason is not None for reason in reasons(rows).values())


def test_without_a_known_gpu_nothing_is_shown():
    for rows in (
        [],
        measured(1.0, gpu=None),
        measured(1.0, gpu="NVIDIA GeForce RTX 4090"),
        everything("cpu"),
    ):
        assert set(reasons(rows).values()) == {NO_ROWS}


def test_a_figure_needs_a_row_of_each_kernel_that_it_rests_on():
    found = reasons(measured(1.0, kernels=(PERSISTENT,)))
    assert {name for name, reason in found.items() if reason is None} == {"step"}, (
        "the lesson rests on evaluation too"
    )


def test_every_machine_counts():
    rows = measured(1.0) + measured(2.1, gpu="NVIDIA L4", kernels=(PERSISTENT,))
    found = checks(rows, seconds)
    assert [check.gpu for check in found] == ["H100 SXM"] * 3 + ["L4"]
    assert all(refusal(figure, found) for figure in FIGURES)


@pytest.mark.parametrize(
    ("name", "kernel"),
    [
        ("step/cuda/persistent", PERSISTENT),
        ("rivals/cuda/one/breaknet", PERSISTENT),
        ("kernels/cuda/step/whole-run", PERSISTENT),
        ("models/cuda/breaknet/4096", PACKED),
        ("kernels/cuda/packed/training", PACKED),
        ("evaluation/cuda/kernel/100x60000", EVALUATION),
        ("kernels/cuda/barrier", gate.BARRIER),
        ("step/cuda/fused", None),
        ("step/cuda/persistent-2", None),
        ("models/cuda/jax-vmap/16", None),
    ],
)
def test_which_rows_the_model_predicts(name: str, kernel: str | None):
    assert kernel_of(row(name, 1.0)) == kernel
    assert kernel_of(row(name, 1.0, size="rehearse")) is None


def test_calls_that_are_mostly_launches_are_no_evidence():
    assert kernel_of(row("score/cuda/all-checkpoints", 1e-5, units_a_call=101)) == EVALUATION
    assert kernel_of(row("score/cuda/all-checkpoints", 1e-5, units_a_call=99)) is None


def test_a_barrier_is_predicted_without_compiling():
    low, high = 4.5 * H100.l2_latency / H100.clock_hz, 9 * H100.l2_latency / H100.clock_hz
    assert low < gate.predicted(row("kernels/cuda/barrier", 1e-6), H100) < high
    with pytest.raises(ValueError, match="row: one that the model predicts, not 'step/cuda/fused'"):
        gate.predicted(row("step/cuda/fused", 1e-6), H100)


def test_a_ratio_is_predicted_over_measured():
    check = Check("a kernel", "a row", "T4", 3.0, 2.0)
    assert check.ratio == 1.5
    assert check.holds
    assert not replace(check, predicted=4.1).holds
    assert not replace(check, predicted=0.9).holds


def test_figures_that_are_not_checked_are_called_so():
    figure = replace(FIGURES[0], predict=estimate)
    assert line(figure, []).endswith(NO_ROWS)
    assert "UNCHECKED prediction 5 us (2.5 us to 10 us)" in line(figure, [], unchecked=True)
    found = checks(measured(1.0), seconds)
    for unchecked in (False, True):
        assert ": prediction 5 us" in line(figure, found, unchecked)


def kept(rows: list[tuple[Machine, list[Row]]], checked: float = PREDICTED) -> storage.Stored:
    """What `storage.save` would keep of these rows."""
    keys = {storage.key(one, gpu): checked for gpu, one, _ in gate.evidence(rows)}
    return storage.Stored("3.7.1", {figure.name: estimate() for figure in FIGURES}, keys)


def test_the_table_shows_figures_with_their_checks():
    rows = measured(1.25)
    text = t4(rows, kept(rows))
    assert text.count("| 5.0 us | 2.5 us and 10 us |") == len(FIGURES)
    assert text.count("| 5.0 us | 6.25 us | 0.80 |") == 3
    assert "predicted, not measured" in text


def test_the_table_shows_no_figure_that_the_rows_refuse():
    rows = measured(2.1)
    text = t4(rows, kept(rows))
    assert "2.5 us and 10 us" not in text
    assert text.count("not shown: the model is off by a factor of 2.1") == len(FIGURES)


def test_the_table_shows_nothing_without_rows_even_where_figures_are_kept():
    for stored in (None, kept([])):
        text = t4(everything("cpu"), stored)
        assert text.count(NO_ROWS) == len(FIGURES)
        assert " us" not in text


def test_rows_that_are_newer_than_the_predictions_show_nothing():
    rows = measured(1.0)
    assert t4(rows, None) == NOT_COMPUTED
    assert t4(rows, kept(measured(1.0, kernels=(PACKED,)))) == NOT_COMPUTED


def test_predictions_are_kept_and_read_again(tmp_path: Path, monkeypatch):
    path = tmp_path / "prediction.json"
    assert storage.load(path) is None
    monkeypatch.setattr(storage, "FIGURES", tuple(replace(figure, predict=estimate) for figure in FIGURES))
    monkeypatch.setattr(storage, "predicted", seconds)
    rows = measured(1.0)
    pytest.importorskip("triton")
    saved = storage.save(path, rows)
    assert storage.load(path) == saved
    assert saved is not None
    assert saved.predicted(rows[0][1][0], H100) == PREDICTED
    with pytest.raises(KeyError):
        saved.predicted(rows[0][1][0], T4)
    assert storage.save(path, measured(1.0, gpu=None)) is None, "nothing is kept without a GPU"
    assert not path.exists()


@pytest.mark.parametrize(
    ("value", "text"), [(5e-6, "5 us"), (0.0201, "20.1 ms"), (1.234, "1.23 s"), (4e-8, "40 ns")]
)
def test_times_are_readable(value: float, text: str):
    assert readable(value) == text


def test_the_command_lists_its_assumptions(capsys):
    assert main(["--assumptions"]) == 0
    printed = capsys.readouterr().out
    assert "Assumptions" in printed
    assert "SMs 40, GHz 1.59" in printed
