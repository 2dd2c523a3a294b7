"""Properties of each breakage: which labels, images, class counts and order it changes, never its input."""

from __future__ import annotations

from zlib import crc32

import numpy as np
import pytest
from checks import random_labels, sparse_images

from breaknet import Split
from breaknet.breakage import BREAKAGES, parse
from breaknet.breakage import images as image_breakages

ROWS = 997  # prime, so that no share of them is a whole number by chance
SEEDS = (0, 1, 2**63 - 1)


@pytest.fixture(scope="module")
def split() -> Split:
    return Split(sparse_images(ROWS), random_labels(ROWS), "before")


def broken(split: Split, text: str, seed: int = 0) -> Split:
    (step,) = parse(text)
    return step.apply(split, seed)


#: Example text of every breakage, and the CRC-32 of its labels and of its images on `split` with seed 1.
GOLDEN = {
    "shuffle_labels(0.3)": (3261299913, 1986630577),
    "flip_labels(0.3)": (3875958298, 1986630577),
    "mislabel_class(4, 9, 0.5)": (2246696124, 1986630577),
    "mislabel_hardest(0.3)": (1389737955, 1986630577),
    "missing_class(7)": (2013313650, 3499410537),
    "imbalance(10)": (2883222190, 1956687107),
    "duplicates(10)": (3110083334, 2747686404),
    "fewer_examples(10)": (2694769417, 2804240545),
    "pixel_noise(0.2)": (3566779012, 3028268234),
    "occlude(12)": (3566779012, 425758921),
    "permute_pixels": (3566779012, 3550439915),
    "invert": (3566779012, 3880037918),
    "shift(3)": (3566779012, 3822185597),
    "rotate(20)": (3566779012, 1205329240),
    "leak(0.5)": (3566779012, 3507919123),
}

LABELS = ("shuffle_labels", "flip_labels", "mislabel_class", "mislabel_hardest")
CHOICES = ("missing_class", "imbalance", "duplicates", "fewer_examples")
IMAGES = ("pixel_noise", "occlude", "permute_pixels", "invert", "shift", "rotate", "leak")


def test_every_breakage_is_in_these_tests():
    assert {text.partition("(")[0] for text in GOLDEN} == set(BREAKAGES) == {*LABELS, *CHOICES, *IMAGES}


@pytest.mark.parametrize("text", GOLDEN)
def test_golden_values(split, text):
    found = broken(split, text, seed=1)
    assert (crc32(found.labels.tobytes()), crc32(found.images.tobytes())) == GOLDEN[text]


@pytest.mark.parametrize("text", GOLDEN)
@pytest.mark.parametrize("seed", SEEDS)
def test_pure(split, text, seed):
    """The same call gives the same bytes, the argument stays, and its `breakage` tells what was done."""
    known = BREAKAGES[text.partition("(")[0]]
    before = split.images.copy(), split.labels.copy()
    first, second = broken(split, text, seed), broken(split, text, seed)
    assert np.array_equal(first.images, second.images)
    assert np.array_equal(first.labels, second.labels)
    assert np.array_equal(split.images, before[0])
    assert np.array_equal(split.labels, before[1])
    assert first.breakage.startswith(f"before + {known.name}")
    assert (f"seed={seed}" in first.breakage) == (known.seeded and seed > 0)
    other = broken(split, text, seed=5)
    same = np.array_equal(other.images, first.images) and np.array_equal(other.labels, first.labels)
    assert same == (not known.seeded)


@pytest.mark.parametrize("name", LABELS)
def test_breakages_of_labels_share_the_images(split, name):
    text = next(text for text in GOLDEN if text.startswith(f"{name}("))
    found = broken(split, text)
    assert found.images is split.images  # backends compress images once if they are the same array
    assert not np.shares_memory(found.labels, split.labels)
    assert (found.labels != split.labels).any()


@pytest.mark.parametrize("name", IMAGES)
def test_breakages_of_images_keep_labels(split, name):
    text = next(text for text in GOLDEN if text.startswith(name))
    found = broken(split, text)
    assert found.labels is split.labels
    assert not np.shares_memory(found.images, split.images)
    assert (found.images != split.images).any()


