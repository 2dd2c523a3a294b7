"""Calls that go around torch's dispatcher: only ordinary ones, with the operators' results; and repeated launches."""

import warnings
from pathlib import Path

import pytest
import torch
from checks import run_python
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.fx.experimental.proxy_tensor import make_fx
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from breaknet.kernels import _operators, linear_sigmoid, summed_mse
from breaknet.kernels._triton import HAVE_TRITON, INTERPRETED
from breaknet.kernels.linear_sigmoid import LinearSigmoid, linear_sigmoid_spec
from breaknet.kernels.summed_mse import summed_mse_spec

interpreted = pytest.mark.skipif(not INTERPRETED, reason="needs Triton's interpreter")


class Functions(TorchFunctionMode):
    def __torch_function__(self, func, types, args=(), kwargs=None):
        return func(*args, **(kwargs or {}))


class Operators(TorchDispatchMode):
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return func(*args, **(kwargs or {}))


class Subclass(Tensor):
    pass


@pytest.fixture
def kernels_on_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a GPU, float32 goes to the kernels, under the interpreter."""
    for module in (_operators, linear_sigmoid, summed_mse):
        monkeypatch.setattr(module, "on_kernel", lambda tensor: tensor.dtype == torch.float32)


def network() -> tuple[nn.Module, Tensor, Tensor]:
    torch.manual_seed(0)
    layers = nn.Sequential(LinearSigmoid(20, 7), LinearSigmoid(7, 5), LinearSigmoid(5, 4))
    return layers, torch.rand(9, 20), torch.arange(9) % 4


def exact_gradients(layers: nn.Module, x: Tensor, labels: Tensor) -> list[Tensor]:
    """The cost, then its gradients by x and each parameter, in float64 by torch."""
    leaves = [one.detach().double().requires_grad_() for one in (x, *layers.parameters())]
    y = leaves[0]
    for number in range(1, len(leaves), 2):
        y = linear_sigmoid_spec(y, leaves[number], leaves[number + 1])
    cost = summed_mse_spec(y, labels)[0]
    return [cost.detach(), *torch.autograd.grad(cost, leaves)]


@interpreted
@pytest.mark.usefixtures("kernels_on_cpu")
def test_gradients_of_the_kernels_around_the_dispatcher(monkeypatch):
    monkeypatch.setattr(torch.ops.breaknet, "linear_sigmoid", None)
    monkeypatch.setattr(torch.ops.breaknet, "summed_mse", None)
    layers, x, labels = network()
    x.requires_grad_()
    cost = summed_mse.summed_mse(layers(x), labels)
    found = [cost, *torch.autograd.grad(cost, [x, *layers.parameters()])]
    for one, exact in zip(found, exact_gradients(layers, x, labels), strict=True):
        assert float((one.detach().double() - exact).norm()) <= 1e-6 * float(exact.norm())
    with torch.no_grad():
        assert torch.equal(summed_mse.summed_mse(layers(x), labels), cost)
        assert not layers(x).requires_grad


@interpreted
@pytest.mark.usefixtures("kernels_on_cpu")
def test_second_derivatives_of_the_kernels():
    """Of a gradient penalty, whose graph must hold the first backward pass."""

    def penalty(by_torch: bool) -> list[Tensor]:
        layers, x, labels = network()
        x.requires_grad_()
        y = x
        for layer in layers:
            y = linear_sigmoid_spec(y, layer.weight, layer.bias) if by_torch else layer(y)
        cost = summed_mse_spec(y, labels)[0] if by_torch else summed_mse.summed_mse(y, labels)
        (of_x,) = torch.autograd.grad(cost, x, create_graph=True)
        return list(torch.autograd.grad((of_x**2).sum(), list(layers.parameters())))

    for found, expected in zip(penalty(False), penalty(True), strict=True):
        torch.testing.assert_close(found, expected)


@interpreted
@pytest.mark.usefixtures("kernels_on_cpu")
def test_a_gradient_for_values_as_targets():
    prediction, target = (torch.rand(6, 4).requires_grad_() for _ in range(2))
    found = torch.autograd.grad(3 * summed_mse.summed_mse(prediction, target), [prediction, target])
    torch.testing.assert_close(found, (6 * (prediction - target), -6 * (prediction - target)))


def in_transform(x: Tensor) -> list[bool]:
    seen: list[bool] = []

    def note(one: Tensor) -> Tensor:
        seen.append(_operators.eager(one))
        return one.sum()

    torch.func.vmap(note)(x)
    torch.func.grad(note)(x)
    torch.func.jvp(note, (x,), (x,))
    make_fx(note)(x)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.trace(note, x, check_trace=False)
    return seen


def test_what_is_unusual_keeps_the_operator():
    x = torch.rand(3, 4)
    assert _operators.eager(x, nn.Parameter(x))
    with torch.no_grad(), torch.inference_mode():
        assert _operators.eager(x)
    seen = in_transform(x)
    assert len(seen) >= 5
    assert not any(seen)
    for mode in (Functions(), Operators(), torch.autocast("cpu", torch.bfloat16), torch.device("cpu")):
        with mode:
            assert not _operators.eager(x), mode
    with forward_ad.dual_level():
        assert not _operators.eager(x)
    of_complex = torch.view_as_complex(torch.rand(3, 2))
    nested = torch.nested.nested_tensor([torch.zeros(2)], layout=torch.strided)
    tensors = (
        x.as_subclass(Subclass),
        x.to_sparse(),
        of_complex.conj().imag,
        nested,
        torch._efficientzerotensor(3),
    )
    for tensor in (*tensors, x.numpy()):
        assert not _operators.eager(x, tensor), type(tensor)
    torch._dynamo.reset()

    @torch.compile(backend="eager", fullgraph=True)
    def compiled(one: Tensor) -> Tensor:
        return one + 1 if _operators.eager(one) else one

    assert torch.equal(compiled(x), x)


@pytest.mark.skipif(not HAVE_TRITON, reason="needs Triton")
@pytest.mark.parametrize("scenario", ["key", "launches", pytest.param("time", marks=pytest.mark.slow)])
def test_launches_that_are_compiled(scenario: str) -> None:
    """In a process of its own, since kernels are interpreted in this one."""
    script = Path(__file__).with_name("launch_scenarios.py")
    run_python(str(script), scenario, timeout=120, TRITON_INTERPRET="0")
