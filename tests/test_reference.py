"""The reference against autograd on the lesson's model, and its independence of torch's global settings."""

import numpy as np
import pytest
import torch
from checks import random_labels, sparse_images, start_of

from breaknet import MLP, reference

LEARNING_RATE = 0.05


@pytest.fixture(scope="module")
def batch():
    return sparse_images(30), random_labels(30)


def by_autograd(start, images, labels, dtype=torch.float64):
    """(cost, parameters after one step) by torch's own network, loss and optimiser."""
    model = MLP((16, 16)).to(dtype)
    model.load_state_dict(start)
    optimizer = torch.optim.SGD(model.parameters(), lr=LEARNING_RATE)
    target = torch.nn.functional.one_hot(torch.from_numpy(labels).long(), 10).to(dtype)
    cost = torch.nn.functional.mse_loss(
        model(torch.from_numpy(images).to(dtype) / 256), target, reduction="sum"
    )
    cost.backward()
    optimizer.step()
    return cost.detach(), {name: value.detach() for name, value in model.state_dict().items()}


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 2e-5)])
def test_a_step_is_autograds(batch, dtype, tolerance):
    start = start_of()
    cost, after = by_autograd(start, *batch, dtype)
    found = reference.step(start, *batch, LEARNING_RATE, dtype)
    assert list(found) == list(start)
    assert {tensor.dtype for tensor in found.values()} == {dtype}
    assert reference.update_error(start, found, after) < tolerance
    torch.testing.assert_close(reference.cost(start, *batch, dtype), cost)


def test_epochs_are_steps_in_order_with_the_last_partial_batch(batch):
    images, labels = batch
    start = start_of()
    current, after = start, []
    for _ in range(2):
        for rows in (slice(0, 12), slice(12, 24), slice(24, 30)):
            _, current = by_autograd(current, images[rows], labels[rows])
        after.append(current)
    found = reference.epochs(start, images, labels, epochs=2, batch_size=12, learning_rate=LEARNING_RATE)
    assert len(found) == 2
    for mine, theirs in zip(found, after, strict=True):
        assert reference.update_error(start, mine, theirs) < 1e-12


def test_evaluation(batch):
    images, labels = batch
    start = start_of()
    found = reference.evaluation(start, images, labels)
    model = MLP().double()
    model.load_state_dict(start)
    predicted = model(torch.from_numpy(images).double() / 256).argmax(1).numpy()
    cells = np.zeros((10, 10), int)
    np.add.at(cells, (labels, predicted), 1)
    assert (found.confusion.numpy() == cells).all()
    assert found.accuracy == pytest.approx((predicted == labels).mean())
    assert found.cost == pytest.approx(float(by_autograd(start, images, labels)[0]) / 30)
    assert found.near_ties == 0
    same = {**start, "output.weight": torch.zeros(10, 16), "output.bias": torch.zeros(10)}
    tied = reference.evaluation(same, images, labels)
    assert tied.near_ties == 1
    assert tied.confusion.sum(0).tolist() == [30] + 9 * [0]


def test_floating_images_are_used_as_they_are_and_any_shape_is_taken():
    random = torch.Generator().manual_seed(0)
    sizes = {"hidden1": (3, 5), "hidden2": (4, 3), "output": (2, 4)}
    start = {}
    for layer, size in sizes.items():
        start[f"{layer}.weight"] = torch.randn(size, generator=random)
        start[f"{layer}.bias"] = torch.randn(size[0], generator=random)
    images = torch.tensor([[0.0, 3.0, 7.0, 256.0, 1.0]])
    as_bytes = torch.tensor([[0, 3, 7, 255, 1]], dtype=torch.uint8)
    assert reference.outputs(start, images).shape == (1, 2)
    assert torch.equal(reference.outputs(start, as_bytes), reference.outputs(start, as_bytes / 256))
    assert torch.equal(reference.as_floats(images), images.double())


def test_global_settings_change_nothing(batch):
    """Default dtype, autocast, inference mode and a start that requires gradients."""
    start = start_of()
    expected = reference.step(start, *batch, LEARNING_RATE)
    tracked = {name: value.clone().requires_grad_() for name, value in start.items()}
    torch.set_default_dtype(torch.float16)
    try:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found = [reference.step(tracked, *batch, LEARNING_RATE)]
            with torch.inference_mode():
                found.append(reference.step(start, *batch, LEARNING_RATE))
    finally:
        torch.set_default_dtype(torch.float32)
    for one in found:
        assert all(torch.equal(one[name], expected[name]) for name in start)
        assert not any(value.requires_grad for value in one.values())


@pytest.mark.parametrize("wrong", [float("nan"), 1.0])
def test_update_error_reports_what_is_wrong(batch, wrong):
    start = start_of()
    exact = reference.step(start, *batch, LEARNING_RATE)
    found = {name: value.clone() for name, value in exact.items()}
    assert reference.update_error(start, found, exact) == 0
    found["hidden2.bias"][0] = wrong
    assert not reference.update_error(start, found, exact) <= 1e-3
