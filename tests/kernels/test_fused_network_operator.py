"""`fused_network_cost` and `FusedNetwork` as torch sees them: derivatives, dispatch, compiling, dtypes, errors."""

from itertools import pairwise
from unittest.mock import Mock

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import forward_ad

from breaknet.kernels import _operators, fused_network, linear_sigmoid, summed_mse
from breaknet.kernels._triton import INTERPRETED
from breaknet.kernels.fused_network import FusedNetwork, fused_network_cost, fused_network_spec
from breaknet.model import MLP

SIZES = [(7, 5), (7,), (4, 7), (4,), (3, 4), (3,)]
LABELS = torch.tensor([0, 2, 1, 1, 0, 2])


def arguments(dtype: torch.dtype = torch.float32, labels: bool = True) -> tuple[Tensor, Tensor, list[Tensor]]:
    """x [6, 5], labels or values, and the parameters, all leaves that want gradients; the same ones every time."""
    draw = torch.Generator().manual_seed(0)
    values = [torch.rand(size, generator=draw, dtype=torch.float64).to(dtype) for size in [(6, 5), *SIZES]]
    x, *parameters = (one.requires_grad_() for one in values)
    return (
        x,
        LABELS if labels else torch.rand(6, 3, generator=draw, dtype=torch.float64).to(dtype),
        parameters,
    )


