"""Small made-up digits in MNIST's form, and what the tests of data ask of every reader."""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from tiny import idx_bytes

from breaknet.data import idx
from breaknet.data.mnist import load_mnist
from breaknet.data.splits import Digits, Split
from breaknet.errors import DataError

TRAIN, TEST = 60, 12


def random_split(count: int, seed: int = 5) -> Split:
    random = np.random.default_rng(seed)
    return Split(random.integers(0, 256, (count, 784), np.uint8), random.integers(0, 10, count, np.uint8))


@dataclass
class MadeUp:
    """60 training and 12 test digits: arrays by their published names, in that order."""

    arrays: dict[str, np.ndarray]

    @classmethod
    def drawn(cls) -> MadeUp:
        both = random_split(TRAIN + TEST)
        parts = both.images[:TRAIN], both.labels[:TRAIN], both.images[TRAIN:], both.labels[TRAIN:]
        return cls(dict(zip(idx.NAMES, parts, strict=True)))

    @property
    def files(self) -> dict[str, bytes]:
        """The IDX file of each array."""
        return {name: idx_bytes(array) for name, array in self.arrays.items()}

    def digits(self, source: str = "MNIST") -> Digits:
        images, labels, test_images, test_labels = self.arrays.values()
        train, valid = Split(images[:50], labels[:50]), Split(images[50:], labels[50:])
        return Digits(train, valid, Split(test_images, test_labels), source)

    def write(self, folder: Path, zipped: bool = True) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in self.files.items():
            path = folder / f"{name}{'.gz' if zipped else ''}"
            path.write_bytes(gzip.compress(content) if zipped else content)
        return folder


def parts_of(digits: Digits) -> tuple[Split, Split, Split]:
    return digits.train, digits.valid, digits.test


def float_pairs(digits: Digits) -> tuple[tuple[np.ndarray, np.ndarray], ...]:
    """The digits as an mnist.pkl.gz holds them: images float32 [N, 784], byte / 256, and labels int64 [N]."""
    return tuple(
        (part.images.astype(np.float32) / 256, part.labels.astype(np.int64)) for part in parts_of(digits)
    )


def assert_same(found: Digits, expected: Digits) -> None:
    """The same source, images and labels."""
    assert found.source == expected.source
    for one, other in zip(parts_of(found), parts_of(expected), strict=True):
        assert np.array_equal(one.images, other.images)
        assert np.array_equal(one.labels, other.labels)


def defect(source: object, **more: object) -> str:
    """The one line with which `load_mnist` refuses `source`."""
    with pytest.raises(DataError) as error:
        load_mnist(source, **more)
    message = str(error.value)
    assert "\n" not in message
    return message
