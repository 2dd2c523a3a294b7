"""Local files: every accepted form gives the same digits; every broken one a line that names file and defect."""

from __future__ import annotations

import gzip
import os
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from breaknet.data import idx
from breaknet.data.mnist import load_mnist
from breaknet.errors import DataError

IMAGES, LABELS, TEST_IMAGES, TEST_LABELS = idx.NAMES


def assert_same(first, second) -> None:
    assert first.source == second.source
    for part in ("train", "valid", "test"):
        assert np.array_equal(getattr(first, part).images, getattr(second, part).images)
        assert np.array_equal(getattr(first, part).labels, getattr(second, part).labels)


def defect(source) -> str:
    with pytest.raises(DataError) as error:
        load_mnist(source)
    message = str(error.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("dotted", [False, True])
def test_idx_folder(zipped, dotted, made_up, tmp_path):
    folder = made_up.write(tmp_path / "digits", zipped)
    if dotted:
        for file in list(folder.iterdir()):
            file.rename(folder / file.name.replace("-idx", ".idx"))
    assert_same(load_mnist(folder), made_up.digits("local: digits"))
    assert_same(load_mnist(str(folder)), made_up.digits("local: digits"))


def test_spellings_and_gzip_may_mix(made_up, tmp_path):
    folder = made_up.write(tmp_path / "digits", zipped=True)
    (folder / f"{LABELS}.gz").write_bytes(made_up.files[LABELS])  # gzipped by name only
    (folder / f"{TEST_IMAGES}.gz").rename(folder / "t10k-images.idx3-ubyte.gz")
    (folder / f"{TEST_LABELS}.gz").unlink()
    (folder / TEST_LABELS).write_bytes(made_up.files[TEST_LABELS])
    assert_same(load_mnist(folder), made_up.digits("local: digits"))


def test_published_content_is_called_mnist(published, tmp_path):
    assert load_mnist(published.write(tmp_path / "digits")).source == "MNIST"
    published.arrays[TEST_IMAGES][3, 5] ^= 1
    published.__post_init__()
    assert load_mnist(published.write(tmp_path / "digits")).source == "local: digits"


@pytest.mark.parametrize("name", idx.NAMES)
def test_each_published_hash_counts(name, published, tmp_path, monkeypatch):
    monkeypatch.setitem(idx.PUBLISHED, name, "0" * 64)
    assert load_mnist(published.write(tmp_path / "digits")).source == "local: digits"


def test_environment_names_the_data(made_up, tmp_path, monkeypatch):
    folder = made_up.write(tmp_path / "digits")
    monkeypatch.setenv("BREAKNET_DATA", str(folder))
    assert_same(load_mnist(), made_up.digits("local: digits"))
    monkeypatch.setenv("BREAKNET_DATA", str(tmp_path / "absent"))
    with pytest.raises(DataError, match="absent"):
        load_mnist()
    assert_same(load_mnist(folder), made_up.digits("local: digits"))  # the argument goes first


def test_paths_are_taken_as_users_write_them(made_up, tmp_path, monkeypatch):
    folder = made_up.write(tmp_path / "digits")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert load_mnist("~/digits").source == "local: digits"
    monkeypatch.chdir(folder)
    assert load_mnist(".").source == "local: digits"


def test_other_size_is_accepted(made_up, tmp_path):
    made_up.arrays[IMAGES], made_up.arrays[LABELS] = (made_up.arrays[key][:8] for key in (IMAGES, LABELS))
    made_up.__post_init__()
    digits = load_mnist(made_up.write(tmp_path / "few"))
    assert [len(part) for part in (digits.train, digits.valid, digits.test)] == [7, 1, 12]


def test_arrays_may_be_written_to(made_up, tmp_path):
    for zipped in (False, True):
        digits = load_mnist(made_up.write(tmp_path / str(zipped), zipped))
        assert digits.train.images.flags.writeable
        assert digits.test.labels.flags.writeable


def header(magic: int, *numbers: int) -> bytes:
    return struct.pack(f">{1 + len(numbers)}I", magic, *numbers)


BROKEN = {
    "empty": (IMAGES, lambda b: b"", "truncated: 0 bytes are no IDX header"),
    "half a header": (IMAGES, lambda b: b[:10], "truncated: 10 bytes"),
    "one byte short": (IMAGES, lambda b: b[:-1], "truncated: 47,039 bytes for 60 images, not 47,040"),
    "one byte long": (IMAGES, lambda b: b + b"\0", "longer than the 60 images"),
    "labels for images": (IMAGES, lambda b: header(2049, 60) + b[16:], "0x00000801, not 0x00000803"),
    "images for labels": (LABELS, lambda b: header(2051, 60) + b[8:], "0x00000803, not 0x00000801"),
    "other byte order": (LABELS, lambda b: b[:4][::-1] + b[4:], "begins with 0x01080000"),
    "text": (TEST_LABELS, lambda b: b"<html>not found</html>", "no IDX file of labels"),
    "32 x 32": (IMAGES, lambda b: header(2051, 60, 32, 32) + b[16:], "32 x 32 pixels, not 28 x 28"),
    "billions": (IMAGES, lambda b: header(2051, 2**32 - 1, 28, 28) + b[16:], "promises 4,294,967,295 images"),
    "label 10": (TEST_LABELS, lambda b: b[:-1] + b"\x0a", "label 10; labels are 0 to 9"),
    "short gzip": (IMAGES, lambda b: gzip.compress(b)[:-100], "truncated: its gzip stream ends early"),
    "broken gzip": (LABELS, lambda b: gzip.compress(b)[:-6] + b"abcdef", "broken gzip stream"),
    "bad deflate": (LABELS, lambda b: gzip.compress(b)[:10] + b"\xff" * 40, "broken gzip stream"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_broken_idx_file(kind, made_up, tmp_path):
    name, spoil, message = BROKEN[kind]
    folder = made_up.write(tmp_path / "digits", zipped=False)
    (folder / name).write_bytes(spoil(made_up.files[name]))
    text = defect(folder)
    assert text.startswith(f"{folder / name}: ")
    assert message in text


def test_mixed_folder(made_up, tmp_path):
    folder = made_up.write(tmp_path / "digits", zipped=False)
    made_up.arrays[LABELS] = made_up.arrays[LABELS][:-1]
    made_up.__post_init__()
    (folder / LABELS).write_bytes(made_up.files[LABELS])
    assert "60 training images but 59 training labels" in defect(folder)


@pytest.mark.parametrize(("train", "test"), [(5, 12), (60, 0), (0, 0)])
def test_too_few_rows(train, test, made_up, tmp_path):
    for name, count in zip(idx.NAMES, (train, train, test, test), strict=True):
        made_up.arrays[name] = made_up.arrays[name][:count]
    made_up.__post_init__()
    folder = made_up.write(tmp_path / "digits")
    assert f"{train} training and {test} test images; at least 6 and 1" in defect(folder)


def test_missing_files_are_named(made_up, tmp_path):
    folder = made_up.write(tmp_path / "digits")
    (folder / f"{LABELS}.gz").unlink()
    (folder / f"{TEST_IMAGES}.gz").unlink()
    text = defect(folder)
    assert text.startswith(f"{folder}: lacks {LABELS}, {TEST_IMAGES}")


def test_foreign_places(tmp_path, made_up):
    assert "no such folder or file" in defect(tmp_path / "absent")
    assert "no such folder" in defect("synthetic ")  # only the exact word is not a path
    (tmp_path / "empty").mkdir()
    assert "holds none of" in defect(tmp_path / "empty")
    (tmp_path / "notes.txt").write_text("hello")
    assert "not a file of digits" in defect(tmp_path / "notes.txt")
    (tmp_path / "nothing").write_bytes(b"")
    assert "not a file of digits" in defect(tmp_path / "nothing")
    (tmp_path / "stub.gz").write_bytes(b"\x1f\x8b\x08")
    assert "gzip stream" in defect(tmp_path / "stub.gz")
    folder = made_up.write(tmp_path / "digits")
    assert "name the folder that holds all four" in defect(folder / f"{IMAGES}.gz")
    assert "cannot be read" in defect("nul\0byte")
    assert "no such folder" in defect(tmp_path / "notes.txt.d" / "x")
    (folder / f"{LABELS}.gz").unlink()
    (folder / f"{LABELS}.gz").mkdir()
    assert "cannot be read" in defect(folder)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_named_pipe_does_not_hang(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    assert "neither a folder nor a plain file" in defect(tmp_path / "pipe")


@pytest.mark.skipif(
    os.name == "nt" or (hasattr(os, "geteuid") and os.geteuid() == 0), reason="permissions do not bind here"
)
def test_permission_denied(made_up, tmp_path):
    folder = made_up.write(tmp_path / "digits")
    (folder / f"{LABELS}.gz").chmod(0)
    assert f"{LABELS}.gz: cannot be read (Permission denied)" in defect(folder)
    folder.chmod(0)
    try:
        assert f"{folder}: cannot be read (Permission denied)" in defect(folder)
    finally:
        folder.chmod(0o700)


def test_permission_denied_simulated(made_up, tmp_path, monkeypatch):
    folder = made_up.write(tmp_path / "digits")

    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr("builtins.open", refuse)
        with pytest.raises(DataError) as in_file:
            load_mnist(folder)
    assert str(in_file.value) == f"{folder / IMAGES}.gz: cannot be read (Permission denied)"
    monkeypatch.setattr(os, "listdir", refuse)
    assert defect(folder) == f"{folder}: cannot be read (Permission denied)"


@pytest.mark.parametrize("source", [7, b"folder", ["folder"], True, 1.5])
def test_wrong_type_of_source(source):
    with pytest.raises(TypeError, match=r"^source: "):
        load_mnist(source)


def test_empty_source():
    with pytest.raises(ValueError, match=r"^source: "):
        load_mnist("")


def test_local_data_needs_few_packages(made_up, tmp_path):
    """`import breaknet` and `load_mnist(folder)` load none of the packages that only downloads or drawing need."""
    folder = made_up.write(tmp_path / "digits")
    program = (
        "import sys\n"
        "heavy = 'pooch platformdirs requests tqdm matplotlib PIL scipy numba'.split()\n"
        "class Refuse:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name.split('.')[0] in heavy: raise ImportError(name)\n"
        "sys.meta_path.insert(0, Refuse())\n"
        "import breaknet\n"
        "print(breaknet.load_mnist(sys.argv[1]).source)\n"
    )
    command = [sys.executable, "-c", program, str(folder)]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "local: digits\n"


@pytest.mark.mnist
def test_real_mnist(mnist):
    assert mnist.source == "MNIST"
    assert [len(part) for part in (mnist.train, mnist.valid, mnist.test)] == [50_000, 10_000, 10_000]
    assert mnist.train.labels[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert np.bincount(mnist.train.labels).tolist() == [
        4932,
        5678,
        4968,
        5101,
        4859,
        4506,
        4951,
        5175,
        4842,
        4988,
    ]
    train = idx.sha256(idx.IMAGES, mnist.train.images, mnist.valid.images)
    assert train == "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db"
    assert idx.is_mnist(mnist)
