"""The drop-in names, against the notebook's own functions written out here after its description."""

import copy
import logging

import numpy as np
import pytest
import torch
from checks import random_labels, sparse_images
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from breaknet import notebook

IMAGES = (sparse_images(250) / 256).astype(np.float32)
LABELS = random_labels(250).astype(np.int64)
VALID_IMAGES = (sparse_images(90, seed=1) / 256).astype(np.float32)
VALID_LABELS = random_labels(90, seed=1).astype(np.int64)


class Original:
    """The notebook's functions as it has them: a DataLoader, a Python loop over predictions, deep copies."""

    @staticmethod
    def get_target(digits):
        return torch.nn.functional.one_hot(torch.as_tensor(digits), 10)

    @staticmethod
    def cost_func(input, target):
        return nn.MSELoss(reduction="sum")(input, target.float())

    @classmethod
    def train_model(
        cls, epochs, batch_size, learning_rate, data_train, label_train, model, data_valid, label_valid
    ):
        optimizer = torch.optim.SGD(model.parameters(), lr=learning_rate)
        dataset = TensorDataset(torch.as_tensor(data_train), cls.get_target(label_train))
        cost_train, cost_valid, models = [], [], []
        for _ in range(epochs):
            for images, target in DataLoader(dataset, batch_size=batch_size):
                optimizer.zero_grad()
                cls.cost_func(model(images), target).backward()
                optimizer.step()
            with torch.no_grad():
                for costs, images, labels in (
                    (cost_train, data_train, label_train), (cost_valid, data_valid, label_valid),
                ):  # fmt: skip
                    cost = cls.cost_func(model(torch.as_tensor(images)), cls.get_target(labels))
                    costs.append(cost.item() / len(images))
            models.append(copy.deepcopy(model))
        return cost_valid, cost_train, models

    @staticmethod
    def accuracy(pred, xy):
        hits = 0
        for row, target in zip(pred, xy, strict=True):
            hits += int(row.argmax() == target.argmax())
        return hits / len(pred)


def seeded_model() -> notebook.NN_Model:
    torch.manual_seed(0)
    return notebook.NN_Model()


def test_train_model_gives_the_originals_lists(capsys):
    ours, theirs = seeded_model(), seeded_model()
    cost_valid, cost_train, models = notebook.train_model(
        3, 100, 0.05, IMAGES, LABELS, ours, VALID_IMAGES, VALID_LABELS
    )
    printed = capsys.readouterr().out.splitlines()
    expected = Original.train_model(3, 100, 0.05, IMAGES, LABELS, theirs, VALID_IMAGES, VALID_LABELS)
    np.testing.assert_allclose(cost_valid, expected[0], rtol=1e-5)
    np.testing.assert_allclose(cost_train, expected[1], rtol=1e-5)
    assert all(type(cost) is float for cost in cost_valid + cost_train)
    assert len(printed) == 3
    for epoch, line in enumerate(printed):
        assert line == f"epoch {epoch}: training cost {cost_train[epoch]:.6f}"
    for found, reference in zip(models, expected[2], strict=True):
        assert type(found) is notebook.NN_Model
        images = torch.from_numpy(VALID_IMAGES)
        torch.testing.assert_close(found(images), reference(images), rtol=1e-4, atol=1e-5)
    for trained, last in zip(ours.parameters(), models[-1].parameters(), strict=True):
        assert torch.equal(trained, last)


def test_without_valid_data_there_are_no_valid_costs():
    cost_valid, cost_train, _ = notebook.train_model(1, 100, 0.05, IMAGES, list(LABELS), seeded_model())
    assert cost_valid == []
    assert len(cost_train) == 1


def test_accuracy_is_the_loops_number():
    random = torch.Generator().manual_seed(3)
    pred = torch.rand(500, 10, generator=random).round(decimals=1)  # ties as well
    xy = notebook.get_target(random_labels(500))
    assert notebook.accuracy(pred, xy) == Original.accuracy(pred, xy)
    assert type(notebook.accuracy(pred, xy)) is float
    assert notebook.get_digit(torch.tensor([0.1, 0.7, 0.7])) == 1
    assert notebook.get_digit(np.array([0.1, 0.2, 0.9])) == 2


def test_targets_and_cost():
    target = notebook.get_target(np.array([3, 0]))
    assert target.dtype == torch.int64
    assert target.tolist() == [[0, 0, 0, 1, *[0] * 6], [1, *[0] * 9]]
    assert notebook.get_target(torch.tensor([9])).shape == (1, 10)
    value = torch.full((2, 10), 0.5)
    assert notebook.cost_func(value, target).item() == pytest.approx(5.0)
    assert notebook.activation_func(torch.zeros(1)).item() == 0.5