@pytest.mark.parametrize("name", CHOICES)
def test_chosen_rows_are_whole(split, name):
    """Every row of the result is a row of the split with its own label."""
    text = next(text for text in GOLDEN if text.startswith(f"{name}("))
    found = broken(split, text)
    known = {(image.tobytes(), int(label)) for image, label in zip(split.images, split.labels, strict=True)}
    assert {
        (image.tobytes(), int(label)) for image, label in zip(found.images, found.labels, strict=True)
    } <= known


@pytest.mark.parametrize("fraction", [0, 0.1, 0.5, 1])
def test_flipped_labels(split, fraction):
    found = broken(split, f"flip_labels({fraction})")
    assert (found.labels != split.labels).sum() == round(fraction * ROWS)
    assert found.labels.max() < 10


def test_flips_are_uniform():
    """Nine other labels, equally often: chi-squared with 8 degrees of freedom below its 99.9 % point."""
    split = Split(np.zeros((9000, 784), np.uint8), np.full(9000, 3, np.uint8))
    counts = np.bincount(broken(split, "flip_labels(1)").labels, minlength=10)
    assert counts[3] == 0
    others = np.delete(counts, 3)
    assert ((others - 1000) ** 2 / 1000).sum() < 26.1


@pytest.mark.parametrize("fraction", [0.25, 1])
def test_one_class_called_another(split, fraction):
    found = broken(split, f"mislabel_class(4, 9, {fraction})")
    changed = found.labels != split.labels
    assert (split.labels[changed] == 4).all()
    assert (found.labels[changed] == 9).all()
    assert changed.sum() == round(fraction * (split.labels == 4).sum())
    with pytest.raises(ValueError, match="given: another class than 4"):
        broken(split, "mislabel_class(4, 4)")


def test_hardest_are_mislabelled():
    """Of images between two classes, those beyond the middle get the other class's label, the farthest first."""
    side = np.linspace(0, 200, 101).astype(np.uint8)  # from class 0's corner to class 1's
    images = np.zeros((101, 784), np.uint8)
    images[:, 0], images[:, 1] = 200 - side, side
    labels = (side > 100).astype(np.uint8)
    labels[[0, 100]] = [1, 0]  # farthest from their own class
    found = broken(Split(images, labels), "mislabel_hardest(0.02)")
    assert np.flatnonzero(found.labels != labels).tolist() == [0, 100]
    assert broken(Split(images, labels), "mislabel_hardest(0)").labels.tolist() == labels.tolist()
    with pytest.raises(ValueError, match="split: two classes or more"):
        broken(Split(images, np.zeros(101, np.uint8)), "mislabel_hardest(0.1)")


def test_missing_class(split):
    found = broken(split, "missing_class(7)")
    kept = split.labels != 7
    assert np.array_equal(found.labels, split.labels[kept])
    assert np.array_equal(found.images, split.images[kept])
    with pytest.raises(ValueError, match="digit: 7 is the only class"):
        broken(split[split.labels == 7], "missing_class(7)")


@pytest.mark.parametrize("ratio", [1, 10, 50])
def test_imbalance(split, ratio):
    counts = np.bincount(split.labels, minlength=10)
    found = broken(split, f"imbalance({ratio})")
    expected = [max(1, round(count * ratio ** (-digit / 9))) for digit, count in enumerate(counts)]
    assert np.bincount(found.labels, minlength=10).tolist() == expected
    places = [split.images.tolist().index(image) for image in found.images[:30].tolist()]
    assert places == sorted(places)


def test_duplicates(split):
    found = broken(split, "duplicates(10)")
    assert len(found) == ROWS
    assert len(np.unique(found.images, axis=0)) == 10
    assert np.array_equal(found.images[:10], found.images[10:20])
    assert np.array_equal(broken(split, f"duplicates({ROWS})").images, split.images)


def test_fewer_examples(split):
    found = broken(split, "fewer_examples(10)")
    assert np.array_equal(found.images, split.images[:10])
    assert len(broken(split, "fewer_examples(5000)")) == ROWS


def test_noise():
    """Of the asked-for strength where nothing is cut off, none at 0, and another one on another data set."""
    grey = Split(np.full((5000, 784), 128, np.uint8), np.zeros(5000, np.uint8))
    noise = broken(grey, "pixel_noise(0.1)").images.astype(float) - 128
    assert noise.std() == pytest.approx(25.5, rel=0.01)
    assert abs(noise.mean()) < 0.1
    assert np.array_equal(broken(grey, "pixel_noise(0)").images, grey.images)
    other = Split(np.full((5000, 784), 127, np.uint8), np.zeros(5000, np.uint8))
    assert (
        abs(np.corrcoef(noise[:50].ravel(), broken(other, "pixel_noise(0.1)").images[:50].ravel())[0, 1])
        < 0.05
    )


