"""Evaluation: a kernel for a few models over a range of images on one core, and the tasks that call it.

Sixteen images at a time: the first layer with a model's hidden units as lanes, four models sharing each term that is
read (`sparse_images`); then the sums are transposed, and lanes are images. So the small layers need no padding of their
outputs, and costs and the largest output are found for sixteen images at once without a sum across lanes. The models'
weights stay in the second cache, those of the pixels that are lit most often in the first.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import numpy as np
from numba import float32, int64
from numpy.typing import NDArray

from ...model import INPUTS, OUTPUTS
from ..interface import Scores
from .compiling import kernel, part
from .layers import activate, four_rows, layer, sparse_chain, sparse_quad, store4
from .layout import PLANE, Floats, aligned_zeros, offsets, planes
from .simd import LANES, fill, fma, is_set, load, pick, spread4, store
from .simd_math import add_wide, equal, exceeds, transpose
from .sparse_images import Images

#: Models evaluated side by side: with more, neither their sums fit the registers nor their weights the second cache.
MODELS = 4

#: Images in a task: about 10 ms of work. Costs are summed in float64 over the parts, from the first to the last.
PART = 8192


def table_for(terms: Images, hidden1: int) -> Floats:
    """Room for the tables of `evaluate_models`: [MODELS, planes of the first layer, rows, 16], flat.

    Its rows begin at cache lines: most of them are fetched from the second cache, where one that straddles two lines
    costs two transfers and made the whole evaluation a fifth slower.
    """
    return aligned_zeros(MODELS * planes(hidden1) * terms.source.size * LANES)


@part
def fill_table(models, weights_at, source, table, table_at):
    """table [rows][16]: a plane's weights of the pixel that each row stands for, or of it and its neighbour."""
    for row in range(source.size):
        pixel = pick(source, row)
        if pixel < INPUTS:
            weights = load(models, weights_at + pixel * LANES)
        else:
            both = weights_at + (pixel - INPUTS) * LANES
            weights = load(models, both) + load(models, both + LANES)
        store(table, table_at + row * LANES, weights)


@part
def sums_of_four(terms, first, rows, table, table_at, table_step, models, bias_at, model_step, sums):
    """sums [4][16 images][16]: terms times weights, and biases, for one plane of four models."""
    for r in range(rows):
        begin = pick(terms.row_start, first + r)
        end = pick(terms.row_start, first + r + 1)
        found = sparse_quad(
            begin, end, terms.place, terms.value, table, table_at, table_step, models, bias_at, model_step
        )
        store4(sums, r * LANES, int64(LANES * LANES), found)


@part
def sums_of_one(terms, first, rows, table, table_at, models, weights_at, bias_at, sums, sums_at):
    """sums [16 images][16]: the same for one model, by terms or by all pixels."""
    lanes, inputs, bias = int64(LANES), int64(INPUTS), load(models, bias_at)
    if terms.row_start.size == 0:
        layer(
            terms.pixels,
            first * inputs,
            inputs,
            models,
            weights_at,
            lanes,
            inputs,
            bias,
            sums,
            sums_at,
            lanes,
            rows,
        )
    else:
        for r in range(rows):
            begin = pick(terms.row_start, first + r)
            end = pick(terms.row_start, first + r + 1)
            total = sparse_chain(begin, end, terms.place, terms.value, table, table_at, bias)
            store(sums, sums_at + r * LANES, total)


@part
def layer_over_images(model, weights_at, plane_step, bias_at, below, below_at, terms, out, outputs):
    """out [outputs][16 images] = sigmoid(weights @ below [terms][16 images] + bias).

    Up to three outputs more are computed too.
    """
    for h in range(0, outputs, 4):
        weights = weights_at + h // LANES * plane_step + h % LANES
        biases = spread4(model, bias_at + h)
        lanes = int64(LANES)
        sums = four_rows(model, weights, int64(1), lanes, below, below_at, lanes, terms, biases)
        store4(out, h * LANES, lanes, sums)
    activate(out, int64(0), outputs)


