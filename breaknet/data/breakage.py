"""Breaking data: true labels given to the wrong images."""

from numbers import Real

import numpy as np

from ..inputs import check_seed
from .splits import Split


def shuffle_labels(split: Split, fraction: float = 1.0, seed: int = 0) -> Split:
    """Permute the labels of a share of the rows at random among themselves.

    A moved label may land on its own row or on one of the same class, so at fraction 1 about a tenth of
    the labels stay right. How often each label occurs never changes.

    Args:
        split: the data; left untouched. The result shares its images.
        fraction: the share of the rows whose labels are permuted, 0 to 1.
        seed: of the permutation, 0 to 2^63 - 1.

    Raises:
        TypeError: for another kind of argument.
        ValueError: for a fraction or seed outside its range.
    """
    if not isinstance(split, Split):
        raise TypeError(f"split: a Split such as digits.train, not {type(split).__name__}")
    if isinstance(fraction, (bool, np.bool_)) or not isinstance(fraction, Real):
        raise TypeError(f"fraction: a number from 0 to 1, not {fraction!r}")
    if not 0 <= fraction <= 1:
        raise ValueError(f"fraction: 0 to 1, not {fraction!r}")
    order = np.random.default_rng(check_seed(seed)).permutation(len(split))
    moved = order[: round(float(fraction) * len(split))]
    labels = split.labels.copy()
    # at fraction 1 the sorted rows are all rows, and the new labels exactly labels[order]
    labels[np.sort(moved)] = split.labels[moved]
    return Split(split.images, labels)
