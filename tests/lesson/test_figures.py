"""The figures: all there, right sizes, the same bytes each time, and what stands on them."""

from pathlib import Path
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pytest
from lesson_results import DRAWN, FIGURE_NAMES, diverged_results, made_results, with_capacity
from PIL import Image

from breaknet.lesson import figures
from breaknet.lesson.figures import DPI, FIGURES, INCHES, draw_figure, png_bytes, sample_digits


def texts(figure) -> str:
    """Everything that is written on a figure."""
    return " | ".join(text.get_text() for text in figure.findobj(matplotlib.text.Text) if text.get_text())


def draw_all(results, folder) -> list[Path]:
    for name in DRAWN:
        draw_figure(results, name, folder)
    return sorted(folder.iterdir())


def test_all_figures_in_both_formats(tmp_path):
    assert tuple(FIGURES) == (*DRAWN, "capacity", "capacity_widths")
    paths = draw_all(made_results(), tmp_path / "figures")
    assert [path.name for path in paths] == sorted(f"{n}.{kind}" for n in DRAWN for kind in ("png", "svg"))
    for path in paths:
        if path.suffix == ".png":
            with Image.open(path) as image:
                assert image.size == tuple(round(side * DPI) for side in INCHES)
                assert len(image.convert("RGB").getcolors(1 << 24)) > 10  # not one blank sheet
            # a notebook shows the same
            assert FIGURES[path.stem](made_results())._repr_png_() == path.read_bytes()
        else:
            root = ElementTree.parse(path).getroot()
            assert root.tag == "{http://www.w3.org/2000/svg}svg"
            assert root.get("width") == f"{72 * INCHES[0]:.1f}".rstrip("0").rstrip(".") + "pt"


def test_the_same_results_give_the_same_bytes_whatever_the_style(tmp_path):
    first = draw_all(made_results(), tmp_path / "one")
    with matplotlib.rc_context({"font.size": 30, "lines.linewidth": 9, "svg.fonttype": "none"}):
        second = draw_all(made_results(), tmp_path / "two")
        assert matplotlib.rcParams["font.size"] == 30
    for one, two in zip(first, second, strict=True):
        assert one.read_bytes() == two.read_bytes(), one.name


@pytest.mark.parametrize("name", FIGURE_NAMES)
def test_what_every_figure_has(name):
    results = made_results(data_source="synthetic digits")
    figure = FIGURES[name](results)
    written = texts(figure)
    axes = figure.axes[0]
    kind, unit, scale = (
        ("cost", "cost per image", 1) if "cost" in name else ("accuracy", "accuracy in percent", 100)
    )
    assert axes.get_xlabel() == "epoch"
    assert axes.get_ylabel().startswith(unit)
    assert axes.get_xlim()[0] == 0
    assert axes.xaxis.get_gridlines()[0].get_visible()
    assert "synthetic digits" in written
    curves = {line.get_label(): line for line in axes.get_lines()}
    assert ("training set" in curves) == (name != "hundred_valid_accuracy")
    assert ("validation set" in curves) == (name != "hundred_train_accuracy")
    for part, style in (("train", figures.TRAIN), ("valid", figures.VALID)):
        if line := curves.get(style["label"]):
            assert line.get_color() == style["color"]
            values = scale * np.array(results["experiments"][name.partition("_")[0]][f"{part}_{kind}"])
            np.testing.assert_array_equal(line.get_data(), [np.arange(len(values)), values])
            assert name == "clean_cost_fits" or max(values) <= axes.get_ylim()[1]
    assert figures.TRAIN["linestyle"] != figures.VALID["linestyle"]
    if "accuracy" in name:
        assert "guessing: 10 %" in written
        assert curves["guessing: 10 %"].get_ydata()[0] == 10
    assert "MNIST" not in texts(FIGURES[name](made_results()))


def test_fits_are_printed_on_the_figures():
    results = made_results(valid_slope=1.26e-4, train_slope=-3e-4)
    written = texts(figures.clean_cost_fits(results))
    assert "training line: -0.00030 an epoch" in written
    assert "validation line: +0.00013 an epoch" in written
    fit = results["experiments"]["shuffled"]["fits"]["train_accuracy_logistic"]
    assert f"capacity {fit['capacity_percent']:.1f} %" in texts(figures.shuffled_accuracy(results))
    fit["c"], fit["a"] = 500.0, 40.0
    assert "capacity over 1000 %, not reached" in texts(figures.shuffled_accuracy(results))


@pytest.mark.parametrize("far", [False, True])
@pytest.mark.parametrize("name", FIGURES)
def test_nothing_is_cut_off(name, far):
    results = with_capacity() | {"data_source": "local: " + 90 * "W"}
    if far:
        for run in ("shuffled", "hundred"):
            results["experiments"][run]["fits"]["train_accuracy_logistic"] |= {"a": 40.0, "c": 5000.0}
    figure = FIGURES[name](results)
    figure.canvas.draw()
    axes = figure.axes[0]
    for artist in (axes.get_legend(), axes.yaxis.label, axes.xaxis.label, *figure.texts):
        box = artist.get_window_extent()
        assert 0 <= box.x0 <= box.x1 <= figure.bbox.width, artist
        assert 0 <= box.y0 <= box.y1 <= figure.bbox.height, artist
    if figure.texts[1:]:
        assert not axes.xaxis.label.get_window_extent().overlaps(figure.texts[1].get_window_extent())


