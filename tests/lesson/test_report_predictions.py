"""The report as a place to predict: its parts, what its script knows, and the page with answers."""

import base64
import hashlib
import json
import re
import shutil

from lesson_results import made_results, with_capacity
from report_page import Page

from breaknet.lesson.predictions import CURVES, NUMBERS
from breaknet.lesson.report import render_report, write_report
from breaknet.lesson.report_predictions import lesson_data


def test_the_page_with_answers_is_another_file_and_hides_nothing(tmp_path, drawn):
    shutil.copytree(drawn, tmp_path, dirs_exist_ok=True)
    path = write_report(made_results(), None, tmp_path, answers=True)
    assert path == tmp_path / "answers.html"
    page = Page(path.read_text(encoding="utf-8"))
    assert page.all("body") == [{"class": "answers"}]
    assert all("open" in fold for fold in page.all("details"))
    assert not page.all("script")
    assert not page.all("input")
    assert "Highest training accuracy 99.0 %" in page.text
    assert "Epoch of the lowest validation cost 20" in page.text


def test_every_part_is_listed_and_linked_with_its_neighbours(page_of):
    page = page_of(made_results())
    anchors = [one["href"].removeprefix("#") for one in page.all("a")]
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert set(anchors) <= set(ids)
    parts = ["network", "examples", "clean", "shuffled", "hundred", "label_noise"]
    parts += ["wrong", "data", "homework", "run"]
    assert anchors[: len(parts)] == parts
    neighbours = zip(parts[1:5], parts[3:7], strict=True)
    assert anchors[len(parts) :] == [anchor for pair in neighbours for anchor in pair]


def test_the_script_knows_every_question_and_its_outcome(drawn):
    results = with_capacity() | {"data_source": "local: </script><b>"}
    page = render_report(results, None, drawn)
    written = re.search(r'<script type="application/json" id="lesson">(.*?)</script>', page)[1]
    data = json.loads(written)
    assert "<" not in written
    assert data["data_source"] == "local: </script><b>"
    keys = [one["key"] for one in (*data["numbers"], *data["curves"])]
    assert keys == [question.key for question in (*NUMBERS, *CURVES)]
    fields = {one["data-number"] for one in Page(page).all("input") if "data-number" in one}
    assert fields == {number.key for number in NUMBERS}
    assert (
        data["report"] == lesson_data(with_capacity(), [])["report"]
    )  # the same run, whatever its data's name
    assert data["report"] != lesson_data(made_results(train_slope=-4e-4), [])["report"]
    script = re.search(r'<script type="module">(.*?)</script>', page, re.DOTALL)[1]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in page
    assert "unsafe-inline" not in page.partition("script-src")[2].partition(">")[0]
