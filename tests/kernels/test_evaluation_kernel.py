"""`evaluate_checkpoints` against float64: every form of the kernel, ties, broken outputs, confusion counts."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_checks import guarded_outputs, mutated, surrounded
from torch import Tensor

from breaknet.kernels import evaluation
from breaknet.kernels._triton import HAVE_TRITON
from breaknet.kernels.evaluation import (
    evaluate_checkpoints,
    evaluation_spec,
    first_weights,
    image_columns,
    parameter_count,
)

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
Case = tuple[int, int, int, tuple[int, int], int, bool]


def split(row: Tensor, inputs: int, hidden: tuple[int, int], outputs: int) -> list[Tensor]:
    """One checkpoint's parameters, in torch's order, from its flat row."""
    parameters = []
    for above, below in ((hidden[0], inputs), (hidden[1], hidden[0]), (outputs, hidden[1])):
        weight, bias, row = row[: above * below], row[above * below :][:above], row[above * (below + 1) :]
        parameters += [weight.view(above, below), bias]
    assert row.numel() == 0
    return parameters


def example(case: Case, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Checkpoints whose outputs spread over 0..1, images and labels, on the CPU."""
    count, images, inputs, hidden, outputs, floating = case
    draw = torch.Generator().manual_seed(seed)
    rows = torch.randn(count, parameter_count(inputs, hidden, outputs), generator=draw)
    for row in rows:
        for weight in split(row, inputs, hidden, outputs)[::2]:
            weight *= 2 / weight.shape[1] ** 0.5
    pixels = torch.randint(0, 256, (images, inputs), generator=draw, dtype=torch.uint8)
    labels = torch.randint(0, outputs, (images,), generator=draw)
    return rows, pixels.float() / 256 if floating else pixels, labels


def check(device: torch.device, case: Case, confusion: bool = False, seed: int = 0, **options: int) -> None:
    """Costs within the contract, hits and counts exact, nothing outside written or read."""
    _, _, inputs, hidden, outputs, floating = case
    rows, images, labels = example(case, seed)
    # a result's partial parts are filled with NaN, its tensors surrounded by it, before the kernel runs
    given = [surrounded(tensor, device) for tensor in (rows, images, labels)]
    with guarded_outputs():
        cost, hits, counts = evaluate_checkpoints(*given, hidden, outputs, confusion=confusion, **options)
    assert cost.dtype == torch.float64
    assert hits.dtype == torch.int64
    scale = 1.0 if floating else 1 / 256
    for index, row in enumerate(rows.double()):
        right = evaluation_spec(split(row, inputs, hidden, outputs), images, labels, scale)
        # 1e-6 of the cost and, below 1,000 examples, 1e-6 of its root
        allowed = 1e-6 * float(right[0]) + 1e-6 * float(right[0]) ** 0.5
        assert abs(float(cost[index]) - float(right[0])) <= allowed, f"cost of checkpoint {index} of {case}"
        assert int(hits[index]) == int(right[1]), f"hits of checkpoint {index} of {case}"
        if confusion:
            assert counts is not None
            assert torch.equal(counts[index].cpu(), right[2]), f"counts of checkpoint {index} of {case}"
    if not confusion:
        assert counts is None


@pytest.mark.parametrize("case", COVERING, ids=str)
def test_against_float64(device: torch.device, case: Case) -> None:
    check(device, case, confusion=case[0] != 5)


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


BREAKS = {
    "one NaN": {3: float("nan")},
    "two NaN, the first counts": {2: float("nan"), 7: float("nan")},
    "all NaN": dict.fromkeys(range(10), float("nan")),
    "NaN beats one": {1: 1e30, 5: float("nan")},
    "infinite": {4: float("inf"), 6: float("inf")},
    "minus infinite": {0: float("-inf")},
    "a tie at one": {8: 500.0, 9: 600.0},
    "all equal": dict.fromkeys(range(10), 0.0),
    "all below a padded output's one half": dict.fromkeys(range(10), -3.0),
}


