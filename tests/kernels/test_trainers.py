"""The trainers of the plans split and packed against float64, step by step: shapes, jobs, bad input.

On a CPU the launches are interpreted at their real tile sizes. On a GPU the same tests run the compiled kernels, and
the split plan's shapes cooperatively as well.
"""

import itertools
from dataclasses import replace

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from trainer_cases import Case, Problem, packed, skip_unless_supported, train

from breaknet.kernels._triton import HAVE_TRITON
from breaknet.kernels.host import trainers
from breaknet.kernels.host.packed_trainer import PackedTrainer
from breaknet.kernels.host.tiles import (
    PACKED,
    TENSOR,
    TileConfig,
    cooperative_tiles,
    interpreter_tiles,
    packed_tiles,
    split_tiles,
    tile_config,
)
from breaknet.kernels.jobs import Shape, padded

pytestmark = pytest.mark.skipif(not HAVE_TRITON, reason="needs Triton")

LESSON = Shape(784, 16, 16, 10)
T4 = {"capability": 75, "sms": 40}
H200 = {"capability": 90, "sms": 132}


def config_of(tiles: TileConfig | str) -> TileConfig:
    assert isinstance(tiles, TileConfig), tiles
    return tiles


# ---- bad input -------------------------------------------------------------------------------------------------------


@pytest.fixture
def small(device) -> Problem:
    return Problem(Shape(20, 5, 4, 3), 10, device=device)


@pytest.mark.parametrize(
    ("word", "change"),
    [
        ("images", lambda images, labels, live: (images[:, :-1], labels, live)),
        ("images", lambda images, labels, live: (images.double(), labels, live)),
        ("labels", lambda images, labels, live: (images, labels.long(), live)),
        ("live", lambda images, labels, live: (images, labels, live.double())),
        ("live", lambda images, labels, live: (images, labels, live[:, 1:])),
    ],
)
@pytest.mark.parametrize("kind", [trainers.SplitTrainer, PackedTrainer])
def test_bad_tensors_are_named(kind, word, change, small):
    packed = kind is PackedTrainer
    config = packed_tiles(small.shape, 4, True) if packed else interpreter_tiles(small.shape, 4)
    tensors = change(small.images, small.labels, small.start[None].to(small.device))
    with pytest.raises(ValueError, match=word):
        kind(small.shape, config, *tensors, 1)


@pytest.mark.parametrize("kind", [trainers.SplitTrainer, PackedTrainer])
def test_bad_launches_are_refused(kind, small):
    config = (
        packed_tiles(small.shape, 4, True) if kind is PackedTrainer else interpreter_tiles(small.shape, 4)
    )
    live = small.start.repeat(2, 1).to(small.device)
    trainer = kind(small.shape, config, small.images, small.labels, live, 2)
    checkpoints = torch.zeros(2, small.shape.parameters, device=small.device)
    job = small.job(batch=4, epochs=1)
    other = replace(job, live_row=1, checkpoint_row=1)
    for wrong, words in (
        ([job, other, job], "jobs: 1 to 2"),
        ([], "jobs: 1 to 2"),
        ([replace(job, epochs=3)], "checkpoint rows"),
        ([replace(job, live_row=2)], "live rows"),
        ([replace(job, examples=10_000)], "image rows"),
        ([replace(job, image_row=0, label=2300)], "label rows"),
        ([replace(job, batch=17, examples=17)], "batches of up to 16 rows, not 17"),
        ([replace(job, epochs=2**30)], "2\\^31 steps"),
        ([job, replace(other, live_row=0)], "live rows of its own"),
        ([job, replace(other, checkpoint_row=0)], "checkpoint rows of its own"),
    ):
        with pytest.raises(ValueError, match=words) as caught:
            trainer.launch(checkpoints, wrong)
        assert "\n" not in str(caught.value)
    for wrong in (checkpoints.double(), checkpoints.flatten(), checkpoints[:, 1:]):
        with pytest.raises(ValueError, match="checkpoints"):
            trainer.launch(wrong, [job])
    trainer.launch(checkpoints, [replace(job, batch=17)])  # of its ten examples


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"examples": 0}, "examples"),
        ({"batch": 0}, "batch"),
        ({"epochs": -1}, "epochs"),
        ({"checkpoint_row": -1}, "rows"),
        ({"learning_rate": float("nan")}, "learning_rate"),
        ({"learning_rate": 0.0}, "learning_rate"),
    ],
)
def test_a_bad_job_is_refused(change, words, small):
    with pytest.raises(ValueError, match=words):
        replace(small.job(batch=4, epochs=1), **change)


