"""The training kernel: whole epochs of plain SGD for one model, or two on the same images; one core, no Python inside.

For a batch X with one-hot targets T and outputs A1, A2, A3 of the layers (f' = a (1 - a) for the sigmoid):

    D3 = 2 (A3 - T) f'(A3)      D2 = (D3 W3') f'(A2)      D1 = (D2 W2') f'(A1)
    W3 -= lr A2' D3             W2 -= lr A1' D2           W1 -= lr X' D1          biases: the sums of the rows of D

A model is a row of `layout`. X and X' are read compressed (`sparse_images`), unless the images are dense. Two models
share the reading of compressed X and X', and each keeps the order of its sums: its bits are those of the model alone.
"""

import numpy as np
from numba import float32, int64

from ...model import INPUTS, OUTPUTS
from .compiling import has_wide_registers, kernel, part
from .layers import (
    activate,
    add_product,
    add_rows,
    add_scaled,
    back_layer,
    layer,
    sparse_fours,
    sparse_row,
    two_sparse_fours,
)
from .layout import PLANE, offsets, planes
from .simd import LANES, fill, fma, is_set, load, pick, split4, store, word4
from .simd_math import transpose
from .sparse_images import SEGMENT

#: How many models go side by side. The sums of two need 12 registers of sixteen lanes: with AVX2 that is too many.
SIDE_BY_SIDE = 2 if has_wide_registers() else 1


@part
def first_layer(images, first, rows, models, at, b1, v1, a1, a1_at):
    """a1 [rows, 16 v1]: what the first layer's sigmoid is taken of, for images first .. first + rows."""
    width = v1 * LANES
    for v in range(v1):
        weights, lane = at + v * PLANE, a1_at + v * LANES
        bias = load(models, at + b1 + v * LANES)
        if images.row_start.size:
            for r in range(rows):
                begin = pick(images.row_start, first + r)
                end = pick(images.row_start, first + r + 1)
                total = sparse_row(begin, end, images.place, images.value, models, weights, bias)
                store(a1, lane + r * width, total)
        else:
            layer(
                images.pixels, first * INPUTS, int64(INPUTS), models, weights, int64(LANES), int64(INPUTS), bias,
                a1, lane, width, rows,
            )  # fmt: skip


@part
def two_first_layers(images, first, rows, models, second, b1, v1, a1, a1_second):
    """`first_layer` of the compressed images for two models, the other one beginning at `second`."""
    width = v1 * LANES
    for v in range(v1):
        bias0 = load(models, b1 + v * LANES)
        bias1 = load(models, second + b1 + v * LANES)
        for r in range(rows):
            begin = pick(images.row_start, first + r)
            end = pick(images.row_start, first + r + 1)
            sums0, sums1 = two_sparse_fours(
                begin, end, images.place, images.value, models, v * PLANE, second + v * PLANE, bias0, bias1
            )
            at = r * width + v * LANES
            store(a1, at, (sums0[0] + sums0[1]) + (sums0[2] + sums0[3]))
            store(a1, a1_second + at, (sums1[0] + sums1[1]) + (sums1[2] + sums1[3]))


@part
def output_deltas(a3, labels, label_at, rows, targets, d3):
    """d3 = 2 (a3 - t) a3 (1 - a3), zero in the padding."""
    real = load(targets, OUTPUTS * LANES)
    one = fill(float32(1.0))
    for r in range(rows):
        output = load(a3, r * LANES)
        error = output - load(targets, pick(labels, label_at + r) * LANES)
        store(d3, r * LANES, (error + error) * (output * (one - output)) * real)


@part
def transpose_blocks(source, at, rows, columns, target):
    """target [rows][16 columns][16] from source [columns][16 rows][16] at `at`, blocks of 16 x 16 transposed."""
    for r in range(rows):
        for c in range(columns):
            begin = at + (c * rows + r) * LANES * LANES
            transpose(source, begin, target, (r * columns + c) * LANES * LANES)