@pytest.fixture(
    params=[False, pytest.param(True, marks=pytest.mark.skipif(not INTERPRETED, reason="interpreter"))]
)
def on_kernels(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """By torch, and as on a GPU: float32 goes to the kernels, under the interpreter."""
    if request.param:
        for module in (_operators, fused_network, linear_sigmoid, summed_mse):
            monkeypatch.setattr(module, "on_kernel", lambda tensor: tensor.dtype == torch.float32)
    return bool(request.param)


@pytest.mark.parametrize("labels", [True, False], ids=["labels", "values"])
def test_gradients_around_the_dispatcher(on_kernels, labels):
    x, target, parameters = arguments(labels=labels)
    for way in (fused_network_cost, lambda x, t, p: fused_network_spec(x, t, *p)):
        cost = way(x.reshape(2, 3, 5), target.reshape(2, 3, *target.shape[1:]), parameters)
        found = [cost, *torch.autograd.grad(3 * cost, [x, *parameters])]
        if way is fused_network_cost:
            ours = found
    for one, other in zip(ours, found, strict=True):
        torch.testing.assert_close(one, other)
    for only in (0, 1, 6):
        leaves = [one.detach() for one in (x, *parameters)]
        leaves[only].requires_grad_()
        (alone,) = torch.autograd.grad(3 * fused_network_cost(leaves[0], target, leaves[1:]), leaves[only])
        torch.testing.assert_close(alone, found[1 + only])
    with torch.no_grad():
        assert torch.equal(fused_network_cost(x, target, parameters), ours[0])


def test_derivatives():
    x, labels, parameters = arguments(torch.float64)

    def cost(x, *parameters):
        return fused_network_cost(x, labels, parameters)

    assert torch.autograd.gradcheck(cost, (x, *parameters))
    assert torch.autograd.gradgradcheck(cost, (x, *parameters))


def test_a_target_that_wants_a_gradient(on_kernels):
    x, target, parameters = arguments(labels=False)
    target.requires_grad_()
    found = torch.autograd.grad(fused_network_cost(x, target, parameters), [target, x])
    expected = torch.autograd.grad(fused_network_spec(x, target, *parameters), [target, x])
    raw = torch.ops.breaknet.fused_network_cost(x, target, *parameters, True)[0]
    for results in (found, torch.autograd.grad(raw, [target, x])):
        torch.testing.assert_close(results, expected)


def test_second_derivatives_of_the_kernels(on_kernels):
    results = []
    for way in (fused_network_cost, lambda x, t, p: fused_network_spec(x, t, *p)):
        x, labels, parameters = arguments()
        (of_x,) = torch.autograd.grad(way(x, labels, parameters), x, create_graph=True)
        results.append(torch.autograd.grad(of_x.square().sum(), parameters))
    torch.testing.assert_close(*results)


def test_transforms_and_forward_mode():
    x, labels, parameters = arguments()
    x, parameters = x.detach(), tuple(one.detach() for one in parameters)
    directions = tuple(torch.ones_like(one) for one in parameters)
    models = tuple(torch.stack([one, 2 * one]) for one in parameters)

    def results(cost):
        of_parameters = torch.func.grad(lambda parameters: cost(x, labels, parameters))
        with forward_ad.dual_level():
            dual = cost(forward_ad.make_dual(x, x), labels, parameters)
            tangent = forward_ad.unpack_dual(dual).tangent
        return [
            torch.func.vmap(lambda *parameters: cost(x, labels, parameters))(*models),
            torch.func.vmap(lambda x, label: cost(x, label, parameters))(x, labels),
            *torch.func.jvp(lambda *parameters: cost(x, labels, parameters), parameters, directions),
            *of_parameters(parameters),
            *torch.func.vmap(of_parameters)(models),
            torch.func.hessian(lambda bias: cost(x, labels, (*parameters[:5], bias)))(parameters[5]),
            tangent,
        ]

    expected = results(lambda x, labels, parameters: fused_network_spec(x, labels, *parameters))
    torch.testing.assert_close(results(fused_network_cost), expected)


@pytest.mark.parametrize("backend", ["aot_eager", pytest.param("inductor", marks=pytest.mark.slow)])
def test_compiles_to_one_graph(backend):
    torch._dynamo.reset()
    compiled = torch.compile(fused_network_cost, fullgraph=True, backend=backend, dynamic=True)
    results = []
    for way in (fused_network_cost, compiled):
        x, labels, parameters = arguments()
        cost = way(x, labels, parameters)
        results.append([cost, *torch.autograd.grad(3 * cost, [x, *parameters])])
    torch.testing.assert_close(*results)


def test_autocast_keeps_float32():
    x, labels, parameters = arguments()
    with torch.autocast("cpu", torch.bfloat16):
        cost = fused_network_cost(x.bfloat16(), labels, parameters)
    assert cost.dtype == torch.float32
    cost.backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()


def test_torchs_own_check_of_operators():
    operators, opcheck = torch.ops.breaknet, torch.library.opcheck
    for labels in (True, False):
        x, target, parameters = arguments(labels=labels)
        opcheck(operators.fused_network_cost.default, (x, target, *parameters, True))
        opcheck(
            operators.fused_network_cost.default,
            (x.detach(), target, *(one.detach() for one in parameters), False),
        )
    cost, saved = operators.fused_network_cost(x, target, *parameters, True)
    given = cost.detach(), x.detach(), saved.detach(), parameters[0].detach(), 4, 3
    for wanted in ((True, True), (False, True), (True, False)):
        opcheck(operators.fused_network_backward.default, (*given, *wanted))


@pytest.mark.parametrize("sizes", [(5, 200, 4, 3), (5, 7, 4, 20), (5, 3), (5, 6, 7, 8, 9, 3)])
def test_other_networks_go_layer_by_layer(monkeypatch, sizes):
    """Widths and numbers of layers that the kernels do not take, as on a GPU; with the same results."""
    monkeypatch.setattr(Tensor, "is_cuda", True)
    for module in (_operators, fused_network, linear_sigmoid, summed_mse):
        monkeypatch.setattr(module, "on_kernel", lambda tensor, module=module: module is fused_network)
    calls = Mock(wraps=linear_sigmoid.linear_sigmoid)
    monkeypatch.setattr(fused_network, "linear_sigmoid", calls)
    monkeypatch.setattr(fused_network, "_around_dispatcher", None)
    torch.manual_seed(0)
    layers = [nn.Linear(*size) for size in pairwise(sizes)]
    parameters = [one for layer in layers for one in layer.parameters()]
    x, labels = torch.rand(6, 5), torch.arange(6) % 3
    found = torch.autograd.grad(fused_network_cost(x, labels, parameters), parameters)
    torch.testing.assert_close(
        found, torch.autograd.grad(fused_network_spec(x, labels, *parameters), parameters)
    )
    assert calls.call_count == len(layers)


@pytest.mark.parametrize("sizes", [(5, 3), (5, 7, 4, 3), (5, 6, 7, 8, 9, 3)])
def test_where_there_is_no_kernel_nothing_but_torch_is_called(monkeypatch, sizes):
    for name in ("_around_dispatcher", "linear_sigmoid", "summed_mse"):
        monkeypatch.setattr(fused_network, name, None)
    parameters = [torch.rand(size) for pair in pairwise(sizes) for size in (pair[::-1], pair[1:])]
    x, labels = torch.rand(6, 5), torch.arange(6) % 3
    found = fused_network_cost(x, labels, parameters)
    torch.testing.assert_close(found, fused_network_spec(x, labels, *parameters))


def test_empty_batches(on_kernels):
    _, _, parameters = arguments()
    x = torch.zeros(0, 5, requires_grad=True)
    cost = fused_network_cost(x, torch.zeros(0, dtype=torch.int64), parameters)
    assert float(cost.detach()) == 0.0
    found = torch.autograd.grad(cost, [x, *parameters])
    assert all(torch.equal(one, torch.zeros_like(one)) for one in found)


X, P = torch.zeros(6, 5), [torch.zeros(size) for size in SIZES]


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ((X.half(), LABELS, P), "x: float32 or float64"),
        ((torch.zeros(()), LABELS, P), "x: at least one axis"),
        ((X, LABELS, []), "parameters: weight and bias of each layer, not 0"),
        ((X, LABELS, P[:5]), "parameters: weight and bias of each layer, not 5"),
        ((torch.zeros(6, 4), LABELS, P), r"parameters\[0\]: a weight \[N, 4\], not \[7, 5\]"),
        ((X, LABELS, [*P[:3], P[1], *P[4:]]), r"parameters\[3\]: a bias \[4\], not \[7\]"),
        ((X, LABELS, [*P[:5], P[5].double()]), r"parameters\[5\]: torch.float32 on cpu"),
        ((X, LABELS, [*P[:5], torch.zeros(3, device="meta")]), r"parameters\[5\]: .* on cpu as x is"),
        ((X, LABELS[:5], P), r"labels: labels \[6\] for a prediction \[6, 3\], not \[5\]"),
        ((X, LABELS.bool(), P), "labels: values .* or integer labels"),
        ((X, torch.zeros(6, 4), P), r"labels: torch.float32 \[6, 3\]"),
        ((X, LABELS + 1, P), "labels: labels 0 to 2, not 3"),
        ((X, LABELS - 1, P), "labels: labels 0 to 2, not -1"),
        ((X.to_sparse(), LABELS, P), "x: a dense tensor, not a sparse_coo one"),
    ],
)
def test_bad_input_names_the_argument(given, named):
    with pytest.raises(ValueError, match=named) as caught:
        fused_network_cost(*given)
    assert "\n" not in str(caught.value)


