"""The forms of evaluation's first layer: by FMAs and, for bytes, on tensor cores; and broken lines of each."""

import pytest
import torch
from evaluation_cases import Case, check, example, given_on, on_tensor_cores, split

from breaknet import reference
from breaknet.kernels import evaluation, evaluation_tensor
from breaknet.kernels._triton import HAVE_TRITON
from breaknet.kernels.evaluation import (
    TENSOR_TILES,
    TENSOR_TILES_75,
    TENSOR_TILES_120,
    TILES,
    Tile,
    evaluate_checkpoints,
    tile_of,
)
from breaknet.kernels.host.targets import TARGETS
from breaknet.kernels.jobs import Shape, padded

pytestmark = [
    pytest.mark.skipif(not HAVE_TRITON, reason="needs Triton"),
    pytest.mark.filterwarnings("ignore:overflow encountered", "ignore:invalid value encountered"),
]

#: checkpoints, images, inputs, hidden, outputs, floating images
COVERING = [
    (5, 65, 784, (16, 16), 10, False),
    (9, 140, 50, (7, 16), 10, False),
    (3, 40, 70, (33, 7), 2, False),
    (2, 33, 50, (128, 33), 16, False),
    (3, 65, 17, (20, 32), 10, False),
    (1, 1, 1, (1, 1), 3, False),
]
SMALL: Case = (3, 33, 20, (5, 6), 10, False)


FORMS = {"bfloat16": TENSOR_TILES, "float16": TENSOR_TILES_75}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("case", COVERING, ids=str)
def test_tensor_cores_against_float64(device, case, form):
    """All forms on every device: under the interpreter, too, their products are of the parts' numbers."""
    on_tensor_cores(device, form)
    check(device, case, confusion=case[0] == 2, tile=FORMS[form][padded(max(case[3]))])


@pytest.mark.parametrize("capability", [*TARGETS, 87, 103, 121])
def test_which_form_evaluates(capability):
    net = Shape(784, 16, 16, 10)
    tiles = {75: TENSOR_TILES_75, 100: TILES, 103: TILES, 120: TENSOR_TILES_120, 121: TENSOR_TILES_120}
    assert tile_of(net, torch.uint8, capability) == tiles.get(capability, TENSOR_TILES)[16]
    assert tile_of(net, torch.float32, capability) == TILES[16]


@pytest.mark.parametrize("form", FORMS)
def test_parameters_of_every_size_on_tensor_cores(device, form):
    """The largest float32 stay finite, infinities and NaN go through, and subnormals count as nothing."""
    on_tensor_cores(device, form)
    rows, images, labels, *net = given_on(device, (6, 40, 20, (5, 6), 10, False))
    images[:, 0] = 1 + images[:, 0] // 2  # no zero to be multiplied by infinity
    for row, value in zip(rows[1:], (3.4e38, float("inf"), float("nan"), 1e-40), strict=False):
        row[:100:20] = value
    rows[5] = rows[4]
    rows[5, :100:20] = 0
    given = rows, images, labels, *net
    tensor, fma = (evaluate_checkpoints(*given, tile=tiles[16])[0].cpu() for tiles in (FORMS[form], TILES))
    assert tensor.isnan().tolist() == [False, False, False, True, False, False]
    torch.testing.assert_close(tensor, fma, rtol=1e-6, atol=0, equal_nan=True)
    assert tensor[4] == tensor[5]


#: What is done to the first layer's weights [16, 70] of a network, whose first four pixels are never inked.
WILD = {
    "none": lambda weight: weight,
    "huge where nothing is inked": lambda weight: weight[:, :4].fill_(1e6),
    "more than float16 could tell apart": lambda weight: weight[:, ::2].mul_(1e12),
    "the largest where nothing is inked": lambda weight: weight[3:, 2].fill_(-3.4e38),
    "many sizes": lambda weight: weight.mul_(10.0 ** torch.linspace(3, -30, 70)),
    "all huge": lambda weight: weight.mul_(1e30),
    "all below float32's normal numbers": lambda weight: weight.mul_(1e-40),
    "zero": lambda weight: weight.zero_(),
}  # fmt: skip


def check_wild(device):
    """Costs within the contract for all of `WILD`, one network beside another, and each network's bits as alone."""
    case: Case = (len(WILD), 40, 70, (16, 16), 10, False)
    rows, images, labels = example(case)
    images[:, :4] = 0
    for row, change in zip(rows, WILD.values(), strict=True):
        change(split(row, case)["hidden1.weight"])
    tile, on = TENSOR_TILES_75[16], (images.to(device), labels.to(device), *case[3:5])
    cost, _, _ = evaluate_checkpoints(rows.to(device), *on, tile=tile)
    for found, row, name in zip(cost.tolist(), rows, WILD, strict=True):
        total = reference.evaluation(split(row, case), images, labels).cost * 40
        assert abs(found - total) <= 1e-6 * (total + total**0.5), name
    tame = rows[:1].repeat(len(rows), 1)
    assert evaluate_checkpoints(tame.to(device), *on, tile=tile)[0][0] == cost[0], "company changes nothing"


