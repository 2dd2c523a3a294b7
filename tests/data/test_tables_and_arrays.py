"""Images in CSV tables and in other libraries' arrays, made up here in the forms in which people have them."""

import gzip

import numpy as np
import pytest

import breaknet
from breaknet.data.mnist import load_mnist


def rows(count: int, side: int = 28, brightest: int = 255) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(count)
    images = random.integers(0, brightest + 1, (count, side * side))
    images[0, 0] = brightest
    return images, random.integers(0, 10, count)


def text(images: np.ndarray, labels: np.ndarray | None, header: bool = True, last: bool = False) -> str:
    table = images if labels is None else np.column_stack([images, labels] if last else [labels, images])
    names = [] if labels is None else ["label"]
    lines = [",".join([*names, *(f"pixel{number}" for number in range(images.shape[1]))])] * header
    return "\n".join([*lines, *(",".join(map(str, row)) for row in table)]) + "\n"


def whole(digits: breaknet.Digits) -> tuple[np.ndarray, np.ndarray]:
    parts = (digits.train, digits.valid, digits.test)
    return np.concatenate([part.images for part in parts]), np.concatenate([part.labels for part in parts])


@pytest.mark.parametrize("header", [True, False])
@pytest.mark.parametrize("ending", ["csv", "csv.gz", "txt"])
def test_a_table_as_kaggle_has_it(tmp_path, monkeypatch, header, ending):
    monkeypatch.setattr("breaknet.data.tables._BLOCK", 5000)  # several blocks
    images, labels = rows(60)
    content = text(images, labels, header).replace("\n", "\r\n" if header else "\n").encode()
    path = tmp_path / f"train.{ending}"
    path.write_bytes(gzip.compress(content) if ending.endswith("gz") else content)
    digits = load_mnist(path)
    assert (len(digits.train), len(digits.valid), len(digits.test)) == (42, 8, 10)
    found_images, found_labels = whole(digits)
    assert np.array_equal(found_images, images)
    assert np.array_equal(found_labels, labels)
    assert digits.source == f"local: train.{ending}"


def test_a_folder_with_two_tables(tmp_path):
    for name, count in (("fashion-mnist_train.csv", 60), ("fashion-mnist_test.csv", 20)):
        (tmp_path / name).write_text(text(*rows(count)))
    digits = load_mnist(tmp_path)
    assert (len(digits.train), len(digits.valid), len(digits.test)) == (50, 10, 20)
    assert np.array_equal(digits.test.labels, rows(20)[1])


def test_a_test_table_without_labels_is_left(tmp_path):
    (tmp_path / "train.csv").write_text(text(*rows(60)))
    (tmp_path / "test.csv").write_text(text(rows(20)[0], None))
    digits = load_mnist(tmp_path)
    assert len(digits.test) == 10
    assert np.array_equal(whole(digits)[1], rows(60)[1])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a,b,c\n1,2,3\n", "rows of 3 numbers; known are 785"),
        (
            text(*rows(10)).replace("\n3,", "\nx,", 1).replace(",7", ",seven", 1),
            "something else than numbers",
        ),
        (text(*rows(10)) + "1,2,3\n", "a row of 3 numbers among rows of 785"),
        (text(*rows(10)).replace(",7,", ",7.5,", 1), "no whole ones from 0 to 255"),
        (text(*rows(10)).replace(",7,", ",300,", 1), "no whole ones from 0 to 255"),
        (text(rows(10)[0], rows(10)[1] + 5), "labels: 0 to 9, not"),
        (text(*rows(3)), "at least 6 and 1"),
        ("label," + ",".join(["p"] * 784) + "\n", "rows of 1 numbers"),
    ],
)
def test_tables_that_are_broken(tmp_path, content, message):
    (tmp_path / "train.csv").write_text(content)
    with pytest.raises(breaknet.DataError, match=message) as caught:
        load_mnist(tmp_path / "train.csv")
    assert "\n" not in str(caught.value)


def small_digits(count: int = 60) -> tuple[np.ndarray, np.ndarray]:
    """As scikit-learn's `load_digits(return_X_y=True)`: floats 0 to 16, [N, 64]."""
    images, labels = rows(count, 8, 16)
    return images.astype(np.float64), labels


def test_small_digits_are_upscaled(tmp_path):
    images, labels = small_digits()
    digits = load_mnist((images, labels))
    found, found_labels = whole(digits)
    assert np.array_equal(found_labels, labels)
    large = found.reshape(-1, 28, 28)
    assert not large[:, :4].any()
    assert not large[:, :, 24:].any()
    for one, other in zip(large, images.reshape(-1, 8, 8), strict=True):
        back = one[4:24, 4:24].reshape(20, 20).astype(float)
        corner = back[0, 0] * 16 / 255
        assert corner == pytest.approx(other[0, 0], abs=1), "its corner is another"
        assert back.mean() * 16 / 255 == pytest.approx(other.mean(), rel=0.1)
    (tmp_path / "digits.csv").write_text(text(images.astype(int), labels, header=False, last=True))
    from_file = load_mnist(tmp_path / "digits.csv")
    assert np.array_equal(whole(from_file)[0], found)


def test_scikit_learns_digits():
    datasets = pytest.importorskip("sklearn.datasets")
    digits = load_mnist(datasets.load_digits(return_X_y=True))
    assert (len(digits.train), len(digits.valid), len(digits.test)) == (1249, 249, 299)
    run = breaknet.train(digits.train, valid=digits.valid, epochs=60, backend="torch")
    assert run.valid_accuracy[-1] > 0.8


@pytest.mark.parametrize("kind", ["bytes", "floats", "shares", "column", "texts"])
def test_arrays_as_libraries_have_them(kind):
    images, labels = rows(60)
    test = rows(20)
    pixels = {"bytes": np.uint8, "floats": np.float32}.get(kind, np.float64)
    scale = 255 if kind == "shares" else 1

    def formed(pair):
        shown = (pair[0] / scale).astype(pixels).reshape(-1, 28, 28)
        if kind == "column":
            return shown, pair[1][:, None]
        return shown, pair[1].astype(str).astype(object) if kind == "texts" else pair[1]

    digits = load_mnist((formed((images, labels)), formed(test)))
    assert np.array_equal(digits.test.images, test[0])
    assert np.array_equal(np.concatenate([digits.train.labels, digits.valid.labels]), labels)
    assert digits.source == "arrays"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ((np.zeros((9, 10)), np.zeros(9, int)), "square ones"),
        ((np.zeros((9, 64)), np.zeros(8, int)), "labels: whole numbers"),
        ((np.zeros((9, 64)), np.full(9, 10)), "labels: 0 to 9, not 10 to 10"),
        ((np.full((9, 64), -1.0), np.zeros(9, int)), "finite pixels of 0 or more"),
        ((np.full((9, 64), np.nan), np.zeros(9, int)), "finite pixels of 0 or more"),
        ((np.zeros((9, 64)), np.array(["a"] * 9)), "labels: whole numbers 0 to 9"),
        ((np.zeros((4, 64)), np.zeros(4, int)), "at least 6 and 1"),
        ((np.zeros((9, 2, 3, 4)), np.zeros(9, int)), "images: numbers"),
    ],
)
def test_arrays_that_will_not_do(data, message):
    with pytest.raises(breaknet.DataError, match=message):
        load_mnist(data)