def test_the_module_carries_the_mlps_state_and_trains_with_any_optimizer():
    model, network = MLP.seeded(3), FusedNetwork()
    network.load_state_dict(model.state_dict())
    model.load_state_dict(network.state_dict())
    torch.manual_seed(3)
    drawn = FusedNetwork().state_dict()
    assert all(torch.equal(value, drawn[name]) for name, value in model.state_dict().items())
    x, labels = torch.rand(20, 784), torch.arange(20) % 10
    torch.testing.assert_close(network(x), model(x))
    targets = nn.functional.one_hot(labels, 10).float()
    optimizers = [torch.optim.Adam(one.parameters(), lr=0.01) for one in (model, network)]
    for _ in range(3):
        costs = nn.functional.mse_loss(model(x), targets, reduction="sum"), network(x, labels)
        torch.testing.assert_close(*costs)
        for cost, optimizer in zip(costs, optimizers, strict=True):
            optimizer.zero_grad()
            cost.backward()
            optimizer.step()
    torch.testing.assert_close(dict(network.state_dict()), dict(model.state_dict()))
    assert FusedNetwork(5, (7, 4), 3)(torch.empty(2, 5), torch.zeros(2, dtype=torch.int64)).ndim == 0
    on_meta = FusedNetwork(5, (7, 4), 3).to("meta")
    assert on_meta(torch.empty(2, 5, device="meta"), torch.empty(2, 3, device="meta")).shape == ()
