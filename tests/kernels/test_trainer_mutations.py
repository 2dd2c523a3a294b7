"""The trainers' checks are worth something: with a line of a kernel broken they must fail.

A mutation edits the kernels' source in a copy under another name and runs the usual check: a small network whose widths
are no powers of two, last batch partial, outputs and scratch full of NaN, neighbours in memory that must not be read.

Doubly protected, so that no test on results can notice one of the two missing: the label -1 of rows past the batch
(their deltas are not stored either), pixels of such rows (their d1 is zero), inputs past K and outputs past O (their
weights load as zero and are not stored), in packed training the mask of the images' columns and of W1's rows. Units
past H1 of W1 are stored back unchanged before their owners store, where programs run one after another; on a GPU that
would be a race. The order of memory operations, which the interpreter does not model, is checked in the compiled code
(`test_cooperative_barrier`).
"""

import importlib
from dataclasses import replace
from typing import Any

import pytest
import torch
from trainer_cases import Problem, train

from breaknet.kernels.host.tiles import PACKED, TENSOR, tile_config
from breaknet.kernels.jobs import Shape

W1_STORE = "tl.store(w1_chunk + start_k * WIDTH, w1, mask=(start_k + k < inputs)[:, None])\n"
SPLIT = {
    "gradient sign": ("cooperative_training", "w1 -= learning_rate", "w1 += learning_rate"),
    "delta sign": ("training_step", "(a3 - target)", "(target - a3)"),
    "factor two": ("training_step", "2.0 * (a3", "1.0 * (a3"),
    "derivative of layer 1": ("training_step", "* sigmoid_derivative(a1)", "* a1"),
    "derivative of layer 2": ("training_step", "* sigmoid_derivative(a2)", "* a2"),
    "derivative of layer 3": ("training_step", "* sigmoid_derivative(a3)", "* a3"),
    "partial batch": ("cooperative_training", "rows = tl.minimum(batch, examples - done)", "rows = batch"),
    "epoch's end": ("cooperative_training", "(done == 0)", "(done < 0)"),
    "step within the epoch": ("cooperative_training", "(step - epoch * steps) * batch", "0"),
    "labels of the first batch": ("cooperative_training", "labels + done", "labels"),
    "stale scratch rows": ("training_step", "mask=(row < rows)[:, None], other=0.0", "mask=None"),
    "slices past the last": ("training_step", "mask=(part < SLICES)[:, None, None] & ", "mask="),
    "mask of W2 and W3": (
        "training_step",
        "mask = (row < HEIGHT)[:, None] & (column < WIDTH)[None, :]",
        "mask = (row < 128)[:, None] & (column < 128)[None, :]",
    ),
    "bias as an input": ("training_step", "tl.where((column == NET.inputs)[None, :], 1.0, x)", "x"),
    "pixel scale": ("device_functions", "1.0 / 256", "1.0 / 255"),
    "b2 not updated": ("cooperative_training", "b2 -= learning_rate * for_b2", "b2 -= 0.0 * for_b2"),
    "b3 not updated": ("cooperative_training", "b3 -= learning_rate * for_b3", "b3 -= 0.0 * for_b3"),
    "stale W2": (
        "cooperative_training",
        "store_w2(live + W2, w2,",
        "store_w2(live + W2, w2 + learning_rate,",
    ),
    "half of W2 on the way back": ("training_step", "tl.trans(w2))", "tl.trans(w2 * 0.5))"),
    "step of phase 3": ("cooperative_training", "1 if PHASE == 3 else 0", "1"),
}
FUSED = {
    "labels of missing rows": ("label = tl.where(valid, label, -1)", "label = label"),
    "rows past the batch taught": ("(label >= 0)[:, None]", "(label >= -1)[:, None]"),
    "short last batch": ("new, tl.minimum(batch, examples - new)", "new, batch"),
    "rows of the next batch": ("new, tl.minimum(batch, examples - new)", "new, examples - new"),
    "inputs of one group only": ("// TILES.rows * LENGTH", "// TILES.rows * 0"),
    "sign of an update": ("b2 - learning_rate * tl.sum(d2, 0)", "b2 + learning_rate * tl.sum(d2, 0)"),
    "bias left out": ("sigmoid(z + b1[None, :])", "sigmoid(z)"),
    "stale first layer": (
        W1_STORE,
        W1_STORE + " " * 12 + "w1 += learning_rate * grouped_dot(tl.trans(x_old), d1, TILES.w1_groups)\n",
    ),
    "too new a second layer": ("tl.trans(w2),", "tl.trans(w2 - learning_rate * tl.dot(tl.trans(y1), d2)),"),
    "update of the wrong batch": ("step - 1, 0) % batches", "step, 0) % batches"),
    "mask of the outputs": ("o < O", "o < 16"),
    "one rate for all": ("tl.load(rates_ptr + job)", "tl.load(rates_ptr)"),
    "one first layer for all": ("transposed_ptr += job.to(tl.int64) * transposed_rows * WIDTH", ""),
    "first layer left transposed": (
        "h[None, :] * K + (start_k + k)[:, None]",
        "(start_k + k)[:, None] * H1 + h[None, :]",
    ),
    "one start for all": ("live_row * parameters", "0"),
    "checkpoints of another job": ("checkpoint_row * parameters", "0"),
}
LOOPED = {
    "labels of missing rows": ("label = tl.where(valid, label, -1)", "label = label", "packed_training"),
    "short last batch": ("rows = tl.minimum(batch, examples - first)", "rows = batch"),
    "sign of an update": ("w - learning_rate * tl.sum(sums, 0)", "w + learning_rate * tl.sum(sums, 0)"),
    "derivative left out": ("sums * sigmoid_derivative(tl.load(y_ptr + block))", "sums"),
    "bias of one tile only": ("total += tl.sum", "total = tl.sum"),
    "label of the next row": ("labels_ptr + first + row", "labels_ptr + first + row + 1"),
    "mask of the width": ("(k < inside)[:, None] &", "(k >= 0)[:, None] &"),
    "mask of an update": ("(start_k + k < inside)[:, None] &", "(k >= 0)[:, None] &"),
    "images stand still": ("x_ptr += batch.to(tl.int64) * pitch", "x_ptr += 0"),
    "one rate for all": ("tl.load(rates_ptr + job)", "tl.load(rates_ptr)", "packed_training"),
    "one start for all": ("live_row * parameters", "0", "packed_training"),
    "checkpoints of another job": ("checkpoint_row * parameters", "0", "packed_training"),
}
PART = '    sums = tl.dot(x, {}, sums, input_precision="ieee")\n'
TENSORS = {
    "low parts dropped": (PART.format("low"), ""),
    "middle parts dropped": (PART.format("middle"), ""),
    "high parts twice": ("tl.dot(x, high, sums,", "tl.dot(x, high, tl.dot(x, high, sums),"),
    "a neighbour's parameters": ("rates_ptr, network, parameters", "rates_ptr, 0, parameters"),
    "a neighbour's deltas": ("network * WIDTH + one_network", "one_network"),
    "a neighbour's first layer": ("transposed_ptr + network * WIDTH", "transposed_ptr"),
    "a neighbour's rate": ("column // WIDTH", "column * 0"),
    "empty slots trained": ("(slot_examples > 0)", "(slot_examples >= 0)"),
    "no room between programs": ("(transposed_rows + ROWS) *", "transposed_rows *"),
    "checkpoints over each other": ("(step // batches - 1)", "(step // batches - step // batches)"),
    "stale first layer": ("bf16_parts(w1)", "bf16_parts(w1 + learning_rates[None, :] * gradient)"),
    "jobs of the first program": ("jobs_ptr += program *", "jobs_ptr += 0 *"),
}
#: (plan, name): (module, old text, new text)
MUTATIONS = {("split", name): mutation for name, mutation in SPLIT.items()}
MUTATIONS |= {("fused", name): ("packed_training", *texts) for name, texts in FUSED.items()}
MUTATIONS |= {("tensor", name): ("packed_training_tensor", *texts) for name, texts in TENSORS.items()}
MUTATIONS |= {
    ("looped", name): (texts[2] if len(texts) > 2 else "packed_training_general", *texts[:2])
    for name, texts in LOOPED.items()
}
#: Of the split plan, run by default: one for each kind of mistake; the others are slow.
QUICK = {
    "gradient sign",
    "derivative of layer 2",
    "partial batch",
    "epoch's end",
    "stale scratch rows",
    "slices past the last",
    "mask of W2 and W3",
    "bias as an input",
    "stale W2",
}


