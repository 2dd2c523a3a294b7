"""`evaluate_checkpoints` against float64: every tile of the kernel, ties, broken outputs, confusion counts."""

from __future__ import annotations

import pytest
import torch
from evaluation_cases import (
    BREAKS,
    Case,
    check,
    check_infinite_parameter,
    check_maximum,
    example,
    net_of,
    split,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from breaknet.kernels import evaluation
from breaknet.kernels._triton import HAVE_TRITON
from breaknet.kernels.evaluation import evaluate_checkpoints, first_weights, image_columns

pytestmark = pytest.mark.skipif(not HAVE_TRITON, reason="needs triton")

#: checkpoints, images, inputs, hidden, outputs, floating images
COVERING = [
    (5, 65, 784, (16, 16), 10, False),
    (3, 33, 50, (7, 16), 10, False),
    (2, 40, 1000, (33, 7), 2, True),
    (1, 70, 50, (1, 1), 16, False),
    (5, 33, 50, (16, 128), 10, True),
    (2, 33, 50, (128, 33), 16, False),
    (3, 65, 17, (33, 128), 10, False),
    (1, 1, 1, (64, 100), 3, True),
]
EVERY = [
    (3, 70, inputs, (first, second), outputs, inputs == 50)
    for inputs in (50, 784, 1000)
    for first in (1, 7, 16, 33, 128)
    for second in (1, 16, 33, 128)
    for outputs in (2, 10, 16)
]


@pytest.mark.parametrize("case", COVERING, ids=str)
def test_against_float64(device: torch.device, case: Case) -> None:
    check(device, case, confusion=case[0] != 5)


def test_another_tile(device: torch.device, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluation, "TILES", {})  # none of its own
    check(device, (5, 70, 20, (7, 16), 10, False), tile=(2, 32, 4, 168))


@pytest.mark.slow
@pytest.mark.parametrize("case", EVERY, ids=str)
def test_every_size_against_float64(device: torch.device, case: Case) -> None:
    check(device, case, confusion=True)


@settings(max_examples=8, deadline=None, derandomize=True)
@given(
    count=st.integers(1, 6),
    images=st.integers(1, 70),
    inputs=st.integers(1, 40),
    first=st.integers(1, 70),
    second=st.integers(1, 40),
    outputs=st.integers(2, 16),
    floating=st.booleans(),
    seed=st.integers(0, 99),
)
def test_any_size(
    count: int, images: int, inputs: int, first: int, second: int, outputs: int, floating: bool, seed: int
) -> None:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    check(device, (count, images, inputs, (first, second), outputs, floating), confusion=True, seed=seed)


@pytest.mark.gpu
def test_a_whole_data_set_on_a_gpu(device: torch.device) -> None:
    check(device, (13, 60_000, 784, (16, 16), 10, False), confusion=True)
    check(device, (1, 100_000, 784, (128, 128), 10, False))


@pytest.mark.gpu
def test_ten_thousand_checkpoints_on_a_gpu(device: torch.device) -> None:
    check(device, (10_000, 100, 50, (16, 16), 10, False))


@pytest.mark.filterwarnings("ignore:overflow encountered in exp")
@pytest.mark.parametrize("broken", BREAKS.values(), ids=BREAKS)
def test_first_maximum_as_argmax_has_it(device: torch.device, broken: dict[int, float]) -> None:
    check_maximum(device, broken)


@pytest.mark.filterwarnings(
    "ignore:overflow encountered in exp", "ignore:invalid value encountered in matmul"
)
def test_infinite_parameter_stays_in_its_unit(device: torch.device) -> None:
    check_infinite_parameter(device)


@pytest.mark.filterwarnings("ignore:invalid value encountered in matmul")
def test_broken_checkpoint_leaves_its_neighbours_alone(device: torch.device) -> None:
    case: Case = (6, 40, 20, (5, 20), 10, False)
    rows, images, labels = (tensor.to(device) for tensor in example(case))
    cost, hits, _ = evaluate_checkpoints(rows, images, labels, *case[3:5])
    rows[2] = float("nan")
    rows[3] = float("inf")
    broken_cost, broken_hits, _ = evaluate_checkpoints(rows, images, labels, *case[3:5])
    whole = torch.tensor([0, 1, 4, 5])
    assert broken_cost[2].isnan()
    assert int(broken_hits[2]) == int((labels == 0).sum()), "argmax of all NaN is 0"
    assert torch.equal(cost.cpu()[whole], broken_cost.cpu()[whole])
    assert torch.equal(hits.cpu()[whole], broken_hits.cpu()[whole])


@pytest.mark.parametrize(("hidden", "count"), [((16, 16), 9), ((7, 20), 5), ((33, 16), 3), ((64, 64), 2)])
def test_same_bits_alone_and_in_chunks(device: torch.device, hidden: tuple[int, int], count: int) -> None:
    rows, images, labels = (tensor.to(device) for tensor in example((count, 70, 20, hidden, 10, False)))
    cost, hits, counts = evaluate_checkpoints(rows, images, labels, hidden, 10, confusion=True)
    chunked = evaluate_checkpoints(rows, images, labels, hidden, 10, confusion=True, partial_bytes=1)
    for whole, parts in zip((cost, hits, counts), chunked, strict=True):
        assert whole is not None
        assert parts is not None
        assert torch.equal(whole, parts)
    # the interpreter's dot is numpy's, which rounds a column by its place in the tile: there, the same place again
    places = range(count) if device.type == "cuda" else (count - 1,)
    for place in places:
        alone = evaluate_checkpoints(rows[place : place + 1], images, labels, hidden, 10)
        assert torch.equal(alone[0], cost[place : place + 1])


def test_scale_and_label_types(device: torch.device) -> None:
    case: Case = (2, 33, 20, (5, 6), 10, False)
    rows, images, labels = (tensor.to(device) for tensor in example(case))
    default = evaluate_checkpoints(rows, images, labels, *case[3:5])
    floats = evaluate_checkpoints(rows, images.float(), labels.to(torch.uint8), *case[3:5], scale=1 / 256)
    assert torch.equal(default[0], floats[0])
    assert torch.equal(default[1], floats[1])
    other = evaluate_checkpoints(rows, images, labels.int(), *case[3:5], scale=1 / 255)
    assert not torch.equal(default[0], other[0])


def test_strides(device: torch.device) -> None:
    """Rows of a wider buffer, as the trainer may pad them, and images that no kernel could read as they lie."""
    case: Case = (3, 33, 20, (5, 6), 10, False)
    rows, images, labels = (tensor.to(device) for tensor in example(case))
    expected = evaluate_checkpoints(rows, images, labels, *case[3:5])[0]
    wide = torch.full((3, rows.shape[1] + 7), float("nan"), device=device)
    wide[:, : rows.shape[1]] = rows
    transposed = images.T.contiguous().T
    spaced = torch.stack((labels, labels + 1), 1)[:, 0]
    strided = evaluate_checkpoints(wide[:, : rows.shape[1]], transposed, spaced, *case[3:5])[0]
    assert torch.equal(strided, expected)


@pytest.mark.parametrize(
    ("images", "inputs", "count", "hidden"), [(130, 20, 5, 7), (1, 16, 4, 16), (128, 1, 1, 33)]
)
def test_transposed_operands_are_padded_with_zeros(
    device: torch.device, images: int, inputs: int, count: int, hidden: int
) -> None:
    case: Case = (count, images, inputs, (hidden, 6), 10, False)
    rows, pixels, _ = example(case)
    columns = image_columns(pixels.to(device)).cpu()
    assert columns.shape == (-(-inputs // 16) * 16, -(-images // 128) * 128)
    assert torch.equal(columns[:inputs, :images], pixels.T)
    assert int(columns.long().sum()) == int(pixels.long().sum())
    width = evaluation.padded(hidden)
    weights = first_weights(rows.to(device), net_of(case), width, block_c=4).cpu()
    assert weights.shape == (len(columns), -(-count // 4) * 4 * width)
    for index, row in enumerate(rows):
        here = weights[:inputs, index * width :][:, :hidden]
        assert torch.equal(here.T, split(row, case)["hidden1.weight"])
    assert torch.count_nonzero(weights) == torch.count_nonzero(rows[:, : hidden * inputs])


def test_columns_at_hand(device: torch.device) -> None:
    case: Case = (3, 33, 20, (5, 6), 10, False)
    rows, images, labels = (tensor.to(device) for tensor in example(case))
    columns = image_columns(images)
    expected = evaluate_checkpoints(rows, images, labels, *case[3:5])[0]
    assert torch.equal(evaluate_checkpoints(rows, images, labels, *case[3:5], columns=columns)[0], expected)
    for wrong in (images.T, columns.float(), columns[:, :64], columns.T.contiguous().T):
        with pytest.raises(ValueError, match=r"columns: contiguous torch.uint8 \[32, 128\]"):
            evaluate_checkpoints(rows, images, labels, *case[3:5], columns=wrong)


def test_label_that_is_no_class(device: torch.device) -> None:
    case: Case = (2, 33, 20, (5, 6), 10, False)
    rows, images, labels = (tensor.to(device) for tensor in example(case))
    labels[3], labels[4] = -1, 10
    _, hits, counts = evaluate_checkpoints(rows, images, labels, *case[3:5], confusion=True)
    assert counts is not None
    assert counts.sum((1, 2)).tolist() == [31, 31]
    assert torch.equal(counts.diagonal(dim1=1, dim2=2).sum(1), hits)


@pytest.mark.parametrize(("count", "images"), [(0, 5), (3, 0)])
def test_nothing_to_do(device: torch.device, count: int, images: int) -> None:
    case: Case = (count, images, 20, (5, 6), 10, False)
    given = (tensor.to(device) for tensor in example(case))
    cost, hits, counts = evaluate_checkpoints(*given, *case[3:5], confusion=True)
    assert cost.tolist() == [0.0] * count
    assert hits.tolist() == [0] * count
    assert counts is not None
    assert counts.shape == (count, 10, 10)
    assert not counts.any()


ROW = net_of((0, 0, 20, (5, 6), 10, False)).parameters


@pytest.mark.parametrize(
    ("rows", "images", "labels", "hidden", "outputs", "named"),
    [
        (torch.zeros(2, ROW + 1), torch.zeros(4, 20), torch.zeros(4).long(), (5, 6), 10, "checkpoints: "),
        (torch.zeros(2, ROW).double(), torch.zeros(4, 20), torch.zeros(4).long(), (5, 6), 10, "checkpoints: "),
        (torch.zeros(ROW, 2).T, torch.zeros(4, 20), torch.zeros(4).long(), (5, 6), 10, "checkpoints: rows"),
        (torch.zeros(2, ROW), torch.zeros(4, 20).half(), torch.zeros(4).long(), (5, 6), 10, "images: "),
        (torch.zeros(2, ROW), torch.zeros(4), torch.zeros(4).long(), (5, 6), 10, "images: "),
        (torch.zeros(2, ROW), torch.zeros(4, 20), torch.zeros(5).long(), (5, 6), 10, "labels: integers"),
        (torch.zeros(2, ROW), torch.zeros(4, 20), torch.zeros(4), (5, 6), 10, "labels: integers"),
        (torch.zeros(2, ROW), torch.zeros(4, 20), torch.zeros(4).long(), (129, 6), 10, "hidden: .* 1 to 128"),
        (torch.zeros(2, ROW), torch.zeros(4, 20), torch.zeros(4).long(), (5, 6), 17, "outputs: 2 to 16"),
        (torch.zeros(2, ROW), torch.zeros(4, 0), torch.zeros(4).long(), (5, 6), 10, "inputs: 1 or more"),
        (torch.zeros(2, ROW), torch.zeros(4, 20).to("meta"), torch.zeros(4).long(), (5, 6), 10, "on one device"),
    ],
)  # fmt: skip
def test_bad_input_names_the_argument(
    rows: Tensor, images: Tensor, labels: Tensor, hidden: tuple[int, int], outputs: int, named: str
) -> None:
    with pytest.raises(ValueError, match=named) as caught:
        evaluate_checkpoints(rows, images, labels, hidden, outputs)
    assert "\n" not in str(caught.value)
