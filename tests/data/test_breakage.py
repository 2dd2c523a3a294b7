"""shuffle_labels: the permutation that the design states, and nothing else changed."""

from __future__ import annotations

import numpy as np
import pytest

from breaknet.data.breakage import shuffle_labels
from breaknet.data.splits import Split


@pytest.fixture
def split() -> Split:
    random = np.random.default_rng(3)
    return Split(random.integers(0, 256, (1001, 784), np.uint8), random.integers(0, 10, 1001, np.uint8))


@pytest.mark.parametrize("fraction", [0, 0.001, 0.25, 0.5, 0.9999, 1, np.float32(0.5)])
@pytest.mark.parametrize("seed", [0, 1, 2**63 - 1, np.int64(7)])
def test_labels_are_permuted_as_stated(split, fraction, seed):
    before = split.labels.copy()
    shuffled = shuffle_labels(split, fraction, seed)
    order = np.random.default_rng(int(seed)).permutation(1001)
    moved = order[: round(float(fraction) * 1001)]
    expected = before.copy()
    for place, origin in zip(sorted(moved.tolist()), moved.tolist(), strict=True):
        expected[place] = before[origin]
    assert np.array_equal(shuffled.labels, expected)
    assert np.array_equal(split.labels, before)
    assert not np.shares_memory(shuffled.labels, split.labels)
    assert shuffled.images is split.images
    assert np.array_equal(np.bincount(shuffled.labels), np.bincount(before))


def test_whole_shuffle(split):
    shuffled = shuffle_labels(split)
    order = np.random.default_rng(0).permutation(1001)
    assert np.array_equal(shuffled.labels, split.labels[order])
    assert 0.05 < (shuffled.labels == split.labels).mean() < 0.15


def test_labels_that_cannot_be_written(split):
    split.labels.flags.writeable = False
    assert shuffle_labels(split).labels.flags.writeable


def test_empty_split(split):
    assert len(shuffle_labels(split[:0])) == 0


@pytest.mark.parametrize(
    ("arguments", "error", "name"),
    [
        (((np.zeros((2, 784)), np.zeros(2)),), TypeError, "split"),
        ((None,), TypeError, "split"),
        (("split", "half"), TypeError, "fraction"),
        (("split", True), TypeError, "fraction"),
        (("split", None), TypeError, "fraction"),
        (("split", 1j), TypeError, "fraction"),
        (("split", -0.01), ValueError, "fraction"),
        (("split", 1.01), ValueError, "fraction"),
        (("split", float("nan")), ValueError, "fraction"),
        (("split", float("inf")), ValueError, "fraction"),
        (("split", 1, 0.5), TypeError, "seed"),
        (("split", 1, "0"), TypeError, "seed"),
        (("split", 1, None), TypeError, "seed"),
        (("split", 1, False), TypeError, "seed"),
        (("split", 1, -1), ValueError, "seed"),
        (("split", 1, 2**63), ValueError, "seed"),
    ],
)
def test_wrong_arguments(split, arguments, error, name):
    arguments = tuple(split if isinstance(value, str) and value == "split" else value for value in arguments)
    with pytest.raises(error, match=f"^{name}: ") as caught:
        shuffle_labels(*arguments)
    assert "\n" not in str(caught.value)
