"""`evaluate_checkpoints` against float64: every tile of the kernel, ties, broken outputs, counts, broken lines."""

import re

import pytest
import torch
from evaluation_cases import (
    BREAKS,
    Case,
    check,
    check_infinite_parameter,
    check_maximum,
    example,
    given_on,
    net_of,
    on_tensor_cores,
    split,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from breaknet.kernels import evaluation
from breaknet.kernels._triton import HAVE_TRITON
from breaknet.kernels.evaluation import (
    TENSOR_TILES,
    TENSOR_TILES_75,
    TILES,
    Tile,
    evaluate_checkpoints,
    first_weights,
    prepared_images,
)
from breaknet.kernels.jobs import padded

pytestmark = [
    pytest.mark.skipif(not HAVE_TRITON, reason="needs Triton"),
    pytest.mark.filterwarnings("ignore:overflow encountered in exp", "ignore:invalid value encountered"),
]

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
    pytest.param((3, 70, inputs, (first, second), outputs, inputs == 50), marks=pytest.mark.slow)
    for inputs in (50, 784, 1000)
    for first in (1, 7, 16, 33, 128)
    for second in (1, 16, 33, 128)
    for outputs in (2, 10, 16)
]
LARGE = [
    pytest.param((13, 60_000, 784, (16, 16), 10, False), marks=pytest.mark.gpu),
    pytest.param((1, 100_000, 784, (128, 128), 10, False), marks=pytest.mark.gpu),
    pytest.param((10_000, 100, 50, (16, 16), 10, False), marks=pytest.mark.gpu),
]


@pytest.mark.parametrize("case", [*COVERING, *EVERY, *LARGE], ids=str)
def test_against_float64(device, case):
    check(device, case, confusion=case[0] in (1, 2, 3, 13))


def test_another_tile(device, monkeypatch):
    monkeypatch.setattr(evaluation, "TILES", {})  # none of its own
    monkeypatch.setattr(evaluation, "TENSOR_TILES", {})
    monkeypatch.setattr(evaluation, "TENSOR_TILES_75", {})
    check(device, (5, 70, 20, (7, 16), 10, False), tile=Tile(2, 32, 16, 4))


@settings(max_examples=8, deadline=None, derandomize=True)
@given(
    count=st.integers(1, 6),
    images=st.integers(1, 70),
    inputs=st.integers(1, 40),
    hidden=st.tuples(st.integers(1, 70), st.integers(1, 40)),
    outputs=st.integers(2, 16),
    floating=st.booleans(),
    seed=st.integers(0, 99),
)
def test_any_size(count, images, inputs, hidden, outputs, floating, seed):
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    check(device, (count, images, inputs, hidden, outputs, floating), confusion=True, seed=seed)


@pytest.mark.parametrize("broken", BREAKS.values(), ids=BREAKS)
def test_first_maximum_as_argmax_has_it(device, broken):
    check_maximum(device, broken)


def test_infinite_parameter_stays_in_its_unit(device):
    check_infinite_parameter(device)


SMALL: Case = (3, 33, 20, (5, 6), 10, False)


def test_broken_checkpoint_leaves_its_neighbours_alone(device):
    rows, _, labels, *_ = given = given_on(device, (6, 40, 20, (5, 20), 10, False))
    cost, hits, _ = evaluate_checkpoints(*given)
    rows[2] = float("nan")
    rows[3] = float("inf")
    broken_cost, broken_hits, _ = evaluate_checkpoints(*given)
    whole = torch.tensor([0, 1, 4, 5])
    assert broken_cost[2].isnan()
    assert int(broken_hits[2]) == int((labels == 0).sum()), "argmax of all NaN is 0"
    assert torch.equal(cost.cpu()[whole], broken_cost.cpu()[whole])
    assert torch.equal(hits.cpu()[whole], broken_hits.cpu()[whole])


@pytest.mark.parametrize(("hidden", "count"), [((16, 16), 9), ((7, 20), 5), ((33, 16), 3), ((64, 64), 2)])
def test_same_bits_alone_and_in_chunks(device, hidden, count):
    rows, *others = given = given_on(device, (count, 70, 20, hidden, 10, False))
    results = evaluate_checkpoints(*given, confusion=True)
    chunked = evaluate_checkpoints(*given, confusion=True, partial_bytes=1)
    for whole, parts in zip(results, chunked, strict=True):
        assert torch.equal(whole, parts)
    # the interpreter's dot is numpy's, which rounds a column by its place in the tile: there, the same place again
    for place in range(count) if device.type == "cuda" else (count - 1,):
        alone = evaluate_checkpoints(rows[place : place + 1], *others)
        assert torch.equal(alone[0], results[0][place : place + 1])


