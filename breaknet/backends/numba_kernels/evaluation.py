"""The evaluation kernel: a few models over a range of images, one core.

Sixteen images at a time: the first layer with a model's hidden units as lanes; then the sums are turned around, and
lanes are images. So the small layers need no padding of their outputs, and costs and the largest output are found for
sixteen images at once without a sum across lanes. The images' pixels stay in the first cache and the models' weights
in the second while each of the models takes its turn.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import float32, int64, typeof, types

from ...model import INPUTS, OUTPUTS
from .compiling import kernel, part
from .images import EMPTY_IMAGES
from .layers import four_rows, sparse_row
from .layout import PLANE, offsets, planes
from .vector_functions import add_wide, equal, exceeds, sigmoid, transpose
from .vector_ir import LANES, fill, fma, load, pick, spread, stop_requested, store

#: Models that take turns on the same images: their weights fill less than half a megabyte.
MODELS = 4


@part
def first_layer_sums(images, first, rows, models, weights_at, bias, sums, sums_at):
    """sums [16 images][16]: one plane of what the first layer's sigmoid is taken of; the rows past `rows` vary."""
    if images.row_start.size:
        for r in range(rows):
            begin = pick(images.row_start, first + r)
            end = pick(images.row_start, first + r + 1)
            total = sparse_row(begin, end, images.place, images.value, models, weights_at, bias)
            store(sums, sums_at + r * LANES, total)
    else:
        inputs = int64(INPUTS)
        for r in range(0, rows, 4):
            sum0, sum1, sum2, sum3 = four_rows(
                images.pixels,
                (first + r) * inputs,
                inputs,
                int64(1),
                models,
                weights_at,
                int64(LANES),
                inputs,
                bias,
            )
            at = sums_at + r * LANES
            store(sums, at, sum0)
            store(sums, at + LANES, sum1)
            store(sums, at + 2 * LANES, sum2)
            store(sums, at + 3 * LANES, sum3)


@part
def finish(out, h, outputs, total, model, bias_at):
    """out[h] = sigmoid(total + bias of output h), if there is such an output."""
    if h < outputs:
        store(out, h * LANES, sigmoid(total + spread(model, bias_at + h)))


@part
def turned_layer(model, weights_at, plane_step, bias_at, below, terms, out, outputs):
    """out [outputs][16 images] = sigmoid(bias + weights @ below [terms][16 images])."""
    zero = fill(float32(0.0))
    for h in range(0, outputs, 4):
        at = weights_at + h // LANES * plane_step + h % LANES
        sum0, sum1, sum2, sum3 = four_rows(
            model, at, int64(1), int64(LANES), below, int64(0), int64(LANES), terms, zero
        )
        finish(out, h, outputs, sum0, model, bias_at)
        finish(out, h + 1, outputs, sum1, model, bias_at)
        finish(out, h + 2, outputs, sum2, model, bias_at)
        finish(out, h + 3, outputs, sum3, model, bias_at)


@part
def judge(outputs, labels, valid):
    """Of outputs [10][16 images]: squared errors, predictions and hits, as sixteen lanes each; 0 if not valid."""
    best = load(outputs, 0)
    predicted = fill(float32(0.0))
    squares = predicted
    for j in range(OUTPUTS):
        digit = fill(float32(j))
        output = load(outputs, j * LANES)
        error = output - equal(labels, digit)
        squares = fma(error, error, squares)
        predicted = exceeds(output, best, digit, predicted)
        best = exceeds(output, best, output, best)
    return squares * valid, predicted, equal(predicted, labels) * valid


@kernel
def score_models(
    models, first_model, images, labels, begin, end, hidden1, hidden2, cost, hits, confusion, stop
):
    """Judge models first_model .. first_model + 4 on images begin .. end; add to what is in the last three arrays.

    models is float32 [C P], rows of `layout`; those past C are left out. labels is float32, sixteen longer than the
    images. cost is float64 [4], the summed squared errors; hits int64 [4], how many predictions are right; confusion
    int64 [4, 10, 10] (true, predicted), or of length 0 if it is not wanted. stop[0] set ends it early.
    """
    v1, v2 = planes(hidden1), planes(hidden2)
    b1, w2, b2, w3, b3, length = offsets(hidden1, hidden2)
    real = min(MODELS, models.size // length - first_model)
    block = int64(LANES * LANES)
    sums = np.zeros(block, np.float32)
    a1 = np.zeros(v1 * block, np.float32)
    a2 = np.zeros(v2 * block, np.float32)
    a3 = np.zeros(block, np.float32)
    wide = np.zeros(MODELS * LANES, np.float64)
    hit_lanes = np.zeros(MODELS * LANES, np.float64)
    guesses = np.zeros(LANES, np.float32)
    ones_then_zeros = np.zeros(2 * LANES, np.float32)
    ones_then_zeros[:LANES] = 1

    for first in range(begin, end, LANES):
        if stop_requested(stop):
            break
        rows = min(LANES, end - first)
        valid = load(ones_then_zeros, LANES - rows)
        truth = load(labels, first)
        for m in range(real):
            base = (first_model + m) * length
            for v in range(v1):
                bias = load(models, base + b1 + v * LANES)
                first_layer_sums(images, first, rows, models, base + v * PLANE, bias, sums, int64(0))
                transpose(sums, 0, LANES, a1, v * block)
            for h in range(hidden1):
                store(a1, h * LANES, sigmoid(load(a1, h * LANES)))
            turned_layer(models, base + w2, v1 * block, base + b2, a1, hidden1, a2, hidden2)
            turned_layer(models, base + w3, int64(0), base + b3, a2, hidden2, a3, int64(OUTPUTS))
            squares, predicted, right = judge(a3, truth, valid)
            add_wide(wide, m * LANES, squares)
            add_wide(hit_lanes, m * LANES, right)
            if confusion.size:
                store(guesses, 0, predicted)
                for r in range(rows):
                    confusion[m, int64(labels[first + r]), int64(guesses[r])] += 1
    for m in range(real):
        for lane in range(LANES):
            cost[m] += wide[m * LANES + lane]
            hits[m] += int64(hit_lanes[m * LANES + lane])


def needed() -> list[tuple[Any, tuple[Any, ...]]]:
    """The kernel and the argument types it is called with, for `ready`."""
    models = labels = typeof(np.zeros(LANES, np.float32))
    integers, integer = typeof(np.zeros(1, np.int64)), types.int64
    confusion = typeof(np.zeros((0, OUTPUTS, OUTPUTS), np.int64))
    arguments = (
        models, integer, typeof(EMPTY_IMAGES), labels, integer, integer, integer, integer,
        typeof(np.zeros(1)), integers, confusion, integers,
    )  # fmt: skip
    return [(score_models, arguments)]
