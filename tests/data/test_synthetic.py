"""Synthetic digits: the same every time, about as sparse as MNIST, readable, and hard enough to over-fit."""

import hashlib
import os

import numpy as np
import pytest
from made_up import assert_same, parts_of
from scipy.ndimage import gaussian_filter

from breaknet.breakage import shuffle_labels
from breaknet.data import cache, synthetic
from breaknet.data.mnist import load_mnist
from breaknet.errors import DataError

COUNT = 3000


@pytest.fixture(scope="module")
def fields():
    return synthetic.distance_fields()


@pytest.fixture(scope="module")
def some(fields):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(synthetic, "distance_fields", lambda: fields)
        return synthetic.draw(COUNT)


def digest(split) -> str:
    return hashlib.sha256(split.images.tobytes() + split.labels.tobytes()).hexdigest()


def test_same_bits_whatever_the_threads_and_the_count(some, fields, monkeypatch):
    monkeypatch.setattr(synthetic, "distance_fields", lambda: fields)
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    assert digest(synthetic.draw(COUNT)) == digest(some)
    assert digest(synthetic.draw(777)) == digest(some[:777])


def test_about_as_sparse_as_mnist(some):
    assert 0.15 < (some.images > 0).mean() < 0.25
    assert 0.10 < some.images.mean() / 256 < 0.16
    assert some.images.max() == 255
    grey = (some.images > 0) & (some.images < 255)
    assert 0.05 < grey.mean() < 0.2  # antialiased


def test_every_digit_about_equally_often(some):
    counts = np.bincount(some.labels, minlength=10)
    assert counts.min() > COUNT / 10 * 0.75
    assert counts.max() < COUNT / 10 * 1.25
    assert len(np.unique(some.images, axis=0)) == COUNT  # and none twice


def test_digits_stand_in_the_middle(some):
    images = some.images.reshape(-1, 28, 28).astype(float)
    mass = images.sum((1, 2))
    assert mass.min() > 255 * 15
    for axis in (1, 2):
        centre = (images.sum(3 - axis) * np.arange(28)).sum(1) / mass
        assert abs(centre.mean() - 13.5) < 0.3
        assert np.abs(centre - 13.5).max() < 6
    border = np.concatenate([images[:, 0], images[:, -1], images[:, :, 0], images[:, :, -1]])
    assert (border > 0).mean() < 0.02


def test_labels_fit_the_images(some):
    """The nearest class mean names most digits right: labels and images belong together."""
    known, asked = some[:2000], some[2000:]
    means = np.stack([known.images[known.labels == digit].mean(0) for digit in range(10)])
    distance = ((asked.images[:, None].astype(float) - means) ** 2).sum(2)
    assert (distance.argmin(1) == asked.labels).mean() > 0.6


def test_labels_name_the_digit_that_is_seen(some):
    """Each class's mean image resembles that digit, drawn here again, more than any other digit."""
    import matplotlib
    from PIL import Image, ImageDraw, ImageFont

    font = ImageFont.truetype(f"{matplotlib.get_data_path()}/fonts/ttf/DejaVuSans.ttf", 27)
    drawn = []
    for digit in "0123456789":
        image = Image.new("L", (28, 28))
        ImageDraw.Draw(image).text((14, 14), digit, fill=255, font=font, anchor="mm")
        drawn.append(gaussian_filter(np.asarray(image, float), 1.5).ravel())
    means = [some.images[some.labels == digit].mean(0) for digit in range(10)]
    # what sets a digit apart from the mean of all
    likeness = np.corrcoef(means - np.mean(means, 0), drawn - np.mean(drawn, 0))[:10, 10:]
    assert likeness.argmax(1).tolist() == list(range(10))


def test_cached_once_drawn(fields, tmp_path, monkeypatch):
    monkeypatch.setattr(synthetic, "distance_fields", lambda: fields)
    for part, count in (("TRAIN", 100), ("VALID", 20), ("TEST", 30)):
        monkeypatch.setattr(synthetic, part, count)
    digits = load_mnist("synthetic", cache_dir=tmp_path)
    assert digits.source == "synthetic digits"
    assert [len(part) for part in parts_of(digits)] == [100, 20, 30]
    monkeypatch.delattr(synthetic, "draw")
    assert_same(synthetic.synthetic_digits(tmp_path), digits)
    monkeypatch.setenv("BREAKNET_DATA", "synthetic")
    assert_same(load_mnist(cache_dir=tmp_path), digits)


def test_other_versions_have_another_file(monkeypatch):
    names = {synthetic._recipe_name()}
    with monkeypatch.context() as patch:
        patch.setattr(synthetic, "RECIPE", 0)
        names.add(synthetic._recipe_name())
    monkeypatch.setattr(synthetic, "versions", lambda *_: {"pillow": "9.9"})
    names.add(synthetic._recipe_name())
    assert len(names) == 3


def test_fields_are_drawn_alike_again(fields):
    assert np.array_equal(synthetic.distance_fields(), fields)
    assert fields.shape == (len(synthetic.FONTS) * 10, synthetic.FIELD, synthetic.FIELD)
    assert fields.min() == 0
    assert len(np.unique(fields.reshape(len(fields), -1), axis=0)) == len(fields)  # no two digits look alike


@pytest.mark.parametrize("content", [None, b"no font"])
def test_missing_and_broken_fonts_are_named(content, tmp_path, monkeypatch):
    import matplotlib

    monkeypatch.setattr(matplotlib, "get_data_path", lambda: str(tmp_path))
    if content is not None:
        (tmp_path / "fonts" / "ttf").mkdir(parents=True)
        (tmp_path / "fonts" / "ttf" / synthetic.FONTS[0]).write_bytes(content)
    with pytest.raises(DataError, match=r"DejaVuSans\.ttf: matplotlib's font cannot be read"):
        synthetic.synthetic_digits(tmp_path / "kept")
    assert not (tmp_path / "kept").exists()


@pytest.mark.slow
def test_the_lesson_can_be_taught_on_them(tmp_path):
    import breaknet

    digits = synthetic.synthetic_digits(tmp_path)
    assert [len(part) for part in parts_of(digits)] == [50_000, 10_000, 10_000]
    assert cache.opened(next(tmp_path.iterdir()), "") is not None

    clean = breaknet.train(digits.train, valid=digits.valid, epochs=100)
    assert 0.85 < clean.valid_accuracy[-1] < 0.99
    assert clean.train_accuracy[-1] > clean.valid_accuracy[-1]
    assert clean.train_cost[-1] < clean.valid_cost[-1]

    bad = shuffle_labels(digits.train)
    shuffled = breaknet.train(bad, valid=digits.valid, epochs=100)
    assert 0.05 < shuffled.valid_accuracy[-1] < 0.15
    assert shuffled.train_accuracy[-1] < 0.25

    hundred = breaknet.train(bad[:100], valid=digits.valid, epochs=1000)
    assert hundred.train_accuracy[-1] >= 0.95
    assert hundred.valid_accuracy[-1] < 0.2