def test_the_interpreter_does_not_deadlock_at_the_barrier(small):
    if small.device.type == "cuda":
        pytest.skip("about the interpreter")
    config = tile_config(small.shape, 4, 16)
    with pytest.raises(trainers.NotResident, match="interpreter"):
        train(small, config, [small.job(4, 1)], kind=trainers.CooperativeTrainer)


# ---- shapes ----------------------------------------------------------------------------------------------------------

INPUTS, WIDTHS, OUTPUTS, BATCHES = (50, 784, 1000), (1, 7, 16, 33, 128), (2, 10, 16), (1, 10, 100, 129, 1024)
AXES = INPUTS, WIDTHS, WIDTHS, OUTPUTS, BATCHES


def covering() -> list[tuple[int, ...]]:
    """Rows in which every pair of values of any two axes occurs, found greedily."""
    pairs = set()
    for one, two in itertools.combinations(range(len(AXES)), 2):
        pairs |= {(one, a, two, b) for a in AXES[one] for b in AXES[two]}
    rows = []
    candidates = list(itertools.product(*AXES))

    def new(row: tuple[int, ...]) -> set[tuple[int, int, int, int]]:
        return {(i, row[i], j, row[j]) for i, j in itertools.combinations(range(len(row)), 2)} & pairs

    while pairs:
        best = max(candidates, key=lambda row: len(new(row)))
        pairs -= new(best)
        rows.append(best)
    return rows


COVERING = covering()


