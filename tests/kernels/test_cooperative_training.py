"""The cooperative trainer and its phase-split form against float64, step by step.

On a CPU the phase-split launches are interpreted at their real tile sizes, and the spinning barrier really spins: each
program is a process of its own on shared memory. On a GPU the same tests run the compiled kernels.
"""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
import torch
from trainer_cases import Problem, train_cooperatively, train_split

from breaknet.kernels.host import trainers
from breaknet.kernels.host.packed_trainer import PackedTrainer
from breaknet.kernels.host.tiles import (
    TileConfig,
    cooperative_tiles,
    interpreter_tiles,
    packed_tiles,
    split_tiles,
    tile_config,
)
from breaknet.kernels.jobs import MAX_BATCH, Shape, padded

LESSON = Shape(784, 16, 16, 10)
T4 = {"capability": 75, "sms": 40}
H200 = {"capability": 90, "sms": 132}


def config_of(tiles: TileConfig | str) -> TileConfig:
    assert isinstance(tiles, TileConfig), tiles
    return tiles


# ---- plans ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("gpu", "block", "programs"),
    [(T4, 32, 27), (H200, 16, 52), ({"capability": 75, "sms": 16}, 64, 15)],
)
def test_lesson_is_cooperative_with_slices_that_fit_the_gpu(gpu, block, programs):
    for batch in (1, 2, 10, 100, 128, 129, 1000, MAX_BATCH):
        config = config_of(cooperative_tiles(LESSON, batch, **gpu))
        assert (config.input_block, config.programs) == (block, programs)


def test_a_gpu_that_cannot_hold_the_grid_is_refused_with_the_numbers():
    reason = cooperative_tiles(LESSON, 100, 75, 8)
    assert isinstance(reason, str)
    assert "15 programs" in reason
    assert "has 8" in reason


def test_split_takes_every_shape_within_the_limits():
    for inputs, width1, width2, outputs, batch in itertools.product(
        (1, 50, 784, 1000, 16_384), (1, 16, 17, 128), (1, 33, 128), (2, 16), (1, 128, 129, MAX_BATCH)
    ):
        shape = Shape(inputs, width1, width2, outputs)
        for config in (split_tiles(shape, batch), interpreter_tiles(shape, batch)):
            tiles = config_of(config)
            assert tiles.rows >= batch
            assert tiles.slices * tiles.input_block > inputs


@pytest.mark.parametrize(
    ("shape", "batch", "word"),
    [
        (Shape(784, 129, 16, 10), 10, "hidden1"),
        (Shape(784, 16, 129, 10), 10, "hidden2"),
        (Shape(784, 16, 16, 17), 10, "outputs"),
        (Shape(784, 16, 16, 1), 10, "outputs"),
        (LESSON, MAX_BATCH + 1, "batch_size"),
    ],
)
def test_beyond_the_limits_the_reason_names_the_argument(shape, batch, word):
    for reason in (cooperative_tiles(shape, batch, **H200), split_tiles(shape, batch)):
        assert isinstance(reason, str)
        assert reason.startswith(word)


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


def test_bad_launches_are_refused(small):
    config = config_of(interpreter_tiles(small.shape, 4))
    live = small.start.repeat(2, 1).to(small.device)
    trainer = trainers.SplitTrainer(small.shape, config, small.images, small.labels, live, 2)
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
        ([replace(job, batch=100, examples=100)], "batches"),
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


def test_the_interpreter_does_not_deadlock_at_the_barrier(device):
    if device.type == "cuda":
        pytest.skip("about the interpreter")
    problem = Problem(Shape(20, 5, 4, 3), 4, device=device)
    config = config_of(tile_config(problem.shape, 4, 16))
    trainer = trainers.CooperativeTrainer(
        problem.shape, config, problem.images, problem.labels, problem.start[None].clone(), 1
    )
    with pytest.raises(trainers.NotResident, match="interpreter"):
        trainer.launch(torch.zeros(1, problem.shape.parameters), [problem.job(4, 1)])


# ---- the phases against float64 --------------------------------------------------------------------------------------

INPUTS, WIDTHS, OUTPUTS, BATCHES = (50, 784, 1000), (1, 7, 16, 33, 128), (2, 10, 16), (1, 10, 100, 129, 1024)