@part
def add_first_gradient(images, batches, s, first, rows, d1, d1_at, v1, scale, out, out_at):
    """out += scale X' D1 for segment s, d1 [v1][SEGMENT][16]."""
    for v in range(v1):
        deltas, weights = d1_at + v * SEGMENT * LANES, out_at + v * PLANE
        if images.row_start.size == 0:
            add_product(
                images.pixels, first * INPUTS, int64(INPUTS), int64(INPUTS), d1, deltas, int64(LANES), rows, scale,
                out, weights, int64(LANES),
            )  # fmt: skip
        elif batches.segment_group.size:
            for g in range(pick(batches.segment_group, s), pick(batches.segment_group, s + 1)):
                begin = pick(batches.group_start, g)
                end = pick(batches.group_start, g + 1)
                sums = sparse_fours(begin, end, batches.place, batches.value, d1, deltas, fill(float32(0.0)))
                add_four_columns(batches, g, scale, sums, out, weights)
        else:
            for r in range(rows):
                step = scale * load(d1, deltas + r * LANES)
                for p in range(pick(images.row_start, first + r), pick(images.row_start, first + r + 1)):
                    at = weights + int64(pick(images.place, p))
                    store(out, at, fma(fill(pick(images.value, p)), step, load(out, at)))


@part
def add_four_columns(batches, g, scale, sums, out, out_at):
    """out += scale sums for the four columns of group g."""
    c0, c1, c2, c3 = split4(word4(batches.column, 4 * g))
    add_scaled(out, out_at + c0, scale, sums[0])
    add_scaled(out, out_at + c1, scale, sums[1])
    add_scaled(out, out_at + c2, scale, sums[2])
    add_scaled(out, out_at + c3, scale, sums[3])


@part
def add_two_first_gradients(batches, s, d1, d1_second, v1, scale0, scale1, out, second):
    """`add_first_gradient` by columns for two models."""
    none = fill(float32(0.0))
    for v in range(v1):
        deltas = v * SEGMENT * LANES
        for g in range(pick(batches.segment_group, s), pick(batches.segment_group, s + 1)):
            begin = pick(batches.group_start, g)
            end = pick(batches.group_start, g + 1)
            sums0, sums1 = two_sparse_fours(
                begin, end, batches.place, batches.value, d1, deltas, d1_second + deltas, none, none
            )
            add_four_columns(batches, g, scale0, sums0, out, v * PLANE)
            add_four_columns(batches, g, scale1, sums1, out, second + v * PLANE)


@part
def is_finite(models, begin, end, lanes):
    """Whether no number of begin .. end is infinite or NaN; `lanes` [16] is scratch."""
    total = fill(float32(0.0))
    zero = total
    for i in range(begin, end, LANES):
        total = fma(zero, load(models, i), total)
    store(lanes, 0, total)
    finite = True
    for lane in range(LANES):
        finite &= lanes[lane] == 0
    return finite


