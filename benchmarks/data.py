"""The digits that everything is timed on: the real MNIST where there is one, never zeros."""

from __future__ import annotations

import os

import numpy as np

import breaknet
from breaknet import Digits, Split


def digits(source: str | None = None) -> Digits:
    """What `source` or BREAKNET_DATA names, else synthetic digits, else (their fonts need matplotlib) prototypes.

    "synthetic" and "prototypes" (few of them, for rehearsals) are names, all else a folder or a file.
    """
    source = source or os.environ.get("BREAKNET_DATA")
    if source == "prototypes":
        return prototypes(100, 20)
    if source and source != "synthetic":
        return breaknet.load_mnist(source)
    try:
        return breaknet.load_mnist("synthetic")
    except (breaknet.DataError, ImportError):
        return prototypes(50_000, 10_000)


def prototypes(train: int, valid: int) -> Digits:
    """Ten random images, a fifth of their pixels inked as in MNIST, each repeated with a tenth of its ink missing."""
    random = np.random.default_rng(0)
    shapes = random.integers(60, 256, (10, 784), np.uint8) * (random.random((10, 784)) < 0.21)

    def split(count: int) -> Split:
        labels = random.integers(0, 10, count).astype(np.uint8)
        return Split(shapes[labels] * (random.random((count, 784), np.float32) < 0.9), labels)

    return Digits(split(train), split(valid), split(valid), "noisy prototypes")


def refuse_blank(data: Digits) -> None:
    """Zeros would flatter what skips them, and one label what learns it.

    Raises:
        ValueError: where under a hundredth of the training pixels is inked, or all training labels are one.
    """
    inked = float(np.count_nonzero(data.train.images)) / max(1, data.train.images.size)
    if inked < 0.01:
        raise ValueError(f"data: images with ink, but only {inked:.1%} of the pixels are not zero")
    if len(np.unique(data.train.labels)) < 2:
        raise ValueError("data: labels of two digits or more, not of one alone")
