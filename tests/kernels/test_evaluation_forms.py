"""The two forms of evaluation's first layer: by FMAs and, for bytes, on tensor cores; and broken lines of both."""

import pytest
import torch
from evaluation_cases import Case, check, example, given_on, on_tensor_cores, split

from breaknet import reference
from breaknet.kernels import evaluation
from breaknet.kernels._triton import HAVE_TRITON
from breaknet.kernels.evaluation import (
    TENSOR_TILES,
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
    pytest.mark.filterwarnings("ignore:overflow encountered in exp", "ignore:invalid value encountered"),
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


@pytest.mark.parametrize("case", COVERING, ids=str)
def test_tensor_cores_against_float64(device, case):
    """Both forms on every device: under the interpreter, too, their products are of bfloat16's numbers."""
    on_tensor_cores(device)
    check(device, case, confusion=case[0] == 2, tile=TENSOR_TILES[padded(max(case[3]))])


@pytest.mark.parametrize("capability", [*TARGETS, 87, 103, 121])
def test_which_form_evaluates(capability):
    net, tensor = Shape(784, 16, 16, 10), capability not in (75, 100, 103)
    tiles = (TENSOR_TILES if capability < 120 else TENSOR_TILES_120) if tensor else TILES
    assert tile_of(net, torch.uint8, capability) == tiles[16]
    assert tile_of(net, torch.float32, capability) == TILES[16]


def test_parameters_of_every_size_on_tensor_cores(device):
    """The largest float32 stay finite, infinities and NaN go through, and subnormals count as nothing."""
    on_tensor_cores(device)
    rows, images, labels, *net = given_on(device, (6, 40, 20, (5, 6), 10, False))
    images[:, 0] = 1 + images[:, 0] // 2  # no zero to be multiplied by infinity
    for row, value in zip(rows[1:], (3.4e38, float("inf"), float("nan"), 1e-40), strict=False):
        row[:100:20] = value
    rows[5] = rows[4]
    rows[5, :100:20] = 0
    given = rows, images, labels, *net
    tensor, fma = (evaluate_checkpoints(*given, tile=tiles[16])[0].cpu() for tiles in (TENSOR_TILES, TILES))
    assert tensor.isnan().tolist() == [False, False, False, True, False, False]
    torch.testing.assert_close(tensor, fma, rtol=1e-6, atol=0, equal_nan=True)
    assert tensor[4] == tensor[5]


def check_parts(device):
    """Weights in pairs w, -w' that differ in their low parts alone: what is left of their products is those."""
    case: Case = (3, 40, 70, (16, 16), 10, False)
    rows, images, labels = example(case)
    images = (images // 128 * 128)[:, :35].repeat_interleave(2, 1).contiguous()
    for seed, row in enumerate(rows):
        draw = torch.Generator().manual_seed(seed)
        low = torch.randint(-127, 128, (16, 70), generator=draw) * 2.0**-11
        split(row, case)["hidden1.weight"][:] = low + torch.tensor([4096.0, -4096.0]).repeat(35)
    cost, _, _ = evaluate_checkpoints(
        *(tensor.to(device) for tensor in (rows, images, labels)), *case[3:5], tile=TENSOR_TILES[16]
    )
    for found, row in zip(cost.tolist(), rows, strict=True):
        total = reference.evaluation(split(row, case), images, labels).cost * 40
        assert abs(found - total) <= 1e-6 * (total + total**0.5)


def test_every_part_of_a_weight_counts(device):
    on_tensor_cores(device)
    check_parts(device)


def test_tiles_that_cannot_be(device):
    rows, images, labels, *net = given_on(device, SMALL)
    with pytest.raises(ValueError, match=r"tile: tensor cores take uint8 images, not torch.float32"):
        evaluate_checkpoints(rows, images.float(), labels, *net, tile=TENSOR_TILES[16])
    for tile in (Tile(4, 256, 16, 4), Tile(4, 64, 32, 4), Tile(4, 64, 64, 4, 3, True)):
        with pytest.raises(ValueError, match="tile: block_m and block_k that divide"):
            evaluate_checkpoints(rows, images, labels, *net, tile=tile)


# ---- broken lines


def check_fma(device):
    check(device, (5, 70, 20, (7, 18), 6, False), tile=TILES[32])


def check_tensor(device):
    on_tensor_cores(device)
    check(device, (5, 140, 70, (7, 18), 6, False), tile=TENSOR_TILES[32])
    check_parts(device)


def check_scale(device):
    on_tensor_cores(device)
    rows, images, labels, *net = given_on(device, SMALL)
    found = [
        evaluate_checkpoints(rows, images, labels, *net, scale=1 / 255, tile=tiles[16])[0]
        for tiles in (TILES, TENSOR_TILES)
    ]
    torch.testing.assert_close(*found, rtol=1e-6, atol=0)


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
        ("2 * count + place, low", "2 * count + place, middle", "split_weights_forward_kernel"),
        ("count + place, middle", "count + place, low", "split_weights_forward_kernel"),
    ],
    check_scale: [
        ("z * (256 * scale)", "z", "first_layer_by_tensor_cores"),
    ],
}  # fmt: skip


@pytest.mark.parametrize(
    ("notices", "old", "new", "where"),
    [(notices, *change) for notices, changes in MUTATIONS.items() for change in changes],
)
def test_mutations_are_noticed(device, mutate, notices, old, new, where):
    mutate(evaluation, where, old, new)
    mutate(evaluation, "evaluation_forward_kernel")  # compiled again
    with pytest.raises(AssertionError):
        notices(device)