def check(plan: str, package: str, device: torch.device) -> None:
    """Two epochs of two steps, the second of each on a partial batch; packed, two or three jobs."""
    launchers: Any = importlib.import_module(
        f"{package}.host.{'trainers' if plan == 'split' else 'packed_trainer'}"
    )
    if plan == "split":
        problem = Problem(Shape(37, 5, 18, 3), 26, device=device)
        config = tile_config(problem.shape, 16, 16)
        assert config.slices == 3
        job = problem.job(batch=16, epochs=2, rate=0.5)
        problem.assert_trained(job, train(problem, config, [job], kind=launchers.SplitTrainer))
        return
    widths, batch, examples = ((7, 33), 19, 28) if plan == "looped" else ((7, 16), 13, 31)
    problem = Problem(Shape(18, *widths, 14), examples, device=device)
    starts = torch.stack([problem.start, 0.5 * problem.start])
    jobs = [
        problem.job(batch, epochs=1, rate=0.5, checkpoint_row=1),
        problem.job(batch, epochs=1, rate=0.1, label=1103, live_row=1),
    ]
    if plan == "tensor":
        tiles = TENSOR[90][1]
        starts = torch.cat([starts, -starts[:1]])
        # two that share a program, and one of other epochs in a program of its own
        jobs = [replace(job, epochs=2, checkpoint_row=2 + 2 * job.live_row) for job in jobs]
        jobs.append(replace(jobs[0], epochs=1, learning_rate=0.2, label=1105, live_row=2, checkpoint_row=0))
    else:
        tiles = next(tiles for tiles in PACKED if tiles.form == plan and tiles.rows == 16)
    checkpoints = train(problem, tiles, jobs, starts, launchers.PackedTrainer)
    for job in jobs:
        problem.assert_trained(job, checkpoints, starts[job.live_row])
    if plan == "tensor":
        job = problem.job(batch=examples, epochs=1, rate=20.0)
        checkpoints = train(problem, tiles, [job], kind=launchers.PackedTrainer)
        problem.assert_as_exact_as_float32(job, checkpoints, problem.start)


@pytest.mark.parametrize("plan", ["split", "fused", "looped", "tensor"])
def test_the_unharmed_copy_passes(plan, mutated, device):
    check(plan, mutated("jobs", "MAX_BATCH", "MAX_BATCH"), device)


@pytest.mark.parametrize(
    ("plan", "name"),
    [
        pytest.param(plan, name, marks=pytest.mark.slow if plan == "split" and name not in QUICK else ())
        for plan, name in MUTATIONS
    ],
)
def test_a_broken_line_is_noticed(plan, name, mutated, device):
    package = mutated(*MUTATIONS[plan, name])
    with pytest.raises(AssertionError):
        check(plan, package, device)