@pytest.mark.filterwarnings("ignore:overflow encountered in exp")
@pytest.mark.parametrize("broken", BREAKS.values(), ids=BREAKS)
def test_first_maximum_as_argmax_has_it(device: torch.device, broken: dict[int, float]) -> None:
    case: Case = (2, 40, 20, (5, 6), 10, True)
    rows, images, labels = example(case)
    *_, weight, bias = split(rows[0], *case[2:5])
    for output, value in broken.items():
        weight[output] = 0
        bias[output] = value
    _, hits, counts = evaluate_checkpoints(
        *(tensor.to(device) for tensor in (rows, images, labels)), *case[3:5], confusion=True
    )
    for index in range(2):  # the whole neighbour of the broken one is checked too
        # float32 decides what ties; the outputs that are broken on purpose are the same in it and in the kernel
        _, right, confusion = evaluation_spec(split(rows[index], *case[2:5]), images, labels, 1.0)
        assert int(hits[index]) == int(right)
        assert counts is not None
        assert torch.equal(counts[index].cpu(), confusion)


def check_infinite_parameter(device: torch.device) -> None:
    """A unit that an infinite bias or weight has driven to 1 is fine: no other unit may read what drives it."""
    for inputs in (4, 20):
        case: Case = (5, 40, inputs, (5, 6), 10, True)
        rows, images, labels = example(case)
        images += 0.01  # zero times infinity would be NaN by right
        for row in rows:
            first_weight, first_bias, second_weight, *_ = split(row, *case[2:5])
            first_weight[1] = float("inf")
            first_bias[0] = float("inf")
            second_weight[2] = float("-inf")
        cost, hits, _ = evaluate_checkpoints(
            *(surrounded(tensor, device) for tensor in (rows, images, labels)), *case[3:5]
        )
        for index, row in enumerate(rows.double()):
            right = evaluation_spec(split(row, *case[2:5]), images, labels, 1.0)
            assert abs(float(cost[index]) / float(right[0]) - 1) < 1e-6
            assert int(hits[index]) == int(right[1])


@pytest.mark.filterwarnings(
    "ignore:overflow encountered in exp", "ignore:invalid value encountered in matmul"
)
def test_infinite_parameter_stays_in_its_unit(device: torch.device) -> None:
    check_infinite_parameter(device)


