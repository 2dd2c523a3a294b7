"""The report: whole, self-contained, safe, and worded by the numbers of the run."""

from __future__ import annotations

import base64
import re
from html.parser import HTMLParser
from itertools import pairwise

import numpy as np
import pytest
from lesson_results import diverged_results, made_results

from breaknet.errors import DataError
from breaknet.lesson.figures import FIGURES, draw_figures, sample_digits, svg_bytes
from breaknet.lesson.report import describe, network_diagram, render_report, write_report
from breaknet.lesson.report_questions import SECTIONS
from breaknet.lesson.report_sentences import closing, notice, parameter_count

VOID = {"meta", "img", "br", "hr", "input", "link", "path", "circle", "rect"}
SVG = b"<svg xmlns='http://www.w3.org/2000/svg'><title>%s</title></svg>"


class Page(HTMLParser):
    """Parses a page strictly: every tag closed, in order; keeps tags, attributes and text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not {"style", "script"} & set(self.open):
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """Substitutes for drawn figures, so that tests of words need not draw."""
    folder = tmp_path_factory.mktemp("figures")
    for name in FIGURES:
        (folder / f"{name}.svg").write_bytes(SVG % name.encode())
    return folder


@pytest.fixture
def page_of(drawn):
    """Renders results with substitutes for the figures, and parses the page."""
    return lambda results: Page(render_report(results, None, drawn))


def picture(attributes: dict[str, str | None]) -> bytes:
    kind, _, data = attributes["src"].partition(";base64,")
    assert kind in ("data:image/svg+xml", "data:image/png")
    return base64.b64decode(data, validate=True)


# ---- the page


def test_the_page_is_whole_and_holds_the_drawn_figures(tmp_path):
    results = made_results()
    draw_figures(results, tmp_path / "figures")
    samples = sample_digits(np.zeros((4, 784), np.uint8), [1, 2, 3, 4], [1, 3, 2, 4])
    path = write_report(results, samples, tmp_path)
    assert path == tmp_path / "report.html"
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["figures", "report.html"]
    page = Page(path.read_text(encoding="utf-8"))
    images = page.all("img")
    assert len(images) == 8
    assert picture(images[0]).startswith(b"\x89PNG")
    for name, attributes in zip(FIGURES, images[1:], strict=True):
        assert picture(attributes) == (tmp_path / "figures" / f"{name}.svg").read_bytes()
    assert all(len(attributes["alt"]) > 20 for attributes in images)
    assert page.all("html") == [{"lang": "en"}]
    assert len(page.all("svg")) == 1
    assert page.all("svg")[0]["aria-label"]
    assert len(page.all("details")) == 3


def test_figures_that_are_not_there_are_drawn():
    results = made_results(epochs=25)
    images = Page(render_report(results)).all("img")
    assert [picture(image) for image in images] == [svg_bytes(draw(results)) for draw in FIGURES.values()]


def test_everything_that_is_asked_is_on_the_page(page_of):
    text = page_of(made_results()).text
    for section in SECTIONS:
        for sentence in (*section.setup, *section.before, *section.after):
            assert sentence in text
        for sentence in notice(made_results(), section.name):
            assert sentence in text
    for word in (
        "Over-fitting",
        "universal approximation",
        "Homework",
        "torch 2.13.0",
        "one by one",
        "61.2 s",
    ):
        assert word in text


def test_headings_come_in_order(page_of):
    levels = [int(tag[1]) for tag, _ in page_of(made_results()).tags if re.fullmatch(r"h\d", tag)]
    assert levels.count(1) == 1
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))


def test_nothing_is_loaded_from_anywhere(drawn):
    page = render_report(made_results(data_source="local: http://example.org/x"), SVG % b"samples", drawn)
    assert not re.search(r"""(src|href|action|data|poster)\s*=\s*["']?\s*(https?:)?//""", page)
    assert not re.search(r"url\(|@import", page)
    parsed = Page(page)
    assert not parsed.all("link")
    assert all("src" not in script for script in parsed.all("script"))
    assert "default-src 'none'" in page


def test_names_are_escaped(drawn):
    evil = '"><script>alert(1)</script><img src=x onerror=alert(1)>'
    results = made_results(data_source=f"local: {evil}")
    results["device"] = results["versions"]["torch"] = evil
    page = render_report(results, None, drawn)
    assert "<script>alert" not in page
    assert "<img src=x" not in page
    parsed = Page(page)
    assert len(parsed.all("script")) == 1
    assert all("onerror" not in attributes for _, attributes in parsed.tags)
    assert evil in parsed.text