def test_scale_and_label_types(device):
    rows, images, labels, *net = given = given_on(device, SMALL)
    default = evaluate_checkpoints(*given)
    floats = evaluate_checkpoints(rows, images.float(), labels.to(torch.uint8), *net, scale=1 / 256)
    fma = evaluate_checkpoints(*given, tile=TILES[16])
    assert torch.equal(fma[0], floats[0])
    assert torch.equal(fma[1], floats[1])
    for scale in (1 / 255, 1.0):
        expected = evaluate_checkpoints(rows, images.float() * scale, labels, *net)
        found = evaluate_checkpoints(rows, images, labels.int(), *net, scale=scale)
        torch.testing.assert_close(found[0], expected[0], rtol=1e-6, atol=0)
        assert not torch.equal(default[0], found[0])


def test_strides(device):
    """Rows of a wider buffer, as the trainer may pad them, and images that no kernel could read as they lie."""
    rows, images, labels, *net = given = given_on(device, SMALL)
    wide = torch.full((3, rows.shape[1] + 7), float("nan"), device=device)
    wide[:, : rows.shape[1]] = rows
    transposed = images.T.contiguous().T
    spaced = torch.stack((labels, labels + 1), 1)[:, 0]
    strided = evaluate_checkpoints(wide[:, : rows.shape[1]], transposed, spaced, *net)[0]
    assert torch.equal(strided, evaluate_checkpoints(*given)[0])


