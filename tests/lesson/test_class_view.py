"""`breaknet class`: the predictions of a class over the outcome, and files as strangers may send them."""

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
from lesson_results import made_results
from report_page import Page

from breaknet import DataError
from breaknet.cli.commands import main
from breaknet.lesson import exported_predictions
from breaknet.lesson.class_view import is_class_page, write_class_page
from breaknet.lesson.exported_predictions import read_file, read_folder
from breaknet.lesson.predictions import POINTS, points
from breaknet.lesson.report_predictions import lesson_data


def exported(student: str = "Ada", predictions: dict[str, Any] | None = None, **made: Any) -> dict[str, Any]:
    """A file as the report's script makes it."""
    data = lesson_data(made_results(**made), [])
    both = [*data["numbers"], *data["curves"]]
    return {
        "format": "breaknet predictions",
        "schema": 1,
        "student": student,
        "exported": "2026-01-01T10:00:00.000Z",
        "report": {"id": data["report"], "data_source": data["data_source"], "settings": data["settings"]},
        "points": POINTS,
        "predictions": {"clean.train_cost": 0.3} if predictions is None else predictions,
        "outcome": {one["key"]: one["outcome"] for one in both},
        "axes": {one["key"]: one["x"] for one in data["curves"]},
    }


def put(folder: Path, name: str, content: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


@pytest.fixture
def school(tmp_path) -> Path:
    """A folder with a class of three, one of them in a folder below, and a file that is no prediction."""
    folder = tmp_path / "school"
    curve = [*(POINTS - 10) * [40.0], *10 * [None]]
    put(folder, "ada.json", exported("Ada", {"clean.train_cost": 0.1, "hundred.train_accuracy_curve": curve}))
    put(folder, "bo.json", exported("Bo", {"clean.train_cost": 0.3}))
    put(folder / "late", "predictions.json", exported("Cy", {"clean.train_cost": 9, "clean.best_epoch": 50}))
    put(folder, "broken.json", '{"format": ')
    (folder / "notes.txt").write_text("no prediction")
    return folder


def test_a_class_is_drawn_over_the_outcome(school, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["class", str(school)]) == 0
    shown = capsys.readouterr()
    assert "left out: broken.json: no JSON" in shown.err
    assert "Predictions of 3 students" in shown.out
    row = next(line for line in shown.out.splitlines() if "training cost at the end" in line)
    assert row.split()[-3:] == ["3", "0.300", "0.0463"]
    page = (tmp_path / "class.html").read_text()
    parsed = Page(page)
    assert len(parsed.all("figure")) == 3  # two histograms, one overlay
    assert page.count('class="student train"') == 1
    bars = re.findall(r'class="bar" x="([\d.]+)" y="[\d.]+" width="[\d.]+" height="([\d.]+)"', page)
    cost, epoch = bars[:3], bars[3:]
    assert [float(x) for x, _ in cost] == pytest.approx([58 + place * 39 + 2 for place in (0, 2, 9)], abs=0.1)
    assert {height for _, height in bars} == {"278.0"}
    assert len(epoch) == 1
    assert "3 predictions, median 0.300; outcome 0.0463" in parsed.text
    assert "broken.json" in parsed.text
    drawn = 31 * [40.0] + 10 * [None]
    true = lesson_data(made_results(), [])["curves"][4]
    assert true["key"] == "hundred.train_accuracy_curve"
    earned = points(0.1, 0.0463, 0.5) + points(drawn, true["outcome"], 50)
    assert f"Ada {earned} of 20 2" in parsed.text
    assert not parsed.all("script")
    assert is_class_page(tmp_path / "class.html")


def test_the_outcome_is_that_of_most_reports_or_of_the_lesson_named(school, tmp_path, capsys):
    put(school, "di.json", exported("Di", {"clean.train_cost": 0.2}, train_slope=0.0))
    out = tmp_path / "page.html"
    assert main(["class", str(school), "--out", str(out), "-q"]) == 0
    page = Page(out.read_text())
    assert "1 of the files comes from a report with another outcome" in page.text
    assert "outcome 0.0463" in page.text
    lesson = put(tmp_path / "lesson", "results.json", made_results(train_slope=0.0)).parent
    assert main(["class", str(school), "--out", str(out), "--lesson", str(lesson), "-q"]) == 0
    page = Page(out.read_text())
    assert "another outcome" not in page.text
    assert "outcome 0.0700" in page.text
    (lesson / "results.json").write_text("{}")
    assert main(["class", str(school), "--out", str(out), "--lesson", str(lesson)]) == 1
    assert "not the results of a lesson" in capsys.readouterr().err


def test_what_students_write_is_text(tmp_path):
    evil = '</td><script>alert(1)</script>\x1b[31m\u202e"'
    report = exported(evil)
    report["report"]["data_source"] = evil
    put(tmp_path, "<img src=x>.json", report)
    put(tmp_path, "\x1b[2J.json", "[]")
    found = read_folder(tmp_path)
    write_class_page(found, tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert "<script" not in page
    assert "<img" not in page
    assert "\u202e" not in page
    assert "</td><script>alert(1)</script> [31m" in Page(page).text


def changed(**changes: Any) -> dict[str, Any]:
    return exported() | changes


GOOD = 41 * [0.5]
#: File, what is said of it.
BROKEN = {
    "empty": ("", "no JSON"),
    "binary": (b"\xff\xfe\x00", "no text"),
    "list": ([1], "the file: an object"),
    "other JSON": ({"cells": []}, "no predictions that a report saved"),
    "newer": (changed(schema=2), "schema: 1, not 2"),
    "true schema": (changed(schema=True), "schema: 1, not True"),
    "other points": (changed(points=5), "points: 41, not 5"),
    "nan": (json.dumps(exported()).replace("0.3", "NaN"), "NaN is no number"),
    "infinity": (json.dumps(exported()).replace("0.3", "1e999"), "clean.train_cost: a number up to"),
    "huge": (json.dumps(exported()).replace("0.3", "9" * 4000), "clean.train_cost: a number up to"),
    "too long for a number": (json.dumps(exported()).replace("0.3", "9" * 9000), "integer string conversion"),
    "text": (changed(predictions={"clean.train_cost": "0.3"}), "a number up to 1,000,000, not '0.3'"),
    "bool": (changed(predictions={"clean.train_cost": True}), "not True"),
    "short curve": (changed(predictions={"clean.train_cost_curve": [0.5]}), "41 numbers"),
    "odd curve": (changed(predictions={"clean.train_cost_curve": [*GOOD[1:], "x"]}), "41 numbers"),
    "gap in the outcome": (changed(outcome={"clean.train_cost_curve": [*GOOD[1:], None]}), "41 numbers"),
    "no outcome": (changed(outcome=None), "outcome: an object"),
    "axes the wrong way": (changed(axes={"clean.train_cost_curve": [5, 0]}), "two numbers in order"),
    "no report": (changed(report="x"), "report: an object"),
    "deep": ("[" * 100_000, "nested too deeply"),
    "large": (" " * (exported_predictions.MAX_BYTES + 1), "at most"),
}  # fmt: skip


@pytest.mark.parametrize("kind", BROKEN)
def test_broken_files_are_named_in_one_line(kind, tmp_path):
    content, expected = BROKEN[kind]
    if isinstance(content, bytes):
        path = tmp_path / "a.json"
        path.write_bytes(content)
    else:
        path = put(tmp_path, "a.json", content)
    with pytest.raises(DataError) as raised:
        read_file(path, "a.json")
    assert str(raised.value).startswith("a.json: ")
    assert expected in str(raised.value)
    assert len(str(raised.value)) < 300
    assert "\n" not in str(raised.value)


def test_links_and_pipes_are_not_read(tmp_path):
    put(tmp_path, "good.json", exported())
    (tmp_path / "link.json").symlink_to(tmp_path / "good.json")
    (tmp_path / "loop").symlink_to(tmp_path)
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.json")
    found = read_folder(tmp_path)
    assert [one.file for one in found.predicted] == ["good.json"]
    assert "link.json: a link" in found.left_out


def test_the_last_file_of_a_student_counts(tmp_path):
    put(
        tmp_path, "a.json", exported("Ada ", {"clean.train_cost": 0.2}) | {"exported": "2026-01-01T11:00:00Z"}
    )
    put(tmp_path, "b.json", exported("ada", {"clean.train_cost": 0.4}) | {"exported": "2026-01-01T09:00:00Z"})
    put(tmp_path, "c.json", exported("", {"clean.train_cost": 0.5}))
    put(tmp_path, "d.json", exported("", {"clean.train_cost": 0.6}))
    found = read_folder(tmp_path)
    assert [one.predictions["clean.train_cost"] for one in found.predicted] == [0.2, 0.5, 0.6]
    assert found.left_out == ["b.json: a.json is of the same student, and newer"]


def test_questions_of_a_later_version_are_passed_over(tmp_path):
    path = put(tmp_path, "a.json", exported("Ada", {"clean.train_cost": 0.2, "later.question": "?"}))
    assert read_file(path, "a.json").predictions == {"clean.train_cost": 0.2}


def test_folders_without_predictions_or_with_too_much(tmp_path, monkeypatch):
    with pytest.raises(DataError, match="no folder to read"):
        read_folder(tmp_path / "nowhere")
    put(tmp_path, "a.json", "[]")
    with pytest.raises(DataError, match=r"no file of predictions that can be read; a\.json: the file"):
        read_folder(tmp_path)
    monkeypatch.setattr(exported_predictions, "MAX_FILES", 0)
    with pytest.raises(DataError, match="at most 0 are read"):
        read_folder(tmp_path)
    monkeypatch.setattr(exported_predictions, "MAX_ENTRIES", 0)
    with pytest.raises(DataError, match="over 0 files"):
        read_folder(tmp_path)


def test_a_file_that_is_not_ours_stays(school, tmp_path, capsys):
    out = put(tmp_path, "mine.html", "<p>years of work</p>")
    assert main(["class", str(school), "--out", str(out)]) == 1
    assert "another file than breaknet writes" in capsys.readouterr().err
    assert out.read_text() == "<p>years of work</p>"
    assert main(["class", str(school), "--out", str(out), "-f", "-q"]) == 0
    assert main(["class", str(school), "--out", str(out), "-q"]) == 0