def test_a_banner_names_data_that_are_not_mnist(drawn, page_of):
    assert not page_of(made_results()).all("aside")
    assert "This is not MNIST: local: mine" in page_of(made_results("local: mine")).text
    page = render_report(made_results(data_source="synthetic digits"), None, drawn)
    assert page.index("This is not MNIST: synthetic digits") < page.index("<h1>")
    assert "(synthetic digits)" in page.partition("</title>")[0]
    assert page.count("Data: synthetic digits.") == 7


@pytest.mark.parametrize(("scale", "words"), [(0.1, ["shortened"]), (2.0, ["lengthened"]), (1.0, [])])
def test_a_scaled_run_says_so(scale, words, page_of):
    text = page_of(made_results(scale=scale)).text
    assert [word for word in ("shortened", "lengthened") if word in text] == words


def test_missing_fits_on_the_page(page_of):
    results = made_results()
    for run in results["experiments"].values():
        run["fits"] = dict.fromkeys(run["fits"])
    text = page_of(results).text
    assert text.count("no fit") == 4
    assert "There are no lines to compare" in text
    assert text.count("No logistic curve could be fitted") == 2
    assert "with the fitted" not in describe(results, "shuffled_accuracy")
    assert "with the fitted logistic curve" in describe(made_results(), "shuffled_accuracy")


@pytest.mark.parametrize("at", [0, 1, 30])
def test_diverged_runs(at, page_of):
    results = diverged_results(at)
    sentences = notice(results, "shuffled")
    assert f"diverged in epoch {at}" in sentences[0]
    assert (sentences[-1] == "No epoch was completed, so there is nothing to see.") == (at == 0)
    text = page_of(results).text
    assert f"Training diverged in epoch {at} of 100" in text
    assert text.count("Cost after epoch") == (2 if at == 0 else 3)
    assert "diverged" not in " ".join(notice(results, "clean"))


@pytest.mark.parametrize("epochs", [1, 2, 5, 21, 22])
def test_short_runs(epochs, page_of):
    text = page_of(made_results(epochs=epochs, scale=epochs / 100)).text
    assert ("There are no lines to compare" in text) == (epochs < 22)
    assert "nan" not in text.lower().split()


def test_experiments_that_were_not_run_are_said_to_be_missing(page_of):
    results = made_results()
    del results["experiments"]["hundred"]
    page = page_of(results)
    assert page.text.count("This experiment was not run.") == 1
    assert len(page.all("img")) == 4


def test_parameters_are_counted_as_torch_counts_them():
    from breaknet.model import MLP

    for hidden in ((16, 16), (3, 40)):
        assert parameter_count(hidden) == sum(weight.numel() for weight in MLP(hidden).parameters())


def test_the_diagram_shows_every_layer():
    columns = network_diagram([16, 300])["columns"]
    assert [column["size"] for column in columns] == [784, 16, 300, 10]
    assert [len(column["ys"]) for column in columns] == [12, 16, 16, 10]
    assert [column["more"] for column in columns] == [True, False, True, False]
    assert [path.count("M") for path in network_diagram([16, 16])["edges"]] == [12 * 16, 16 * 16, 160]


def test_an_older_page_stays_when_the_new_one_fails(tmp_path):
    path = write_report(made_results(epochs=2), None, tmp_path)
    before = path.read_bytes()
    broken = made_results(epochs=2)
    del broken["settings"]["batch_size"]
    with pytest.raises(Exception, match="batch_size"):
        write_report(broken, None, tmp_path)
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["report.html"]


def test_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "lesson").write_text("a file")
    with pytest.raises(DataError, match=r"report\.html: cannot be written"):
        write_report(made_results(epochs=2), None, tmp_path / "lesson")


# ---- the sentences


def sentences(name: str, last: dict[str, float] | None = None, **made: float) -> str:
    """What is said of experiment `name` in made-up results, the `last` values of some curves replaced."""
    results = made_results(**made)
    for curve, value in (last or {}).items():
        results["experiments"][name][curve][-1] = value
    return " ".join(notice(results, name))


