"""Which tiles a trainer takes, for a network, a batch and a GPU, and which rows of images."""

import itertools

import pytest
import torch

from breaknet.kernels.host.packed_trainer import aligned_images
from breaknet.kernels.host.tiles import (
    PACKED,
    TENSOR,
    PackedConfig,
    TileConfig,
    cooperative_tiles,
    interpreter_tiles,
    packed_tiles,
    split_tiles,
)
from breaknet.kernels.jobs import MAX_BATCH, Shape, padded

LESSON = Shape(784, 16, 16, 10)
T4 = {"capability": 75, "sms": 40}
H200 = {"capability": 90, "sms": 132}


@pytest.mark.parametrize(
    ("gpu", "block", "programs"),
    [(T4, 32, 27), (H200, 16, 52), ({"capability": 75, "sms": 16}, 64, 15)],
)
def test_lesson_is_cooperative_with_slices_that_fit_the_gpu(gpu, block, programs):
    for batch in (1, 2, 10, 100, 128, 129, 1000, MAX_BATCH):
        config = cooperative_tiles(LESSON, batch, **gpu)
        assert isinstance(config, TileConfig)
        assert (config.input_block, config.programs) == (block, programs)


def test_a_gpu_that_cannot_hold_the_grid_is_refused_with_the_numbers():
    reason = cooperative_tiles(LESSON, 100, 75, 8)
    assert isinstance(reason, str)
    assert "15 programs" in reason
    assert "has 8" in reason


def test_lesson_is_packed_by_the_fused_kernel():
    lesson = packed_tiles(LESSON, 100, True)
    assert isinstance(lesson, PackedConfig)
    assert (lesson.form, lesson.rows, lesson.width) == ("fused", 128, 16)
    assert lesson == packed_tiles(Shape(784, 1, 9, 10), 65, True)


@pytest.mark.parametrize(
    ("capability", "networks"),
    [
        (75, (0, 0)), (80, (1, 0)), (86, (1, 1)), (87, (1, 1)), (89, (1, 1)), (90, (4, 4)), (100, (0, 0)),
        (103, (0, 0)), (120, (1, 0)), (121, (1, 0)),
    ],
)  # fmt: skip
def test_networks_are_packed_on_tensor_cores_where_those_do_not_spill(capability, networks):
    """`networks` a program, for batches of up to 64 and up to 128 images; 0 where it is FMAs."""
    for batch, wanted in ((17, networks[0]), (64, networks[0]), (65, networks[1]), (128, networks[1])):
        found = packed_tiles(LESSON, batch, True, capability)
        assert isinstance(found, PackedConfig)
        assert (found.form, found.networks) == (("tensor", wanted) if wanted else ("fused", 1))
        assert wanted or found == packed_tiles(LESSON, batch, True)
    wide = Shape(784, 17, 16, 10)
    for other in ((LESSON, 16, True), (LESSON, 129, True), (LESSON, 100, False), (wide, 100, True)):
        assert packed_tiles(*other, capability) == packed_tiles(*other)


def test_split_and_packed_take_every_shape_within_the_limits():
    for inputs, width1, width2, outputs, batch in itertools.product(
        (1, 50, 784, 16_384),
        (1, 16, 17, 64, 128),
        (1, 2, 32, 33, 65, 128),
        (2, 16),
        (1, 16, 128, 129, MAX_BATCH),
    ):
        shape = Shape(inputs, width1, width2, outputs)
        for config in (split_tiles(shape, batch), interpreter_tiles(shape, batch)):
            assert isinstance(config, TileConfig)
            assert config.rows >= batch
            assert config.slices * config.input_block > inputs
        for byte_images in (True, False):
            packed = packed_tiles(shape, batch, byte_images)
            assert isinstance(packed, PackedConfig)
            assert packed.width >= max(width1, width2)
            assert packed.form == "looped" or packed.rows >= batch
            assert packed.byte_images == byte_images


def test_no_element_of_a_chunk_is_loaded_twice():
    """The fused kernel relies on it: as many elements as threads."""
    for tiles in PACKED + sum(TENSOR.values(), ()):
        assert tiles.chunk * tiles.width * tiles.networks >= 32 * tiles.num_warps


@pytest.mark.parametrize(
    ("shape", "batch", "word"),
    [
        (Shape(784, 129, 16, 10), 10, "hidden1"),
        (Shape(784, 16, 129, 10), 10, "hidden2"),
        (Shape(784, 16, 0, 10), 10, "hidden2"),
        (Shape(784, 16, 16, 17), 10, "outputs"),
        (Shape(784, 16, 16, 1), 10, "outputs"),
        (Shape(0, 16, 16, 10), 10, "inputs"),
        (LESSON, MAX_BATCH + 1, "batch_size"),
    ],
)
def test_beyond_the_limits_the_reason_names_the_argument(shape, batch, word):
    for reason in (
        cooperative_tiles(shape, batch, **H200),
        split_tiles(shape, batch),
        packed_tiles(shape, batch, True),
    ):
        assert isinstance(reason, str)
        assert reason.startswith(word)


def test_images_are_copied_only_where_their_rows_lie_badly(device):
    straight = torch.zeros(5, 784, dtype=torch.uint8, device=device)
    assert aligned_images(straight) is straight
    odd = torch.arange(5 * 50, device=device).reshape(5, 50).to(torch.uint8)
    copy = aligned_images(odd)
    assert copy.stride() == (64, 1)
    assert torch.equal(copy, odd)
    off = torch.zeros(5 * 784 + 1, dtype=torch.uint8, device=device)[1:].view(5, 784)
    assert aligned_images(off).data_ptr() % 16 == 0


def test_padding():
    assert [padded(width) for width in (1, 16, 17, 33, 128)] == [16, 16, 32, 64, 128]
    assert padded(3, least=1) == 4
    assert padded(1, least=1) == 1
