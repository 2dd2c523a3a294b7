"""Fast only where it gives what PyTorch gives: everything that may differ is trained and evaluated as it is."""

import contextlib
import copy
import logging
import sys
import types
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from checks import random_labels, sparse_images
from torch import nn

import breaknet
from breaknet import fast_paths, notebook

IMAGES = (sparse_images(150) / 256).astype(np.float32)
LABELS = random_labels(150).astype(np.int64)


def original(model, epochs=2, images=IMAGES, labels=LABELS, target_of=None, cost_of=None):
    """The notebook's loop, written out: the costs after each epoch."""
    target_of = target_of or (lambda digits: nn.functional.one_hot(torch.as_tensor(digits), 10))
    cost_of = cost_of or (lambda output, target: ((output - target) ** 2).sum())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    images, target = torch.as_tensor(images), target_of(labels)
    costs = []
    for _ in range(epochs):
        for some, wanted in zip(images.split(100), target.split(100), strict=True):
            optimizer.zero_grad()
            cost_of(model(some), wanted).backward()
            optimizer.step()
        with torch.no_grad():
            costs.append(float(cost_of(model(images), target)) / len(images))
    return costs


def fresh(kind=notebook.NN_Model):
    torch.manual_seed(0)
    return kind()


@pytest.fixture
def notices(caplog):
    caplog.set_level(logging.WARNING, "breaknet")
    return caplog


def frozen(model):
    model.hidden1.weight.requires_grad_(False)


def shared(model):
    model.hidden2.bias = model.hidden1.bias


def views_of_one_tensor(model):
    both = torch.zeros(32)
    model.hidden1.bias, model.hidden2.bias = nn.Parameter(both[:16]), nn.Parameter(both[16:])


def gradient_hook(model):
    model.output.weight.register_hook(lambda gradient: gradient * 0.5)


def accumulated_hook(model):
    def forget(weight):
        weight.grad.zero_()

    model.hidden2.weight.register_post_accumulate_grad_hook(forget)


def module_backward_hook(model):
    model.output.register_full_backward_hook(lambda layer, into, out: tuple(one * 2 for one in into))


def forward_hook(model):
    model.hidden1.register_forward_hook(lambda layer, images, output: output * 0.5)


def forward_pre_hook(model):
    model.register_forward_pre_hook(lambda layer, images: (images[0] * 0.1,))


def parametrized(model):
    nn.utils.parametrizations.weight_norm(model.hidden1)


def instance_forward(model):
    model.forward = lambda images: torch.sigmoid(model.output(model.hidden2(model.hidden1(images))))


def instance_forward_of_a_layer(model):
    plain = model.hidden2.forward
    model.hidden2.forward = lambda images: plain(images) * 0.5


def other_layer_type(model):
    class Halved(nn.Linear):
        def forward(self, images):
            return super().forward(images) / 2

    layer = Halved(16, 16)
    layer.load_state_dict(model.hidden2.state_dict())
    model.hidden2 = layer


TRAINING = [frozen, shared, views_of_one_tensor, gradient_hook, accumulated_hook, module_backward_hook]
OUTPUTS = [
    forward_hook,
    forward_pre_hook,
    parametrized,
    instance_forward,
    instance_forward_of_a_layer,
    other_layer_type,
]


@pytest.mark.parametrize("change", TRAINING + OUTPUTS)
def test_a_changed_model_is_trained_as_pytorch_trains_it(change, notices, capsys):
    ours, theirs = fresh(), fresh()
    change(ours)
    change(theirs)
    _, costs, models = notebook.train_model(2, 100, 0.05, IMAGES, LABELS, ours)
    np.testing.assert_allclose(costs, original(theirs), rtol=1e-5)
    for mine, reference in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine, reference, rtol=1e-5, atol=1e-6)
    assert len(notices.messages) == 1
    assert "plain PyTorch loop" in notices.messages[0]
    assert len(models) == 2


@pytest.mark.parametrize("change", TRAINING)
def test_train_goes_on_from_a_changed_model_as_pytorch_would(change, notices):
    init, theirs = fresh(breaknet.MLP), fresh(breaknet.MLP)
    change(init)
    change(theirs)
    run = breaknet.train((IMAGES, LABELS), epochs=2, init=init, device="cpu")
    np.testing.assert_allclose(run.train_cost, original(theirs), rtol=1e-5)
    assert run.backend == "torch"
    assert len(notices.messages) == 1
    with pytest.raises(breaknet.BackendError, match="cannot take this: this model has"):
        breaknet.train((IMAGES, LABELS), epochs=1, init=init, backend="numba")


