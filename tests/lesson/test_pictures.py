"""Pictures of what a network sees: the right pixels, numbers and words, from a run as from arrays."""

import numpy as np
import pytest
from matplotlib.text import Text
from PIL import Image
from tiny import tiny_digits

import breaknet
from breaknet.lesson.figures import png_bytes
from breaknet.lesson.pictures import draw_picture, gallery
from breaknet.views import confidently_wrong, outputs, weight_images

NAMES = ("T-shirt", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")


@pytest.fixture(scope="module")
def digits() -> breaknet.Digits:
    return tiny_digits()


@pytest.fixture(scope="module")
def run(digits) -> breaknet.Run:
    return breaknet.train(digits.train, epochs=2, backend="torch")


def texts(figure) -> str:
    return " | ".join(text.get_text() for text in figure.findobj(Text) if text.get_text())


def pictures(figure) -> list[np.ndarray]:
    return [np.asarray(axes.images[0].get_array()) for axes in figure.axes if axes.images]


def whole(figure) -> None:
    """Nothing that is written is cut off."""
    figure.canvas.draw()
    written = list(figure.texts)
    for axes in figure.axes:
        written += [axes.title, *axes.texts]
        if axes.axison:
            written += [axes.xaxis.label, axes.yaxis.label, *axes.get_xticklabels(), *axes.get_yticklabels()]
    for text in filter(Text.get_text, written):
        box = text.get_window_extent()
        assert -1 <= box.x0 <= box.x1 <= figure.bbox.width + 1, text
        assert -1 <= box.y0 <= box.y1 <= figure.bbox.height + 1, text


def test_weights_are_one_picture_a_unit(run):
    figure = breaknet.plot_weights(run)
    np.testing.assert_array_equal(np.stack(pictures(figure)), weight_images(run))
    limits = {axes.images[0].get_clim() for axes in figure.axes if axes.images}
    [(low, high)] = limits
    assert low == -high, "nothing is white but 0"
    assert png_bytes(breaknet.plot_weights(weight_images(run))) == png_bytes(figure)
    whole(figure)
    wide = breaknet.plot_weights(breaknet.MLP((100, 3)), "Wide")
    assert len(pictures(wide)) == 64
    assert "Wide (the first 64 of 100)" in texts(wide)
    assert png_bytes(breaknet.plot_weights(np.zeros((3, 28, 28), np.float32)))


@pytest.mark.parametrize("names", [tuple("0123456789"), NAMES])
def test_confusion_shows_the_share_of_every_answer(digits, run, names):
    counts = breaknet.evaluate(run, digits.valid, confusion=True).confusion[-1]
    figure = breaknet.plot_confusion(run, digits.valid, names=names)
    shares = 100 * counts / counts.sum(1, keepdims=True)
    np.testing.assert_allclose(pictures(figure)[0], shares)
    cells = {(text.get_position()): text.get_text() for text in figure.axes[0].texts}
    assert len(cells) == (counts > 0).sum()
    assert all(
        cells[answer, true] == f"{shares[true, answer]:.0f}" for true, answer in np.argwhere(shares >= 1)
    )
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == list(names)
    assert png_bytes(breaknet.plot_confusion(counts, names=names)) == png_bytes(figure)
    whole(figure)


def test_confusion_needs_counts_or_data(run):
    with pytest.raises(TypeError, match=r"model: counts \[10, 10\], or a model with a split"):
        breaknet.plot_confusion(np.zeros((3, 3)))


@pytest.mark.parametrize("names", [tuple("0123456789"), NAMES])
def test_mistakes_stand_with_label_answer_and_output(digits, run, names):
    figure = breaknet.plot_mistakes(run, digits.valid, 7, names=names)
    wrong = confidently_wrong(run, digits.valid, 7)
    for one, axes in zip(wrong, figure.axes, strict=False):
        np.testing.assert_array_equal(
            axes.images[0].get_array(), digits.valid.images[one.index].reshape(28, 28)
        )
        expected = f"label {names[one.label]}\nanswer {names[one.predicted]}: {one.output:.2f}"
        assert axes.get_title() == expected
    assert len(pictures(figure)) == 7
    whole(figure)
    assert "No mistakes at all" in texts(gallery(np.zeros((0, 784), np.uint8), []))
    pair = (digits.valid.images, digits.valid.labels)
    assert png_bytes(breaknet.plot_mistakes(run, pair, 7, names=names)) == png_bytes(figure)


def test_a_digit_is_shown_as_the_network_gets_it(digits, run):
    image = digits.valid.images[3]
    alone = breaknet.plot_digit(image)
    np.testing.assert_array_equal(pictures(alone)[0], image.reshape(28, 28))
    figure = breaknet.plot_digit(image, run, label=4)
    heights = [bar.get_height() for bar in figure.axes[1].patches]
    np.testing.assert_allclose(heights, outputs(run, image.reshape(28, 28))[0], rtol=1e-6)
    assert figure.axes[1].get_title("left") == f"answer {int(np.argmax(heights))}, label 4"
    whole(breaknet.plot_digit(image, run, names=NAMES))


def test_a_picture_is_written_whole(tmp_path, run):
    draw_picture("weights", tmp_path / "figures" / "clean_weights.png", {"model": weight_images(run)})
    with Image.open(tmp_path / "figures" / "clean_weights.png") as image:
        assert len(image.convert("RGB").getcolors(1 << 24)) > 100
    assert [path.name for path in (tmp_path / "figures").iterdir()] == ["clean_weights.png"]


def test_what_is_no_picture_and_no_split_is_refused_by_name(digits, run):
    with pytest.raises(TypeError, match=r"^image: numbers such as .*, not a str$"):
        breaknet.plot_digit("mine.png")
    with pytest.raises(ValueError, match=r"^image: one of shape \[28, 28\] or \[784\], not \[2, 784\]$"):
        breaknet.plot_digit(digits.valid.images[:2])
    with pytest.raises(TypeError, match="split: a Split or a pair"):
        breaknet.plot_mistakes(digits.valid, run)
