"""The kernels of a whole network and its cost against float64, through their launchers."""

import contextlib
from unittest.mock import patch

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_checks import assert_close_to_exact, guarded_outputs, surrounded
from torch import Tensor

from breaknet.kernels import fused_network_kernels as fused
from breaknet.kernels._triton import HAVE_TRITON
from breaknet.kernels.fused_network import fused_network_spec
from breaknet.kernels.jobs import Shape

pytestmark = pytest.mark.skipif(not HAVE_TRITON, reason="needs Triton")

#: inputs, hidden1, hidden2, outputs and batch: the lesson's, edges of every tile, every way over wide layers, splits
SHAPES = [
    ((784, 16, 16, 10), 20),
    ((1, 1, 1, 1), 1),
    ((33, 7, 18, 3), 70),
    ((65, 16, 50, 16), 17),
    ((20, 40, 16, 5), 33),
    ((20, 128, 100, 16), 20),
    ((10, 16, 16, 10), 530),
]


def example(shape: Shape, batch: int, labels: bool, seed: int = 0) -> tuple[Tensor, Tensor, list[Tensor]]:
    """x, target and the six parameters, float32 on the CPU, at the scales of a network in training."""
    draw = torch.Generator().manual_seed(seed)
    x = torch.rand(batch, shape.inputs, generator=draw)
    parameters = [
        torch.randn(size, generator=draw) / max(1, size[-1]) ** 0.5 for size in shape.tensor_shapes()
    ]
    if labels:
        return x, torch.randint(0, shape.outputs, (batch,), generator=draw), parameters
    return x, torch.rand(batch, shape.outputs, generator=draw), parameters


def reference(
    x: Tensor, target: Tensor, parameters: list[Tensor], grad: float, dtype: torch.dtype
) -> list[Tensor]:
    """The cost, dx and the flat row of the parameters' gradients by torch's autograd in `dtype`."""
    leaves = [tensor.to(dtype).requires_grad_() for tensor in (x, *parameters)]
    target = target.to(dtype) if target.is_floating_point() else target
    cost = fused_network_spec(leaves[0], target, *leaves[1:])
    dx, *rest = torch.autograd.grad(grad * cost, leaves)
    return [cost.detach(), dx, torch.cat([one.flatten() for one in rest])]


def check_kernels(
    device: torch.device,
    sizes: tuple[int, int, int, int],
    batch: int,
    labels: bool = True,
    transposed: bool = False,
    seed: int = 0,
) -> None:
    """Cost and gradients at one shape: right within the tolerance, nothing outside written or read."""
    shape = Shape(*sizes)
    x, target, parameters = example(shape, batch, labels, seed)
    exact = reference(x, target, parameters, 0.5, torch.float64)
    by_torch = reference(x, target, parameters, 0.5, torch.float32)
    given = [
        surrounded(one.T, device).T if transposed and one.ndim == 2 else surrounded(one, device)
        for one in (x, target)
    ]
    placed = [surrounded(one, device).contiguous() for one in parameters]
    grad = torch.tensor(0.5, device=device)
    ticket = torch.zeros(1, dtype=torch.int32, device=device)
    with guarded_outputs(), patch.object(fused, "_ticket", lambda _: ticket):
        cost, saved = fused.launch_forward(*given, *placed, True)
        alone, nothing = fused.launch_forward(*given, *placed, False)
        rest = shape.hidden2, shape.outputs
        dx, row = fused.launch_backward(grad, given[0], saved, placed[0], *rest, True, True)
        apart = (
            fused.launch_backward(grad, given[0], saved, placed[0], *rest, True, False),
            fused.launch_backward(grad, given[0], saved, placed[0], *rest, False, True),
        )
    results = {"cost": cost, "dx": dx, "gradients": row}
    for (what, result), right, near in zip(results.items(), exact, by_torch, strict=True):
        assert_close_to_exact(result, right, near, f"{what} at {shape}, batch {batch}")
    sections = zip(shape.unpack(row.cpu()), shape.unpack(exact[2]), shape.unpack(by_torch[2]), strict=True)
    for number, (result, right, near) in enumerate(sections):
        assert_close_to_exact(result, right, near, f"gradient {number} at {shape}, batch {batch}")
    assert torch.equal(alone, cost)
    assert nothing.numel() == apart[0][1].numel() == apart[1][0].numel() == 0
    assert torch.equal(apart[0][0], dx)
    assert torch.equal(apart[1][1], row)
    assert int(ticket) == 0, "the next launch counts from zero"
    for tensor, original in zip((*given, *placed), (x, target, *parameters), strict=True):
        assert torch.equal(tensor.cpu(), original), "an input was written to"


@pytest.mark.parametrize("labels", [True, False], ids=["labels", "values"])
@pytest.mark.parametrize(("sizes", "batch"), SHAPES, ids=str)
def test_kernels_against_float64(device, sizes, batch, labels):
    check_kernels(device, sizes, batch, labels)


def test_transposed_images_and_targets(device):
    check_kernels(device, (30, 16, 16, 10), 20, labels=False, transposed=True)


@settings(max_examples=8, deadline=None, derandomize=True)
@given(
    sizes=st.tuples(st.integers(1, 70), st.integers(1, 70), st.integers(1, 70), st.integers(2, 16)),
    batch=st.integers(1, 70),
    labels=st.booleans(),
    seed=st.integers(0, 99),
)
def test_kernels_at_any_shape(sizes, batch, labels, seed):
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    check_kernels(device, sizes, batch, labels, seed=seed)


