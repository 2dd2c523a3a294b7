"""The report: whole, self-contained, safe, and worded by the numbers of the run."""

import base64
import re
import shutil
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from lesson_results import DRAWN, diverged_results, made_results, with_capacity
from report_page import SVG, Page

from breaknet.errors import DataError
from breaknet.lesson.report import describe, network_diagram, render_report, write_report
from breaknet.lesson.report_questions import SECTIONS
from breaknet.lesson.report_sentences import alarms, closing, notice, parameter_count


def picture(attributes: dict[str, str | None]) -> tuple[str, bytes]:
    kind, _, data = attributes["src"].removeprefix("data:").partition(";base64,")
    return kind, base64.b64decode(data, validate=True)


# ---- the page


def test_the_page_is_whole_and_holds_the_drawn_figures(tmp_path, drawn):
    shutil.copytree(drawn, tmp_path, dirs_exist_ok=True)
    path = write_report(made_results(), b"\x89PNG samples", tmp_path)
    assert path == tmp_path / "report.html"
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["figures", "pictures", "report.html"]
    page = Page(path.read_text(encoding="utf-8"))
    images = page.all("img")
    assert [picture(image) for image in images] == [("image/png", b"\x89PNG samples")]
    figures = [figure["data-figure"] for figure in page.all("figure") if "data-figure" in figure]
    assert figures == list(DRAWN)
    assert all(name in page.text for name in DRAWN)  # the titles of the substitutes
    assert page.all("html") == [{"lang": "en"}]
    assert len(page.all("svg")) == 1 + 4 + len(DRAWN)  # the network, empty axes, figures
    described = [images[0]["alt"], *(svg["aria-label"] for svg in page.all("svg"))]
    assert all(len(text) > 20 for text in described)
    folds = page.all("details")
    assert len(folds) == 4 * 2 + 1
    assert not any("open" in fold for fold in folds)


def test_everything_that_is_asked_is_on_the_page(page_of):
    results = with_capacity()
    text = page_of(results).text
    words = ["Over-fitting", "universal approximation", "Homework", "torch 2.13.0", "one by one", "61.2 s"]
    for section in SECTIONS:
        words += [*section.setup, *section.before, *section.after, *notice(results, section.name)]
    assert [word for word in words if word not in text] == []


def test_headings_come_in_order(page_of):
    levels = [int(tag[1]) for tag, _ in page_of(made_results()).tags if re.fullmatch(r"h\d", tag)]
    assert levels.count(1) == 1
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))


def test_nothing_is_loaded_from_anywhere(drawn):
    page = render_report(made_results(data_source="local: http://example.org/x"), SVG % b"samples", drawn)
    assert not re.search(r"""(src|href|action|data|poster)\s*=\s*["']?\s*(https?:)?//""", page)
    assert not re.search(r"url\((?!#)|@import", page)
    assert not re.search(r"\b(fetch|XMLHttpRequest|WebSocket|sendBeacon|import)\b *\(", page)
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
    assert len(parsed.all("script")) == 2
    assert all("onerror" not in attributes for _, attributes in parsed.tags)
    assert evil in parsed.text


def test_a_banner_and_every_figure_name_data_that_are_not_mnist(drawn):
    page = render_report(made_results(data_source="synthetic digits"), None, drawn)
    assert page.index("This is not MNIST: synthetic digits") < page.index("<h1>")
    assert "(synthetic digits)" in page.partition("</title>")[0]
    assert page.count("Data: synthetic digits.") == len(DRAWN)


def changed(change: Callable[[dict[str, Any]], object], **made: Any) -> dict[str, Any]:
    """Made-up results after a change of their experiments."""
    results = made_results(**made)
    change(results["experiments"])
    return results


def short(epochs: int) -> dict[str, Any]:
    return made_results(epochs=epochs, scale=epochs / 100)


