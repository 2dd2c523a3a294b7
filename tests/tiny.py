"""A data set small enough for tests: ten noisy prototypes that a network learns in a few epochs."""

import struct
from pathlib import Path

import numpy as np

from breaknet import Digits, Split

TRAIN, TEST = 720, 60  # of the first, the last sixth is for validation


def tiny_arrays() -> dict[str, np.ndarray]:
    """Images uint8 [N, 784] and labels uint8 [N] of both IDX parts, by IDX's names."""
    random = np.random.default_rng(0)
    prototypes = random.integers(60, 256, (10, 784)) * (random.random((10, 784)) < 0.2)
    arrays = {}
    for part, count in (("train", TRAIN), ("t10k", TEST)):
        labels = random.integers(0, 10, count).astype(np.uint8)
        kept = random.random((count, 784)) < 0.9
        arrays[f"{part}-images-idx3-ubyte"] = (prototypes[labels] * kept).astype(np.uint8)
        arrays[f"{part}-labels-idx1-ubyte"] = labels
    return arrays


def tiny_digits() -> Digits:
    """The data set as `load_mnist` gives it."""
    arrays = tiny_arrays()
    whole = Split(arrays["train-images-idx3-ubyte"], arrays["train-labels-idx1-ubyte"])
    test = Split(arrays["t10k-images-idx3-ubyte"], arrays["t10k-labels-idx1-ubyte"])
    edge = TRAIN - TRAIN // 6
    return Digits(whole[:edge], whole[edge:], test, "local: tiny")


def idx_bytes(array: np.ndarray) -> bytes:
    """The IDX file of images [N, 784] or labels [N], written here from the format's description."""
    if array.ndim == 1:
        return struct.pack(">II", 2049, len(array)) + array.tobytes()
    return struct.pack(">IIII", 2051, len(array), 28, 28) + array.tobytes()


def write_tiny_idx(folder: Path) -> Path:
    """The data set as four IDX files in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in tiny_arrays().items():
        (folder / name).write_bytes(idx_bytes(array))
    return folder
