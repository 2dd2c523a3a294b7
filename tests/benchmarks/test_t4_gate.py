"""A prediction is checked only by rows of the kernel it rests on, and not shown where they contradict it."""

from dataclasses import replace
from pathlib import Path

import pytest
from made_up_rows import everything, machine, row

from benchmarks import t4_gate, t4_model
from benchmarks.rows import Machine, Row
from benchmarks.t4_gate import FIGURES, Counted, Verdict, checks, evidence, kernel_of, predicted, verdict
from benchmarks.t4_model import COOPERATIVE, EVALUATION, FLOAT16, GPUS, H200, PACKED, T4, Counts
from benchmarks.tables.t4 import NOT_COUNTED, table_of
from breaknet.quantities import time

Rows = list[tuple[Machine, list[Row]]]
#: Half a millisecond of an SM of an H200.
COUNTS = Counts(units=1, programs=1, instructions=0, fmas=0, shared=1_000_000)
ROWS = {
    COOPERATIVE: "step/cuda/cooperative",
    PACKED: "step/cuda/packed",
    EVALUATION: "accuracy/cuda/all-checkpoints",
    FLOAT16: "evaluation/cuda/float16/40x50000",
}


def measured(
    factor: float, gpu: str | None = "NVIDIA H200", kernels=tuple(ROWS), commit: str = "abc1234"
) -> Rows:
    """Rows of a GPU that took `factor` times the prediction."""
    rows = [row(ROWS[kernel], 1.0, models=40, images=50_000) for kernel in kernels]
    rows = [row(one.name, predicted(one, H200, COUNTS) * factor, **one.conditions) for one in rows]
    return [(machine("cuda", gpu=gpu, commit=commit), rows)]


def made(rows: Rows, now: Counts = COUNTS) -> Counted:
    """Counts made when these rows were new, and `now` those of the present kernels."""
    present = {gpu.name: dict.fromkeys(ROWS, now) for gpu in GPUS}
    return Counted("3.7.1", present, {key: COUNTS for key, *_ in evidence(rows)})


def verdicts(rows: Rows, now: Counts = COUNTS) -> dict[str, Verdict]:
    found = checks(rows, made(rows, now))
    return {name: verdict(rests_on, found) for name, (_, _, rests_on) in FIGURES.items()}


def checked(rows: Rows) -> set[str]:
    return {name for name, judged in verdicts(rows).items() if judged.reason.startswith("yes, ")}


@pytest.mark.parametrize(("factor", "ratio"), [(1.0, "1.00"), (1.9, "0.53"), (1 / 1.9, "1.90")])
def test_the_gate_opens_within_a_factor_of_two(factor: float, ratio: str):
    assert set(verdicts(measured(factor)).values()) == {
        Verdict(shown=True, reason=f"yes, the worst ratio is {ratio}")
    }


@pytest.mark.parametrize("factor", [2.1, 1 / 2.1])
def test_the_gate_closes_beyond_it(factor: float):
    for judged in verdicts(measured(factor)).values():
        assert not judged.shown
        assert "off by a factor of 2.1 on the H200" in judged.reason


def test_one_kernel_that_is_off_closes_it_for_what_rests_on_it():
    right, wrong = measured(1.0, kernels=(PACKED, COOPERATIVE, EVALUATION)), measured(2.1, kernels=(FLOAT16,))
    assert checked(right + wrong) == {"step", "packed", "evaluation of floats"}
    assert not verdicts(wrong)["lesson"].shown, "though no row checks its training"


@pytest.mark.parametrize("gpu", [None, "NVIDIA GeForce RTX 4090"])
def test_without_a_known_gpu_nothing_is_shown(gpu: str | None):
    for rows in ([], measured(1.0, gpu=gpu), everything("cpu")):
        assert not checked(rows)
        assert table_of(rows, made(rows)) == table_of(rows, None) == ""


def test_a_figure_needs_a_row_of_each_kernel_that_it_rests_on():
    rows = measured(1.0, kernels=(COOPERATIVE,))
    assert checked(rows) == {"step"}
    missing = "no row of the present kernel on a measured GPU, such as evaluation/cuda/float16/100x60000"
    assert verdicts(rows)["lesson"] == Verdict(shown=True, reason=f"unchecked: {missing}")


@pytest.mark.parametrize("name", ["programs", "instructions", "fmas", "shared", "matrix_fmas"])
def test_a_row_counts_only_for_the_kernel_it_was_measured_with(name: str):
    """Whatever was counted of the present kernel differs, be it not what sets the time."""
    then = Counts(units=2, programs=100, instructions=1_000, fmas=1_000, shared=1_000, matrix_fmas=1_000)
    for share, same in ((1.02, True), (0.96, False), (1.04, False)):
        assert t4_gate.same(then, replace(then, **{name: getattr(then, name) * share})) is same


@pytest.mark.parametrize("factor", [1.0, 2.1])
def test_rows_of_an_earlier_kernel_say_nothing(factor: float):
    for judged in verdicts(measured(factor), now=replace(COUNTS, shared=1_100_000)).values():
        assert judged.shown
        assert judged.reason.startswith("unchecked: no row of the present kernel")


def test_every_measurement_counts():
    rows = measured(1.0) + measured(2.1, kernels=(COOPERATIVE,), commit="def5678")
    assert len(checks(rows, made(rows))) == 5
    assert not verdicts(rows)["step"].shown


