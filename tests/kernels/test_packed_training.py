"""Packed training against float64 steps: shapes, ragged edges, many jobs, bad input."""

from __future__ import annotations

import itertools

import packed_cases
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from packed_cases import Shape, check, launch, make_images, make_work

from breaknet.kernels._triton import HAVE_TRITON
from breaknet.kernels.host import packed_trainer
from breaknet.kernels.host.packed_tiles import FORMS, PackedPlan, parameter_count, plan

pytestmark = pytest.mark.skipif(not HAVE_TRITON, reason="needs Triton")

INPUTS = (50, 784, 1000)
WIDTHS = (1, 7, 16, 33, 128)
OUTPUTS = (2, 10, 16)
BATCHES = (1, 10, 100, 129, 1024)
PARTNERS = {1: 16, 7: 1, 16: 7, 33: 16, 128: 33}  # the other hidden width
EXAMPLES = {1: 2, 10: 13, 100: 103, 129: 131, 1024: 140}  # a full batch and a short one where that is quick


def shape_of(inputs: int, width: int, outputs: int, batch: int, number: int) -> Shape:
    hidden = (width, PARTNERS[width]) if number % 2 else (PARTNERS[width], width)
    return Shape(inputs, hidden, outputs, batch, EXAMPLES[batch], byte_images=number % 3 != 2)


def covering() -> list[Shape]:
    """Every pair of two axes' values in some shape: batches x widths as they are, the rest chosen greedily."""
    chosen, seen = [], set()
    for number, (batch, width) in enumerate(itertools.product(BATCHES, WIDTHS)):
        # wide inputs cost the interpreter most, so they go with the fewest rows where there is a choice
        def new_pairs(pair, batch=batch, width=width, seen=seen) -> int:
            inputs, outputs = pair
            pairs = {("ib", inputs, batch), ("iw", inputs, width), ("ow", outputs, width),
                     ("ob", outputs, batch), ("io", inputs, outputs)}  # fmt: skip
            return len(pairs - seen)

        inputs, outputs = max(
            itertools.product(INPUTS, OUTPUTS), key=lambda pair: (new_pairs(pair), -pair[0])
        )
        seen |= {("ib", inputs, batch), ("iw", inputs, width), ("ow", outputs, width),
                 ("ob", outputs, batch), ("io", inputs, outputs)}  # fmt: skip
        chosen.append(shape_of(inputs, width, outputs, batch, number))
    return chosen


def run_shape(shape: Shape, device: torch.device, epochs: int = 1) -> PackedPlan:
    images, job = make_images(shape), make_work(shape, epochs=epochs)
    (checkpoints,), left, chosen = launch(images, [job], shape, device)
    check(images, job, checkpoints, shape)
    assert torch.equal(left[0], checkpoints[-1])
    return chosen


def test_the_selection_covers_every_pair():
    axes = [(shape.inputs, max(shape.hidden), shape.outputs, shape.batch) for shape in covering()]
    for (i, first), (j, second) in itertools.combinations(enumerate((INPUTS, WIDTHS, OUTPUTS, BATCHES)), 2):
        # width 1 is paired with 16 and 7 with 1, so the larger width stands for the pair
        seen = {(row[i], row[j]) for row in axes}
        for a, b in itertools.product(first, second):
            a, b = (max(value, PARTNERS[value]) if axis == 1 else value for axis, value in ((i, a), (j, b)))
            assert (a, b) in seen, (a, b)


@pytest.mark.parametrize("shape", covering(), ids=str)
def test_one_epoch_keeps_the_step_contract(shape: Shape, device: torch.device):
    chosen = run_shape(shape, device)
    found = plan(shape.inputs, shape.hidden, shape.outputs, min(shape.batch, shape.examples), 75,
                 byte_images=shape.byte_images)  # fmt: skip
    assert chosen == found


@pytest.mark.slow
@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("outputs", OUTPUTS)
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("inputs", INPUTS)
def test_every_shape(inputs, width, outputs, batch, device):
    byte_images = (inputs + width + outputs + batch) % 2 == 0
    run_shape(Shape(inputs, (width, width), outputs, batch, EXAMPLES[batch], byte_images), device)