NO_LINES = {"There are no lines to compare": 1}
WITHOUT_FITS = changed(lambda runs: [run.update(fits=dict.fromkeys(run["fits"])) for run in runs.values()])
#: Results, and how often texts stand on their page.
PAGES = {
    "whole": (made_results(), {"This is not MNIST": 0, "shortened": 0, "lengthened": 0, "diverged": 0}),
    "summary": (made_results(), {"Clean labels 97.5 % 94.8 %": 1, "Shuffled labels 14.6 % 7.5 %": 1}),
    "extremes": (
        made_results(),
        {
            "Lowest cost 0.0463 (epoch 99) 0.0900 (epoch 20)": 1,
            "Highest accuracy 99.0 % (epoch 999) 9.0 % (epoch 0)": 1,
        },
    ),
    "local data": (made_results("local: mine"), {"This is not MNIST: local: mine": 1}),
    "shortened": (made_results(scale=0.1), {"shortened": 1, "lengthened": 0}),
    "lengthened": (made_results(scale=2.0), {"shortened": 0, "lengthened": 1}),
    "1 epoch": (short(1), NO_LINES),
    "2 epochs": (short(2), NO_LINES),
    "5 epochs": (short(5), NO_LINES),
    "21 epochs": (short(21), NO_LINES),
    "22 epochs": (short(22), {"There are no lines to compare": 0}),
    "no fits": (WITHOUT_FITS, {"no fit": 4, "No logistic curve could be fitted": 2, **NO_LINES}),
    "a part": (changed(lambda runs: runs.pop("hundred")), {"This experiment was not run.": 1}),
    "diverged at once": (
        diverged_results(0),
        {"Training diverged in epoch 0 of 100": 3, "No epoch was completed": 1, "Cost after epoch": 2},
    ),
    "diverged after one epoch": (diverged_results(1), {"Training diverged in epoch 1 of 100": 3}),
    "diverged": (
        diverged_results(30),
        {"Training diverged in epoch 30 of 100": 3, "No epoch was completed": 0, "Cost after epoch": 3},
    ),
}


@pytest.mark.parametrize("kind", PAGES)
def test_texts_on_the_page(kind, page_of):
    results, texts = PAGES[kind]
    page = page_of(results)
    assert {text: page.text.count(text) for text in texts} == texts
    assert "nan" not in page.text.lower().split()
    figures = sum("data-figure" in one for one in page.all("figure"))
    drawn = [name for name in DRAWN if kind != "a part" or not name.startswith("hundred")]
    assert figures == len(drawn)


def test_figures_are_described_with_their_fits():
    assert "with the fitted" not in describe(WITHOUT_FITS, "shuffled_accuracy")
    assert "with the fitted logistic curve" in describe(made_results(), "shuffled_accuracy")
    alone = describe(made_results(), "hundred_train_accuracy")
    assert ("training accuracy from" in alone, "validation" in alone) == (True, False)


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


def test_an_older_page_stays_when_the_new_one_fails(tmp_path, drawn):
    shutil.copytree(drawn, tmp_path, dirs_exist_ok=True)
    path = write_report(made_results(), None, tmp_path)
    before = path.read_bytes()
    broken = made_results()
    del broken["settings"]["batch_size"]
    with pytest.raises(Exception, match="batch_size"):
        write_report(broken, None, tmp_path)
    assert path.read_bytes() == before
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["figures", "pictures", "report.html"]


def test_folder_that_cannot_be_written(drawn, tmp_path):
    shutil.copytree(drawn, tmp_path, dirs_exist_ok=True)
    (tmp_path / "report.html").mkdir()
    with pytest.raises(DataError, match=r"report\.html: cannot be written"):
        write_report(made_results(), None, tmp_path)


# ---- the sentences


def clean(train_slope: float, valid_slope: float) -> dict[str, Any]:
    return made_results(train_slope=train_slope, valid_slope=valid_slope)


def shuffled(**last: float) -> dict[str, Any]:
    """Results whose shuffled run has other last values."""

    def change(runs: dict[str, Any]) -> None:
        for curve, value in last.items():
            runs["shuffled"][curve][-1] = value

    return changed(change)