@pytest.mark.parametrize(
    ("name", "kernel"),
    [
        ("step/cuda/cooperative", COOPERATIVE),
        ("comparison/cuda/one/breaknet", COOPERATIVE),
        ("kernels/cuda/step/whole-run", COOPERATIVE),
        ("models/cuda/breaknet/4096", PACKED),
        ("kernels/cuda/packed/training", PACKED),
        ("kernels/cuda/packed/fma", PACKED),
        ("kernels/cuda/packed/tensor-4x32", None),
        ("evaluation/cuda/kernel/100x60000", EVALUATION),
        ("evaluation/cuda/fma/100x60000", EVALUATION),
        ("evaluation/cuda/float16/100x60000", FLOAT16),
        ("comparison/cuda/two/breaknet-packed", PACKED),
        ("step/cuda/fused", None),
        ("step/cuda/cooperative-2", None),
        ("models/cuda/jax-vmap/16", None),
    ],
)
def test_rows_that_the_model_predicts(name: str, kernel: str | None):
    assert kernel_of(row(name, 1.0)) == kernel
    assert kernel_of(row(name, 1.0, size="rehearse")) is None


def test_rows_of_a_form_that_a_t4_has_not():
    assert kernel_of(row("evaluation/cuda/kernel/9x9", 1.0, form="FMA")) == EVALUATION
    assert kernel_of(row("evaluation/cuda/kernel/9x9", 1.0, form="tensor cores")) is None
    assert kernel_of(row("evaluation/cuda/kernel/9x9", 1.0, form="float16 tensor cores")) == FLOAT16
    assert kernel_of(row("models/cuda/breaknet/4", 1.0, plan="packed")) == PACKED
    assert kernel_of(row("models/cuda/breaknet/64", 1.0, plan="packed", form="tensor cores")) is None
    assert kernel_of(row("step/cuda/packed", 1.0, form="tensor cores")) is None
    assert kernel_of(row("models/cuda/breaknet/4", 1.0, plan="cooperative")) is None


def test_calls_that_are_mostly_launches_are_no_evidence():
    assert kernel_of(row("accuracy/cuda/all-checkpoints", 1e-5, units_a_call=101)) == EVALUATION
    assert kernel_of(row("accuracy/cuda/all-checkpoints", 1e-5, units_a_call=99)) is None


@pytest.mark.parametrize(
    ("name", "milliseconds"),
    [
        ("evaluation/cuda/kernel/4x1000", 31),
        ("evaluation/cuda/float16/4x1000", 31),
        ("accuracy/cuda/all-checkpoints", 31 / 4),
        ("models/cuda/breaknet/4", 1 / 4),
        ("kernels/cuda/packed/training", 1 / 4 * 3 * 7),
        ("step/cuda/cooperative", 1 + 2 * 7 * 281e-6),
    ],
)
def test_one_unit_of_a_rows_work(name: str, milliseconds: float):
    """4,000 images of checkpoints on 132 SMs are 31 rounds of 1 ms; three epochs have seven steps each."""
    one = row(name, 1.0, models=4, images=1_000, epochs=3, batch=150)
    assert predicted(one, replace(H200, clock_hz=1e9), COUNTS) == pytest.approx(milliseconds / 1_000)


def test_the_table_shows_figures_with_their_checks():
    text = table_of(measured(1.25), made(measured(1.25)))
    assert "predicted, not measured" in text
    assert text.count("| yes, the worst ratio is 0.80 |") == len(FIGURES)
    assert text.count("| 0.80 | yes |") == len(ROWS)


def test_the_table_shows_no_figure_that_the_rows_contradict():
    rows = measured(2.1)
    text = table_of(rows, made(rows))
    assert text.count("| not shown | the model is off by a factor of 2.1") == len(FIGURES)


def test_the_table_labels_a_figure_that_no_row_checks():
    rows = measured(2.1)
    now = replace(COUNTS, shared=2_000_000)
    text = table_of(rows, made(rows, now))
    assert "not shown" not in text
    assert text.count("ms | unchecked: no row") + text.count(" s | unchecked: no row") == len(FIGURES)
    seconds = t4_model.lesson(T4, dict.fromkeys(ROWS, now))
    assert f"the lesson | {time(seconds, 2)} | unchecked: no row" in text
    assert text.count("| 0.48 | no, an earlier kernel") == len(ROWS)


def test_rows_that_are_newer_than_the_counts_show_nothing():
    rows = measured(1.0)
    for older in ([], measured(1.0, kernels=(PACKED,)), measured(1.0, commit="def5678")):
        assert table_of(rows, made(older)) == NOT_COUNTED
    assert table_of(rows, None) == NOT_COUNTED


def test_counts_are_kept_and_read_again(tmp_path: Path, monkeypatch):
    pytest.importorskip("triton")
    from benchmarks import kernel_counts

    path = tmp_path / "counts.json"
    assert t4_gate.load(path) is None
    for now in (COUNTS, replace(COUNTS, shared=2_000_000)):
        monkeypatch.setattr(kernel_counts, "counted", lambda kernel, gpu, now=now: (now, None))
        saved = t4_gate.save(measured(1.0), path)
        assert saved == t4_gate.load(path)
        assert saved is not None
        assert saved.present["T4"][PACKED] == now
        assert set(saved.measured.values()) == {COUNTS}, "the first counts of a row stay"
    assert t4_gate.save(measured(1.0, gpu=None), path) is None, "nothing is kept without a GPU"
    assert not path.exists()
