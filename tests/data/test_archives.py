"""mnist.pkl.gz and mnist.npz: the forms in use are read; programs in pickles are refused, never run."""

import builtins
import collections
import gzip
import os
import pickle
import struct
import warnings
import zipfile
from contextlib import suppress

import numpy as np
import pytest
from made_up import assert_same, defect, float_pairs, parts_of

from breaknet.data import archives, idx
from breaknet.data.mnist import load_mnist
from breaknet.errors import DataError


def pairs(made_up, images=None):
    """The made-up digits as an mnist.pkl.gz holds them; `images` makes other arrays of their bytes."""
    found = float_pairs(made_up.digits())
    if images is None:
        return found
    parts = zip(parts_of(made_up.digits()), found, strict=True)
    return tuple((images(part.images), labels) for part, (_, labels) in parts)


def replaced(made_up, part: int, member: int, value) -> tuple:
    changed = [list(pair) for pair in pairs(made_up)]
    changed[part][member] = value
    return tuple(map(tuple, changed))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "mnist.pkl"


def python2_pickle(parts) -> bytes:
    """A pickle as Python 2.7 and its numpy wrote it at protocol 2, by opcode: the form of the notebook's file."""

    def number(value: int) -> bytes:
        return b"J" + struct.pack("<i", value)

    def text(value: bytes) -> bytes:
        return b"T" + struct.pack("<i", len(value)) + value

    def array(value: np.ndarray) -> bytes:
        shape = b"(" + b"".join(map(number, value.shape)) + b"t"
        code = value.dtype.str[1:].encode()
        state = number(3) + text(b"<") + b"NNN" + number(-1) + number(-1) + number(0)
        kind = b"cnumpy\ndtype\n(" + text(code) + number(0) + number(1) + b"tR(" + state + b"tb"
        empty = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n("
        empty += number(0) + b"t" + text(b"b") + b"tR"
        return empty + b"(" + number(1) + shape + kind + b"\x89" + text(value.tobytes()) + b"tb"

    return b"\x80\x02(" + b"".join(b"(" + array(x) + array(y) + b"t" for x, y in parts) + b"t."


def test_the_python2_writer_is_right(made_up):
    """The test's own opcodes mean what they should to Python's own unpickler."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some versions of numpy warn of such pickles
        loaded = pickle.loads(python2_pickle(pairs(made_up)), encoding="latin1")
    for (images, labels), (x, y) in zip(loaded, pairs(made_up), strict=True):
        assert np.array_equal(images, x)
        assert images.dtype == np.float32
        assert np.array_equal(labels, y)


@pytest.mark.parametrize("zipped", [False, True])
def test_python2_pickle(zipped, made_up, tmp_path):
    content = python2_pickle(pairs(made_up))
    (tmp_path / "mnist.pkl.gz").write_bytes(gzip.compress(content) if zipped else content)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        digits = load_mnist(tmp_path / "mnist.pkl.gz")
    assert_same(digits, made_up.digits("local: mnist.pkl.gz"))
    assert load_mnist(tmp_path).source == f"local: {tmp_path.name}"


BYTE_FORMS = {
    "float32": None,
    "bytes": lambda x: x,
    "28x28": lambda x: x.reshape(-1, 28, 28),
    "float64": lambda x: x.astype(np.float64) / 256,
    "big-endian": lambda x: (x / 256).astype(">f4"),
    "fortran": lambda x: np.asfortranarray(x.astype(np.float32) / 256),
}


@pytest.mark.parametrize(
    ("form", "protocol"),
    [
        *(("float32", number) for number in range(2, pickle.HIGHEST_PROTOCOL + 1)),
        *((f, 4) for f in BYTE_FORMS),
    ],
)
def test_python3_pickles(form, protocol, made_up, path):
    path.write_bytes(pickle.dumps(pairs(made_up, BYTE_FORMS[form]), protocol=protocol))
    assert_same(load_mnist(path), made_up.digits("local: mnist.pkl"))


def test_published_content_is_called_mnist(published, tmp_path):
    (tmp_path / "mnist.pkl.gz").write_bytes(gzip.compress(python2_pickle(pairs(published))))
    save_npz(tmp_path / "mnist.npz", published)
    for name in ("mnist.pkl.gz", "mnist.npz"):
        assert load_mnist(tmp_path / name).source == "MNIST"


X = np.zeros((60, 784), np.float32)
WRONG_CONTENT = {
    "255ths": (lambda m: pairs(m, lambda x: x.astype(np.float32) / 255), "not a byte / 256"),
    "over 255/256": (lambda m: pairs(m, lambda x: x.astype(np.float32)), "not a byte / 256"),
    "negative": (lambda m: replaced(m, 0, 0, X[:50] - 1 / 256), "not a byte / 256"),
    "not a number": (lambda m: replaced(m, 1, 0, X[:10] * np.float32(np.nan)), "validation images"),
    "whole numbers": (lambda m: pairs(m, lambda x: x.astype(np.int64)), "type int64, neither uint8 nor"),
    "783 pixels": (lambda m: replaced(m, 2, 0, X[:12, :783]), "test images of shape [12, 783]"),
    "no rows": (lambda m: replaced(m, 2, 0, X[:0]), "test labels: whole numbers [0]"),
    "empty": (lambda m: (*pairs(m)[:2], (X[:0], np.zeros(0, int))), "test part of 0 images"),
    "label 10": (lambda m: replaced(m, 0, 1, np.full(50, 10)), "training label 10; labels are 0 to 9"),
    "label -1": (lambda m: replaced(m, 0, 1, np.full(50, -1)), "training label -1"),
    "float labels": (lambda m: replaced(m, 0, 1, np.zeros(50)), "not float64 [50]"),
    "one-hot labels": (lambda m: replaced(m, 0, 1, np.zeros((50, 10), int)), "not int64 [50, 10]"),
    "two parts": (lambda m: pairs(m)[:2], "not the three pairs"),
    "three arrays": (lambda m: (X, X, X), "not the three pairs"),
    "a dictionary": (lambda m: {"train": X}, "an instruction b'}' that no array needs"),
    "lists": (lambda m: replaced(m, 0, 1, [1, 2, 3]), "training part is not a pair of arrays"),
    "objects": (lambda m: replaced(m, 0, 1, np.array([None] * 50)), "type 'O8', not of plain numbers"),
    "strings": (lambda m: replaced(m, 0, 1, np.array(["a"] * 50)), "'U1', not of plain numbers"),
    "record": (lambda m: replaced(m, 0, 1, np.zeros(50, [("a", "i4")])), "'V4', not of plain numbers"),
}


@pytest.mark.parametrize("kind", WRONG_CONTENT)
def test_wrong_content(kind, made_up, path):
    make, message = WRONG_CONTENT[kind]
    path.write_bytes(pickle.dumps(make(made_up), protocol=4))
    assert message in defect(path)


# ---- pickles that hold programs


class Calls:
    """Pickles to a call of any function."""

    def __init__(self, function, *arguments) -> None:
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("where", ["whole", "beside", "inside an array"])
@pytest.mark.parametrize("function", [os.system, builtins.exec, builtins.open, os.mkdir, collections.deque])
def test_programs_are_refused_and_not_run(function, where, protocol, made_up, path, tmp_path):
    target = str(tmp_path / "ran")
    argument = {os.system: f"touch {target}", builtins.exec: f"open({target!r}, 'w')"}.get(function, target)
    program = Calls(function, argument, "w") if function is builtins.open else Calls(function, argument)
    content = {
        "whole": program,
        "beside": (*pairs(made_up), program),
        "inside an array": replaced(made_up, 0, 1, np.array([program] * 50, dtype=object)),
    }[where]
    path.write_bytes(gzip.compress(pickle.dumps(content, protocol=protocol)))
    message = defect(path)
    assert "refused" in message or "'O8', not of plain numbers" in message
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "asked",
    ["numpy\nload", "numpy\nndarray.tofile", "numpy.core.multiarray\nfromfile", "numpy\ncore.multiarray"],
)
def test_nothing_else_of_numpy_is_admitted(asked, path):
    path.write_bytes(b"\x80\x02c" + asked.encode() + b"\n.")
    assert "refused" in defect(path)


def test_other_use_of_the_text_encoder_is_refused(path):
    import _codecs

    path.write_bytes(pickle.dumps(Calls(_codecs.encode, "x", "rot13"), protocol=2))
    assert "encoded as" in defect(path)


# ---- broken pickles


def test_every_truncated_pickle_is_an_error(made_up, path):
    content = python2_pickle(pairs(made_up))
    for length in [*range(4, 200), *range(200, len(content), 4001), len(content) - 1]:
        path.write_bytes(content[:length])
        defect(path)
    packed = gzip.compress(content)
    for length in range(12, len(packed), 10007):
        path.write_bytes(packed[:length])
        defect(path)


def test_altered_pickles_end_in_digits_or_a_clear_error(made_up, path):
    content = python2_pickle(pairs(made_up))
    for place in range(2, 250):  # the opcodes before the first array's content
        path.write_bytes(content[:place] + b"X" + content[place + 1 :])
        with suppress(DataError):  # any other error fails the test
            load_mnist(path)


# ---- Keras's archive


def save_npz(path, made_up, **changes) -> None:
    images, labels, test_images, test_labels = made_up.arrays.values()
    arrays = {
        "x_train": images.reshape(-1, 28, 28),
        "y_train": labels,
        "x_test": test_images.reshape(-1, 28, 28),
        "y_test": test_labels,
    }
    np.savez(path, **{name: array for name, array in (arrays | changes).items() if array is not None})


@pytest.fixture
def npz(tmp_path):
    return tmp_path / "mnist.npz"


def test_npz(made_up, npz, tmp_path):
    save_npz(npz, made_up)
    assert_same(load_mnist(npz), made_up.digits("local: mnist.npz"))
    assert load_mnist(tmp_path).source == f"local: {tmp_path.name}"
    images, labels = made_up.arrays[idx.NAMES[0]], made_up.arrays[idx.NAMES[1]]
    save_npz(npz, made_up, x_train=images, y_train=labels.astype(np.int64))
    assert_same(load_mnist(npz), made_up.digits("local: mnist.npz"))


def test_npz_with_a_program_is_refused(made_up, npz, tmp_path):
    program = Calls(os.mkdir, str(tmp_path / "ran"))
    save_npz(npz, made_up, y_train=np.array([program] * 60, dtype=object))
    assert "broken or foreign npz" in defect(npz)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"y_test": None}, "lacks the array 'y_test'; it holds x_train, y_train, x_test"),
        ({"x_train": np.zeros((60, 32, 32), np.uint8)}, "training images of shape [60, 32, 32]"),
        ({"x_train": np.uint8(3)}, "training images of shape []"),
        ({"y_train": np.zeros(59, np.uint8)}, "training labels: whole numbers [60], not uint8 [59]"),
        ({"y_test": np.full(12, 11)}, "test label 11"),
        ({"x_test": np.ones((12, 28, 28), np.float32)}, "not a byte / 256"),
        (
            {"x_train": np.zeros((3, 784), np.uint8), "y_train": np.zeros(3, np.uint8)},
            "3 training and 12 test images; at least 6 and 1",
        ),
    ],
)
def test_wrong_npz(changes, message, made_up, npz):
    save_npz(npz, made_up, **changes)
    assert message in defect(npz)


@pytest.mark.parametrize(("start", "end"), [(-10, 0), (4, 0), (300, 301), (40, 80)])
def test_broken_npz(start, end, made_up, npz):
    """Cut off at `start`, or with other bytes from there to `end`."""
    save_npz(npz, made_up)
    content = npz.read_bytes()
    npz.write_bytes(content[:start] + (b"\xff" * (end - start) + content[end:] if end else b""))
    defect(npz)


def test_zip_of_other_things(npz):
    with zipfile.ZipFile(npz, "w") as archive:
        archive.writestr("readme.txt", "a zip of other things")
    assert "lacks the array 'x_train'" in defect(npz)


@pytest.mark.parametrize("read", [archives.read_pickle, archives.read_npz])
def test_missing_file(read, tmp_path):
    with pytest.raises(DataError, match="absent: cannot be read"):
        read(tmp_path / "absent", "")


@pytest.mark.slow
@pytest.mark.mnist
def test_real_mnist_as_pickle(mnist, path):
    path.write_bytes(python2_pickle(float_pairs(mnist)))
    assert_same(load_mnist(path), mnist)
