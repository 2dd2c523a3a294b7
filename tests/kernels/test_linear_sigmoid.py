"""`linear_sigmoid` against float64: the kernels through their launchers, and the operator as torch sees it."""

import contextlib

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_checks import assert_close_to_exact, guarded_outputs, surrounded
from torch import Tensor

from breaknet.kernels import linear_sigmoid as layer
from breaknet.kernels._triton import HAVE_TRITON
from breaknet.kernels.linear_sigmoid import linear_sigmoid_spec

pytestmark = pytest.mark.skipif(not HAVE_TRITON, reason="needs Triton")

#: batch, outputs, inputs: the lesson's layers, single rows, edges of every tile, more than one split
SHAPES = [
    (100, 16, 784),
    (10, 16, 16),
    (1, 10, 16),
    (1, 1, 1),
    (33, 17, 65),
    (129, 33, 50),
    (31, 70, 40),
    (520, 7, 20),
    (3, 128, 33),
]
EMPTY = [(0, 16, 784), (5, 0, 7), (5, 3, 0), (0, 0, 0)]
LAYOUTS = ("contiguous", "transposed", "strided")


def laid_out(tensor: Tensor, layout: str, device: torch.device) -> Tensor:
    """A copy of the 2-D `tensor` on `device`, surrounded by NaN, with the strides that `layout` names."""
    if layout == "transposed":
        return surrounded(tensor.T, device).T
    if layout == "strided":
        spread = torch.full((tensor.shape[0] * 2, tensor.shape[1] * 3), float("nan"), dtype=tensor.dtype)
        spread[::2, ::3] = tensor
        return surrounded(spread, device)[::2, ::3]
    return surrounded(tensor, device)