def test_networks_that_float16_cannot_hold(device):
    check_wild(device)


def check_parts(device, form="bfloat16"):
    """Weights in pairs w, -w' that differ in their low parts alone: what is left of their products is those."""
    most = (
        127 if form == "bfloat16" else 4095
    )  # bits that are below those of the high part, and of the middle one
    case: Case = (3, 40, 70, (16, 16), 10, False)
    rows, images, labels = example(case)
    images = (images // 128 * 128)[:, :35].repeat_interleave(2, 1).contiguous()
    for seed, row in enumerate(rows):
        draw = torch.Generator().manual_seed(seed)
        low = torch.randint(-most, most + 1, (16, 70), generator=draw) * 2.0**-11
        split(row, case)["hidden1.weight"][:] = low + torch.tensor([4096.0, -4096.0]).repeat(35)
    cost, _, _ = evaluate_checkpoints(
        *(tensor.to(device) for tensor in (rows, images, labels)), *case[3:5], tile=FORMS[form][16]
    )
    for found, row in zip(cost.tolist(), rows, strict=True):
        total = reference.evaluation(split(row, case), images, labels).cost * 40
        assert abs(found - total) <= 1e-6 * (total + total**0.5)


@pytest.mark.parametrize("form", FORMS)
def test_every_part_of_a_weight_counts(device, form):
    on_tensor_cores(device, form)
    check_parts(device, form)


def test_tiles_that_cannot_be(device):
    rows, images, labels, *net = given_on(device, SMALL)
    with pytest.raises(ValueError, match=r"tile: tensor cores take uint8 images, not torch.float32"):
        evaluate_checkpoints(rows, images.float(), labels, *net, tile=TENSOR_TILES[16])
    for tile in (Tile(4, 256, 16, 4), Tile(4, 64, 32, 4), Tile(4, 64, 64, 4, 3, "bfloat16")):
        with pytest.raises(ValueError, match="tile: block_m and block_k that divide"):
            evaluate_checkpoints(rows, images, labels, *net, tile=tile)
    for tile in (Tile(4, 64, 16, 8, 1, "float16"), Tile(8, 16, 16, 2, 1, "float16")):
        with pytest.raises(ValueError, match="tile: a warp for each 32 images and 32 columns"):
            evaluate_checkpoints(rows, images, labels, *net, tile=tile)


# ---- broken lines


def check_fma(device):
    check(device, (5, 70, 20, (7, 18), 6, False), tile=TILES[32])


def check_tensor(device):
    on_tensor_cores(device)
    check(device, (5, 140, 70, (7, 18), 6, False), tile=TENSOR_TILES[32])
    check_parts(device)


def check_scale(device, form="bfloat16"):
    on_tensor_cores(device, form)
    rows, images, labels, *net = given_on(device, SMALL)
    found = [
        evaluate_checkpoints(rows, images, labels, *net, scale=1 / 255, tile=tiles[16])[0]
        for tiles in (TILES, FORMS[form])
    ]
    torch.testing.assert_close(*found, rtol=1e-6, atol=0)


def test_another_scale(device):
    check_scale(device, "float16")


def check_float16(device):
    check(device, (5, 140, 70, (7, 18), 6, False), tile=TENSOR_TILES_75[32])
    check_parts(device, "float16")
    check_scale(device, "float16")
    check_wild(device)


#: By the check that must notice it, what is changed, and where.
MUTATIONS = {
    check_fma: [
        ("BLOCK_K * stride_image", "0", "first_layer_by_fma"),
        ("BLOCK_K * stride_weight", "0", "first_layer_by_fma"),
        ("range(0, INPUTS, BLOCK_K)", "range(0, INPUTS - BLOCK_K, BLOCK_K)", "first_layer_by_fma"),
        ("+ image[None, :]", "+ (image % 64)[None, :]", "first_layer_by_fma"),
        ("* scale", "* 1.0", "first_layer_by_fma"),
    ],
    check_tensor: [
        ("image_ptr += BLOCK_K", "image_ptr += 0", "first_layer_by_tensor_cores"),
        ("+= BLOCK_K * stride_weight", "+= 0", "first_layer_by_tensor_cores"),
        ("range(0, INPUTS, BLOCK_K)", "range(0, INPUTS - BLOCK_K, BLOCK_K)", "first_layer_by_tensor_cores"),
        ("image.to(tl.int64)", "(image % 128).to(tl.int64)", "first_layer_by_tensor_cores"),
        ('z = tl.dot(x, low, z, input_precision="ieee")', "", "first_layer_by_tensor_cores"),
        ('z = tl.dot(x, middle, z, input_precision="ieee")', "", "first_layer_by_tensor_cores"),
        ('z = tl.dot(x, high, z, input_precision="ieee")', "", "first_layer_by_tensor_cores"),
        ("part_ptr + 2 * part", "part_ptr + part", "first_layer_by_tensor_cores"),
        ("2 * count + place, low", "2 * count + place, middle", "split_bf16_forward_kernel"),
        ("count + place, middle", "count + place, low", "split_bf16_forward_kernel"),
    ],
    check_scale: [
        ("z * (256 * scale)", "z", "first_layer_by_tensor_cores"),
    ],
    check_float16: [
        ("first_image // 16", "first_image // 32", "dot_of_bytes"),
        ("first_column // 8", "first_column // 16", "dot_of_bytes"),
        ("rest_ptr += first_column", "rest_ptr += 0 * first_column", "dot_of_bytes"),
        ("> 2.0**-24", "> 2.0**24", "dot_of_bytes"),
        ("mask=needed", "mask=needed & False", "dot_of_bytes"),
        ("rest_ptr += stride_rest", "rest_ptr += 0", "dot_of_bytes"),
        ("undo * scale", "undo * (1.0 / 256)", "dot_of_bytes"),
        ("2 * count + place, low", "2 * count + place, 0 * low", "split_f16_forward_kernel"),
        ("count + place, middle", "count + place, low", "split_f16_forward_kernel"),
        ("weight_ptr + place, rest", "weight_ptr + place, 0 * rest", "split_f16_forward_kernel"),
        ("rest -= middle.to(tl.float32)", "rest -= 0", "f16_parts"),
    ],
}  # fmt: skip
#: How float16 parts are multiplied: what is compiled, and what is interpreted.
PRODUCTS = {
    "cuda": [
        ("x_ptr += 64", "x_ptr += 0", "_products_by_lanes"),
        ("w_ptr += 192", "w_ptr += 0", "_products_by_lanes"),
        ("x_ptr + below + 32", "x_ptr + 32", "_products_by_lanes"),
        ("w_ptr + 3 * right", "w_ptr + 2 * right", "_products_by_lanes"),
        ("[0, 6, 5, 2, 1, 8, 7, 3, 4]", "[0, 5, 6, 2, 1, 8, 7, 3, 4]", "_products_by_lanes"),
        ("w_ptr + 128", "w_ptr + 64", "_add_columns"),
        ("tl.load(w_ptr + 160)", "tl.load(w_ptr + 160) * 0", "_add_columns"),
        ("tl.load(w_ptr + 96)", "tl.load(w_ptr + 96) * 0", "_add_columns"),
        ("z[7] + y[7]", "z[7]", "_add_columns"),
        ("0x5352", "0x5150", "_pixel_pairs"),
    ],
    "cpu": [
        ("range(2, -1, -1)", "range(1, -1, -1)", "_products_by_dots"),
        ("range(2, -1, -1)", "range(2, 0, -1)", "_products_by_dots"),
        ("z += y", "z = y", "_products_by_dots"),
        ("range(0, INPUTS, 16)", "range(0, INPUTS - 16, 16)", "_products_by_dots"),
        ("k // 16 * 256", "0", "_byte"),
    ],
}  # fmt: skip


#: What calls another stands after it.
ON_TENSOR_CORES = (
    "f16_parts", "split_f16_forward_kernel", "split_bf16_forward_kernel", "_pixel_pairs", "_add_columns", "_byte",
    "_products_by_lanes", "_products_by_dots", "dot_of_bytes", "first_layer_by_tensor_cores",
)  # fmt: skip


@pytest.mark.parametrize(
    ("notices", "old", "new", "where"),
    [(notices, *change) for notices, changes in MUTATIONS.items() for change in changes]
    + [(kind, *change) for kind, changes in PRODUCTS.items() for change in changes],
)
def test_mutations_are_noticed(device, mutate, notices, old, new, where):
    if notices in PRODUCTS:
        if notices != device.type:
            pytest.skip("for compiled or interpreted products only")
        notices = check_float16
    callers = {}
    if where in ON_TENSOR_CORES:
        mutate(evaluation_tensor, where, old, new)
        for name in ON_TENSOR_CORES[ON_TENSOR_CORES.index(where) + 1 :]:  # compiled again
            mutate(evaluation_tensor, name)
        callers = {name: getattr(evaluation_tensor, name) for name in ON_TENSOR_CORES[-2:]}
    else:
        mutate(evaluation, where, old, new)
    mutate(evaluation, "evaluation_forward_kernel", **callers)
    with pytest.raises(AssertionError):
        notices(device)
