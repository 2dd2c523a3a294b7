"""The training kernel: whole epochs of plain SGD for one model, one core, no Python inside.

For a batch X with one-hot targets T and outputs A1, A2, A3 of the layers (f' = a (1 - a) for the sigmoid):

    D3 = 2 (A3 - T) f'(A3)      D2 = (D3 W3') f'(A2)      D1 = (D2 W2') f'(A1)
    W3 -= lr A2' D3             W2 -= lr A1' D2           W1 -= lr X' D1          biases: the sums of the rows of D

A model is a row of `layout`. X and X' are read compressed (`sparse_images`), unless the images are dense.
"""

import numpy as np
from numba import float32, int64

from ...model import INPUTS, OUTPUTS
from .compiling import kernel, part
from .layers import activate, add_product, add_rows, add_scaled, back_layer, layer, sparse_fours, sparse_row
from .layout import PLANE, offsets, planes
from .simd import LANES, fill, fma, is_set, load, pick, split4, store, word4
from .simd_math import transpose
from .sparse_images import SEGMENT


@part
def first_layer(images, first, rows, model, b1, v1, a1):
    """a1 [rows, 16 v1]: what the first layer's sigmoid is taken of, for images first .. first + rows."""
    width = v1 * LANES
    for v in range(v1):
        bias = load(model, b1 + v * LANES)
        if images.row_start.size:
            for r in range(rows):
                begin = pick(images.row_start, first + r)
                end = pick(images.row_start, first + r + 1)
                total = sparse_row(begin, end, images.place, images.value, model, v * PLANE, bias)
                store(a1, r * width + v * LANES, total)
        else:
            layer(
                images.pixels, first * INPUTS, int64(INPUTS), model, v * PLANE, int64(LANES), int64(INPUTS), bias,
                a1, v * LANES, width, rows,
            )  # fmt: skip


@part
def output_deltas(a3, labels, first, rows, targets, d3):
    """d3 = 2 (a3 - t) a3 (1 - a3), zero in the padding."""
    real = load(targets, OUTPUTS * LANES)
    one = fill(float32(1.0))
    for r in range(rows):
        output = load(a3, r * LANES)
        error = output - load(targets, pick(labels, first + r) * LANES)
        store(d3, r * LANES, (error + error) * (output * (one - output)) * real)


@part
def transpose_blocks(source, at, rows, columns, target):
    """target [rows][16 columns][16] from source [columns][16 rows][16] at `at`, blocks of 16 x 16 transposed."""
    for r in range(rows):
        for c in range(columns):
            begin = at + (c * rows + r) * LANES * LANES
            transpose(source, begin, target, (r * columns + c) * LANES * LANES)


@part
def add_first_gradient(images, batches, s, first, rows, d1, v1, scale, out):
    """out += scale X' D1 for segment s, d1 [v1][SEGMENT][16]."""
    for v in range(v1):
        deltas = v * SEGMENT * LANES
        if images.row_start.size == 0:
            add_product(
                images.pixels, first * INPUTS, int64(INPUTS), int64(INPUTS), d1, deltas, int64(LANES), rows, scale,
                out, v * PLANE, int64(LANES),
            )  # fmt: skip
        elif batches.segment_group.size:
            for g in range(pick(batches.segment_group, s), pick(batches.segment_group, s + 1)):
                begin = pick(batches.group_start, g)
                end = pick(batches.group_start, g + 1)
                sum0, sum1, sum2, sum3 = sparse_fours(
                    begin, end, batches.place, batches.value, d1, deltas, fill(float32(0.0))
                )
                c0, c1, c2, c3 = split4(word4(batches.column, 4 * g))
                add_scaled(out, v * PLANE + c0, scale, sum0)
                add_scaled(out, v * PLANE + c1, scale, sum1)
                add_scaled(out, v * PLANE + c2, scale, sum2)
                add_scaled(out, v * PLANE + c3, scale, sum3)
        else:
            for r in range(rows):
                step = scale * load(d1, deltas + r * LANES)
                for p in range(pick(images.row_start, first + r), pick(images.row_start, first + r + 1)):
                    at = v * PLANE + int64(pick(images.place, p))
                    store(out, at, fma(fill(pick(images.value, p)), step, load(out, at)))


@part
def is_finite(model, lanes):
    """Whether no number of a row is infinite or NaN; `lanes` [16] is scratch."""
    total = fill(float32(0.0))
    zero = total
    for i in range(0, model.size, LANES):
        total = fma(zero, load(model, i), total)
    store(lanes, 0, total)
    finite = True
    for lane in range(LANES):
        finite &= lanes[lane] == 0
    return finite


