"""Images as lists of terms: what they stand for, how many there are, and that none reads past the images."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from checks import sparse_images
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("numba")
from breaknet.backends.numba_cpu.sparse_images import SIDE, Images, compress


def compressed(images: np.ndarray, pairs: bool = True) -> Images:
    with ThreadPoolExecutor(2) as pool:
        return compress(images, pool, pairs)


def entries(terms: Images, i: int) -> tuple[np.ndarray, np.ndarray]:
    """Image i's sources (pixel j, or 784 + j with its neighbour) and values, without what fills the list."""
    low, high = terms.row_start[i], terms.row_start[i + 1]
    assert low % 4 == high % 4 == 0
    value = terms.value[low:high]
    count = len(np.trim_zeros(value, "b"))
    assert len(value) - count < 4
    return terms.source[terms.place[low:high] // 16][:count], value[:count]


def by_hand(image: np.ndarray, pairs: bool) -> list[tuple[int, float]]:
    """The terms of one image [784] float, a pixel after the other."""
    found, j = [], 0
    while j < image.size:
        two = pairs and j % SIDE < SIDE - 1 and image[j] == image[j + 1]
        if image[j] != 0:
            found.append((784 * two + j, image[j]))
        j += 2 if two else 1
    return found


def assert_terms(images: np.ndarray) -> None:
    values = images.astype(np.float32) * np.float32(1 / 256 if images.dtype == np.uint8 else 1)
    for pairs in (True, False):
        terms = compressed(images, pairs)
        assert not terms.pixels.size
        for i, image in enumerate(values):
            sources, value = entries(terms, i)
            hand = by_hand(image, pairs)
            assert sources.tolist() == [source for source, _ in hand], i
            assert np.array_equal(value, [number for _, number in hand], equal_nan=True), i


def runs(seed: int, density: float, levels: int) -> np.ndarray:
    """Images [5, 784] whose lit pixels have one of a few values, so that many neighbours are equal."""
    random = np.random.default_rng(seed)
    lit = random.random((5, 784)) < density
    return (lit * random.choice(np.array([1, 128, 255])[:levels], (5, 784))).astype(np.uint8)


@given(
    seed=st.integers(0, 1000), density=st.floats(0, 0.45), levels=st.integers(1, 3), floating=st.booleans()
)
@settings(max_examples=30, deadline=None)
def test_terms_are_those_found_pixel_by_pixel(seed, density, levels, floating):
    images = runs(seed, density, levels)
    assert_terms(images.astype(np.float32) / 3 if floating else images)


def test_runs_across_words_rows_and_at_both_ends():
    images = np.zeros((40, 784), np.uint8)
    for i in range(28):  # runs of 1 to 28 pixels, at every place of a word and of a row
        images[i, i * 27 : i * 27 + i + 1] = 9
    for i in range(28, 34):
        images[i, 60 - i % 3 : 69 + i % 2] = 7  # across the first two words
    images[34, 750:] = 255
    images[35, 767:769] = 3
    images[36, :2] = images[36, 782:] = 1
    images[37, 704:784:2] = 4
    images[38, 0] = images[38, 783] = 8
    assert_terms(images)
    assert_terms(images[34:35])
    assert_terms(images.astype(np.float32))


def test_nan_is_lit_and_equal_to_nothing():
    images = np.zeros((2, 784), np.float32)
    images[0, 30:34] = np.nan
    images[1, 5:8] = [-0.0, -2, -2]
    assert_terms(images)


def test_rows_of_the_table_are_ordered_by_use():
    images = sparse_images(300, 0, 0.2)
    terms = compressed(images)
    uses = np.zeros(len(terms.source), int)
    for i in range(300):
        sources, _ = entries(terms, i)
        uses += np.isin(terms.source, sources)
    assert uses.min() >= 1
    assert (np.diff(uses) <= 0).all()


@pytest.mark.mnist
def test_mnist_needs_an_eighth_fewer_terms_than_pixels(mnist):
    images = mnist.train.images[:5000].reshape(-1, 784)
    entries = compressed(images).row_start[-1]
    assert 0.85 < entries / np.count_nonzero(images) < 0.89
