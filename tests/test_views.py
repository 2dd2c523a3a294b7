"""The views of a network, held against plain torch and against MNIST's own layout."""

import numpy as np
import pytest
import torch
from tiny import tiny_digits

import breaknet
from breaknet.views import Wrong, centre_digit, confidently_wrong, outputs, weight_images


@pytest.fixture(scope="module")
def trained() -> tuple[breaknet.Digits, breaknet.Run]:
    digits = tiny_digits()
    return digits, breaknet.train(digits.train, epochs=2, backend="torch")


def test_weights_are_the_first_layers(trained: tuple[breaknet.Digits, breaknet.Run]) -> None:
    model = trained[1].checkpoints[-1]
    images = weight_images(model)
    assert images.shape == (16, 28, 28)
    assert images.dtype == np.float32
    assert np.array_equal(images.reshape(16, 784), model.hidden1.weight.detach().numpy())
    images[:] = 0
    assert model.hidden1.weight.abs().max() > 0, "the model itself was changed"
    assert np.array_equal(weight_images(trained[1]), weight_images(model)), "a run stands for its last model"


def test_outputs_are_the_models(trained: tuple[breaknet.Digits, breaknet.Run]) -> None:
    digits, run = trained
    images = digits.valid.images
    model = run.checkpoints[-1]
    with torch.no_grad():
        expected = model.double()(torch.from_numpy(images.astype(np.float64) / 256)).numpy()
    model.float()
    for same in (
        images,
        images.reshape(-1, 28, 28),
        images.astype(np.float32) / 256,
        torch.from_numpy(images),
    ):
        found = outputs(run, same)
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, expected, rtol=1e-5)
    np.testing.assert_allclose(outputs(model, images[0].reshape(28, 28)), expected[:1], rtol=1e-5)
    assert outputs(model, images[:0]).shape == (0, 10)


@pytest.mark.parametrize(
    ("model", "images", "message"),
    [
        ("model", np.zeros((2, 784), np.uint8), "model: an MLP, a Run or Checkpoints, not a str"),
        (breaknet.MLP(), np.zeros((2, 27, 27), np.uint8), r"images: shape .*not \[2, 27, 27\]"),
        (breaknet.MLP(), np.zeros((2, 784), np.int64), "images: uint8 or floating, not int64"),
        (breaknet.MLP(), np.full((2, 784), np.nan, np.float32), "images: finite values only"),
    ],
)
def test_what_outputs_refuses(model: object, images: object, message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        outputs(model, images)


def test_the_surest_mistakes_come_first(trained: tuple[breaknet.Digits, breaknet.Run]) -> None:
    digits, run = trained
    split = digits.valid
    said = outputs(run, split.images)
    wrong = np.flatnonzero(said.argmax(1) != split.labels)
    assert len(wrong) > 3, "the network must make some mistakes here"
    found = confidently_wrong(run, split, count=len(split))
    assert sorted(one.index for one in found) == wrong.tolist()
    strengths = [one.output for one in found]
    assert strengths == sorted(strengths, reverse=True)
    for one in found:
        row = said[one.index]
        assert one == Wrong(one.index, split.labels[one.index], row.argmax(), row.max())
    assert confidently_wrong(run, split, count=3) == found[:3]
    assert confidently_wrong(run, (split.images, split.labels), count=3) == found[:3]
    right = split[said.argmax(1) == split.labels]
    assert confidently_wrong(run, right) == []
    with pytest.raises(ValueError, match="count: 1 or more"):
        confidently_wrong(run, split, count=0)


def test_a_digit_fills_mnists_box_wherever_it_stood() -> None:
    for height, width in ((300, 100), (7, 5), (41, 200)):
        picture = np.zeros((400, 300))
        picture[13 : 13 + height, 60 : 60 + width] = 0.4
        rows, columns = (np.flatnonzero(centre_digit(picture).any(axis)) for axis in (1, 0))
        box = len(rows), len(columns)
        assert max(box) == 20
        assert box[0] / box[1] == pytest.approx(height / width, rel=0.15), "its shape changed"
        assert centre_digit(picture).max() == 255


def test_a_digit_is_centred_by_its_mass() -> None:
    picture = np.zeros((100, 100), np.uint8)
    picture[10:30, 25:75] = 255  # a heavy bar on a stem
    picture[30:90, 42:58] = 255
    found = centre_digit(picture).astype(float)
    down = (found.sum(1) @ (np.arange(28) + 0.5)) / found.sum()
    across = (found.sum(0) @ (np.arange(28) + 0.5)) / found.sum()
    assert (down, across) == pytest.approx((14.5, 14.5), abs=0.51)
    assert np.flatnonzero(found.any(1))[0] > 4, "it is centred by its box, not by its mass"


@pytest.mark.mnist
def test_mnists_own_digits_hardly_change(mnist: breaknet.Digits) -> None:
    kept = mnist.valid.images[:200].reshape(-1, 28, 28)
    change = [np.abs(centre_digit(image).astype(int) - image).mean() for image in kept]
    assert np.mean(change) < 1, "of 255; a shift by one pixel gives 16"
    assert np.mean(np.array(change) == 0) > 0.7


@pytest.mark.parametrize(
    "grey",
    [np.zeros((28, 28, 3)), np.zeros((0, 5)), np.full((3, 3), np.nan), -np.ones((3, 3)), np.array([["a"]])],
)
def test_what_is_no_grey_picture(grey: np.ndarray) -> None:
    with pytest.raises(ValueError, match="grey: "):
        centre_digit(grey)


def test_without_ink_there_is_nothing_to_centre() -> None:
    assert not centre_digit(np.zeros((50, 20))).any()
    assert centre_digit(np.full((1, 1), 7, np.uint8)).max() == 255
