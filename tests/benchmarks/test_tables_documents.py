"""The documents say what the stored rows give, and nothing else."""

import re
from pathlib import Path

import pytest
from made_up_rows import everything

from benchmarks.tables.__main__ import contents, documents, main, rendered


def test_every_document_is_what_the_rows_give():
    """After new rows or a changed table: `make tables`."""
    assert main(["--check"]) == 0


def test_the_documents_have_places_for_everything():
    texts = [path.read_text(encoding="utf-8") for path in documents()]
    assert {name for text in texts for name in re.findall("<!-- table: (.*?) -->", text)} == set(
        contents([], None)
    )
    assert not any("not measured yet" in text for text in texts)


def test_places_are_written_on_one_line_or_on_several():
    write = {"a": lambda: "12 s", "b": lambda: "| x |\n| y |"}
    text = "It takes <!-- table: a -->old<!-- end --> here.\n\n<!-- table: b -->\nold\n<!-- end -->\nrest\n"
    new = rendered(text, write)
    assert new == (
        "It takes <!-- table: a -->12 s<!-- end --> here.\n\n<!-- table: b -->\n| x |\n| y |\n<!-- end -->\nrest\n"
    )
    assert rendered(new, write) == new
    emptied = rendered(new, write | {"b": lambda: ""})
    assert "\n\n<!-- table: b -->\n<!-- end -->\nrest" in emptied
    assert rendered(emptied, write) == new


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<!-- table: c -->x<!-- end -->", "table: one of a, not 'c'"),
        ("<!-- table: a -->x", "marker without its partner: <!-- table: a -->"),
        ("x<!-- end -->", "marker without its partner: <!-- end -->"),
        ("<!-- table: a --><!-- table: a -->x<!-- end -->", "table 'a': another marker before its end"),
        ("<!-- table: a b -->x<!-- end -->", "marker without its partner"),
    ],
)
def test_broken_markers_are_refused(text: str, message: str):
    with pytest.raises(ValueError, match=re.escape(message)):
        rendered(text, {"a": lambda: "1"})


def test_other_rows_give_other_documents():
    """The check can fail: a document written from these rows is not what those give."""
    text = documents()[0].read_text(encoding="utf-8")
    made, none = contents(everything("cpu"), None), contents([], None)
    assert rendered(text, made) != rendered(text, none)


def test_figures_of_time_stand_only_between_markers(repository: Path):
    """No measured time in the README but those that rows give."""
    text = (repository / "README.md").read_text(encoding="utf-8")
    outside = re.sub(r"<!-- table: .*?<!-- end -->", "", text, flags=re.DOTALL)
    assert not re.findall(r"\b\d[\d.,]*\s?(?:s|ms|us|seconds?|times)\b", outside)