@pytest.mark.parametrize("change", OUTPUTS)
def test_outputs_of_a_changed_model_are_its_own(change, notices):
    model = fresh()
    change(model)
    with torch.no_grad():
        output = model(torch.from_numpy(IMAGES))
    found = breaknet.evaluate(model, (IMAGES, LABELS), confusion=True)
    expected = ((output - nn.functional.one_hot(torch.from_numpy(LABELS), 10)) ** 2).sum(1).mean()
    assert found.cost[0] == pytest.approx(float(expected), rel=1e-6)
    assert found.accuracy[0] == float((output.argmax(1).numpy() == LABELS).mean())
    assert found.confusion.sum() == len(LABELS)
    assert len(notices.messages) == 1
    with pytest.raises(ValueError, match="init: this model "):
        breaknet.train((IMAGES, LABELS), epochs=1, init=model)


class Branching(notebook.NN_Model):
    def forward(self, images):
        activation = torch.relu if self.training and len(images) > 90 else torch.sigmoid
        return torch.sigmoid(self.output(torch.sigmoid(self.hidden2(activation(self.hidden1(images))))))


class Detaching(notebook.NN_Model):
    def forward(self, images):
        hidden = torch.sigmoid(self.hidden2(torch.sigmoid(self.hidden1(images))))
        return torch.sigmoid(self.output(hidden.detach()))


class Counting(notebook.NN_Model):
    calls = 0

    def forward(self, images):
        type(self).calls += 1
        return super().forward(images)


class Stateful(nn.Module):
    """The same outputs, by a callable object that could change its mind."""

    class Activation:
        def __call__(self, values):
            return torch.sigmoid(values)

    def __init__(self):
        super().__init__()
        self.hidden1, self.hidden2, self.output = nn.Linear(784, 16), nn.Linear(16, 16), nn.Linear(16, 10)
        self.sigmoid = self.Activation()

    def forward(self, images):
        return self.sigmoid(self.output(self.sigmoid(self.hidden2(self.sigmoid(self.hidden1(images))))))


class OtherCall(notebook.NN_Model):
    def __call__(self, images):
        return super().__call__(images * 0.5)


class OtherParameters(notebook.NN_Model):
    def parameters(self, recurse=True):
        return self.output.parameters(recurse)


@pytest.mark.parametrize("kind", [Branching, Detaching, Counting, Stateful, OtherCall, OtherParameters])
def test_another_class_is_never_taken_for_the_lessons(kind, notices, capsys):
    ours, theirs = fresh(kind), fresh(kind)
    _, costs, _ = notebook.train_model(2, 100, 0.05, IMAGES, LABELS, ours)
    np.testing.assert_allclose(costs, original(theirs), rtol=1e-5)
    assert len(notices.messages) == 1


class Module(nn.Module):
    """The network as people write it: a module for the sigmoid, and a loop."""

    def __init__(self):
        super().__init__()
        self.hidden1, self.hidden2, self.output = nn.Linear(784, 16), nn.Linear(16, 16), nn.Linear(16, 10)
        self.sigmoid = nn.Sigmoid()

    def forward(self, images):
        for layer in (self.hidden1, self.hidden2, self.output):
            images = self.sigmoid(layer(images))
        return images


@pytest.mark.parametrize("kind", [breaknet.MLP, notebook.NN_Model, Module])
def test_the_lessons_network_is_fast(kind):
    model = kind()
    assert fast_paths.difference_in_outputs(model) is None
    assert fast_paths.difference_in_training(model) is None
    assert breaknet.evaluate([model], (IMAGES, LABELS), backend="torch").cost.shape == (1,)


def test_a_global_hook_is_seen():
    handle = nn.modules.module.register_module_forward_hook(lambda layer, images, output: output * 0.5)
    try:
        assert "hooks" in fast_paths.difference_in_outputs(breaknet.MLP())
    finally:
        handle.remove()


def test_a_replaced_function_of_torchs_is_seen(monkeypatch):
    monkeypatch.setattr(torch, "sigmoid", torch.relu)
    assert "sigmoid has been replaced" in fast_paths.difference_in_outputs(breaknet.MLP())


@pytest.mark.parametrize(
    ("cost", "same"),
    [
        (nn.MSELoss(reduction="sum"), True),
        (nn.MSELoss(), False),
        (lambda output, target: ((output - target) ** 2).sum(), True),
        (lambda output, target: ((output - target) ** 2).mean(), False),
        (lambda output, target: nn.functional.mse_loss(output.detach(), target, reduction="sum"), False),
        (
            lambda output, target: (output - target).square().sum() if len(output) < 50 else output.sum(),
            False,
        ),
    ],
)
def test_what_counts_as_the_lessons_cost(cost, same):
    assert fast_paths.is_summed_squares(cost) is same


