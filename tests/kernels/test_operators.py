"""`linear_sigmoid` and `summed_mse` as torch sees them: derivatives, dispatch, compiling, dtypes, errors."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from breaknet.kernels.linear_sigmoid import LinearSigmoid, linear_sigmoid, linear_sigmoid_spec
from breaknet.kernels.summed_mse import summed_mse, summed_mse_spec

LABELS = torch.tensor([[0, 3, 1], [2, 2, 0]])
#: The function, what it is in torch's own operations, and the shapes of its arguments or the arguments.
OPERATORS = {
    "layer": (linear_sigmoid, linear_sigmoid_spec, [(4, 5), (3, 5), (3,)]),
    "layer on more axes": (linear_sigmoid, linear_sigmoid_spec, [(2, 3, 5), (3, 5), (3,)]),
    "layer on one row": (linear_sigmoid, linear_sigmoid_spec, [(5,), (3, 5), (3,)]),
    "cost of values": (summed_mse, lambda *given: summed_mse_spec(*given)[0], [(2, 3, 4), (2, 3, 4)]),
    "cost of labels": (summed_mse, lambda *given: summed_mse_spec(*given)[0], [(2, 3, 4), LABELS]),
}
every_operator = pytest.mark.parametrize(
    ("function", "plain", "given"), [pytest.param(*values, id=name) for name, values in OPERATORS.items()]
)
Function = Callable[..., Tensor]


def arguments(
    given: list[Any], device: str | torch.device, dtype: torch.dtype = torch.float32
) -> list[Tensor]:
    """Random leaves of the given shapes; the same ones every time."""
    draw = torch.Generator().manual_seed(0)
    return [
        one.to(device)
        if isinstance(one, Tensor)
        else torch.rand(one, generator=draw, dtype=torch.float64).to(device, dtype).requires_grad_(True)
        for one in given
    ]


@every_operator
def test_derivatives(function, plain, given):
    leaves = arguments(given, "cpu", torch.float64)
    assert torch.autograd.gradcheck(function, leaves)
    assert torch.autograd.gradgradcheck(function, leaves)


@every_operator
@pytest.mark.parametrize("backend", ["aot_eager", pytest.param("inductor", marks=pytest.mark.slow)])
def test_compiles_to_one_graph(device, backend, function, plain, given):
    torch._dynamo.reset()
    compiled = torch.compile(function, fullgraph=True, backend=backend, dynamic=True)
    results = []
    for way in (plain, function, compiled):
        values = arguments(given, device)
        result = way(*values)
        leaves = [leaf for leaf in values if leaf.requires_grad]
        results.append([result, *torch.autograd.grad(3 * result, leaves, torch.ones_like(result))])
    for expected, eager, other in zip(*results, strict=True):
        torch.testing.assert_close(eager, expected)
        torch.testing.assert_close(other, eager)


@every_operator
def test_autocast_keeps_float32(device, function, plain, given):
    first, *rest = arguments(given, device)
    with torch.autocast(device.type, torch.bfloat16):
        result = function(first.bfloat16(), *rest)
    assert result.dtype == torch.float32
    result.sum().backward()
    assert first.grad is not None
    assert first.grad.isfinite().all()


def test_torchs_own_check_of_operators(device):
    operators, opcheck = torch.ops.breaknet, torch.library.opcheck
    x, weight, bias = arguments([(2, 3, 5), (3, 5), (3,)], device)
    opcheck(operators.linear_sigmoid.default, (x, weight, bias))
    opcheck(operators.linear_sigmoid.default, (x.mT.contiguous().mT, weight.T.clone().T, None))
    y = linear_sigmoid(x, weight, bias).detach()
    opcheck(operators.linear_sigmoid_backward_input.default, (y, y, weight.detach()))
    opcheck(operators.linear_sigmoid_backward_parameters.default, (y, y, x.detach()))
    for target in ((2, 3, 4), LABELS):
        prediction, right = arguments([(2, 3, 4), target], device)
        opcheck(operators.summed_mse.default, (prediction, right.detach(), True))
        opcheck(operators.summed_mse.default, (prediction.detach(), right.detach(), False))


@pytest.mark.parametrize(
    ("function", "given", "named"),
    [
        (linear_sigmoid, (torch.zeros(2, 3).half(), torch.zeros(4, 3), None), "x: float32 or float64"),
        (linear_sigmoid, (torch.zeros(2, 3), torch.zeros(4, 5), None), r"x: \[..., K\]"),
        (linear_sigmoid, (torch.zeros(()), torch.zeros(4, 5), None), r"x: \[..., K\]"),
        (linear_sigmoid, (torch.zeros(2, 3), torch.zeros(3), None), r"x: \[..., K\]"),
        (linear_sigmoid, (torch.zeros(2, 3), torch.zeros(4, 3).double(), None), "weight: torch.float32"),
        (linear_sigmoid, (torch.zeros(2, 3), torch.zeros(4, 3), torch.zeros(3)), r"bias: \[N\]"),
        (
            linear_sigmoid,
            (torch.zeros(2, 3), torch.zeros(4, 3), torch.zeros(4).double()),
            "bias: torch.float32",
        ),
        (linear_sigmoid, (torch.zeros(2, 3), torch.zeros(4, 3, device="meta"), None), "weight: .* on cpu"),
        (summed_mse, (torch.zeros(2, 3).half(), torch.zeros(2)), "prediction: float32 or float64"),
        (summed_mse, (torch.zeros(()), torch.zeros(())), "prediction: at least one axis"),
        (summed_mse, (torch.zeros(2, 3), torch.zeros(2, 3, device="meta")), "target: on cpu"),
        (summed_mse, (torch.zeros(2, 3), torch.zeros(3)), r"target: torch.float32 \[2, 3\]"),
        (summed_mse, (torch.zeros(2, 3), torch.zeros(2, 3).double()), "target: torch.float32"),
        (summed_mse, (torch.zeros(2, 3), torch.zeros(2).bool()), "target: values .* or integer labels"),
        (summed_mse, (torch.zeros(2, 3), torch.zeros(2, 3).long()), r"target: labels \[2\] .*floating"),
        (summed_mse, (torch.zeros(2, 3), torch.tensor([0, 3])), "target: labels 0 to 2, not 3"),
        (summed_mse, (torch.zeros(2, 3), torch.tensor([-1, 0])), "target: labels 0 to 2, not -1"),
    ],
)
def test_bad_input_names_the_argument(function, given, named):
    with pytest.raises(ValueError, match=named) as caught:
        function(*given)
    assert "\n" not in str(caught.value)


def test_fake_and_meta_tensors():
    layer_on_meta = LinearSigmoid(784, 16, device="meta")
    assert layer_on_meta(torch.empty(3, 2, 784, device="meta")).shape == (3, 2, 16)


@pytest.mark.parametrize("only", range(3))
def test_only_the_gradients_asked_for(device, only):
    leaves = [leaf.detach() for leaf in arguments([(4, 5), (3, 5), (3,)], device)]
    leaves[only].requires_grad_(True)
    linear_sigmoid(*leaves).sum().backward()
    expected = [tensor.detach().cpu().clone() for tensor in leaves]
    expected[only].requires_grad_(True)
    linear_sigmoid_spec(*expected).sum().backward()
    torch.testing.assert_close(leaves[only].grad.cpu(), expected[only].grad, rtol=1e-5, atol=1e-6)


def test_module_takes_a_linear_layer(device):
    linear = nn.Linear(20, 7)
    loaded = LinearSigmoid(20, 7)
    loaded.load_state_dict(linear.state_dict())
    shared = LinearSigmoid.from_linear(linear)
    assert shared.weight is linear.weight
    assert shared.bias is linear.bias
    x = torch.rand(3, 20)
    expected = torch.sigmoid(linear(x))
    for module in (loaded, shared, LinearSigmoid.from_linear(linear).to(device)):
        torch.testing.assert_close(module(x.to(module.weight.device)).cpu(), expected)
    assert repr(loaded) == "LinearSigmoid(in_features=20, out_features=7, bias=True, activation=sigmoid)"
    assert LinearSigmoid.from_linear(nn.Linear(3, 2, bias=False)).bias is None


def test_gradient_is_computed_only_when_asked_for(device):
    prediction, target = arguments([(6, 4), torch.tensor([0, 3, 1, 2, 2, 0])], device)
    prediction = prediction.detach()
    assert torch.ops.breaknet.summed_mse(prediction, target, False)[1].numel() == 0
    cost_alone = summed_mse(prediction, target)
    assert cost_alone.ndim == 0
    assert not cost_alone.requires_grad
    # asked for after all, through the operator itself
    leaf = prediction.clone().requires_grad_(True)
    torch.ops.breaknet.summed_mse(leaf, target, False)[0].backward()
    assert torch.allclose(leaf.grad, summed_mse_spec(prediction, target)[1])
