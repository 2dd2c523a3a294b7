"""Numbers as text, and the choice of rows."""

from dataclasses import replace

import pytest
from made_up_rows import TIMED, everything, machine, row

from benchmarks.rows import Machine, Row
from benchmarks.tables.__main__ import contents
from benchmarks.tables.stored import Evidence
from benchmarks.tables.text import conditions, launches, ratio, spread, table, timed


def text_of(name: str, rows) -> str:
    """A place's text, from these rows."""
    return contents(rows, None)[name]()


@pytest.mark.parametrize(
    ("factor", "text"), [(0.5, "0.50"), (4.62, "4.6"), (25.1, "25"), (99.4, "99"), (132.4, "132")]
)
def test_ratios_have_two_digits_or_all_before_the_point(factor, text):
    assert ratio(factor) == text


def test_quartiles_keep_the_medians_unit():
    assert spread(Row("a/cpu", "ladder", "t", "w", "cpu", 1.1e-3, 0.9e-3, 1.2e-3, 3)) == "0.900 to 1.20"
    assert spread(Row("a/cpu", "ladder", "t", "w", "cpu", 1e-3, 1e-3, 1e-3, 3)) == "1.00"


def test_launches_are_counts_of_kinds():
    on_gpu = {"kernels": 30.0, "copies": 0.0, "host_launches": 31.5}
    assert launches(row("step/cuda/x", 1.0, launches=on_gpu)) == "30 kernels, 31.5 launches by the host"
    assert launches(row("step/cpu/x", 1.0, launches={"torch_operators": 1.0})) == "1 torch operator"
    assert launches(row("step/cpu/x", 1.0)) == "-"


def test_a_table_is_markdown():
    assert table(["a", "b"], [["x", "1"]]) == "| a | b |\n| :-- | --: |\n| x | 1 |"


def test_conditions_say_where_when_and_with_what():
    sheet = Evidence(everything("cuda")).sheet("ladder", "cuda")
    assert sheet is not None
    text = conditions(sheet)
    parts = (
        "H200",
        "700 W",
        "driver 550.1",
        "torch 2.13.0",
        "MNIST",
        "batches of 100",
        "abc1234",
        "2026-01-02",
        "9 calls",
    )
    assert [part for part in parts if part not in text] == []
    assert "first look" not in text


def test_timed_parts_are_said_once_for_all_that_agree():
    alike = [row("step/cpu/a", 1.0), row("step/cpu/b", 1.0)]
    assert timed(alike) == "Timed: the steps until the device is done; not timed: compiling."
    other = row("step/cpu/c", 1.0, timed=TIMED | {"out": "nothing"})
    assert timed([*alike, other]).splitlines() == [
        "* Timed (a; b): the steps until the device is done; not timed: compiling.",
        "* Timed (c): the steps until the device is done; not timed: nothing.",
    ]
    namesake = row("classroom/cpu/whole/a", 1.0, timed=TIMED | {"out": "nothing"})
    assert timed([*alike, namesake]).splitlines() == [
        "* Timed (one step of 100 images): the steps until the device is done; not timed: compiling.",
        "* Timed (one classroom of 100 images): the steps until the device is done; not timed: nothing.",
    ]


def one(size: str, date: str, median: float = 1e-3, **changes) -> tuple[Machine, list[Row]]:
    return machine(date=date, **changes), [row("step/cpu/sliced", median, size=size)]


def test_full_rows_come_before_quick_ones_and_new_before_old():
    rows = [
        one("quick", "2026-03-01", name="a"), one("full", "2026-01-01", name="b"), one("full", "2026-02-01", name="c"),
        one("rehearse", "2026-04-01", name="d"),
    ]  # fmt: skip
    assert [sheet.machine.name for sheet in Evidence(rows).sheets("ladder", "cpu")] == ["c", "b", "a"]


def test_a_quick_table_says_so_a_rehearsal_is_none_and_every_machine_has_its_own():
    assert "quick size: a first look" in text_of("ladder", [one("quick", "2026-01-01")])
    assert text_of("ladder", [one("rehearse", "2026-01-01")]) == ""
    two = [one("full", "2026-01-01", name=cpu.lower(), cpu=cpu) for cpu in ("First", "Second")]
    text = text_of("ladder", two)
    assert text.index("First") < text.index("Second")
    assert text.count("| one step of 100 images |") == 2


@pytest.mark.parametrize("name", sorted(contents([], None)))
def test_nothing_is_written_without_rows(name: str):
    """No heading either; a device without rows is left out beside the other."""
    assert text_of(name, []) == ""
    if name not in ("kernels", "t4"):
        assert "GPU" not in text_of(name, everything("cpu"))


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("ladder", "| breaknet | - | 100 us | 90.0 to 120 | 50.0 us | 2.0 | 1.0 |"),
        (
            "ladder",
            "| the notebook's loop | 58.5 torch operators | 2.00 ms | 1.80 to 2.40 | 50.0 us | 40 | 20 |",
        ),
        ("ladder", "| one sample at a time (extrapolated) |"),
        ("comparison", "| jax-scan | 460 us | 414 to 552 | 4.6 |"),
        ("evaluation", "| 100 x 60,000 | 600 ms | 1.80 s | 3.0 |"),
        ("models", "| 4,096 | 1.02 us (extrapolated) |"),
        ("epochs", "| 10 x 50,000 | 510 ms | 5.10 s | 10 |"),
        ("dispatch", "| torch | 50.0 us | 45.0 to 60.0 | 0.83 |"),
        ("classroom", "| original | 500 s | 450 to 600 | 12 |"),
        ("lesson", "| import torch | 1.70 s | 1.70 s |"),
        ("lesson", "| compiling | - | 15.00 s |"),
        ("lesson", "| **by the clock** | **12.0 s** | **30.0 s** |"),
        ("lesson", "| less training, evaluation, torch's import | 3.30 s | 21.30 s |"),
        ("lesson", "| the same from process start to the last figure | 2.80 s | 2.80 s |"),
        ("lesson", "| the notebook's code (extrapolated) | 525 s | 472 to 630 | 75 |"),
        ("lesson-summary", "| 12 s | 7.0 s | 30 s | 525 s, 75 times the computing |"),
        ("lesson-sentence", "takes 12 s on 2 CPU cores; its computing takes 7.0 s, 75 times less"),
        ("kernels", "50 a second trained, 20 a second with all their checkpoints evaluated"),
    ],
)
def test_figures_come_from_the_rows(name: str, line: str):
    assert line in text_of(name, everything("cuda" if name == "kernels" else "cpu"))


def test_a_contender_that_is_missing_at_a_point_leaves_its_cell_empty():
    rows = [row(f"models/cpu/{name}", 1e-6) for name in ("breaknet/1", "breaknet/4", "jax-vmap/1")]
    text = text_of("models", [(machine(), rows)])
    assert "| 1 | 1.00 us | 1.00 us | 1.0 |" in text
    assert "| 4 | 1.00 us | - | - |" in text


def test_a_part_of_the_lesson_is_not_the_lesson():
    """Rows of a few epochs are shown with their work, and never compared with the whole."""
    ((where, rows),) = everything("cpu")
    part = [
        row
        if "notebook" in row.name
        else replace(row, work="a part", conditions=row.conditions | {"scale": 0.02})
        for row in rows
    ]
    evidence = [(where, part)]
    assert text_of("lesson-sentence", evidence) == ""
    assert "times the computing" not in text_of("lesson-summary", evidence)
    text = text_of("lesson", evidence) + "\n"
    assert "| a part |" in text
    assert "| the notebook's code (extrapolated) | 525 s | 472 to 630 |\n" in text
