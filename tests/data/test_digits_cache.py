"""The cached file: opened quickly, never trusted when it is not whole, never written in place."""

import errno
import os
import time

import numpy as np
import pytest
from made_up import assert_same, random_split

from breaknet.data import cache
from breaknet.data.splits import Digits, Split


def sized(train: int, valid: int, test: int) -> Digits:
    splits = (random_split(rows, seed) for seed, rows in enumerate((train, valid, test)))
    return Digits(*splits, source="made up")


def never() -> Digits:
    raise AssertionError("made although kept")


@pytest.fixture
def digits() -> Digits:
    return sized(7, 3, 2)


@pytest.fixture
def kept(digits, tmp_path):
    """The file of `digits`."""
    path = tmp_path / "folder" / "some.digits"
    cache.save(path, digits)
    return path


def test_round_trip(kept, digits):
    assert_same(cache.opened(kept, "made up"), digits)
    assert cache.opened(kept, "a name").source == "a name"
    assert kept.stat().st_size == 64 + 12 * 785
    assert list(kept.parent.iterdir()) == [kept]
    assert_same(cache.opened_or_made(kept, "made up", never), digits)


def test_writes_stay_private(kept, digits):
    opened = cache.opened(kept, "")
    opened.train.images[:] = 0
    opened.test.labels[:] = 0
    assert_same(cache.opened(kept, "made up"), digits)


def test_slices_of_larger_arrays_are_kept_right(tmp_path):
    digits = sized(9, 4, 4)
    strided = Digits(digits.train[::2], digits.valid[1:3], digits.test[::-1], "")
    cache.save(tmp_path / "x", strided)
    assert_same(cache.opened(tmp_path / "x", ""), strided)


SPOILED = {
    "empty": lambda b: b"",
    "half a header": lambda b: b[:32],
    "header alone": lambda b: b[:64],
    "half": lambda b: b[: len(b) // 2],
    "a byte short": lambda b: b[:-1],
    "a byte long": lambda b: b + b"\0",
    "zeros": lambda b: bytes(len(b)),
    "other version": lambda b: b.replace(b"digits2", b"digits1"),
    "other counts": lambda b: b[:16] + (8).to_bytes(8, "little") + b[24:],
    "huge counts": lambda b: b[:16] + b"\xff" * 24 + b[40:],
    "label 200": lambda b: b[:-1] + b"\xc8",
    "another label": lambda b: b[:-1] + bytes([(b[-1] + 1) % 10]),
    "another pixel": lambda b: b[:500] + bytes([b[500] ^ 1]) + b[501:],
    "another sum": lambda b: b[:40] + b"\x01" + b[41:],
}


@pytest.mark.parametrize("kind", SPOILED)
def test_spoiled_file_is_made_again(kind, kept, digits):
    whole = kept.read_bytes()
    kept.write_bytes(SPOILED[kind](whole))
    assert cache.opened(kept, "") is None
    assert_same(cache.opened_or_made(kept, "made up", lambda: digits), digits)
    assert kept.read_bytes() == whole


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
@pytest.mark.parametrize("phase", ["making", "writing"])
def test_nothing_is_left_of_what_failed(phase, error, digits, tmp_path, monkeypatch):
    def fail(*_: int) -> Digits:
        raise error

    make = fail if phase == "making" else lambda: digits
    monkeypatch.setattr(os, "fsync", fail)
    if phase == "writing" and isinstance(error, OSError):
        with pytest.warns(RuntimeWarning, match="No space left on device"):
            assert cache.opened_or_made(tmp_path / "x", "made up", make) is digits
    else:
        with pytest.raises(type(error)):
            cache.opened_or_made(tmp_path / "x", "made up", make)
    assert not list(tmp_path.iterdir())


def test_folder_in_the_way(digits, tmp_path):
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "y").touch()
    with pytest.warns(RuntimeWarning, match="not kept"):
        cache.opened_or_made(tmp_path / "x", "", lambda: digits)
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_full_size_opens_in_a_tenth_of_a_second(tmp_path):
    split = Split(np.zeros((70_000, 784), np.uint8), np.zeros(70_000, np.uint8))
    cache.save(tmp_path / "x", Digits(split[:50_000], split[50_000:60_000], split[60_000:], ""))
    seconds = []
    for _ in range(5):
        began = time.perf_counter()
        cache.opened(tmp_path / "x", "")
        seconds.append(time.perf_counter() - began)
    assert min(seconds) < 0.1
