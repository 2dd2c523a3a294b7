"""Files that somebody made to do harm: no crash, no wait, no memory, one line that names them."""

import gzip
import io
import os
import pickle
import subprocess
import sys
import time
import zipfile

import numpy as np
import pytest
from made_up import MadeUp, defect, float_pairs, idx_bytes

from breaknet.data import bounded, download, idx, pickles
from breaknet.data.mnist import load_mnist
from breaknet.errors import DataError

DEEP = b"\x85" * 2_000_000
START_OF_AN_ARRAY = b"\x80\x02cnumpy\ndtype\nU\x02u1\x85Rq\x00cnumpy.core.multiarray\n_reconstruct\n)R(K\x01"
HOSTILE_PICKLES = {
    "a deep tuple as a key": b"\x80\x02}" + b")" + DEEP + b"Ns.",
    "a deep tuple": b"\x80\x02)" + DEEP + b".",
    "a deep tuple in a set": b"\x80\x04\x8f(" + b")" + DEEP + b"\x90.",
    "a deep tuple for a type's name": b"\x80\x02cnumpy\ndtype\n)" + b"\x85" * 9_000 + b"\x85R.",
    "a deep tuple for an encoding": b"\x80\x02c_codecs\nencode\nX\x01\x00\x00\x00a)"
    + b"\x85" * 9_000
    + b"\x86R.",
    "a promised length": b"\x80\x04\x8e\x00\x00\x00\x80\x00\x00\x00\x00",
    "a negative length": b"\x80\x02T\xff\xff\xff\xff.",
    "a promised frame": b"\x80\x04\x95\xff\xff\xff\xff\xff\xff\xff\x7fN.",
    "many digits": b"\x80\x02I" + b"9" * 5_000 + b"\n.",
    "a long name": b"\x80\x02c" + b"n" * 2_000_000 + b"\nname\n.",
    "an object": pickle.dumps(Exception("x"), protocol=4),
    "a new object": b"\x80\x02cnumpy\nndarray\n)\x81.",
    "an extension": b"\x80\x02\x82\x01.",
    "a persistent name": b"\x80\x02Pname\n.",
    "a buffer from elsewhere": b"\x80\x05\x97.",
    "a call of a tuple": b"\x80\x02))R.",
    "an empty stack": b"\x80\x020.",
    "nothing on the stack": b"\x80\x02.",
    "a list in itself": b"\x80\x02]q\x00h\x00a.",
    "a shape too large": START_OF_AN_ARRAY + b"J\xff\xff\xff\x7fJ\xff\xff\xff\x7f\x86h\x00\x89U\x01atb.",
    "a shape of text": START_OF_AN_ARRAY + b"U\x01ah\x00\x89U\x01atb.",
}


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("kind", HOSTILE_PICKLES)
def test_hostile_pickles_are_refused_in_one_short_line(kind, zipped, tmp_path):
    path = tmp_path / "mnist.pkl.gz"
    content = HOSTILE_PICKLES[kind]
    path.write_bytes(gzip.compress(content) if zipped else content)
    text = defect(path)
    assert "\n" not in text
    assert len(text) < 400


def test_no_class_of_pythons_own_unpickler_is_left():
    assert not hasattr(pickles, "Unpickler")
    with pytest.raises(pickle.UnpicklingError, match="over 20,000 instructions"):
        pickles.read_arrays(b"]" * 30_000)


def flips(count: int, length: int) -> list[tuple[int, int]]:
    random = np.random.default_rng(1)
    return [(int(random.integers(length)), 1 << int(random.integers(8))) for _ in range(count)]


def formats(made_up: MadeUp) -> dict[str, bytes]:
    content = pickle.dumps(float_pairs(made_up.digits()), protocol=4)
    buffer = io.BytesIO()
    images, labels, test_images, test_labels = made_up.arrays.values()
    np.savez_compressed(buffer, x_train=images, y_train=labels, x_test=test_images, y_test=test_labels)
    files = {f"{name}.gz": gzip.compress(content) for name, content in made_up.files.items()}
    return {**files, "mnist.pkl.gz": gzip.compress(content), "mnist.npz": buffer.getvalue()}