CELLS = {
    "activation_func": "activation_func = torch.tanh",
    "cost_func": "cost_func = lambda output, target: ((output - target) ** 4).sum()",
    "get_target": "get_target = lambda digits: nn.functional.one_hot(torch.as_tensor(digits), 10) * 0.8 + 0.1",
}
CALLS = {
    "direct": "found = train_model(1, 100, 0.05, images, labels, NN_Model())[1]",
    "executor": "found = pool.submit(train_model, 1, 100, 0.05, images, labels, NN_Model()).result()[1]",
    "decorator": "found = decorated(train_model)(1, 100, 0.05, images, labels, NN_Model())[1]",
    "helper": "found = helper.go(images, labels, NN_Model())[1]",
}


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("call", CALLS)
def test_the_names_of_the_cells_count(name, call, notices, capsys):
    helper = types.ModuleType("helper_of_a_notebook")
    exec(
        "from breaknet.notebook import *\ndef go(x, y, m): return train_model(1, 100, 0.05, x, y, m)",
        vars(helper),
    )

    def decorated(function):
        return lambda *arguments: function(*arguments)

    with ThreadPoolExecutor(1) as pool, contextlib.ExitStack() as stack:
        stack.callback(sys.modules.pop, "helper_of_a_notebook", None)
        sys.modules["helper_of_a_notebook"] = helper
        cell = {"torch": torch, "nn": nn, "pool": pool, "helper": helper, "decorated": decorated, "images": IMAGES,
                "labels": LABELS, "NN_Model": notebook.NN_Model, "train_model": notebook.train_model}  # fmt: skip
        exec(f"torch.manual_seed(0)\n{CALLS[call]}", cell)
        before = cell["found"]
        assert notices.messages == []
        exec(f"{CELLS[name]}\ntorch.manual_seed(0)\n{CALLS[call]}", cell)
        after = cell["found"]
        cell.clear()  # what a cell leaves behind must not reach the next test
    assert len(notices.messages) == 1
    assert before != after


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_a_model_keeps_its_dtype(dtype, notices, capsys):
    ours, theirs = fresh().to(dtype), fresh().to(dtype)
    _, costs, models = notebook.train_model(1, 100, 0.05, torch.from_numpy(IMAGES).to(dtype), LABELS, ours)
    np.testing.assert_allclose(costs, original(theirs, 1, torch.from_numpy(IMAGES).to(dtype)), rtol=1e-6)
    assert next(models[0].parameters()).dtype == dtype
    assert str(dtype).removeprefix("torch.") in notices.messages[0]


@pytest.mark.parametrize("kind", [notebook.NN_Model, Branching])
@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (IMAGES, LABELS[:9], "label_train: 150, as many as images in data_train, not 9"),
        (IMAGES, LABELS.astype(np.float32), "label_train: whole numbers, not float32"),
        (IMAGES, LABELS + 5, "label_train: 0 to 9, not 14"),
        (IMAGES * np.nan, LABELS, "data_train: finite values only"),
        (IMAGES.astype(np.int32), LABELS, "data_train: uint8 or floating, not int32"),
    ],
)
def test_data_is_checked_before_anything_is_trained(kind, images, labels, message):
    model = fresh(kind)
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(ValueError, match=message):
        notebook.train_model(1, 100, 0.05, images, labels, model)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_models_are_a_list_of_deep_copies(capsys):
    model = fresh()
    _, _, models = notebook.train_model(2, 100, 0.05, IMAGES, LABELS, model)
    outputs = [one(torch.from_numpy(IMAGES)) for one in models]
    model.output = nn.Linear(16, 2)
    model.hidden1.requires_grad_(False)
    model.double()
    assert type(models) is list
    assert [type(one) for one in models + models] == [notebook.NN_Model] * 4
    for one, before in zip(models, outputs, strict=True):
        assert torch.equal(one(torch.from_numpy(IMAGES)), before)
        assert all(parameter.requires_grad for parameter in one.parameters())
    assert breaknet.evaluate(models, (IMAGES, LABELS)).cost.shape == (2,)


def test_accuracy_of_other_lengths_never_exceeds_one():
    target = notebook.get_target(LABELS)
    assert notebook.accuracy(target[:40], target) == 1.0
    assert notebook.accuracy(target, target[:75]) == 0.5
    with pytest.raises(ValueError, match="pred: at least one row"):
        notebook.accuracy(torch.zeros(0, 10), target)
    digit = notebook.get_digit(torch.eye(10)[:, :3])
    assert digit.tolist() == [0, 1, 2]
