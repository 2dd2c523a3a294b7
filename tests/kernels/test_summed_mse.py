"""`summed_mse` and `ordered_sum` against float64: the kernels through their launchers, and the operator."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_checks import assert_close_to_exact, guarded_outputs, surrounded
from torch import Tensor

from breaknet.kernels import device_functions as sums
from breaknet.kernels import summed_mse as cost
from breaknet.kernels._triton import HAVE_TRITON
from breaknet.kernels.summed_mse import summed_mse_spec

pytestmark = pytest.mark.skipif(not HAVE_TRITON, reason="needs Triton")

SHAPES = [(100, 10), (1, 1), (10, 10), (129, 16), (300, 17), (33, 70), (64, 2)]


def example(batch: int, classes: int, labels: bool, seed: int = 0) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    prediction = torch.rand(batch, classes, generator=draw)
    if labels:
        return prediction, torch.randint(0, classes, (batch,), generator=draw)
    return prediction, torch.rand(batch, classes, generator=draw)


def check_kernel(
    device: torch.device,
    batch: int,
    classes: int,
    labels: bool,
    transposed: bool = False,
    label_type: torch.dtype = torch.int64,
    seed: int = 0,
) -> None:
    """Cost and gradient at one shape: right within the tolerance, and nothing outside written or read."""
    prediction, target = example(batch, classes, labels, seed)
    target = target.to(label_type) if labels else target
    exact = summed_mse_spec(prediction.double(), target if labels else target.double())
    by_torch = summed_mse_spec(prediction, target)
    given = [
        surrounded(tensor.T, device).T if transposed and tensor.ndim == 2 else surrounded(tensor, device)
        for tensor in (prediction, target)
    ]
    with guarded_outputs():
        results = cost.launch_forward(*given, with_gradient=True)
        alone, nothing = cost.launch_forward(*given, with_gradient=False)
    for what, result, right, near in zip(("cost", "gradient"), results, exact, by_torch, strict=True):
        assert_close_to_exact(result, right, near, f"{what} at {batch}x{classes}")
    assert torch.equal(alone, results[0])
    assert nothing.numel() == 0
    assert torch.equal(given[0].cpu(), prediction), "the prediction was written to"


@pytest.mark.parametrize("labels", [False, True], ids=["values", "labels"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_kernel_against_float64(device, shape, labels):
    check_kernel(device, *shape, labels)


@pytest.mark.parametrize("label_type", [torch.uint8, torch.int32, torch.int8, torch.int16])
def test_label_types(device, label_type):
    check_kernel(device, 20, 10, True, label_type=label_type)


@settings(max_examples=12, deadline=None, derandomize=True)
@given(
    batch=st.integers(1, 300),
    classes=st.integers(1, 80),
    labels=st.booleans(),
    transposed=st.booleans(),
    seed=st.integers(0, 99),
)
def test_kernel_at_any_shape(batch, classes, labels, transposed, seed):
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    check_kernel(device, batch, classes, labels, transposed, seed=seed)


def test_expanded_target(device):
    """A target with zero strides, and one with gaps between its labels."""
    prediction = example(40, 10, False)[0].to(device)
    half = torch.full((), 0.5, device=device).expand(40, 10)
    spaced = (torch.arange(80, device=device) % 9)[::2]
    for target in (half, spaced):
        result = cost.launch_forward(prediction, target, True)
        exact = summed_mse_spec(prediction.double(), target if target.ndim == 1 else target.double())
        assert abs(float(result[0]) / float(exact[0]) - 1) < 1e-6
        assert torch.allclose(result[1].double(), exact[1], atol=1e-6)


@pytest.mark.parametrize("shape", [(0, 10), (5, 0)], ids=str)
def test_empty(device, shape):
    result, gradient = cost.launch_forward(*(torch.zeros(shape, device=device) for _ in range(2)), True)
    assert float(result) == 0.0
    assert gradient.shape == shape


@pytest.mark.parametrize("wrong", [-1, 10])
def test_label_that_is_no_class_shows_as_nan(device, wrong):
    prediction, labels = (tensor.to(device) for tensor in example(200, 10, True))
    labels[150] = wrong
    result, gradient = cost.launch_forward(prediction, labels, True)
    assert result.isnan()
    assert gradient[150].isnan().all()
    assert gradient[:150].isfinite().all()


def check_all(device: torch.device) -> None:
    for labels in (False, True):
        check_kernel(device, 33, 70, labels)
        check_kernel(device, 300, 10, labels)
    test_expanded_target(device)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("tl.where(inside, prediction - target, 0.0)", "prediction - target"),
        ("columns, 2.0 * difference, mask=inside", "columns, 2.0 * difference"),
        ("columns, 2.0 * difference", "columns, difference"),
        ("prediction - target", "prediction + target"),
        ("squares += difference", "squares = difference"),
        ("* classes + columns", "* BLOCK_C + columns"),
        ("label[:, None] == columns, 1.0", "label[:, None] == columns + 1, 1.0"),
        ("row * stride_tb", "row"),
        ("partial_ptr + tl.program_id(0)", "partial_ptr"),
    ],
)
def test_mutations_are_noticed(device, mutate, old, new):
    mutate(cost, "summed_mse_forward_kernel", old, new)
    with pytest.raises(AssertionError):
        check_all(device)


# ---- ordered_sum


def check_sum(device: torch.device, parts: int, columns: int, dtype: torch.dtype) -> None:
    draw = torch.Generator().manual_seed(parts)
    partial = torch.randn(parts, columns, generator=draw)
    for tile in (sums.ONE_COLUMN, sums.MANY_COLUMNS):
        with guarded_outputs():
            total = sums.ordered_sum(surrounded(partial.flatten(), device).view_as(partial), dtype, tile)
        exact = partial.double().sum(0)
        assert total.dtype == dtype
        rounding = 1e-15 if dtype == torch.float64 else 1e-7
        assert ((total.cpu().double() - exact).abs() <= rounding * partial.abs().double().sum(0)).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(1, 1), (17, 33), (40, 5), (1030, 1), (3, 0)], ids=str)
def test_ordered_sum(device, shape, dtype):
    check_sum(device, *shape, dtype)


def test_ordered_sum_of_a_column_does_not_depend_on_its_neighbours(device):
    partial = torch.randn(100, 40, generator=torch.Generator().manual_seed(0)).to(device)
    together = sums.ordered_sum(partial, torch.float64, sums.MANY_COLUMNS)
    for column in (0, 33):
        alone = sums.ordered_sum(
            partial[:, column : column + 1].contiguous(), torch.float64, sums.MANY_COLUMNS
        )
        assert torch.equal(alone, together[column : column + 1])


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("(row < parts)[:, None] & (column", "(row < parts + 1)[:, None] & (column"),
        ("total, mask=column < columns", "total"),
        ("sums +=", "sums ="),
        ("* columns + column", "+ column"),
    ],
)
def test_mutations_of_the_sum_are_noticed(device, mutate, old, new):
    mutate(sums, "ordered_sum_forward_kernel", old, new)
    with pytest.raises(AssertionError):
        check_sum(device, 40, 5, torch.float64)