@pytest.mark.filterwarnings(
    "ignore:overflow encountered in exp", "ignore:invalid value encountered in matmul"
)
def test_sabotaged_weight_mask_is_noticed(
    device: torch.device, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    old, new = "mask=h2_inside[:, :, None] & h1_inside", "mask=h2_inside[:, :, None]"
    mutant = mutated(evaluation.evaluation_forward_kernel, old, new, tmp_path)
    monkeypatch.setattr(evaluation, "evaluation_forward_kernel", mutant)
    with pytest.raises(AssertionError):
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
    turned = images.T.contiguous().T
    spaced = torch.stack((labels, labels + 1), 1)[:, 0]
    strided = evaluate_checkpoints(wide[:, : rows.shape[1]], turned, spaced, *case[3:5])[0]
    assert torch.equal(strided, expected)


@pytest.mark.parametrize(
    ("images", "inputs", "count", "hidden"), [(130, 20, 5, 7), (1, 16, 4, 16), (128, 1, 1, 33)]
)
def test_turned_operands_are_padded_with_zeros(
    device: torch.device, images: int, inputs: int, count: int, hidden: int
) -> None:
    rows, pixels, _ = example((count, images, inputs, (hidden, 6), 10, False))
    columns = image_columns(pixels.to(device)).cpu()
    assert columns.shape == (-(-inputs // 16) * 16, -(-images // 128) * 128)
    assert torch.equal(columns[:inputs, :images], pixels.T)
    assert int(columns.long().sum()) == int(pixels.long().sum())
    width = evaluation.padded(hidden)
    weights = first_weights(rows.to(device), inputs, hidden, {"BLOCK_C": 4, "BLOCK_H1": width}).cpu()
    assert weights.shape == (len(columns), -(-count // 4) * 4 * width)
    for index, row in enumerate(rows):
        here = weights[:inputs, index * width :][:, :hidden]
        assert torch.equal(here.T, split(row, inputs, (hidden, 6), 10)[0])
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


def check_ragged(device: torch.device) -> None:
    """No size a multiple of a tile; floating images too, whose surroundings are NaN."""
    check(device, (5, 70, 20, (7, 18), 6, False), confusion=True)
    check(device, (5, 70, 20, (7, 18), 6, True))
    check(device, (5, 70, 4, (7, 18), 6, True))


@pytest.mark.filterwarnings("ignore:overflow encountered in exp")
@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("ahead * stride_column", "0"),
        ("ahead * stride_weight", "0"),
        ("first + BLOCK_K < INPUTS", "first + BLOCK_K < INPUTS - BLOCK_K"),
        ("stride_column + image[None, :]", "stride_column + tl.arange(0, BLOCK_M)[None, :]"),
        ("n = tl.program_id(1)", "n = 0"),
        ("z + b1", "z - b1"),
        ("* scale", "* 1.0"),
        ("(h2 < HIDDEN2)[None, :]", "(h2 < HIDDEN2 - 1)[None, :]"),
        ("range(0, BLOCK_H2, BLOCK_H)", "range(0, BLOCK_H, BLOCK_H)"),
        ("first + tl.arange(0, BLOCK_H)", "tl.arange(0, BLOCK_H)"),
        ("+ b2)", ")"),
        ("[0, 2, 1]), a3,", "[0, 2, 1]), a3 * 0,"),
        ("a3 + b3", "a3"),
        ("image_inside[None, :, None] & o_inside, difference", "o_inside, difference"),
        ("image_inside[None, :, None] & o_inside, difference", "image_inside[None, :, None], difference"),
        ("other=-1).to(tl.int32)", "other=0).to(tl.int32)"),
        ("tl.store(cost_ptr + part, cost, mask=checkpoint_inside)", "tl.store(cost_ptr + part, cost)"),
        ("label[None, :] * OUTPUTS + predicted", "predicted * OUTPUTS + label[None, :]"),
        ("mask=counted", "mask=checkpoint_inside[:, None]"),
        ("tl.program_id(0).to(tl.int64) * checkpoints", "0 * checkpoints"),
        ("tl.program_id(1) * BLOCK_C +", "0 +"),
    ],
)  # fmt: skip
def test_sabotage_is_noticed(
    device: torch.device, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, old: str, new: str
) -> None:
    mutant = mutated(evaluation.evaluation_forward_kernel, old, new, tmp_path)
    monkeypatch.setattr(evaluation, "evaluation_forward_kernel", mutant)
    with pytest.raises(AssertionError):
        check_ragged(device)


def check_maximum(device: torch.device) -> None:
    for broken in BREAKS.values():
        test_first_maximum_as_argmax_has_it(device, broken)


@pytest.mark.filterwarnings("ignore:overflow encountered in exp")
@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("tl.where(a3 == a3, a3, 2.0)", "a3"),
        ("tl.where(o_inside, tl.where(a3 == a3, a3, 2.0), -1.0)", "tl.where(a3 == a3, a3, 2.0)"),
        ("tl.min(tl.where(rank == best[:, :, None], o[None, None, :], BLOCK_O), 2)",
         "tl.max(tl.where(rank == best[:, :, None], o[None, None, :], -1), 2)"),
    ],
)  # fmt: skip
def test_sabotaged_maximum_is_noticed(
    device: torch.device, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, old: str, new: str
) -> None:
    mutant = mutated(evaluation.evaluation_forward_kernel, old, new, tmp_path)
    monkeypatch.setattr(evaluation, "evaluation_forward_kernel", mutant)
    with pytest.raises(AssertionError):
        check_maximum(device)


ROW = parameter_count(20, (5, 6), 10)


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