def example(batch: int, outputs: int, inputs: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """x, weight, bias and a gradient, float32 on the CPU, at the scales of a layer in training."""
    draw = torch.Generator().manual_seed(seed)
    x = torch.rand(batch, inputs, generator=draw)
    weight = torch.randn(outputs, inputs, generator=draw) / max(inputs, 1) ** 0.5
    bias = torch.randn(outputs, generator=draw)
    return x, weight, bias, torch.randn(batch, outputs, generator=draw)


def reference(
    x: Tensor, weight: Tensor, bias: Tensor, grad: Tensor, dtype: torch.dtype
) -> tuple[Tensor, ...]:
    """y, dx, dweight and dbias by torch's autograd in `dtype`."""
    leaves = [tensor.to(dtype).requires_grad_(True) for tensor in (x, weight, bias)]
    y = linear_sigmoid_spec(*leaves)
    return (y.detach(), *torch.autograd.grad(y, leaves, grad.to(dtype)))


def check_kernels(
    device: torch.device, shape: tuple[int, int, int], layout: str = "contiguous", seed: int = 0
) -> None:
    """Both kernels at one shape: right within the tolerance, and nothing outside written or read."""
    x, weight, bias, grad = example(*shape, seed)
    exact = reference(x, weight, bias, grad, torch.float64)
    by_torch = reference(x, weight, bias, grad, torch.float32)
    laid = [laid_out(tensor, layout, device) for tensor in (x, weight, grad)]
    with guarded_outputs():
        y = layer.launch_forward(laid[0], laid[1], surrounded(bias, device))
        saved = surrounded(by_torch[0], device)
        dx, dweight, dbias = layer.launch_backward(laid[2], saved, laid[0], laid[1])
    results = {"y": y, "dx": dx, "dweight": dweight, "dbias": dbias}
    for (what, result), right, near in zip(results.items(), exact, by_torch, strict=True):
        assert_close_to_exact(result, right, near, f"{what} at {shape}, {layout}")
    for tensor, original in zip(laid, (x, weight, grad), strict=True):
        assert torch.equal(tensor.cpu(), original), "an input was written to"


@pytest.mark.parametrize(
    ("shape", "layout"),
    [*((shape, "contiguous") for shape in SHAPES), *(((33, 17, 65), layout) for layout in LAYOUTS[1:])],
    ids=str,
)
def test_kernels_against_float64(device, shape, layout):
    check_kernels(device, shape, layout)


@settings(max_examples=12, deadline=None, derandomize=True)
@given(
    batch=st.integers(1, 70),
    outputs=st.integers(1, 40),
    inputs=st.integers(1, 70),
    layout=st.sampled_from(LAYOUTS),
    seed=st.integers(0, 99),
)
def test_kernels_at_any_shape(batch, outputs, inputs, layout, seed):
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    check_kernels(device, (batch, outputs, inputs), layout, seed)


@pytest.mark.parametrize("shape", EMPTY, ids=str)
def test_empty_shapes(device, shape):
    batch, outputs, inputs = shape
    x, weight, bias, grad = (tensor.to(device) for tensor in example(*shape))
    y = layer.launch_forward(x, weight, bias)
    dweight, dbias = layer.launch_backward_parameters(grad, y, x)
    assert y.shape == (batch, outputs)
    assert layer.launch_backward_input(grad, y, weight).shape == (batch, inputs)
    assert torch.equal(dweight.cpu(), torch.zeros(outputs, inputs))
    exact = reference(*(tensor.cpu() for tensor in (x, weight, bias, grad)), torch.float64)
    assert torch.allclose(y.cpu().double(), exact[0], rtol=1e-6)
    assert torch.allclose(dbias.cpu().double(), exact[3], rtol=1e-5, atol=1e-6)


def test_expanded_gradient_and_no_bias(device):
    """`y.sum().backward()` brings a gradient whose strides are all zero."""
    x, weight, _, _ = (tensor.to(device) for tensor in example(33, 17, 20))
    y = layer.launch_forward(x, weight, None)
    ones = torch.ones((), device=device).expand(33, 17)
    exact = reference(x.cpu(), weight.cpu(), torch.zeros(17), torch.ones(33, 17), torch.float64)
    by_torch = reference(x.cpu(), weight.cpu(), torch.zeros(17), torch.ones(33, 17), torch.float32)
    results = (y, layer.launch_backward_input(ones, y, weight), *layer.launch_backward_parameters(ones, y, x))
    for what, result, right, near in zip("yxwb", results, exact, by_torch, strict=True):
        assert_close_to_exact(result, right, near, what)


@pytest.mark.filterwarnings("ignore:overflow encountered in exp")
def test_saturated_and_broken_values(device):
    """sigmoid is 0 and 1 far out, and NaN stays NaN in its own row only."""
    x = torch.tensor([[1000.0], [-1000.0], [float("nan")], [0.0]], device=device)
    y = layer.launch_forward(x, torch.ones(1, 1, device=device), None).cpu().flatten()
    assert y[:2].tolist() == [1.0, 0.0]
    assert y[2].isnan()
    assert y[3] == 0.5


def test_same_bits_twice_and_for_a_row_alone(device):
    x, weight, bias, grad = (tensor.to(device) for tensor in example(600, 16, 50))
    y = layer.launch_forward(x, weight, bias)
    together = layer.launch_backward(grad, y, x, weight)
    alone = layer.launch_backward_input(grad, y, weight), *layer.launch_backward_parameters(grad, y, x)
    assert all(torch.equal(a, b) for a, b in zip(together, alone, strict=True))
    assert torch.equal(layer.launch_forward(x[77:78], weight, bias)[0], y[77])


def test_leading_axes(device):
    """[A, B, K] that no view can flatten."""
    x, weight, bias, grad = example(12, 5, 9)
    x = x.reshape(3, 4, 9).to(device).transpose(0, 1)
    grad = grad.reshape(4, 3, 5).to(device)
    weight, bias = weight.to(device), bias.to(device)
    y = layer.launch_forward(x, weight, bias)
    dx = layer.launch_backward_input(grad, y, weight)
    dweight, dbias = layer.launch_backward_parameters(grad, y, x)
    exact = reference(x.cpu(), weight.cpu(), bias.cpu(), grad.cpu(), torch.float64)
    for result, right in zip((y, dx, dweight, dbias), exact, strict=True):
        torch.testing.assert_close(result.cpu().double(), right, rtol=1e-5, atol=1e-6)


FORWARD, BACKWARD = "linear_sigmoid_forward_kernel", "linear_sigmoid_backward_kernel"
INPUT, PARAMETERS = HELPERS = "input_gradient", "parameters_gradient"
MUTATIONS = [
    (FORWARD, "mask=row_inside & k_inside", "mask=row_inside"),
    (FORWARD, "mask=column_inside & k_inside", "mask=column_inside"),
    (FORWARD, "mask=row_inside & (column < outputs)[None, :]", "mask=row_inside"),
    (FORWARD, "mask=row_inside & (column < outputs)[None, :]", "mask=(column < outputs)[None, :]"),
    (FORWARD, "z += bias[None, :]", "z -= bias[None, :]"),
    (FORWARD, "sigmoid(z)", "z"),
    (FORWARD, "x_tile += x_step", "x_tile += 0"),
    (INPUT, "mask=(column < outputs)[:, None] & k_inside", "mask=k_inside"),
    (INPUT, "dx, mask=(row < batch)[:, None] & k_inside", "dx, mask=k_inside"),
    (INPUT, "dx, mask=(row < batch)[:, None] & k_inside", "-dx, mask=(row < batch)[:, None] & k_inside"),
    (INPUT, "tl.dot(dz, weight, dx,", "tl.dot(dz, weight, dx * 0,"),
    (PARAMETERS, "mask=(row < batch)[:, None] & k_inside", "mask=k_inside"),
    (PARAMETERS, "dweight, mask=(column < outputs)[:, None] & k_inside", "dweight, mask=k_inside"),
    (PARAMETERS, "dbias, mask=column < biases)", "dbias)"),
    (PARAMETERS, "dbias += tl.sum(dz, 0)", "dbias = tl.sum(dz, 0)"),
    (PARAMETERS, "* rows_per_split + step", "* rows_per_split"),
    (PARAMETERS, "part = split.to(tl.int64) * outputs", "part = 0 * outputs"),
    (INPUT, "program % along * BLOCK_K", "0 * BLOCK_K"),
    (INPUT, "row = (program // along)", "row = (program * 0)"),
    (BACKWARD, "program - parameter_programs", "program"),
    ("load_dz", "sigmoid_derivative(y)", "y"),
    ("load_dz", "y_ptr + rows * stride_yb + columns * stride_yn, mask=inside, other=0.0", "y_ptr + rows * stride_yb"),
    ("load_dz", "mask=inside, other=0.0)\n    y =", "mask=(row < batch)[:, None], other=0.0)\n    y ="),
]  # fmt: skip


@pytest.mark.parametrize(("name", "old", "new"), [*MUTATIONS, (None, "", "")])
def test_mutations_are_noticed(device, monkeypatch, mutate, name, old, new):
    """The last one copies every kernel as it is: mutants fail for the change, not for the copying."""
    monkeypatch.setattr(layer, "ROWS_PER_SPLIT", 64)
    if name in (FORWARD, BACKWARD):
        mutate(layer, name, old, new)
    else:
        if name in (None, "load_dz"):
            mutate(layer, FORWARD)
            helper = mutate(layer, "load_dz", old or "@jit", new or "@jit")
            changed = {one: mutate(layer, one, load_dz=helper) for one in HELPERS}
        else:
            changed = {name: mutate(layer, name, old, new)}
        mutate(layer, BACKWARD, **changed)
    with pytest.raises(AssertionError) if name else contextlib.nullcontext():
        check_kernels(device, (129, 70, 70))