def test_missing_fits_are_said_and_the_rest_is_drawn():
    results = made_results()
    for run in results["experiments"].values():
        run["fits"] = dict.fromkeys(run["fits"])
    assert texts(figures.clean_cost_fits(results)).count("no fit") == 2
    for name in ("shuffled_accuracy", "hundred_train_accuracy"):
        figure = FIGURES[name](results)
        assert "no fit" in texts(figure)
        assert len(figure.axes[0].get_lines()[0].get_ydata()) > 1


@pytest.mark.parametrize(
    ("results", "diverged"),
    [
        (made_results(epochs=1), ""),
        (made_results(epochs=21), ""),
        (diverged_results(0), "training diverged in epoch 0"),
        (diverged_results(30), "training diverged in epoch 30"),
    ],
    ids=["an epoch", "short", "diverged at once", "diverged"],
)
def test_incomplete_runs_are_drawn(results, diverged, tmp_path):
    assert len(draw_all(results, tmp_path)) == 2 * len(DRAWN)
    assert diverged in texts(figures.shuffled_cost(results))
    assert "diverged" not in texts(figures.clean_cost(results))


def test_a_stuck_run_says_so():
    results = made_results()
    results["experiments"]["clean"]["stuck_at"] = 7
    assert "training is stuck from epoch 7 on" in texts(figures.clean_cost(results))
    assert "stuck" not in texts(figures.shuffled_cost(results))


def curves_of(figure) -> dict[str, tuple[list[float], list[float]]]:
    return {line.get_label(): tuple(map(list, line.get_data())) for line in figure.axes[0].get_lines()}


def test_label_noise_is_drawn_over_its_share_beside_the_prediction():
    results = made_results()
    noise = results["label_noise"]
    curves = curves_of(figures.label_noise(results, {90: 20, 50: 60}))
    shares = [0, 25, 50, 75, 90, 100]
    for part, label in (("train", "training set"), ("valid", "validation set")):
        assert curves[label] == (shares, pytest.approx([100 * value for value in noise[f"{part}_accuracy"]]))
    assert curves["your prediction"] == ([50, 90], [60, 20])
    assert "your prediction" not in curves_of(figures.label_noise(results))
    noise["valid_accuracy"][3] = None  # that run diverged
    assert np.isnan(curves_of(figures.label_noise(results))["validation set"][1][3])


def test_capacity_is_drawn_over_examples_and_widths():
    results = with_capacity()
    figure = figures.capacity(results, {100: 100, 10_000: 50})
    assert curves_of(figure)["training set"] == (
        [100, 300, 1000, 3000, 10000],
        pytest.approx([99.0, 95.7, 70.9, 23.4, 12.4]),
    )
    assert curves_of(figure)["your prediction"] == ([100, 10000], [100, 50])
    assert "within 3,000 steps" in texts(figure)
    bars = figures.capacity_widths(results).axes[0].patches
    assert [bar.get_height() for bar in bars] == pytest.approx([36.6, 49.4, 63.3])
    assert "learning rate 0.0125" in texts(figures.capacity_widths(results))


def test_a_folder_name_is_no_formula(tmp_path, recwarn):
    results = made_results(data_source="local: $\\frac{ 日本 " + 80 * "x")
    assert png_bytes(figures.clean_cost(results)).startswith(b"\x89PNG")
    written = texts(figures.clean_cost(results))
    assert "local: $\\frac{ 日本" in written
    assert 70 * "x" not in written
    assert not [warning for warning in recwarn if "Glyph" in str(warning.message)]


def test_sample_digits_show_both_labels():
    images = np.random.default_rng(0).integers(0, 256, (23, 784)).astype(np.uint8)
    true, shuffled = np.arange(23) % 10, (np.arange(23) * 3) % 10
    figure = sample_digits(images, true, shuffled)
    labels = [text.get_text() for text in figure.axes[0].texts]
    assert labels[::2] == [f"true {label}" for label in true[:20]]
    assert labels[1::2] == [f"shuffled {label}" for label in shuffled[:20]]
    red = [text.get_color() == figures.TRAIN["color"] for text in figure.axes[0].texts[1::2]]
    assert red == (true != shuffled)[:20].tolist()
    assert png_bytes(figure) == png_bytes(sample_digits(images.reshape(-1, 28, 28), true, shuffled))


def test_sample_digits_wrong_calls():
    for images in (np.zeros((3, 100)), np.zeros((0, 784))):
        with pytest.raises(ValueError, match=r"^images: "):
            sample_digits(images, [1, 2, 3], [1, 2, 3])
    with pytest.raises(ValueError, match="differ in length: 3, 2 and 3"):
        sample_digits(np.zeros((3, 784)), [1, 2], [1, 2, 3])
