"""Breakages of labels and of the choice of examples: what the network is told. All are meant for training data."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..data.splits import Split
from .registry import Parameter, breakage, random_for

CLASSES = 10

_FRACTION = Parameter("fraction", 0, 1, 0.5)


@breakage("train", _FRACTION)
def shuffle_labels(split: Split, fraction: float = 1.0, seed: int = 0) -> Split:
    """Permute the labels of a share of the rows at random among themselves.

    A network can learn in spite of many wrong labels, as long as the right ones outvote them; when all are shuffled
    there is nothing left to learn but to memorise.

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
    order = np.random.default_rng(seed).permutation(len(split))
    moved = order[: round(fraction * len(split))]
    labels = split.labels.copy()
    # at fraction 1 the sorted rows are all rows, and the new labels exactly labels[order]
    labels[np.sort(moved)] = split.labels[moved]
    return Split(split.images, labels)


@breakage("train", _FRACTION)
def flip_labels(split: Split, fraction: float, seed: int = 0) -> Split:
    """Give a share of the rows a wrong label, each of the nine others equally likely.

    Uniform noise is the mildest kind: even with half of the labels wrong, no single wrong class ever outnumbers the
    right one, so the network still finds it.

    Args:
        split: the data; left untouched. The result shares its images.
        fraction: the share of the rows that get a wrong label, 0 to 1.
        seed: of the choice of rows and labels.

    Raises:
        TypeError, ValueError: for an argument of the wrong kind or outside its range.
    """
    random = random_for("flip_labels", seed)
    chosen = random.permutation(len(split))[: round(fraction * len(split))]
    labels = split.labels.copy()
    labels[chosen] = (labels[chosen] + random.integers(1, CLASSES, len(chosen), np.uint8)) % CLASSES
    return Split(split.images, labels)


@breakage(
    "train",
    Parameter("true", 0, 9, 4, whole=True),
    Parameter("given", 0, 9, 9, whole=True),
    Parameter("fraction", 0, 1, 1),
)
def mislabel_class(split: Split, true: int, given: int, fraction: float = 1.0, seed: int = 0) -> Split:
    """Give a share of one class the label of another: 4s called 9s.

    A systematic error is learned as if it were true. All other classes stay as good as before, so the accuracy alone
    hides it; the confusion table shows it.

    Args:
        split: the data; left untouched. The result shares its images.
        true: the class whose rows are relabelled, 0 to 9.
        given: the label that they get, 0 to 9.
        fraction: the share of that class, 0 to 1.
        seed: of the choice of rows.

    Raises:
        TypeError, ValueError: for an argument of the wrong kind or outside its range.
    """
    if true == given:
        raise ValueError(f"given: another class than {true}, since that is the true one")
    rows = np.flatnonzero(split.labels == true)
    chosen = random_for("mislabel_class", seed).permutation(rows)[: round(fraction * len(rows))]
    labels = split.labels.copy()
    labels[chosen] = given
    return Split(split.images, labels)


@breakage("train", _FRACTION, seeded=False)
def mislabel_hardest(split: Split, fraction: float, seed: int = 0) -> Split:
    """Mislabel the images that are hardest to tell apart, each as the class that it resembles most.

    Noise that depends on the image does more harm than the same number of random errors: the wrong labels agree with
    each other and sit where the boundary between two classes is.

    An image is hard when it lies near the mean image of another class: rows are ordered by the squared distance to
    the nearest other class's mean less that to their own, and the first get that class's label.

    Args:
        split: the data; left untouched. The result shares its images.
        fraction: the share of the rows that are mislabelled, 0 to 1.
        seed: changes nothing, since nothing here is random.

    Raises:
        TypeError, ValueError: for an argument of the wrong kind or outside its range.
    """
    count = round(fraction * len(split))
    if count == 0:
        return Split(split.images, split.labels.copy())
    distances = _distances_to_class_means(split)
    rows = np.arange(len(split))
    own = distances[rows, split.labels].copy()
    distances[rows, split.labels] = np.inf
    nearest = distances.argmin(1)
    if not np.isfinite(distances[rows, nearest]).all():
        raise ValueError("split: two classes or more, since another label is needed")
    hardest = np.argsort(distances[rows, nearest] - own, kind="stable")[:count]
    labels = split.labels.copy()
    labels[hardest] = nearest[hardest]
    return Split(split.images, labels)


