"""Digits as people have them: other layouts, other orders, other data under the same names."""

import logging

import numpy as np
import pytest
from made_up import assert_same, defect, parts_of, random_split

import breaknet
from breaknet.data import idx
from breaknet.data.mnist import load_mnist
from breaknet.data.splits import Digits, Split


@pytest.fixture
def notices(caplog):
    caplog.set_level(logging.INFO, "breaknet")
    return caplog


@pytest.mark.parametrize("inside_only", [False, True])
def test_folders_named_like_the_files(inside_only, made_up, tmp_path):
    folder = tmp_path / "digits"
    folder.mkdir()
    for name, content in made_up.files.items():
        (folder / name).mkdir()
        (folder / name / name).write_bytes(content)
        if not inside_only:
            (folder / name.replace("-idx", ".idx")).write_bytes(content)
    assert_same(load_mnist(folder), made_up.digits("local: digits"))


@pytest.mark.parametrize("below", ["MNIST/raw", "raw", "FashionMNIST/raw"])
def test_a_root_of_torchvisions(below, made_up, tmp_path):
    made_up.write(tmp_path / "digits" / below)
    assert_same(load_mnist(tmp_path / "digits"), made_up.digits("local: digits"))


def test_an_empty_file_does_not_hide_a_whole_one(made_up, tmp_path):
    folder = made_up.write(tmp_path / "digits")
    for name in idx.NAMES:
        (folder / name).touch()
    assert_same(load_mnist(folder), made_up.digits("local: digits"))


@pytest.mark.parametrize("order", [1, -1])
def test_sorted_rows_are_told(order, made_up, tmp_path, notices):
    made_up.write(tmp_path / "digits")
    load_mnist(tmp_path / "digits")
    assert notices.messages == []
    rows = np.argsort(made_up.arrays[idx.NAMES[1]], kind="stable")[::order]
    for name in idx.NAMES[:2]:
        made_up.arrays[name] = made_up.arrays[name][rows]
    digits = load_mnist(made_up.write(tmp_path / "digits"))
    [message] = notices.messages
    assert "sorted by label" in message
    assert all(str(label) in message for label in set(digits.valid.labels.tolist()))


def emnist(made_up, folder, kind="mnist"):
    folder.mkdir(exist_ok=True)
    for name, content in made_up.files.items():
        if "images" in name:
            images = made_up.arrays[name].reshape(-1, 28, 28).transpose(0, 2, 1)
            content = content[:16] + images.tobytes()
        (folder / f"emnist-{kind}-{name.replace('t10k', 'test')}").write_bytes(content)


def test_emnist_is_turned_upright(made_up, tmp_path, notices):
    emnist(made_up, tmp_path / "digits")
    assert_same(load_mnist(tmp_path / "digits"), made_up.digits("local: digits (emnist-mnist)"))
    assert "transposed" in notices.messages[0]
    emnist(made_up, tmp_path / "digits", "digits")
    assert "emnist-mnist and emnist-digits" in defect(tmp_path / "digits")


def fashion_labels(first, count):
    """Labels as frequent as each other, the first ones given."""
    rest = np.repeat(np.arange(10), count // 10 - np.bincount(first, minlength=10))
    return np.concatenate([first, np.random.default_rng(0).permutation(rest)]).astype(np.uint8)


def test_clothes_are_told_from_digits():
    train, test = (
        fashion_labels(first, count) for first, count in zip(idx._FASHION, (60_000, 10_000), strict=True)
    )
    images = np.zeros((60_000, 784), np.uint8)
    split = Split(images, train)
    digits = Digits(split[:50_000], split[50_000:], Split(images[:10_000], test), "local: x")
    assert idx.is_fashion(digits)
    train[20], train[21] = (train[20] + 1) % 10, train[21]
    assert not idx.is_fashion(digits)
    assert not idx.is_fashion(Digits(*parts_of(digits)[:2], random_split(10), ""))


def test_floats_up_to_255_are_told(notices):
    split = random_split(30)
    breaknet.train((split.images / np.float32(256), split.labels), epochs=1, backend="torch")
    assert notices.messages == []
    breaknet.train((split.images.astype(np.float32), split.labels), epochs=1, backend="torch")
    [message] = notices.messages
    assert "data images: values up to 255 are used as they are" in message