@kernel
def train_epochs(
    models, checkpoints, every, images, batches, labels, learning_rates, hidden1, hidden2, stop, done
):
    """Train M models, one or two, `every` epochs for each of E checkpoints, and write them there after these.

    models is float32 [M P], changed in place; checkpoints [M E P]; labels int64 [M N]; learning_rates float32 [M]. Into
    done [M] goes the number of checkpoints whose parameters are all finite: fewer than E if training diverged before
    the next one, or if stop[0] was set meanwhile.
    """
    v1, v2 = planes(hidden1), planes(hidden2)
    b1, w2, b2, w3, b3, length = offsets(hidden1, hidden2)
    width1, width2 = v1 * LANES, v2 * LANES
    count = models.size // length
    epochs = checkpoints.size // models.size
    images_of_one = labels.size // count
    a1_length = SEGMENT * width1  # of a1 and d1, which one model has beside the other's
    # [SEGMENT] rows of each, in one dimension as everything here: one kind of indexing is compiled, not several
    a1 = np.zeros(count * a1_length, np.float32)
    a2 = np.zeros(SEGMENT * width2, np.float32)
    a3 = np.zeros(SEGMENT * LANES, np.float32)
    d1 = np.zeros(count * a1_length, np.float32)  # plane by plane: [M][v1][SEGMENT][16]
    d2 = np.zeros(SEGMENT * width2, np.float32)
    d3 = np.zeros(SEGMENT * LANES, np.float32)
    w2_transposed = np.zeros(v1 * width2 * LANES, np.float32)
    w3_transposed = np.zeros(v2 * LANES * LANES, np.float32)
    gradient = np.zeros(count * length, np.float32)
    targets = np.zeros(
        (OUTPUTS + 1) * LANES, np.float32
    )  # of each label, and a last row: 1 for every real output
    for j in range(OUTPUTS):
        targets[j * LANES + j] = 1
        targets[OUTPUTS * LANES + j] = 1
    scratch = np.zeros(LANES, np.float32)
    lanes, none = int64(LANES), int64(0)
    one = fill(float32(1.0))
    segments = batches.segment_row.size - 1
    two = count == 2 and images.row_start.size > 0
    two_gradients = two and batches.segment_group.size > 0
    done[:] = 0

    for row in range(epochs):
        batch_begins = True
        for number in range(every * segments):
            s = number % segments
            if is_set(stop, 0):
                return
            first = pick(batches.segment_row, s)
            rows = pick(batches.segment_row, s + 1) - first
            batch_ends = batches.ends_batch[s] != 0
            # a batch of one segment goes straight into the models, a longer one through a sum of its segments
            alone = batch_begins and batch_ends
            out = models if alone else gradient
            scale = fill(-learning_rates[0]) if alone else one
            scale0 = scale

            if two:
                two_first_layers(images, first, rows, models, length, b1, v1, a1, a1_length)
            for m in range(count):
                at, a1_at = m * length, m * a1_length
                if m > 0 and alone:
                    scale = fill(-learning_rates[m])
                if not two:
                    first_layer(images, first, rows, models, at, b1, v1, a1, a1_at)
                activate(a1, a1_at, rows * v1)
                for v in range(v2):
                    layer(
                        a1, a1_at, width1, models, at + w2 + v * width1 * LANES, lanes, hidden1,
                        load(models, at + b2 + v * LANES), a2, v * LANES, width2, rows,
                    )  # fmt: skip
                activate(a2, none, rows * v2)
                layer(
                    a2, none, width2, models, at + w3, lanes, hidden2, load(models, at + b3), a3, none, lanes, rows
                )  # fmt: skip
                activate(a3, none, rows)

                output_deltas(a3, labels, m * images_of_one + first, rows, targets, d3)
                transpose_blocks(models, at + w3, v2, int64(1), w3_transposed)
                transpose_blocks(models, at + w2, v1, v2, w2_transposed)
                for v in range(v2):
                    back_layer(
                        d3, none, lanes, w3_transposed, v * LANES * LANES, lanes, int64(OUTPUTS), a2, v * LANES, width2,
                        d2, v * LANES, width2, rows,
                    )  # fmt: skip
                for v in range(v1):
                    back_layer(
                        d2, none, width2, w2_transposed, v * width2 * LANES, lanes, hidden2, a1, a1_at + v * LANES,
                        width1, d1, a1_at + v * SEGMENT * LANES, lanes, rows,
                    )  # fmt: skip

                add_product(a2, none, width2, hidden2, d3, none, lanes, rows, scale, out, at + w3, lanes)
                add_rows(d3, none, lanes, rows, scale, out, at + b3)
                for v in range(v2):
                    add_product(
                        a1, a1_at, width1, hidden1, d2, v * LANES, width2, rows, scale,
                        out, at + w2 + v * width1 * LANES, lanes,
                    )  # fmt: skip
                    add_rows(d2, v * LANES, width2, rows, scale, out, at + b2 + v * LANES)
                for v in range(v1):
                    add_rows(d1, a1_at + v * SEGMENT * LANES, lanes, rows, scale, out, at + b1 + v * LANES)
                if not two_gradients:
                    add_first_gradient(images, batches, s, first, rows, d1, a1_at, v1, scale, out, at)
            if two_gradients:
                add_two_first_gradients(batches, s, d1, a1_length, v1, scale0, scale, out, length)
            if batch_ends and not alone:
                for m in range(count):
                    step = fill(-learning_rates[m])
                    for i in range(m * length, (m + 1) * length, LANES):
                        add_scaled(models, i, step, load(gradient, i))
                gradient[:] = 0
            batch_begins = batch_ends
        for m in range(count):
            begin, end = m * length, (m + 1) * length
            if done[m] == row and is_finite(models, begin, end, scratch):
                for i in range(0, length, LANES):
                    store(checkpoints, (m * epochs + row) * length + i, load(models, begin + i))
                done[m] = row + 1
        if done.max() == row:
            return
