"""shuffle_labels: the permutation that the design states, and nothing else changed."""

import numpy as np
import pytest
from checks import random_labels, sparse_images

from breaknet.breakage import shuffle_labels
from breaknet.data.splits import Split


@pytest.fixture
def split() -> Split:
    return Split(sparse_images(1001), random_labels(1001))


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
    assert np.array_equal(shuffled.labels, split.labels[np.random.default_rng(0).permutation(1001)])
    assert 0.05 < (shuffled.labels == split.labels).mean() < 0.15
    assert len(shuffle_labels(split[:0])) == 0


def test_labels_that_cannot_be_written(split):
    split.labels.flags.writeable = False
    assert shuffle_labels(split).labels.flags.writeable


SPLIT = object()  # stands for the fixture's
WRONG = {
    ("split", TypeError): [(np.zeros((2, 784)),), (None,)],
    ("fraction", TypeError): [(SPLIT, wrong) for wrong in ("half", True, None, 1j)],
    ("fraction", ValueError): [(SPLIT, wrong) for wrong in (-0.01, 1.01, float("nan"), float("inf"))],
    ("seed", TypeError): [(SPLIT, 1, wrong) for wrong in (0.5, "0", None, False)],
    ("seed", ValueError): [(SPLIT, 1, wrong) for wrong in (-1, 2**63)],
}


@pytest.mark.parametrize(("name", "error"), WRONG)
def test_wrong_arguments(split, name, error):
    for arguments in WRONG[name, error]:
        with pytest.raises(error, match=f"^{name}: ") as caught:
            shuffle_labels(*(split if value is SPLIT else value for value in arguments))
        assert "\n" not in str(caught.value)