def check_shape(
    plan: str,
    inputs: int,
    hidden1: int,
    hidden2: int,
    outputs: int,
    batch: int,
    device: torch.device,
    quick=True,
) -> None:
    """An epoch whose last batch is partial where it can be, at a T4's tiles.

    `quick`: on a CPU split into thicker slices and more rows at a time, as the interpreter's time goes by operations.
    """
    shape = Shape(inputs, hidden1, hidden2, outputs)
    examples = batch + max(1, batch // 3)
    floats = (inputs + hidden1 + (hidden2 + outputs if plan == "packed" else 0)) % 2 == 1
    if plan == "packed":
        examples = min(examples, 140)
        capability = None
        if device.type == "cuda":
            major, minor = torch.cuda.get_device_capability(device)
            capability = 10 * major + minor
        tiles = packed_tiles(shape, min(batch, examples), not floats, capability)
    else:
        tiles = cooperative_tiles(shape, batch, **T4)
        cooperative = not isinstance(tiles, str)
        tiles = tiles if cooperative else config_of(split_tiles(shape, batch))
    if plan == "split" and quick and device.type == "cpu":
        block = 128 if inputs > 128 else tiles.input_block
        slices = -(-(inputs + 1) // block)
        thicker = {"slices": slices, "input_block": block, "slice_block": padded(slices, 1)}
        tiles = replace(tiles, **thicker, delta_rows=min(tiles.rows, 128))
    problem = Problem(shape, examples, floats, seed=batch, device=device)
    # the gradient is a sum over the batch: a rate that large batches bear
    job = problem.job(batch, epochs=1, rate=min(0.05, 5 / batch) if plan == "split" else min(0.5, 8 / batch))
    problem.assert_trained(job, train(problem, tiles, [job]))
    if plan == "split" and device.type == "cuda" and cooperative:
        problem.assert_trained(job, train(problem, tiles, [job], kind=trainers.CooperativeTrainer))


plans = pytest.mark.parametrize("plan", ["split", "packed"])


@plans
@pytest.mark.parametrize("case", COVERING, ids=lambda case: "-".join(map(str, case)))
def test_covering_shapes(plan, case, device):
    assert len(COVERING) < 50
    check_shape(plan, *case, device)


@plans
@pytest.mark.slow
@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("outputs", OUTPUTS)
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("inputs", INPUTS)
def test_every_shape(plan, inputs, width, outputs, batch, device):
    second = WIDTHS[(WIDTHS.index(width) + BATCHES.index(batch) + OUTPUTS.index(outputs)) % len(WIDTHS)]
    check_shape(plan, inputs, width, second, outputs, batch, device)


@pytest.mark.slow
@pytest.mark.parametrize("case", COVERING[::4], ids=lambda case: "-".join(map(str, case)))
def test_shapes_in_the_tiles_of_a_t4(case, device):
    check_shape("split", *case, device, quick=False)


@pytest.mark.parametrize(
    "case",
    [
        packed(Shape(50, 16, 16, 10), 1024, 1030),
        pytest.param(packed(Shape(784, 16, 16, 10), 1024, 1030), marks=pytest.mark.slow),
        pytest.param(packed(Shape(50, 128, 128, 10), 1024, 1030), marks=pytest.mark.slow),
        pytest.param(packed(Shape(50, 20, 33, 16), 1000, 2003, floats=True), marks=pytest.mark.slow),
    ],
    ids=lambda case: f"{case.shape}-{case.batch}",
)
def test_batches_of_many_tiles(case, device):
    case.run(device)


#: Tiles as others have, or large ones, in the interpreter's time.
SLOW = (PACKED[6], PACKED[8], PACKED[9], PACKED[11])


#: Every form that some GPU supports.
TENSOR_FORMS = tuple({form: None for forms in TENSOR.values() for form in forms})
FORMS = PACKED + TENSOR_FORMS


@pytest.mark.parametrize(
    "tiles",
    [pytest.param(tiles, marks=pytest.mark.slow if tiles in SLOW else ()) for tiles in FORMS],
    ids=lambda tiles: f"{tiles.form} {tiles.name}",
)
def test_every_packed_form_over_two_epochs(tiles, device):
    """A full batch and a short one, twice, in each form, whatever `packed_tiles` would pick."""
    skip_unless_supported(tiles, device)
    batch = tiles.rows + 3 if tiles.form == "looped" else tiles.rows - 1
    shape = Shape(18, tiles.width, max(1, tiles.width - 5), 10)
    Case(shape, batch, batch + 5, tiles, not tiles.byte_images).run(device, epochs=2)


@pytest.mark.parametrize(
    "tiles", TENSOR_FORMS, ids=lambda tiles: f"{tiles.rows} rows, {tiles.networks} networks"
)
def test_three_parts_are_as_exact_as_float32(tiles, device):
    shape = Shape(50, 7, 16, 10)
    problem = Case(shape, tiles.rows - 3, tiles.rows - 3, tiles).problem(device)
    # a rate at which what W1 is rounded by does not hide the error of its change
    job = problem.job(batch=problem.examples, epochs=1, rate=20.0)
    problem.assert_as_exact_as_float32(job, train(problem, tiles, [job]), problem.start)


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    inputs=st.integers(1, 40),
    hidden=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    outputs=st.integers(2, 16),
    batch=st.integers(1, 40),
    examples=st.integers(1, 45),
    floats=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_any_packed_shape(inputs, hidden, outputs, batch, examples, floats, seed, device):
    case = packed(Shape(inputs, *hidden, outputs), batch, min(examples, 4 * batch), floats)
    case.run(device, rate=1.0, seed=seed)


# ---- the lesson ------------------------------------------------------------------------------------------------------


@pytest.mark.mnist
@pytest.mark.parametrize(
    ("gpu", "steps"),
    [
        pytest.param(T4, 3, id="T4-3"),
        pytest.param(T4, 40, id="T4-40", marks=pytest.mark.slow),
        pytest.param(H200, 40, id="H200-40", marks=pytest.mark.slow),
    ],
)
def test_lesson_on_mnist_at_full_size(gpu, steps, mnist, device):
    split = mnist.train[: 100 * steps - 40]  # the last batch is partial
    problem = Problem(LESSON, len(split), device=device)
    problem.images[1100:-1100] = torch.as_tensor(split.images).to(device)
    problem.labels[1100:-1100] = torch.as_tensor(split.labels).to(device, torch.int32)
    job = problem.job(batch=100, epochs=1)
    problem.assert_trained(job, train(problem, config_of(cooperative_tiles(LESSON, 100, **gpu)), [job]))


@pytest.mark.mnist
def test_lesson_on_mnist_on_tensor_cores(mnist, device):
    """Two networks on the same images in one program, of true and of shifted labels; the last batch is partial."""
    (tiles,) = (tiles for tiles in TENSOR[90] if tiles.rows >= 100)
    skip_unless_supported(tiles, device)
    split = mnist.train[:260]
    problem = Problem(LESSON, len(split), device=device)
    problem.images[1100:-1100] = torch.as_tensor(split.images).to(device)
    problem.labels[1100:-1100] = torch.as_tensor(split.labels).to(device, torch.int32)
    job = problem.job(batch=100, epochs=1)
    jobs = [job, replace(job, live_row=1, checkpoint_row=1, label=1103)]
    found = train(problem, tiles, jobs)
    for one in jobs:
        problem.assert_trained(one, found)