@pytest.mark.parametrize(
    "shape",
    [
        Shape(50, (16, 16), 10, 1024, 1030),
        pytest.param(Shape(784, (16, 16), 10, 1024, 1030), marks=pytest.mark.slow),
        pytest.param(Shape(50, (128, 128), 10, 1024, 1030), marks=pytest.mark.slow),
        pytest.param(Shape(50, (20, 33), 16, 1000, 2003, byte_images=False), marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_batches_of_many_tiles(shape: Shape, device: torch.device):
    run_shape(shape, device)


SLOW_FORMS = (
    FORMS[6],
    FORMS[8],
    FORMS[9],
    FORMS[11],
)  # tiles as others have, or large ones, in the interpreter's time


@pytest.mark.parametrize(
    "form",
    [pytest.param(form, marks=pytest.mark.slow if form in SLOW_FORMS else ()) for form in FORMS],
    ids=str,
)
def test_every_form_over_two_epochs(form: PackedPlan, device: torch.device, monkeypatch):
    """A full batch and a short one, twice, in each form, whatever `plan` would pick."""
    batch = form.rows - 1 if form.form == "fused" else form.rows + 3
    shape = Shape(18, (form.width, max(1, form.width - 5)), 10, batch, batch + 5, form.byte_images)
    monkeypatch.setattr(packed_trainer, "plan", lambda *_, **__: form)
    assert run_shape(shape, device, epochs=2) == form


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    inputs=st.integers(1, 40),
    hidden=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    outputs=st.integers(2, 16),
    batch=st.integers(1, 40),
    examples=st.integers(1, 45),
    byte_images=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_any_shape(inputs, hidden, outputs, batch, examples, byte_images, seed, device):
    if examples > 4 * batch:
        examples = 4 * batch
    shape = Shape(inputs, hidden, outputs, batch, examples, byte_images)
    images, job = make_images(shape, seed=seed), make_work(shape, seed=seed, learning_rate=1.0)
    (checkpoints,), _, _ = launch(images, [job], shape, device)
    check(images, job, checkpoints, shape)


# -- many jobs -------------------------------------------------------------------------------------------------

FUSED = Shape(30, (7, 16), 10, 16, 37)
LOOPED = Shape(16, (7, 33), 10, 12, 14)


def mixed(shape: Shape) -> list[packed_cases.Work]:
    """Jobs that differ in all that may differ within a launch; the images have 20 rows to spare."""
    return [
        make_work(shape, seed=1, epochs=2),
        make_work(shape, seed=2, epochs=1, learning_rate=0.01),
        make_work(shape, seed=3, epochs=0),
        make_work(shape, seed=4, epochs=1, examples=5, first_image=20),
        make_work(shape, seed=5, epochs=2, batch=shape.batch - 3, examples=11, first_image=9),
    ]


@pytest.mark.parametrize("shape", [FUSED, LOOPED], ids=["fused", "looped"])
def test_jobs_do_not_know_of_each_other(shape: Shape, device: torch.device):
    images, jobs = make_images(shape, spare=20), mixed(shape)
    together, left, chosen = launch(images, jobs, shape, device)
    assert chosen.form == ("fused" if shape is FUSED else "looped")
    for number, job in enumerate(jobs):
        if job.epochs == 0:
            assert torch.equal(left[number], job.start)
        else:
            check(images, job, together[number], shape)
    for number in (0, 4):
        alone, _, _ = launch(images, [jobs[number]], shape, device)
        assert torch.equal(alone[0], together[number])


@pytest.mark.parametrize("shape", [FUSED, LOOPED], ids=["fused", "looped"])
def test_chunks_of_epochs_give_the_same_bits(shape: Shape, device: torch.device):
    images, job = make_images(shape), make_work(shape, epochs=3)
    (whole,), _, _ = launch(images, [job], shape, device)
    (first,), left, _ = launch(images, [make_work(shape, epochs=1)], shape, device)
    (rest,), _, _ = launch(images, [make_work(shape, epochs=2, start=left[0])], shape, device)
    assert torch.equal(whole, torch.cat([first, rest]))


def test_a_job_that_diverges_leaves_the_others_alone(device: torch.device):
    images, jobs = make_images(FUSED), mixed(FUSED)[:2]
    alone, _, _ = launch(images, jobs, FUSED, device)
    wild = make_work(FUSED, seed=9, start=torch.full_like(jobs[0].start, float("nan")))
    blocks, _, _ = launch(images, [jobs[0], wild, jobs[1]], FUSED, device)
    assert blocks[1].isnan().any()
    assert torch.equal(blocks[0], alone[0])
    assert torch.equal(blocks[2], alone[1])


# -- the launcher ----------------------------------------------------------------------------------------------


def test_plans():
    assert str(plan(784, (16, 16), 10, 100, 75)) == "fused rows128 width16 byte"
    assert plan(784, (16, 16), 10, 100, 75) == plan(784, (1, 9), 10, 65, 120)
    assert str(plan(784, (16, 16), 10, 100, 75, byte_images=False)).startswith("looped")
    for shape, word in (
        ((784, (129, 16), 10, 100, 75), "hidden"),
        ((784, (16, 0), 10, 100, 75), "hidden"),
        ((784, (16, 16), 1, 100, 75), "outputs"),
        ((784, (16, 16), 17, 100, 75), "outputs"),
        ((784, (16, 16), 10, 1025, 75), "batch size"),
        ((0, (16, 16), 10, 100, 75), "inputs"),
        ((784, (16, 16), 10, 100, 70), "compute capability"),
    ):
        reason = plan(*shape)
        assert isinstance(reason, str)
        assert word in reason


@pytest.mark.parametrize("byte_images", [True, False])
def test_every_shape_within_the_limits_has_a_plan(byte_images):
    for first, second, batch in itertools.product((1, 2, 16, 17, 32, 33, 64, 65, 128), repeat=3):
        chosen = plan(784, (first, second), 10, batch * 8, 75, byte_images=byte_images)
        assert isinstance(chosen, PackedPlan)
        assert chosen.width >= max(first, second)
        assert chosen.form == "looped" or chosen.rows >= batch * 8
        assert chosen.byte_images == byte_images


def test_no_element_of_a_chunk_is_loaded_twice():
    """What the fused kernel relies on: as many elements as threads."""
    for form in FORMS:
        assert form.chunk * form.width >= 32 * form.num_warps


def test_images_are_copied_only_where_their_rows_lie_badly(device):
    straight = torch.zeros(5, 784, dtype=torch.uint8, device=device)
    assert packed_trainer.aligned_images(straight) is straight
    odd = torch.arange(5 * 50, device=device).reshape(5, 50).to(torch.uint8)
    copy = packed_trainer.aligned_images(odd)
    assert copy.stride() == (64, 1)
    assert torch.equal(copy, odd)
    assert packed_trainer.aligned_images(copy) is copy
    view = straight[:, 700:]
    assert packed_trainer.aligned_images(view) is not view


GOOD = {
    "hidden": (7, 16), "outputs": 10, "learning_rates": [0.5], "batch_sizes": [16], "epochs": [1],
    "examples": [37], "first_image": [0], "first_label": [0], "checkpoint_offsets": [0],
}  # fmt: skip


@pytest.mark.parametrize(
    ("change", "error_type", "words"),
    [
        ({"learning_rates": [0.5, 0.5]}, ValueError, "learning_rates: one entry"),
        ({"learning_rates": [float("nan")]}, ValueError, "learning_rates"),
        ({"batch_sizes": [0]}, ValueError, "batch_sizes"),
        ({"epochs": [-1]}, ValueError, "epochs"),
        ({"epochs": [2]}, ValueError, "checkpoint_offsets"),
        ({"examples": [38]}, ValueError, "examples"),
        ({"examples": [0]}, ValueError, "examples"),
        ({"first_image": [1]}, ValueError, "examples"),
        ({"first_label": [1]}, ValueError, "first_label"),
        ({"checkpoint_offsets": [-1]}, ValueError, "checkpoint_offsets"),
        ({"hidden": (7, 15)}, ValueError, "parameters"),
        ({"images": torch.zeros(37, 30, dtype=torch.float64)}, ValueError, "images"),
        ({"images": [[1.0]]}, TypeError, "images"),
        ({"labels": torch.zeros(37)}, ValueError, "labels"),
        ({"parameters": torch.zeros(5)}, ValueError, "parameters"),
        ({"checkpoints": torch.zeros(5, 5)}, ValueError, "checkpoints"),
    ],
    ids=lambda value: str(value)[:40] if isinstance(value, dict) else "",
)
def test_bad_input_is_named(change, error_type, words, device):
    count = parameter_count(30, (7, 16), 10)
    tensors = {
        "images": torch.zeros(37, 30, dtype=torch.uint8),
        "labels": torch.zeros(37, dtype=torch.uint8),
        "parameters": torch.zeros(1, count),
        "checkpoints": torch.zeros(count),
    }
    given = {**tensors, **GOOD, **change}
    given = {
        name: value.to(device) if isinstance(value, torch.Tensor) else value for name, value in given.items()
    }
    with pytest.raises(error_type, match=words) as caught:
        packed_trainer.train_packed(**given)
    assert "\n" not in str(caught.value)


def test_checkpoints_must_not_overlap_and_plans_must_agree(device):
    count = parameter_count(30, (7, 16), 10)
    images = torch.zeros(37, 30, dtype=torch.uint8, device=device)
    rows, out = torch.zeros(2, count, device=device), torch.zeros(4 * count, device=device)
    labels = torch.zeros(37, dtype=torch.uint8, device=device)
    two = {name: value * 2 if isinstance(value, list) else value for name, value in GOOD.items()}
    with pytest.raises(ValueError, match="checkpoint_offsets"):
        packed_trainer.train_packed(images, labels, rows, out, **two)
    two["checkpoint_offsets"] = [0, count]
    with pytest.raises(ValueError, match="batch_sizes"):
        packed_trainer.train_packed(images, labels, rows, out, **{**two, "batch_sizes": [16, 30]})


# -- on a GPU --------------------------------------------------------------------------------------------------


@pytest.mark.gpu
@pytest.mark.parametrize(
    "shape",
    [
        Shape(784, (16, 16), 10, 100, 5000),
        Shape(784, (128, 64), 10, 300, 2000),
        Shape(50, (7, 20), 16, 33, 999),
    ],
    ids=str,
)
def test_the_same_bits_twenty_times(shape: Shape, device: torch.device):
    images = make_images(shape)
    jobs = [make_work(shape, seed=seed, epochs=5, learning_rate=0.05) for seed in range(200)]
    first, _, _ = launch(images, jobs, shape, device)
    for number in (0, 99, 199):
        check(images, jobs[number], first[number], shape)
        alone, _, _ = launch(images, [jobs[number]], shape, device)
        assert torch.equal(alone[0], first[number])
    for _ in range(19):
        again, _, _ = launch(images, jobs, shape, device)
        assert all(torch.equal(mine, other) for mine, other in zip(again, first, strict=True))