@pytest.mark.parametrize("count", [40, pytest.param(500, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", [*(f"{name}.gz" for name in idx.NAMES), "mnist.pkl.gz", "mnist.npz"])
def test_a_flipped_bit_is_noticed_or_harmless(name, count, made_up, tmp_path):
    path = made_up.write(tmp_path / "digits") / name
    source = path.parent if name.removesuffix(".gz") in idx.NAMES else path
    content = formats(made_up)[name]
    path.write_bytes(content)
    expected = load_mnist(source)
    for place, bit in flips(count, len(content)):
        path.write_bytes(content[:place] + bytes([content[place] ^ bit]) + content[place + 1 :])
        try:
            found = load_mnist(source)
        except DataError:
            continue
        # bits of a header that say nothing of the content, such as the time, may be any
        for part in ("train", "valid", "test"):
            assert np.array_equal(getattr(found, part).images, getattr(expected, part).images)
            assert np.array_equal(getattr(found, part).labels, getattr(expected, part).labels)


def test_small_files_do_not_expand_without_end(made_up, tmp_path, monkeypatch):
    monkeypatch.setattr(bounded, "_FREE", 2**16)
    folder = made_up.write(tmp_path / "digits")
    bomb = gzip.compress(idx_bytes(np.zeros((20_000, 784), np.uint8)))
    assert len(bomb) * 100 < 20_000 * 784
    (folder / f"{idx.NAMES[0]}.gz").write_bytes(bomb)
    assert "expands to over" in defect(folder)
    (tmp_path / "mnist.pkl.gz").write_bytes(gzip.compress(b"\x80\x02N" + b"N" * 20_000_000))
    assert "expands to over" in defect(tmp_path / "mnist.pkl.gz")


def test_a_large_file_is_not_read(tmp_path):
    with open(tmp_path / "mnist.pkl", "wb") as file:
        file.write(b"\x80\x02")
        file.truncate(2**40)
    assert "at most 1,073,741,824 are read" in defect(tmp_path / "mnist.pkl")


class Odd:
    """Members of an npz archive that are no arrays of numbers."""

    @staticmethod
    def text() -> bytes:
        return b"no array at all"

    @staticmethod
    def promise() -> bytes:
        header = b"{'descr': '|u1', 'fortran_order': False, 'shape': (1000000000000,), }"
        return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header

    @staticmethod
    def evil_header() -> bytes:
        header = b"__import__('os').mkdir('ran')"
        return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header

    @staticmethod
    def unknown_version() -> bytes:
        return b"\x93NUMPY\x09\x00" + b"\0" * 20


@pytest.mark.parametrize("member", [Odd.text, Odd.promise, Odd.evil_header, Odd.unknown_version])
@pytest.mark.parametrize("ending", [".npy", ""])
def test_members_of_an_archive_that_are_no_arrays(member, ending, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with zipfile.ZipFile(tmp_path / "mnist.npz", "w") as archive:
        for name in ("x_train", "y_train", "x_test", "y_test"):
            archive.writestr(name + ending, member())
    assert "mnist.npz: " in defect(tmp_path / "mnist.npz")
    assert not (tmp_path / "ran").exists()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
@pytest.mark.parametrize("name", [f"{idx.NAMES[0]}.gz", "mnist.pkl.gz", "mnist.npz"])
def test_a_pipe_in_a_files_place_does_not_hang(name, made_up, tmp_path):
    folder = tmp_path / "digits"
    if name.startswith("train"):
        made_up.write(folder)
        (folder / name).unlink()
    folder.mkdir(exist_ok=True)
    os.mkfifo(folder / name)
    assert "not a plain file" in defect(folder)


def test_a_download_that_never_ends_is_given_up(monkeypatch):
    monkeypatch.setattr(download, "MOST_BYTES", 1000)
    watched = download._Watched("file")
    watched.update(900)
    with pytest.raises(InterruptedError, match="over 1,000 bytes"):
        watched.update(900)


def test_folders_of_killed_downloads_are_cleared(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    script = (
        "import os, tempfile\nfrom breaknet.data import download\n"
        f"tempfile.tempdir = {str(tmp_path)!r}\n"
        "with download._temporary_folder() as folder: (folder / 'half').touch(); os._exit(0)"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
    (left,) = tmp_path.iterdir()
    assert (left / "half").exists()
    with download._temporary_folder() as mine:  # a young folder may be about to get its lock
        assert sorted(tmp_path.iterdir()) == sorted([left, mine])
        os.utime(left, (0, time.time() - 61))
        os.utime(mine, (0, time.time() - 61))
        with download._temporary_folder() as other:
            assert sorted(tmp_path.iterdir()) == sorted([mine, other])
    assert list(tmp_path.iterdir()) == []


def test_what_files_hold_cannot_reach_the_terminal(tmp_path, capsys):
    from breaknet.cli.commands import main
    from breaknet.cli.output import printable

    (tmp_path / "mnist.pkl").write_bytes(b"\x80\x02c\x1b]0;owned\x07\nname\n.")
    assert main(["data", "--data", str(tmp_path / "mnist.pkl")]) == 1
    assert "\x1b" not in capsys.readouterr().err
    assert main(["data", "--data", str(tmp_path / ("x" * 3000 + "\x1b[31m"))]) == 1
    shown = capsys.readouterr().err
    assert "\x1b" not in shown
    assert len(shown) < 1200
    assert printable("a\x1b[2J\u202eb\udcff") == "a\\x1b[2J\\u202eb\\udcff"