@pytest.mark.parametrize(
    ("train_slope", "valid_slope", "expected", "unexpected"),
    [
        (-3e-4, 1e-4, "validation cost rises (slope +1.00e-04", "nearly level"),
        (-3e-4, 1e-4, "This is over-fitting in plain sight", "This is over-fitting: the network"),
        (-3e-4, 1e-5, "validation cost is nearly level (slope +1.00e-05", "in plain sight"),
        (-3e-4, 0.0, "This is over-fitting: the network", "in plain sight"),
        (-3e-4, -1e-5, "validation cost is nearly level (slope -1.00e-05", "in plain sight"),
        (-3e-4, -1e-4, "Both costs still fall, the validation cost more slowly", "nearly level"),
        (-3e-4, -5e-4, "Both costs fall about equally", "This is over-fitting"),
        (2e-4, 1e-4, "training cost has stopped falling", "This is over-fitting"),
    ],
)
def test_clean_words_follow_the_slopes(train_slope, valid_slope, expected, unexpected):
    found = sentences("clean", train_slope=train_slope, valid_slope=valid_slope)
    assert expected in found
    assert unexpected not in found


@pytest.mark.parametrize(
    ("last", "expected"),
    [
        ({"train_accuracy": 0.145, "valid_accuracy": 0.072}, "14.5 %, better than guessing"),
        ({"train_accuracy": 0.145, "valid_accuracy": 0.072}, "7.2 %, below guessing"),
        ({"train_accuracy": 0.101, "valid_accuracy": 0.101}, "10.1 %: hardly better than guessing"),
        ({"train_accuracy": 0.101, "valid_accuracy": 0.101}, "10.1 %, about the same as guessing"),
        ({"train_accuracy": 0.145, "valid_accuracy": 0.125}, "12.5 %, above guessing"),
        ({"train_cost": 0.6, "valid_cost": 0.93}, "0.600, clearly below that; the"),
        ({"train_cost": 0.6, "valid_cost": 0.93}, "0.930, above that, worse than the constant answer."),
        ({"train_cost": 0.89, "valid_cost": 0.9}, "0.890, a little below that; the"),
        ({"train_cost": 0.89, "valid_cost": 0.9}, "0.900, the same within 0.005."),
    ],
)
def test_shuffled_words_follow_the_last_values(last, expected):
    assert expected in sentences("shuffled", last)


@pytest.mark.parametrize(
    ("end", "expected"),
    [
        (0.10, "rises, from 8.0 % just after epoch 600 to 9.8 % at the end (means of 100 epochs). It drifts"),
        (0.0816, "does not rise: it hardly moves, from 8.0 %"),
        (0.06, "does not rise: it falls, from 8.0 %"),
        (0.20, "It does not come closer to the 10 % of guessing"),
    ],
)
def test_late_words_follow_the_validation_accuracy(end, expected):
    results = made_results()
    late = np.interp(np.arange(1000), [0, 700, 900, 999], [0.08, 0.08, end * 0.98, end * 0.98])
    results["experiments"]["hundred"]["valid_accuracy"] = late.tolist()
    assert expected in notice(results, "hundred")[-1]


def test_clean_numbers():
    found = notice(made_results(train_slope=-3e-4, valid_slope=1e-4), "clean")
    assert "After epoch 99 the cost per image is 0.0463 on the training set and 0.0979" in found[0]
    assert "97.5 % and 94.8 %" in found[0]
    assert "lowest, 0.0900, after epoch 20, and ends 8.8 % above that" in found[1]
    assert "2.1 times the training cost" in found[-1]


def test_closing_looks_back_at_the_clean_run():
    assert "It was there in the clean run already" in closing(made_results())[-1]
    assert "stayed close together" in closing(made_results(train_slope=2e-4, valid_slope=0.0))[-1]
    alone = made_results()
    del alone["experiments"]["clean"]
    assert len(closing(alone)) == 1


def test_fits_are_worded_by_what_they_found():
    results = made_results()
    fits = results["experiments"]["shuffled"]["fits"]
    found = " ".join(notice(results, "shuffled"))
    assert f"levels off at {fits['train_accuracy_logistic']['capacity_percent']:.1f} %" in found
    assert "13,002 parameters" in found
    fits["train_accuracy_logistic"] |= {"a": 40.0, "c": 500.0}
    found = " ".join(notice(results, "shuffled"))
    assert "extrapolation" in found
    assert "Why so little" not in found
    fits["train_accuracy_logistic"] = None
    assert "No logistic curve could be fitted" in " ".join(notice(results, "shuffled"))


def test_hundred_that_memorised_and_hundred_that_did_not():
    found = sentences("hundred")
    assert "memorised the labels of its 100 images, although there is no rule in them" in found
    assert "130 for each of 100 labels, but 0.26 for each of the 50,000" in found
    results = made_results()
    results["experiments"]["hundred"]["train_accuracy"] = [0.15] * 1000
    found = " ".join(notice(results, "hundred"))
    assert "has not memorised its 100 labels" in found
    assert "useless" not in found
