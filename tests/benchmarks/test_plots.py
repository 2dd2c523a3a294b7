"""Plots are made from rows alone, the same from the same rows, and never without them."""

from dataclasses import replace
from pathlib import Path

import pytest
from made_up_rows import everything, machine
from matplotlib import rc_context

from benchmarks.tables import plots
from benchmarks.tables.stored import Evidence

CPU = Evidence(everything("cpu"))


@pytest.mark.parametrize("name", [name for name in plots.PLOTS if name.endswith("-cpu")])
def test_the_same_rows_give_the_same_bytes_in_any_style(name: str):
    plot = plots.PLOTS[name]
    sheet = plot.sheet(CPU)
    plain = plot.svg(sheet)
    assert plain.startswith(b"<?xml")
    with rc_context({"font.size": 30, "axes.linewidth": 9}):
        assert plot.svg(sheet) == plain


def test_files_follow_the_rows(tmp_path: Path):
    """Only what was measured is drawn; other rows put a plot out of date; without rows it goes."""
    plots.write(CPU, tmp_path)
    assert {path.stem for path in tmp_path.iterdir()} == {
        name for name in plots.PLOTS if name.endswith("-cpu")
    }
    assert plots.different(CPU, tmp_path) == []
    (one, rows), *_ = everything("cpu")
    slower = [replace(row, median=row.median * 1.01) if row.group == "models" else row for row in rows]
    changed = Evidence([(one, slower)])
    assert plots.different(changed, tmp_path) == ["models-cpu"]
    plots.write(changed, tmp_path)
    assert plots.different(changed, tmp_path) == []
    plots.write(Evidence([]), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_roofline_needs_measured_ceilings():
    _, rows = everything("cpu")[0]
    evidence = Evidence([(machine(ceilings={}), rows)])
    assert plots.PLOTS["roofline-cpu"].sheet(evidence) is None
    assert plots.PLOTS["ladder-cpu"].sheet(evidence) is not None


def test_points_are_where_the_rows_are():
    """The curve over networks, and the roofline's points, read back from the figure."""
    models = plots.PLOTS["models-cpu"]
    sheet = models.sheet(CPU)
    (axes,) = models.make(sheet).axes
    ours = next(line for line in axes.lines if line.get_label() == "breaknet")
    assert list(ours.get_xdata()) == [1, 4, 16, 64, 256, 1024, 4096]
    expected = [row.median for row in sheet.rows if row.name.startswith("models/cpu/breaknet/")]
    assert list(ours.get_ydata()) == expected

    epochs = plots.PLOTS["epochs-cpu"]
    by_epochs, by_images = (axes.lines[0].get_xdata() for axes in epochs.make(epochs.sheet(CPU)).axes)
    assert (list(by_epochs), list(by_images)) == ([1, 3, 10], [1_000, 10_000, 50_000])

    roofline = plots.PLOTS["roofline-cpu"]
    (axes,) = roofline.make(roofline.sheet(CPU)).axes
    first = next(line for line in axes.lines if str(line.get_label()).startswith("A "))
    assert (first.get_xdata()[0], first.get_ydata()[0]) == (5e6 / 4e5, 5e6 / 2e-3)
