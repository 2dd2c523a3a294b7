"""The network: the parameters that torch's own layers get, and random states left alone."""

import random

import numpy as np
import pytest
import torch
from torch import nn

from breaknet import MLP


def test_parameters_are_those_of_plain_torch_layers_after_manual_seed():
    torch.manual_seed(5)
    plain = nn.ModuleList([nn.Linear(784, 12), nn.Linear(12, 7), nn.Linear(7, 10)])
    model = MLP.seeded(5, (12, 7))
    for ours, theirs in zip(model.parameters(), plain.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_seeding_leaves_every_random_state_alone():
    torch.manual_seed(1)
    np.random.seed(1)  # noqa: NPY002, the caller's old-style state is what is looked at
    random.seed(1)
    before = torch.random.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()  # noqa: NPY002
    MLP.seeded(2**63 - 1)
    assert torch.equal(torch.random.get_rng_state(), before[0])
    assert (np.random.get_state()[1] == before[1]).all()  # noqa: NPY002
    assert random.getstate() == before[2]


def test_outputs_are_three_sigmoid_layers():
    model = MLP.seeded(0, (5, 4)).double()
    images = torch.rand(3, 784, dtype=torch.float64)
    value = images
    for layer in (model.hidden1, model.hidden2, model.output):
        value = 1 / (1 + torch.exp(-(value @ layer.weight.T + layer.bias)))
    torch.testing.assert_close(model(images), value)
    assert model.hidden == (5, 4)
    assert next(iter(model.state_dict())) == "hidden1.weight"


@pytest.mark.parametrize(
    ("error", "widths"),
    [
        (ValueError, [(16,), (16, 16, 16), (0, 16), (16, -1)]),
        (TypeError, [16, "16", (16.0, 16), (True, 16), None]),
    ],
)
def test_wrong_widths_are_named(error, widths):
    for hidden in widths:
        with pytest.raises(error, match="hidden: "):
            MLP(hidden)