@pytest.mark.parametrize(
    ("images", "inputs", "count", "hidden"), [(130, 20, 5, 7), (1, 16, 4, 16), (128, 1, 1, 33)]
)
def test_transposed_operands_are_padded_with_zeros(device, images, inputs, count, hidden):
    case: Case = (count, images, inputs, (hidden, 6), 10, False)
    rows, pixels, _ = example(case)
    width = padded(hidden)
    for tensor, multiple in (("", 16), ("bfloat16", 32)):
        padded_inputs = -(-inputs // multiple) * multiple
        columns = prepared_images(pixels.to(device), tensor).cpu()
        columns = columns.T if tensor else columns
        assert columns.shape == (padded_inputs, -(-images // 128) * 128)
        assert torch.equal(columns[:inputs, :images], pixels.T)
        assert int(columns.long().sum()) == int(pixels.long().sum())
        parts = first_weights(rows.to(device), net_of(case), Tile(4, 64, 16, 4, tensor=tensor))[0].cpu()
        assert parts.shape == (*[3] * bool(tensor), padded_inputs, -(-count // 4) * 4 * width)
        weights = parts.double().sum(0).float() if tensor else parts
        for index, row in enumerate(rows):
            here = weights[:inputs, index * width :][:, :hidden]
            assert torch.equal(here.T, split(row, case)["hidden1.weight"])
        assert torch.count_nonzero(weights) == torch.count_nonzero(rows[:, : hidden * inputs])


@pytest.mark.parametrize(
    ("tensor", "shape"), [("", [32, 128]), ("bfloat16", [128, 32]), ("float16", [8, 512])]
)
def test_prepared_images_at_hand(device, tensor, shape):
    on_tensor_cores(device, tensor)
    _, images, *_ = given = given_on(device, SMALL)
    tile = {"": TILES, "bfloat16": TENSOR_TILES, "float16": TENSOR_TILES_75}[tensor][16]
    prepared = prepared_images(images, tensor)
    expected = evaluate_checkpoints(*given, tile=tile)[0]
    assert torch.equal(evaluate_checkpoints(*given, tile=tile, prepared=prepared)[0], expected)
    for wrong in (images.T, prepared.float(), prepared[:-1], prepared.T.contiguous().T):
        with pytest.raises(ValueError, match=re.escape(f"prepared: contiguous torch.uint8 {shape}")):
            evaluate_checkpoints(*given, tile=tile, prepared=wrong)


def test_label_that_is_no_class(device):
    _, _, labels, *_ = given = given_on(device, SMALL)
    labels[3], labels[4] = -1, 10
    _, hits, counts = evaluate_checkpoints(*given, confusion=True)
    assert counts.sum((1, 2)).tolist() == [31] * 3
    assert torch.equal(counts.diagonal(dim1=1, dim2=2).sum(1), hits)


@pytest.mark.parametrize(("count", "images"), [(0, 5), (3, 0)])
def test_nothing_to_do(device, count, images):
    given = given_on(device, (count, images, 20, (5, 6), 10, False))
    cost, hits, counts = evaluate_checkpoints(*given, confusion=True)
    assert cost.tolist() == [0.0] * count
    assert hits.tolist() == [0] * count
    assert counts.shape == (count, 10, 10)
    assert not counts.any()


ROW = net_of(SMALL).parameters
ROWS, IMAGES, LABELS = torch.zeros(2, ROW), torch.zeros(4, 20), torch.zeros(4).long()


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"checkpoints": torch.zeros(2, ROW + 1)}, "checkpoints: "),
        ({"checkpoints": ROWS.double()}, "checkpoints: "),
        ({"checkpoints": torch.zeros(ROW, 2).T}, "checkpoints: rows"),
        ({"images": IMAGES.half()}, "images: "),
        ({"images": torch.zeros(4)}, "images: "),
        ({"labels": torch.zeros(5).long()}, "labels: integers"),
        ({"labels": torch.zeros(4)}, "labels: integers"),
        ({"hidden": (129, 6)}, "hidden: .* 1 to 128"),
        ({"outputs": 17}, "outputs: 2 to 16"),
        ({"images": torch.zeros(4, 0)}, "inputs: 1 or more"),
        ({"images": IMAGES.to("meta")}, "on one device"),
    ],
)
def test_bad_input_names_the_argument(change, named):
    right = {"checkpoints": ROWS, "images": IMAGES, "labels": LABELS, "hidden": (5, 6), "outputs": 10}
    with pytest.raises(ValueError, match=named) as caught:
        evaluate_checkpoints(**right | change)
    assert "\n" not in str(caught.value)


# ---- broken lines, which the checks against float64 must notice


def check_ragged(device):
    """No size a multiple of a tile; floating images too, whose surroundings are NaN."""
    check(device, (5, 70, 20, (7, 18), 6, False), confusion=True)
    check(device, (5, 70, 20, (7, 18), 6, True))
    check(device, (5, 70, 4, (7, 18), 6, True))


def check_every_maximum(device):
    for broken in BREAKS.values():
        check_maximum(device, broken)


MUTATIONS = {
    check_ragged: [
        ("first_unit = tl.program_id(1)", "first_unit = 0"),
        ("z + b1", "z - b1"),
        ("(h2 < NET.hidden2)[None, :]", "(h2 < NET.hidden2 - 1)[None, :]"),
        ("range(0, WIDTH, BLOCK_H, num_stages=1)", "range(0, BLOCK_H, BLOCK_H)"),
        ("first + tl.arange(0, BLOCK_H)", "tl.arange(0, BLOCK_H)"),
        ("+ b2)", ")"),
        ("[0, 2, 1]), a3,", "[0, 2, 1]), a3 * 0,"),
        ("a3 + b3", "a3"),
        ("image_inside[None, :, None] & o_inside, difference", "o_inside, difference"),
        ("image_inside[None, :, None] & o_inside, difference", "image_inside[None, :, None], difference"),
        ("other=-1).to(tl.int32)", "other=0).to(tl.int32)"),
        ("tl.store(cost_ptr + part, cost, mask=checkpoint_inside)", "tl.store(cost_ptr + part, cost)"),
        ("label[None, :] * NET.outputs + predicted", "predicted * NET.outputs + label[None, :]"),
        ("mask=counted", "mask=checkpoint_inside[:, None]"),
        ("tl.program_id(0).to(tl.int64) * checkpoints", "0 * checkpoints"),
        ("tl.program_id(1) * BLOCK_C +", "0 +"),
    ],
    check_every_maximum: [
        ("tl.where(a3 == a3, a3, 2.0)", "a3"),
        ("tl.where(o_inside, tl.where(a3 == a3, a3, 2.0), -1.0)", "tl.where(a3 == a3, a3, 2.0)"),
        ("tl.min(tl.where(rank == best[:, :, None], o[None, None, :], BLOCK_O), 2)",
         "tl.max(tl.where(rank == best[:, :, None], o[None, None, :], -1), 2)"),
    ],
    check_infinite_parameter: [
        ("mask=h2_inside[:, :, None] & h1_inside", "mask=h2_inside[:, :, None]"),
    ],
}  # fmt: skip


@pytest.mark.parametrize(
    ("notices", "old", "new"),
    [(notices, old, new) for notices, changes in MUTATIONS.items() for old, new in changes],
)
def test_mutations_are_noticed(device, mutate, notices, old, new):
    mutate(evaluation, "evaluation_forward_kernel", old, new)
    with pytest.raises(AssertionError):
        notices(device)