def _distances_to_class_means(split: Split) -> NDArray[np.float64]:
    """Squared distances [N, 10] to the mean image of each class; infinite to a class without rows.

    Less the square of the image itself, which is the same for all classes of a row.
    """
    images = split.images.astype(np.float32)
    distances = np.full((len(split), CLASSES), np.inf)
    for label in range(CLASSES):
        members = split.labels == label
        if members.any():
            mean = images[members].mean(0, dtype=np.float64)
            distances[:, label] = mean @ mean - 2 * (images @ mean.astype(np.float32))
    return distances


@breakage("train", Parameter("digit", 0, 9, 7, whole=True), seeded=False)
def missing_class(split: Split, digit: int, seed: int = 0) -> Split:
    """Leave out every example of one class.

    A network cannot give an answer that it never saw: every image of that class gets another class's label, often
    with great confidence.

    Args:
        split: the data; left untouched.
        digit: the class that is left out, 0 to 9.
        seed: changes nothing, since nothing here is random.

    Raises:
        TypeError, ValueError: for an argument of the wrong kind or outside its range, or if nothing would be left.
    """
    return _at_least_one(split[split.labels != digit], f"digit: {digit} is the only class there is")


@breakage("train", Parameter("ratio", 1, 1_000_000, 100))
def imbalance(split: Split, ratio: float, seed: int = 0) -> Split:
    """Thin the classes out, so that the most frequent one has `ratio` times as many examples as the rarest.

    The rare classes are sacrificed: accuracy on them falls first, while the average over all examples of a training
    set as unbalanced still looks good.

    Class 0 keeps all its rows, class 9 one in `ratio`, those between a share that falls by equal factors; a class
    that has rows keeps one at least. Rows stay in order.

    Args:
        split: the data; left untouched.
        ratio: 1 or more.
        seed: of the choice of rows.

    Raises:
        TypeError, ValueError: for an argument of the wrong kind or outside its range.
    """
    random = random_for("imbalance", seed)
    kept = []
    for label in range(CLASSES):
        rows = random.permutation(np.flatnonzero(split.labels == label))
        share = ratio ** (-label / (CLASSES - 1))
        kept.append(rows[: max(1, round(share * len(rows)))])
    return split[np.sort(np.concatenate(kept))]


@breakage("train", Parameter("distinct", 1, 1_000_000, 100, whole=True))
def duplicates(split: Split, distinct: int, seed: int = 0) -> Split:
    """Fill the training set with exact copies of a few examples; its length stays.

    What counts is how many different examples there are. The network memorises the few, and the many copies make
    the training figures look better than anything the network can do on new images.

    Args:
        split: the data; left untouched.
        distinct: how many different rows there are; all in turn, again and again. More than there are rows: no
            row is copied.
        seed: of the choice of rows.

    Raises:
        TypeError, ValueError: for an argument of the wrong kind or outside its range.
    """
    if distinct >= len(split):
        return split[:]
    chosen = random_for("duplicates", seed).permutation(len(split))[:distinct]
    return split[np.resize(chosen, len(split))]


@breakage("train", Parameter("count", 1, 1_000_000, 1_000, whole=True), seeded=False)
def fewer_examples(split: Split, count: int, seed: int = 0) -> Split:
    """Keep the first `count` examples only.

    With few examples a network memorises instead of learning what they have in common: training accuracy rises
    while validation accuracy falls behind.

    Args:
        split: the data; left untouched. The result shares its memory.
        count: how many rows to keep; all where there are fewer.
        seed: changes nothing, since nothing here is random.

    Raises:
        TypeError, ValueError: for an argument of the wrong kind or outside its range.
    """
    return split[:count]


def _at_least_one(split: Split, otherwise: str) -> Split:
    if len(split) == 0:
        raise ValueError(otherwise)
    return split