class Deeper(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden1, self.extra = nn.Linear(784, 16), nn.Linear(16, 16)
        self.hidden2, self.output = nn.Linear(16, 16), nn.Linear(16, 10)

    def forward(self, x):
        for layer in (self.hidden1, self.extra, self.hidden2, self.output):
            x = torch.sigmoid(layer(x))
        return x


class Tanh(notebook.NN_Model):
    def forward(self, images):
        return torch.sigmoid(self.output(torch.tanh(self.hidden2(torch.tanh(self.hidden1(images))))))


class SameByHand(nn.Module):
    """The class cell left in the notebook: the same network, so it trains fast."""

    def __init__(self):
        super().__init__()
        self.hidden1, self.hidden2, self.output = nn.Linear(784, 16), nn.Linear(16, 16), nn.Linear(16, 10)

    def forward(self, x):
        return notebook.activation_func(
            self.output(notebook.activation_func(self.hidden2(notebook.activation_func(self.hidden1(x)))))
        )


@pytest.fixture
def notices(caplog):
    caplog.set_level(logging.WARNING, "breaknet")
    return caplog


@pytest.mark.parametrize(
    ("kind", "told"), [(Deeper, "other layers"), (Tanh, "something else"), (SameByHand, None)]
)
def test_another_model_is_noticed_and_still_trained(kind, told, notices):
    torch.manual_seed(1)
    model = kind()
    reference = copy.deepcopy(model)
    found = notebook.train_model(2, 100, 0.05, IMAGES, LABELS, model, VALID_IMAGES, VALID_LABELS)
    expected = Original.train_model(2, 100, 0.05, IMAGES, LABELS, reference, VALID_IMAGES, VALID_LABELS)
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-5)
    np.testing.assert_allclose(found[1], expected[1], rtol=1e-5)
    assert len(found[2]) == 2
    assert type(found[2][0]) is kind
    assert len(notices.messages) == (0 if told is None else 1)
    assert told is None or told in notices.messages[0]


def test_another_cost_in_the_callers_cell_is_noticed(notices):
    cell = {"cost_func": lambda input, target: ((input - target) ** 4).sum(), "notebook": notebook, "images": IMAGES,
            "labels": LABELS, "model": seeded_model()}  # fmt: skip
    exec("found = notebook.train_model(1, 100, 0.05, images, labels, model)", cell)
    assert len(notices.messages) == 1
    assert "cost function" in notices.messages[0]
    assert len(cell["found"][1]) == 1


def test_a_redefined_but_equal_cost_stays_fast(notices):
    cell = {"cost_func": Original.cost_func, "notebook": notebook, "images": IMAGES, "labels": LABELS,
            "model": seeded_model()}  # fmt: skip
    exec("found = notebook.train_model(1, 100, 0.05, images, labels, model)", cell)
    assert notices.messages == []


@pytest.mark.parametrize("backend", ["numba", "torch"])
def test_ctrl_c_keeps_the_epochs_that_were_finished(backend, monkeypatch):
    pytest.importorskip(backend)
    train_checked = notebook.train_checked
    monkeypatch.setattr(notebook, "train_checked", lambda jobs, _, *more: train_checked(jobs, backend, *more))
    four_epochs, interrupted = seeded_model(), seeded_model()
    notebook.train_model(4, 100, 0.05, IMAGES, LABELS, four_epochs)

    def print_epoch(epoch, epochs, cost):
        if epoch == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(notebook, "_print_epoch", print_epoch)
    with pytest.raises(KeyboardInterrupt):
        notebook.train_model(50, 100, 0.05, IMAGES, LABELS, interrupted)
    for mine, theirs in zip(interrupted.parameters(), four_epochs.parameters(), strict=True):
        assert torch.equal(mine, theirs)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_a_compiled_model_uses_the_activation_of_the_cells(monkeypatch):
    model = seeded_model()
    compiled = torch.compile(model, backend="eager")
    images = torch.as_tensor(IMAGES[:5])
    cells = globals()
    for activation in (torch.sigmoid, torch.relu, torch.tanh, torch.sigmoid):
        monkeypatch.setitem(cells, "activation_func", activation)
        expected = activation(model.output(activation(model.hidden2(activation(model.hidden1(images))))))
        assert torch.allclose(compiled(images), expected)