@part
def compare(outputs, labels, valid):
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
def evaluate_models(
    models, first_model, terms, table, labels, begin, end, hidden1, hidden2, cost, hits, confusion, stop
):
    """Evaluate models first_model .. first_model + 4 on images begin .. end; add to what is in the last three arrays.

    models is float32 [C P], rows of `layout`; those past C are left out. table is what `table_for` gives, to work in.
    labels is float32, sixteen longer than the images. cost is float64 [4], the summed squared errors; hits int64 [4],
    how many predictions are correct; confusion int64 [4, 10, 10] (true, predicted), or of length 0 if it is not wanted.
    stop[0] set ends it early.
    """
    v1, v2 = planes(hidden1), planes(hidden2)
    b1, w2, b2, w3, b3, length = offsets(hidden1, hidden2)
    real = min(MODELS, models.size // length - first_model)
    block, none = int64(LANES * LANES), int64(0)
    by_fours = real == MODELS and terms.row_start.size != 0
    plane = terms.source.size * LANES
    sums = np.zeros(MODELS * block, np.float32)
    a1 = np.zeros(MODELS * v1 * block, np.float32)
    a2 = np.zeros(v2 * block, np.float32)
    a3 = np.zeros(block, np.float32)
    wide = np.zeros(MODELS * LANES, np.float64)
    hit_lanes = np.zeros(MODELS * LANES, np.float64)
    guesses = np.zeros(LANES, np.float32)
    ones_then_zeros = np.zeros(2 * LANES, np.float32)
    ones_then_zeros[:LANES] = 1

    for m in range(real):
        for v in range(v1):
            fill_table(
                models, (first_model + m) * length + v * PLANE, terms.source, table, (m * v1 + v) * plane
            )
    for first in range(begin, end, LANES):
        if is_set(stop, 0):
            break
        rows = min(LANES, end - first)
        valid = load(ones_then_zeros, LANES - rows)
        truth = load(labels, first)
        for v in range(v1):
            if by_fours:
                bias_at = first_model * length + b1 + v * LANES
                sums_of_four(terms, first, rows, table, v * plane, v1 * plane, models, bias_at, length, sums)
            else:
                for m in range(real):
                    base, table_at = (first_model + m) * length, (m * v1 + v) * plane
                    weights_at, bias_at = base + v * PLANE, base + b1 + v * LANES
                    sums_of_one(
                        terms, first, rows, table, table_at, models, weights_at, bias_at, sums, m * block
                    )
            for m in range(real):
                transpose(sums, m * block, a1, (m * v1 + v) * block)
        for m in range(real):
            base = (first_model + m) * length
            a1_at = m * v1 * block
            activate(a1, a1_at, hidden1)
            layer_over_images(models, base + w2, v1 * block, base + b2, a1, a1_at, hidden1, a2, hidden2)
            layer_over_images(models, base + w3, none, base + b3, a2, none, hidden2, a3, int64(OUTPUTS))
            squares, predicted, right = compare(a3, truth, valid)
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


@dataclass(frozen=True, eq=False)
class Prepared:
    """Images as terms, and their labels as the kernels read them."""

    terms: Images
    labels: NDArray[np.int64]  # [N], for training
    truth: Floats  # [N + 16], for evaluation: labels, then -1

    @classmethod
    def of(cls, terms: Images, labels: NDArray[np.int64]) -> Prepared:
        truth = np.full(len(labels) + LANES, -1, np.float32)
        truth[: len(labels)] = labels
        return cls(terms, np.ascontiguousarray(labels), truth)

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(eq=False)
class EvaluationTasks:
    """Cost and accuracy of packed models [C, P] on prepared examples, computed task by task in any order.

    `tasks` names the tasks; `run` does one of them, in any thread; `scores` is then asked for.
    """

    models: Floats
    hidden: tuple[int, int]
    examples: Prepared
    stop: NDArray[np.int64]
    with_confusion: bool = False
    costs: NDArray[np.float64] = field(init=False)  # [blocks of models, parts of images, MODELS]
    hits: NDArray[np.int64] = field(init=False)
    confusions: NDArray[np.int64] = field(init=False)  # [blocks, parts, MODELS, 10, 10], or no parts

    def __post_init__(self) -> None:
        blocks, parts = -(-len(self.models) // MODELS), -(-len(self.examples) // PART)
        self.costs = np.zeros((blocks, parts, MODELS))
        self.hits = np.zeros((blocks, parts, MODELS), np.int64)
        models = MODELS if self.with_confusion else 0
        self.confusions = np.zeros((blocks, parts, models, OUTPUTS, OUTPUTS), np.int64)

    def tasks(self) -> list[tuple[int, int]]:
        """Block and part of every task; the tasks of a part of the images follow each other."""
        blocks, parts = self.costs.shape[:2]
        return [(block, images) for images in range(parts) for block in range(blocks)]

    def run(self, task: tuple[int, int]) -> float:
        """Do a task; return the seconds it took."""
        began = time.perf_counter()
        block, images = task
        begin, end = images * PART, min((images + 1) * PART, len(self.examples))
        table = table_for(self.examples.terms, self.hidden[0])
        evaluate_models(
            self.models.reshape(-1), block * MODELS, self.examples.terms, table, self.examples.truth, begin, end,
            *self.hidden, self.costs[task], self.hits[task], self.confusions[task], self.stop,
        )  # fmt: skip
        return time.perf_counter() - began

    def scores(self) -> Scores:
        """The results, once all tasks are done; parts of the images are summed one after another."""
        cost, hits, confusion = (
            parts.cumsum(axis=1)[:, -1].reshape(-1, *parts.shape[3:])[: len(self.models)]
            for parts in (self.costs, self.hits, self.confusions)
        )
        count = len(self.examples)
        return Scores(cost / count, hits / count, confusion if self.with_confusion else None)
