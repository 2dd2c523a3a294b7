"""The cached file: opened quickly, never trusted when it is not whole, never written in place."""

from __future__ import annotations

import errno
import os
import time

import numpy as np
import pytest

from breaknet.data import cache
from breaknet.data.splits import Digits, Split


def sized(train: int, valid: int, test: int) -> Digits:
    random = np.random.default_rng(1)
    return Digits(
        *(
            Split(random.integers(0, 256, (n, 784), np.uint8), random.integers(0, 10, n, np.uint8))
            for n in (train, valid, test)
        ),
        source="made up",
    )


def assert_same(first: Digits, second: Digits) -> None:
    for part in ("train", "valid", "test"):
        assert np.array_equal(getattr(first, part).images, getattr(second, part).images)
        assert np.array_equal(getattr(first, part).labels, getattr(second, part).labels)


@pytest.fixture
def kept(tmp_path):
    path = tmp_path / "folder" / "some.digits"
    digits = sized(7, 3, 2)
    cache.save(path, digits)
    return path, digits


def test_round_trip(kept):
    path, digits = kept
    opened = cache.opened(path, "a name")
    assert_same(opened, digits)
    assert opened.source == "a name"
    assert path.stat().st_size == 64 + 12 * 785
    assert list(path.parent.iterdir()) == [path]


def test_writes_stay_private(kept):
    path, digits = kept
    opened = cache.opened(path, "")
    opened.train.images[:] = 0
    opened.test.labels[:] = 0
    assert_same(cache.opened(path, ""), digits)


def test_slices_of_larger_arrays_are_kept_right(tmp_path):
    digits = sized(9, 4, 4)
    strided = Digits(digits.train[::2], digits.valid[1:3], digits.test[::-1], "")
    cache.save(tmp_path / "x", strided)
    assert_same(cache.opened(tmp_path / "x", ""), strided)


def halved(content: bytes) -> bytes:
    return content[: len(content) // 2]


SPOILED = {
    "empty": lambda b: b"",
    "half a header": lambda b: b[:32],
    "header alone": lambda b: b[:64],
    "half": halved,
    "a byte short": lambda b: b[:-1],
    "a byte long": lambda b: b + b"\0",
    "zeros": lambda b: bytes(len(b)),
    "other version": lambda b: b.replace(b"digits1", b"digits0"),
    "other counts": lambda b: b[:16] + (8).to_bytes(8, "little") + b[24:],
    "huge counts": lambda b: b[:16] + b"\xff" * 24 + b[40:],
    "label 200": lambda b: b[:-1] + b"\xc8",
}


@pytest.mark.parametrize("kind", SPOILED)
def test_spoiled_file_is_made_anew(kind, kept):
    path, digits = kept
    whole = path.read_bytes()
    path.write_bytes(SPOILED[kind](whole))
    assert cache.opened(path, "") is None
    assert_same(cache.opened_or_made(path, "", lambda: digits), digits)
    assert path.read_bytes() == whole


def test_made_once(kept, tmp_path):
    path, digits = kept

    def never() -> Digits:
        raise AssertionError("made although kept")

    assert_same(cache.opened_or_made(path, "", never), digits)


def test_nothing_is_kept_of_what_failed(tmp_path):
    def fail() -> Digits:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cache.opened_or_made(tmp_path / "x", "", fail)
    assert not list(tmp_path.iterdir())


def test_full_disk(tmp_path, monkeypatch):
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    digits = sized(7, 3, 2)
    with pytest.warns(RuntimeWarning, match="No space left on device"):
        assert cache.opened_or_made(tmp_path / "x", "made up", lambda: digits) is digits
    assert not list(tmp_path.iterdir())


def test_folder_in_the_way(tmp_path):
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "y").touch()
    with pytest.warns(RuntimeWarning, match="not kept"):
        cache.opened_or_made(tmp_path / "x", "", lambda: sized(7, 3, 2))
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_interrupted_while_writing(tmp_path, monkeypatch):
    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        cache.save(tmp_path / "x", sized(7, 3, 2))
    assert not list(tmp_path.iterdir())


def test_full_size_opens_in_a_tenth_of_a_second(tmp_path):
    split = Split(np.zeros((70_000, 784), np.uint8), np.zeros(70_000, np.uint8))
    cache.save(tmp_path / "x", Digits(split[:50_000], split[50_000:60_000], split[60_000:], ""))
    seconds = []
    for _ in range(5):
        began = time.perf_counter()
        cache.opened(tmp_path / "x", "")
        seconds.append(time.perf_counter() - began)
    assert min(seconds) < 0.1