def late(end: float) -> dict[str, Any]:
    """Results whose validation accuracy on 100 examples moves from 0.08 to 0.98 `end`."""
    values = np.interp(np.arange(1000), [0, 700, 900, 999], [0.08, 0.08, end * 0.98, end * 0.98]).tolist()
    return changed(lambda runs: runs["hundred"].update(valid_accuracy=values))


EXTRAPOLATED = changed(
    lambda runs: runs["shuffled"]["fits"]["train_accuracy_logistic"].update(a=40.0, c=500.0)
)
UNLEARNED = changed(lambda runs: runs["hundred"].update(train_accuracy=[0.15] * 1000))
DEAD = made_results()
DEAD["label_noise"]["valid_accuracy"] = [0.106] * 6
NARROW = with_capacity()["capacity"]["widths"] | {"best_train_accuracy": [0.36, 0.3, 0.1]}


def noisy(accuracy: float | None) -> dict[str, Any]:
    """Results whose validation accuracy with nine tenths of the labels shuffled is another."""
    results = made_results()
    results["label_noise"]["valid_accuracy"][4] = accuracy
    return results


#: Experiment, results, what is said, what is not.
SENTENCES = [
    ("clean", clean(-3e-4, 1e-4), "validation cost rises (slope +0.00010", "nearly level"),
    ("clean", clean(-3e-4, 1e-4), "This is over-fitting in plain sight", "This is over-fitting: the network"),
    ("clean", clean(-3e-4, 1e-5), "validation cost is nearly level (slope +0.000010", "in plain sight"),
    ("clean", clean(-3e-4, 0.0), "This is over-fitting: the network", "in plain sight"),
    ("clean", clean(-3e-4, -1e-5), "validation cost is nearly level (slope -0.000010", "in plain sight"),
    ("clean", clean(-3e-4, -1e-4), "Both costs still fall, the validation cost more slowly", "nearly level"),
    ("clean", clean(-3e-4, -5e-4), "Both costs fall about equally", "This is over-fitting"),
    ("clean", clean(2e-4, 1e-4), "training cost has stopped falling", "This is over-fitting"),
    ("clean", clean(-3e-4, 1e-4), "After epoch 99 the cost per image is 0.0463 on the training set and 0.0979", ""),
    ("clean", clean(-3e-4, 1e-4), "97.5 % and 94.8 %", ""),
    ("clean", clean(-3e-4, 1e-4), "lowest, 0.0900, after epoch 20, and ends 8.8 % above that", ""),
    ("clean", clean(-3e-4, 1e-4), "2.1 times the training cost", ""),
    ("clean", diverged_results(30), "After epoch 99", "diverged"),
    ("shuffled", diverged_results(30), "diverged in epoch 30", "diverged in epoch 31"),
    ("shuffled", shuffled(train_accuracy=0.145), "14.5 %, better than guessing", "hardly"),
    ("shuffled", shuffled(train_accuracy=0.101), "10.1 %: hardly better than guessing", "%, better"),
    ("shuffled", shuffled(valid_accuracy=0.072), "7.2 %, below guessing", "above guessing"),
    ("shuffled", shuffled(valid_accuracy=0.101), "10.1 %, about the same as guessing", "above guessing"),
    ("shuffled", shuffled(valid_accuracy=0.125), "12.5 %, above guessing", "below guessing"),
    ("shuffled", shuffled(train_cost=0.6), "0.600, clearly below that;", ""),
    ("shuffled", shuffled(train_cost=0.89), "0.890, a little below that;", ""),
    ("shuffled", shuffled(valid_cost=0.9), "0.900, the same within 0.005.", ""),
    ("shuffled", shuffled(valid_cost=0.93), "0.930, above that, worse than the constant answer.", ""),
    ("shuffled", made_results(), "levels off at 14.6 %, its carrying capacity", "extrapolation"),
    ("shuffled", made_results(), "13,002 parameters", "No logistic curve"),
    ("shuffled", EXTRAPOLATED, "extrapolation", "Why so little"),
    ("shuffled", WITHOUT_FITS, "No logistic curve could be fitted", "Why so little"),
    ("hundred", made_results(), "memorised the labels of its 100 images, although there is no rule", "has not"),
    ("hundred", made_results(), "130 for each of 100 labels, but 0.26 for each of all 50,000", ""),
    ("hundred", UNLEARNED, "has not memorised its 100 labels", "useless"),
    ("hundred", late(0.10), "rises, from 8.0 % just after epoch 600 to 9.8 % at the end (means of 100", "does not"),
    ("hundred", late(0.10), "It drifts towards the 10 % of guessing", "come closer"),
    ("hundred", late(0.0816), "does not rise: it hardly moves, from 8.0 %", "drifts"),
    ("hundred", late(0.06), "does not rise: it falls, from 8.0 %", "drifts"),
    ("label_noise", made_results(), "50 %: 92.1 %, 75 %: 89.3 %, 90 %: 73.1 %", "does not see through"),
    ("label_noise", made_results(), "With 90 % of the labels shuffled, 81.0 % of them are wrong", ""),
    ("label_noise", made_results(), "Only 19.0 % of the labels are right, and yet", "diverged"),
    ("label_noise", noisy(0.3), "does not see through so much noise: its validation accuracy is 30.0 %", "and yet"),
    ("label_noise", DEAD, "Even with true labels the network hardly learns", "does not see through"),
    ("capacity", with_capacity(best_train_accuracy=[0.11] * 5), "hardly more than the tenth", "most was memorised"),
    ("label_noise", noisy(None), "diverged for some shares", "%"),
    ("capacity", with_capacity(), "99.0 % of 100, 95.7 % of 300, 70.9 % of 1,000", "diverged"),
    ("capacity", with_capacity(), "most was memorised of 1,000 examples: about 677 labels (709 are right)", ""),
    ("capacity", with_capacity(), "36.6 % with 16 and 16 units, 49.4 % with 32 and 32 units", "did not memorise"),
    ("capacity", with_capacity(), "only with a learning rate that suits them", "did not memorise more"),
    ("capacity", with_capacity(widths=NARROW), "the wider networks did not memorise more", "The wider the hidden"),
    ("capacity", with_capacity(best_train_accuracy=[0.9, None, 0.1, 0.1, 0.1]), "diverged for some runs", "tenth"),
    ("hundred", late(0.20), "It does not come closer to the 10 % of guessing", "drifts"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "results", "expected", "unexpected"), SENTENCES, ids=[f"{row[0]}: {row[2]}" for row in SENTENCES]
)
def test_words_follow_the_numbers(name, results, expected, unexpected):
    found = " ".join(notice(results, name))
    assert expected in found
    assert not unexpected or unexpected not in found