@kernel
def train_epochs(model, checkpoints, every, images, batches, labels, learning_rate, hidden1, hidden2, stop):
    """Train `every` epochs for each row of `checkpoints` [E, P], writing the model there after them.

    model is float32 [P], changed in place; labels int64 [N]. Returns the number of rows whose parameters are all
    finite: fewer than E if training diverged before the next one, or if stop[0] was set meanwhile.
    """
    v1, v2 = planes(hidden1), planes(hidden2)
    b1, w2, b2, w3, b3, length = offsets(hidden1, hidden2)
    width1, width2 = v1 * LANES, v2 * LANES
    # [SEGMENT] rows of each, in one dimension as everything here: one kind of indexing is compiled, not several
    a1 = np.zeros(SEGMENT * width1, np.float32)
    a2 = np.zeros(SEGMENT * width2, np.float32)
    a3 = np.zeros(SEGMENT * LANES, np.float32)
    d1 = np.zeros(SEGMENT * width1, np.float32)  # plane by plane: [v1][SEGMENT][16]
    d2 = np.zeros(SEGMENT * width2, np.float32)
    d3 = np.zeros(SEGMENT * LANES, np.float32)
    w2_transposed = np.zeros(v1 * width2 * LANES, np.float32)
    w3_transposed = np.zeros(v2 * LANES * LANES, np.float32)
    gradient = np.zeros(length, np.float32)
    targets = np.zeros(
        (OUTPUTS + 1) * LANES, np.float32
    )  # of each label, and a last row: 1 for every real output
    for j in range(OUTPUTS):
        targets[j * LANES + j] = 1
        targets[OUTPUTS * LANES + j] = 1
    scratch = np.zeros(LANES, np.float32)
    step = fill(-learning_rate)
    lanes, none = int64(LANES), int64(0)
    one = fill(float32(1.0))
    segments = batches.segment_row.size - 1

    for row in range(checkpoints.shape[0]):
        batch_begins = True
        for number in range(every * segments):
            s = number % segments
            if is_set(stop, 0):
                return row
            first = pick(batches.segment_row, s)
            rows = pick(batches.segment_row, s + 1) - first
            batch_ends = batches.ends_batch[s] != 0

            first_layer(images, first, rows, model, b1, v1, a1)
            activate(a1, none, rows * v1)
            for v in range(v2):
                layer(
                    a1, none, width1, model, w2 + v * width1 * LANES, lanes, hidden1, load(model, b2 + v * LANES),
                    a2, v * LANES, width2, rows,
                )  # fmt: skip
            activate(a2, none, rows * v2)
            layer(a2, none, width2, model, w3, lanes, hidden2, load(model, b3), a3, none, lanes, rows)
            activate(a3, none, rows)

            output_deltas(a3, labels, first, rows, targets, d3)
            transpose_blocks(model, w3, v2, int64(1), w3_transposed)
            transpose_blocks(model, w2, v1, v2, w2_transposed)
            for v in range(v2):
                back_layer(
                    d3, none, lanes, w3_transposed, v * LANES * LANES, lanes, int64(OUTPUTS), a2, v * LANES, width2,
                    d2, v * LANES, width2, rows,
                )  # fmt: skip
            for v in range(v1):
                back_layer(
                    d2, none, width2, w2_transposed, v * width2 * LANES, lanes, hidden2, a1, v * LANES, width1,
                    d1, v * SEGMENT * LANES, lanes, rows,
                )  # fmt: skip

            # a batch of one segment goes straight into the model, a longer one through a sum of its segments
            alone = batch_begins and batch_ends
            out = model if alone else gradient
            scale = step if alone else one
            add_product(a2, none, width2, hidden2, d3, none, lanes, rows, scale, out, w3, lanes)
            add_rows(d3, none, lanes, rows, scale, out, b3)
            for v in range(v2):
                add_product(
                    a1, none, width1, hidden1, d2, v * LANES, width2, rows, scale,
                    out, w2 + v * width1 * LANES, lanes,
                )  # fmt: skip
                add_rows(d2, v * LANES, width2, rows, scale, out, b2 + v * LANES)
            for v in range(v1):
                add_rows(d1, v * SEGMENT * LANES, lanes, rows, scale, out, b1 + v * LANES)
            add_first_gradient(images, batches, s, first, rows, d1, v1, scale, out)
            if batch_ends and not alone:
                for i in range(0, length, LANES):
                    add_scaled(model, i, step, load(gradient, i))
                gradient[:] = 0
            batch_begins = batch_ends
        if not is_finite(model, scratch):
            return row
        for i in range(0, length, LANES):
            store(checkpoints, row * length + i, load(model, i))
    return checkpoints.shape[0]