def test_a_label_that_is_no_class_shows_as_nan(device):
    shape = Shape(5, 4, 3, 10)
    for wrong in (-1, 10):
        x, labels, parameters = example(shape, 20, True)
        labels[7] = wrong
        given = [one.to(device) for one in (x, labels, *parameters)]
        assert fused.launch_forward(*given, True)[0].isnan()


@pytest.mark.parametrize("label_type", [torch.uint8, torch.int32, torch.int8, torch.int16])
def test_label_types_and_gaps(device, label_type):
    x, labels, parameters = example(Shape(5, 4, 3, 10), 20, True)
    given = [one.to(device) for one in (x, *parameters)]
    expected = fused.launch_forward(given[0], labels.to(device), *given[1:], True)
    spaced = labels.to(label_type).repeat_interleave(2).to(device)[::2]
    found = fused.launch_forward(given[0], spaced, *given[1:], True)
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))


def test_same_bits_twice_and_for_any_number_of_programs_that_add(device):
    """The parts of the cost are added in their order, whoever adds them."""
    x, labels, parameters = example(Shape(9, 5, 4, 3), 90, True)
    given = [one.to(device) for one in (x, labels, *parameters)]
    once, again = fused.launch_forward(*given, True), fused.launch_forward(*given, True)
    assert all(torch.equal(one, other) for one, other in zip(once, again, strict=True))


FORWARD, BACKWARD = KERNELS = "fused_network_forward_kernel", "fused_network_backward_kernel"
MUTATIONS = [
    (FORWARD, "(row < batch)[:, None] & (k < inputs - first)[None, :]", "(row < batch)[:, None]"),
    (FORWARD, "x_tile += x_step", "x_tile += 0"),
    (FORWARD, "load_bias(b1_ptr, unit1, hidden1)", "load_bias(b1_ptr, unit1, 0)"),
    (FORWARD, "load_bias(b3_ptr, digit, outputs)", "load_bias(b2_ptr, digit, outputs)"),
    (FORWARD, "z2 = tl.dot(part, tl.trans(w2_part), z2,", "z2 = tl.dot(part, tl.trans(w2_part), z2 * 0,"),
    (FORWARD, "sums = tl.dot(part, w2_part, sums,", "sums = tl.dot(part, w2_part, sums * 0,"),
    (FORWARD, "d3 = 2.0 * difference", "d3 = difference"),
    (FORWARD, "* sigmoid_derivative(a2)", "* a2"),
    (FORWARD, "sums * sigmoid_derivative(a1)", "sums"),
    (FORWARD, "store_matrix(d2_ptr, d2,", "store_matrix(d2_ptr, a2,"),
    (FORWARD, "== programs - 1", "== programs - 2"),
    (FORWARD, "tl.store(ticket_ptr, 0)", "tl.store(ticket_ptr, 1)"),
    (FORWARD, "partial_ptr + program,", "partial_ptr,"),
    (FORWARD, "inside = part < programs - first", "inside = part < programs - 1 - first"),
    (FORWARD, "row = program * BLOCK_B", "row = program * 0"),
    (BACKWARD, "grad = tl.load(grad_ptr)", "grad = 1.0"),
    (BACKWARD, "first_row = split * rows_per_split", "first_row = 0"),
    (BACKWARD, "split.to(tl.int64) * (b3 + outputs)", "0"),
    (BACKWARD, "row = program // along * ROWS", "row = program * 0"),
    (BACKWARD, "grad * db2, mask=unit2 < hidden2", "grad * db2, mask=unit2 < hidden2 - 1"),
    (BACKWARD, "grad * dw3", "dw3"),
    (BACKWARD, "(role - along) * CHUNK", "0"),
    ("outer_products", "(delta), value, total,", "(delta), value, total * 0,"),
    ("outer_products", "first_row + step", "first_row"),
    ("row_sums", "total +=", "total ="),
    ("differences", "tl.where(inside, a3 - target, 0.0)", "a3 - target"),
    ("differences", "rows * stride_tb, mask", "rows, mask"),
    ("store_matrix", "(row < height)[:, None] & (column < width)[None, :]", "(row < height)[:, None]"),
    ("load_matrix", "(row < height)[:, None] & (column < width)[None, :]", "(row < height)[:, None]"),
]  # fmt: skip


def check_all(device: torch.device) -> None:
    for sizes, batch, labels in (((70, 7, 18, 3), 140, True), ((20, 70, 40, 5), 20, False)):
        check_kernels(device, sizes, batch, labels, transposed=not labels)
    test_label_types_and_gaps(device, torch.int32)


@pytest.mark.filterwarnings("ignore:invalid value encountered")
@pytest.mark.parametrize(("name", "old", "new"), [*MUTATIONS, (None, "", "")])
def test_mutations_are_noticed(device, monkeypatch, mutate, name, old, new):
    """The last one copies every kernel as it is: mutants fail for the change, not for the copying."""
    monkeypatch.setattr(fused, "ROWS_PER_SPLIT", 100)
    if name in KERNELS:
        mutate(fused, name, old, new)
    else:
        changed = {name: mutate(fused, name, old, new)} if name else {}
        for helper in {"outer_products", "row_sums"} - {name}:
            changed[helper] = mutate(fused, helper, **changed)
        for kernel in KERNELS:
            mutate(fused, kernel, **changed)
    with pytest.raises(AssertionError) if name else contextlib.nullcontext():
        check_all(device)