STUCK = changed(lambda runs: runs["clean"].update(stuck_at=2))
SHORT = made_results(epochs=30, scale=0.3)
SHORT["experiments"]["hundred"]["train_accuracy"] = [0.3] * 300


def test_what_went_wrong_stands_at_the_top(page_of):
    assert alarms(made_results()) == []
    [said] = alarms(STUCK)
    assert said.startswith("clean: the network is stuck from epoch 2 on.")
    assert "this one was 0.05" in said
    text = page_of(STUCK).text
    assert text.index(said) < text.index("The network and its task")
    below = "true labels. The network is stuck from epoch 2 on: it learns nothing more."
    assert below in text, "it stands under the figure as well"
    [said] = alarms(SHORT)
    assert "300 epochs are too few to memorise 100 labels (the highest training accuracy is 30.0 %)" in said
    assert "With 1,000 epochs it does;" in said
    assert said in page_of(SHORT).text
    slower = {**SHORT, "settings": {**SHORT["settings"], "learning_rate": 1e-4}}
    assert "More epochs may do it;" in alarms(slower)[0]
    memorised = made_results(epochs=30, scale=0.3)
    memorised["experiments"]["hundred"]["train_accuracy"][-1] = 0.95
    assert alarms(memorised) == []


def test_closing_looks_back_at_the_clean_run():
    assert "It was there in the clean run already" in closing(made_results())[-1]
    assert "stayed close together" in closing(clean(2e-4, 0.0))[-1]
    assert len(closing(changed(lambda runs: runs.pop("clean")))) == 1