def test_blocks_change_no_byte(split, monkeypatch):
    whole = [broken(split, text) for text in ("pixel_noise(0.2)", "rotate(20)", "permute_pixels")]
    monkeypatch.setattr(image_breakages, "BLOCK", 100)
    again = [broken(split, text) for text in ("pixel_noise(0.2)", "rotate(20)", "permute_pixels")]
    assert all(np.array_equal(a.images, b.images) for a, b in zip(whole, again, strict=True))


def test_occluded_patch(split):
    before = split.images.reshape(-1, 28, 28)
    found = broken(split, "occlude(12, 20, 3)").images.reshape(-1, 28, 28)
    assert not found[:, 20:, 3:15].any()
    outside = np.ones((28, 28), bool)
    outside[20:, 3:15] = False
    assert np.array_equal(found[:, outside], before[:, outside])


def test_permuted_pixels_are_one_permutation(split):
    places = Split(np.arange(784, dtype=np.uint16).view(np.uint8).reshape(-1, 784)[:2], np.zeros(2, np.uint8))
    found = broken(split, "permute_pixels", seed=3)
    assert np.array_equal(np.sort(found.images, 1), np.sort(split.images, 1))
    low, high = broken(places, "permute_pixels", seed=3).images, places.images
    assert np.array_equal(np.sort(low, 1), np.sort(high, 1))
    half = broken(split[500:], "permute_pixels", seed=3)  # the same in every part of a data set
    assert np.array_equal(half.images, found.images[500:])


def test_inverted_twice_is_nothing(split):
    once = broken(split, "invert")
    assert np.array_equal(255 - once.images, split.images)
    assert np.array_equal(broken(once, "invert").images, split.images)


@pytest.mark.parametrize(("right", "down"), [(3, 0), (-2, 5), (0, -28), (28, 0), (0, 0)])
def test_shifted(split, right, down):
    found = broken(split, f"shift({right}, {down})").images.reshape(-1, 28, 28)
    expected = np.zeros_like(found)
    for row in range(28):
        for column in range(28):
            if 0 <= row - down < 28 and 0 <= column - right < 28:
                expected[:, row, column] = split.images.reshape(-1, 28, 28)[:, row - down, column - right]
    assert np.array_equal(found, expected)


def test_rotated():
    image = np.zeros((28, 28), np.uint8)
    image[2:6, 12:16] = 255  # above the centre
    one = Split(image.reshape(1, 784), np.zeros(1, np.uint8))
    quarter = broken(one, "rotate(90)").images.reshape(28, 28)
    assert np.array_equal(quarter, np.rot90(image))  # counter-clockwise: to the left
    assert np.array_equal(broken(one, "rotate(0)").images, one.images)


@pytest.mark.parametrize("fraction", [0, 0.5, 1])
def test_leaked_labels(split, fraction):
    found = broken(split, f"leak({fraction})")
    assert np.array_equal(found.images[:, 10:], split.images[:, 10:])
    told = (found.images[:, :10] != split.images[:, :10]).any(1)
    assert told.sum() == round(fraction * ROWS)
    assert np.array_equal(found.images[told, :10].argmax(1), split.labels[told])
    assert (found.images[told, :10].sum(1) == 255).all()


def test_two_breakages_choose_their_rows_apart(split):
    """With one stream for all, the rows that leak would be exactly the rows with flipped labels."""
    flipped = broken(split, "flip_labels(0.5)").labels != split.labels
    leaked = (broken(split, "leak(0.5)").images[:, :10] != split.images[:, :10]).any(1)
    assert 0.4 < (flipped & leaked).sum() / flipped.sum() < 0.6


@pytest.mark.parametrize("name", BREAKAGES)
def test_documented(name, repository):
    """The docstring teaches in its second paragraph, and the sliders' values are inside their ranges."""
    assert f"`{name}`" in (repository / "docs" / "sweeps.md").read_text()
    known = BREAKAGES[name]
    assert len(known.lesson) > 60
    assert "Args:" not in known.lesson
    for parameter in known.parameters:
        assert parameter.check(parameter.typical) == parameter.typical