def covering(*columns: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Rows in which every pair of values of any two columns occurs, found greedily."""
    pairs = set()
    for one, two in itertools.combinations(range(len(columns)), 2):
        pairs |= {(one, a, two, b) for a in columns[one] for b in columns[two]}
    rows = []
    candidates = list(itertools.product(*columns))

    def new(row: tuple[int, ...]) -> set[tuple[int, int, int, int]]:
        return {(i, row[i], j, row[j]) for i, j in itertools.combinations(range(len(row)), 2)} & pairs

    while pairs:
        best = max(candidates, key=lambda row: len(new(row)))
        pairs -= new(best)
        rows.append(best)
    return rows


COVERING = covering(INPUTS, WIDTHS, WIDTHS, OUTPUTS, BATCHES)


def check_shape(
    inputs: int,
    hidden1: int,
    hidden2: int,
    outputs: int,
    batch: int,
    device: torch.device,
    *,
    quick: bool = False,
) -> None:
    """Two steps, the second on a partial batch where there is one, at a T4's tiles.

    `quick`: on a CPU with thicker slices and more rows at a time, as the interpreter's time goes by operations.
    """
    shape = Shape(inputs, hidden1, hidden2, outputs)
    plan = cooperative_tiles(shape, batch, **T4)
    name = "cooperative"
    if isinstance(plan, str):
        plan, name = config_of(split_tiles(shape, batch)), "split"
    if quick and device.type == "cpu":
        block = 128 if inputs > 128 else plan.input_block
        slices = -(-(inputs + 1) // block)
        plan = replace(
            plan,
            slices=slices,
            input_block=block,
            slice_block=padded(slices, 1),
            delta_rows=min(plan.rows, 128),
        )
    examples = batch + max(1, batch // 3)
    problem = Problem(shape, examples, floats=(inputs + hidden1) % 2 == 1, seed=batch, device=device)
    print(f"{shape}, batch {batch}: {name}, {plan}")
    # the gradient is a sum over the batch: a rate that large batches bear
    job = problem.job(batch, epochs=1, rate=min(0.05, 5 / batch))
    problem.assert_trained(job, train_split(problem, plan, [job]))
    if device.type == "cuda" and name == "cooperative":
        problem.assert_trained(job, train_cooperatively(problem, plan, [job]))


def test_the_covering_selection_covers_every_value():
    assert len(COVERING) < 50
    for column, values in enumerate((INPUTS, WIDTHS, WIDTHS, OUTPUTS, BATCHES)):
        assert {row[column] for row in COVERING} == set(values)


@pytest.mark.parametrize("case", COVERING, ids=lambda case: "-".join(map(str, case)))
def test_covering_shapes(case, device):
    check_shape(*case, device, quick=True)


@pytest.mark.slow
@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("outputs", OUTPUTS)
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("inputs", INPUTS)
def test_every_shape(inputs, width, outputs, batch, device):
    second = WIDTHS[(WIDTHS.index(width) + BATCHES.index(batch) + OUTPUTS.index(outputs)) % len(WIDTHS)]
    check_shape(inputs, width, second, outputs, batch, device, quick=True)


@pytest.mark.slow
@pytest.mark.parametrize("case", COVERING[::4], ids=lambda case: "-".join(map(str, case)))
def test_shapes_in_the_tiles_of_a_t4(case, device):
    check_shape(*case, device)


# ---- jobs ------------------------------------------------------------------------------------------------------------

SMALL = Shape(50, 7, 16, 10)


def test_every_epoch_is_kept_and_the_last_batch_may_be_partial(device):
    problem = Problem(SMALL, 25, device=device)
    job = problem.job(batch=10, epochs=3, rate=1.0)
    problem.assert_trained(job, train_split(problem, config_of(tile_config(SMALL, 10, 32)), [job]))


def test_jobs_of_one_launch_differ_in_all_but_their_kind(device):
    problem = Problem(SMALL, 40, device=device)
    config = config_of(tile_config(SMALL, 16, 32))
    jobs = [
        problem.job(batch=16, epochs=2, rate=0.5, row=3, live_row=2, checkpoint_row=0),
        problem.job(batch=9, epochs=1, rate=0.01, row=30, live_row=0, checkpoint_row=6),
        replace(problem.job(batch=16, epochs=3, rate=0.1, live_row=1, checkpoint_row=3), examples=16),
    ]
    together = train_split(problem, config, jobs)
    assert bool(together[2].isnan().all()), "a row that is nobody's was written"
    for job in jobs:
        problem.assert_trained(job, together)
        rows = slice(job.checkpoint_row, job.checkpoint_row + job.epochs)
        alone = train_split(problem, config, [replace(job, live_row=0, checkpoint_row=0)])
        assert torch.equal(alone, together[rows]), "a job's bits depend on its neighbours"


def test_chunks_of_epochs_give_the_same_bits(device):
    problem = Problem(SMALL, 25, device=device)
    config = config_of(tile_config(SMALL, 10, 32))
    whole = train_split(problem, config, [problem.job(batch=10, epochs=3)])
    live = problem.start[None].clone().to(device)
    trainer = trainers.SplitTrainer(SMALL, config, problem.images, problem.labels, live, 1)
    checkpoints = torch.full_like(whole, float("nan"))
    trainer.launch(checkpoints, [problem.job(batch=10, epochs=1)])
    trainer.launch(checkpoints, [problem.job(batch=10, epochs=2, checkpoint_row=1)])
    assert torch.equal(checkpoints, whole)
    trainer.launch(checkpoints, [problem.job(batch=10, epochs=0)])
    assert torch.equal(live[0], whole[-1])


def test_bytes_and_their_floats_give_the_same_bits(device):
    config = config_of(tile_config(SMALL, 10, 32))
    results = [
        train_split(problem, config, [problem.job(batch=10, epochs=1)])
        for problem in (Problem(SMALL, 25, floats=floats, device=device) for floats in (False, True))
    ]
    assert torch.equal(*results)


def test_labels_of_minus_one_train_nothing(device):
    problem = Problem(SMALL, 12, device=device)
    problem.labels[1100:-1100] = -1
    checkpoints = train_split(
        problem, config_of(tile_config(SMALL, 12, 32)), [problem.job(batch=12, epochs=1)]
    )
    assert torch.equal(checkpoints[0].cpu(), problem.start)


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
    config = config_of(cooperative_tiles(LESSON, 100, **gpu))
    problem.assert_trained(job, train_split(problem, config, [job]))
