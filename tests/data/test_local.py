"""Local files: every accepted form gives the same digits; every broken one a line that names file and defect."""

import gzip
import os
import struct
from pathlib import Path

import numpy as np
import pytest
from made_up import assert_same, defect, parts_of

from breaknet.data import idx
from breaknet.data.mnist import load_mnist

IMAGES, LABELS, TEST_IMAGES, TEST_LABELS = idx.NAMES


@pytest.fixture
def folder(made_up, tmp_path) -> Path:
    """The made-up digits as four gzipped files."""
    return made_up.write(tmp_path / "digits")


@pytest.fixture
def local(made_up):
    """The digits that every folder named "digits" should give."""
    return made_up.digits("local: digits")


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("dotted", [False, True])
def test_idx_folder(zipped, dotted, made_up, local, tmp_path):
    folder = made_up.write(tmp_path / "digits", zipped)
    if dotted:
        for file in list(folder.iterdir()):
            file.rename(folder / file.name.replace("-idx", ".idx"))
    for path in (folder, str(folder)):
        digits = load_mnist(path)
        assert_same(digits, local)
        assert digits.train.images.flags.writeable
        assert digits.test.labels.flags.writeable


def test_spellings_and_gzip_may_mix(made_up, folder, local):
    (folder / f"{LABELS}.gz").write_bytes(made_up.files[LABELS])  # gzipped by name only
    (folder / f"{TEST_IMAGES}.gz").rename(folder / "t10k-images.idx3-ubyte.gz")
    (folder / f"{TEST_LABELS}.gz").unlink()
    (folder / TEST_LABELS).write_bytes(made_up.files[TEST_LABELS])
    assert_same(load_mnist(folder), local)


@pytest.mark.parametrize("name", idx.NAMES)
def test_published_content_is_called_mnist(name, published, tmp_path, monkeypatch):
    assert load_mnist(published.write(tmp_path / "digits")).source == "MNIST"
    monkeypatch.setitem(idx.PUBLISHED, name, "0" * 64)
    assert load_mnist(tmp_path / "digits").source == "local: digits"


def test_environment_names_the_data(folder, local, tmp_path, monkeypatch):
    monkeypatch.setenv("BREAKNET_DATA", str(folder))
    assert_same(load_mnist(), local)
    monkeypatch.setenv("BREAKNET_DATA", str(tmp_path / "absent"))
    assert "absent" in defect(None)
    assert_same(load_mnist(folder), local)  # the argument goes first


def test_paths_are_taken_as_users_write_them(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert load_mnist("~/digits").source == "local: digits"
    monkeypatch.chdir(folder)
    assert load_mnist(".").source == "local: digits"


def test_other_size_is_accepted(made_up, tmp_path):
    made_up.arrays |= {name: made_up.arrays[name][:8] for name in (IMAGES, LABELS)}
    digits = load_mnist(made_up.write(tmp_path / "few"))
    assert [len(part) for part in parts_of(digits)] == [7, 1, 12]


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


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ((60, 59, 12, 12), "60 training images but 59 training labels"),
        ((60, 60, 11, 12), "11 test images but 12 test labels"),
        ((5, 5, 12, 12), "5 training and 12 test images; at least 6 and 1"),
        ((60, 60, 0, 0), "60 training and 0 test images; at least 6 and 1"),
        ((0, 0, 0, 0), "0 training and 0 test images; at least 6 and 1"),
    ],
)
def test_wrong_numbers_of_rows(counts, message, made_up, tmp_path):
    for name, count in zip(idx.NAMES, counts, strict=True):
        made_up.arrays[name] = made_up.arrays[name][:count]
    assert message in defect(made_up.write(tmp_path / "digits"))


def test_missing_files_are_named(folder):
    (folder / f"{LABELS}.gz").unlink()
    (folder / f"{TEST_IMAGES}.gz").unlink()
    assert defect(folder).startswith(f"{folder}: lacks {LABELS}, {TEST_IMAGES}")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("notes.txt", b"hello", "not a file of digits"),
        ("nothing", b"", "not a file of digits"),
        ("stub.gz", b"\x1f\x8b\x08", "gzip stream"),
        ("lone.gz", gzip.compress(header(2051, 60, 28, 28), mtime=0), "name the folder that holds all four"),
        ("absent", None, "no such folder or file"),
        ("absent/x", None, "no such folder"),
        ("nul\0byte", None, "cannot be read"),
    ],
)
def test_foreign_files(name, content, message, tmp_path):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    assert message in defect(tmp_path / name)


def test_foreign_folders(folder, tmp_path):
    (tmp_path / "empty").mkdir()
    assert "holds none of" in defect(tmp_path / "empty")
    assert "no such folder" in defect("synthetic ")  # only the exact word is not a path
    (folder / f"{LABELS}.gz").unlink()
    (folder / f"{LABELS}.gz").mkdir()
    assert f"lacks {LABELS}" in defect(folder)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_named_pipe_does_not_hang(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    assert "neither a folder nor a plain file" in defect(tmp_path / "pipe")


def test_permission_denied(folder, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr("builtins.open", refuse)
        in_file = defect(folder)
    assert in_file == f"{folder / IMAGES}.gz: cannot be read (Permission denied)"
    monkeypatch.setattr(os, "listdir", refuse)
    assert defect(folder) == f"{folder}: cannot be read (Permission denied)"


WRONG = {
    ("source", TypeError): (7, b"folder", ["folder"], True, 1.5),
    ("source", ValueError): ("",),
    ("cache_dir", TypeError): (3, b"x", ["x"]),
    ("mirrors", TypeError): ("http://127.0.0.1/mnist", 7, [7]),
    ("mirrors", ValueError): ([], ["mnist"], ["file:///mnist"], ["http://"], ["http://[::1"]),
}


@pytest.mark.parametrize(("name", "error"), WRONG)
def test_wrong_arguments(name, error, tmp_path):
    for value in WRONG[name, error]:
        with pytest.raises(error, match=f"^{name}: "):
            load_mnist(**({"cache_dir": tmp_path} | {name: value}))


@pytest.mark.mnist
def test_real_mnist(mnist):
    assert mnist.source == "MNIST"
    assert [len(part) for part in parts_of(mnist)] == [50_000, 10_000, 10_000]
    assert mnist.train.labels[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    counts = "4932 5678 4968 5101 4859 4506 4951 5175 4842 4988"
    assert " ".join(map(str, np.bincount(mnist.train.labels))) == counts
    train = idx.sha256(idx.IMAGES, mnist.train.images, mnist.valid.images)
    assert train == "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db"
    assert idx.is_mnist(mnist)
