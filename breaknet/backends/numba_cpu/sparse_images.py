"""Images as the kernels read them: lists of the pixels that are not zero, or all pixels.

MNIST is 19 % non-zero, and a zero pixel adds exactly nothing to a sum and nothing to a weight. Training reads each
image's other pixels, and `by_column` turns the rows of every batch around, so that the gradient of a pixel's sixteen
weights is one sum in registers and one store, instead of a load and a store for every pixel of every image.

Evaluation reads pairs too: a pixel and its right neighbour of the same value are one term, with the sum of their
weights: on MNIST 13 % fewer terms than pixels. Its kernel therefore does not read the weights of a model but a table
of them (`evaluation.fill_table`), a row for each different term, ordered by how many images have the term, so that
those needed most lie close together in the first cache.

An image's terms stand in the order of its pixels and do not depend on other images: nor do its outputs. Lists are
padded to a multiple of four with zeros, the number of entries that are taken at a time. Places are kept as 16 times
the pixel or row: the distance in numbers to its vector of sixteen lanes, within 16 bits.
"""

from concurrent.futures import Executor
from typing import Any, NamedTuple

import numpy as np
from numba import float32, int64, uint16
from numpy.typing import NDArray

from ...model import INPUTS
from .compiling import kernel, part
from .layout import aligned_zeros
from .simd import LANES, level64, lit64, lowest, ones

#: At most this many rows of a batch are worked on at a time: their places fit 16 bits, their outputs the L2 cache.
SEGMENT = 1024

#: Up to this batch size weights are updated image by image: columns would be too short to be worth listing.
SCATTER_UP_TO = 4

#: Above this share of non-zero pixels it is faster to multiply all of them: 0.48 in evaluation, 0.6 in training.
DENSE_ABOVE = 0.5

#: `layers.layer` works on four rows at a time and may read as many past the last image.
SPARE_ROWS = 3

#: Images that one thread takes at a time while they are compressed.
ROWS_AT_A_TIME = 4096

#: Pixels in a row of an image; the last of them has no right neighbour.
SIDE = 28

#: Words of 64 bits that hold a bit for each pixel of an image.
WORDS = -(-INPUTS // 64)

# the last word is read from where it still lies within the image, and what comes too early is shifted out
_LAST_WORD = INPUTS - 64
_EVEN, _ODD = 0x5555555555555555, -0x5555555555555556


def _word_masks(bits: NDArray[np.bool_]) -> NDArray[np.int64]:
    """A truth value for each pixel, as WORDS words; bits past the last pixel are 0."""
    padded = np.zeros((WORDS, 64), bool)
    padded.ravel()[:INPUTS] = bits
    return np.packbits(padded, axis=1, bitorder="little").view("<i8").ravel()


IN_IMAGE = _word_masks(np.ones(INPUTS, bool))
HAS_NEIGHBOUR = _word_masks(np.arange(INPUTS) % SIDE < SIDE - 1)


class Images(NamedTuple):
    """N images, compressed or dense: of `row_start` and `pixels` one is empty.

    Image i's terms are entries row_start[i] .. row_start[i + 1] of `place` and `value`.
    """

    row_start: NDArray[np.int64]  # [N + 1], multiples of 4
    place: NDArray[np.uint16]  # 16 x index in `source`
    value: NDArray[np.float32]
    source: NDArray[
        np.int64
    ]  # [784], or [rows of the table] with pairs: pixel j alone, or 784 + j with its neighbour
    pixels: NDArray[np.float32]  # [N 784], and three rows more for the kernels to read past the last

    @property
    def dense(self) -> bool:
        return not self.row_start.size

    @property
    def number(self) -> int:
        return self.pixels.size // INPUTS - SPARE_ROWS if self.dense else self.row_start.size - 1


class Batches(NamedTuple):
    """The batches of a training set, cut into segments of at most SEGMENT rows, and each segment by column.

    Segment s is rows segment_row[s] .. segment_row[s + 1]. Its columns with a pixel that is not zero stand in groups
    of four of about the same length, segment_group[s] .. segment_group[s + 1], which the gradient sums side by side:
    group g is columns column[4 g : 4 g + 4], and entries group_start[g] .. group_start[g + 1] of `place` and `value`
    are a pixel of each of the four in turn. Zeros fill shorter columns, and groups of fewer. For dense images, and
    for batches that are updated image by image, only the first two are filled, and the third is empty.
    """

    segment_row: NDArray[np.int64]  # [S + 1]
    ends_batch: NDArray[np.uint8]  # [S], whether the batch is complete after the segment
    segment_group: NDArray[np.int64]  # [S + 1], or empty
    column: NDArray[np.uint16]  # [4 G], 16 x column
    group_start: NDArray[np.int64]  # [G + 1]
    place: NDArray[np.uint16]  # 16 x (row - segment_row[s])
    value: NDArray[np.float32]


_NO_FLOATS = np.zeros(0, np.float32)
EMPTY_IMAGES = Images(
    np.zeros(0, np.int64), np.zeros(0, np.uint16), _NO_FLOATS, np.zeros(0, np.int64), _NO_FLOATS
)


@part
def word_of_terms(images, i, word, pairs, taken):
    """Bits of 64 pixels of image i: which begin a term, and which of these stand for two pixels.

    taken is 1 if the first pixel belongs to a term of the word before.
    """
    early = max(int64(0), word * 64 - _LAST_WORD)
    lit = (lit64(images, i * INPUTS + word * 64 - early) >> early) & IN_IMAGE[word]
    if not pairs:
        return lit, int64(0)
    early = max(int64(0), word * 64 - (_LAST_WORD - 1))  # a pixel earlier, for the neighbour of the last
    equal = (level64(images, i * INPUTS + word * 64 - early) >> early) & HAS_NEIGHBOUR[word] & lit & ~taken
    # every other pixel of a run of equal ones, from its first: an addition clears the runs that begin at even bits
    begins = equal & ~(equal << 1)
    even_runs = equal & ~(equal + (begins & _EVEN))
    twos = (even_runs & _EVEN) | (equal & ~even_runs & _ODD)
    return lit & ~(twos << 1) & ~taken, twos


@kernel
def count_terms(images, pairs, pixels, terms):
    """pixels[i], terms[i] = how many pixels of image i are not zero, and the terms they make."""
    for i in range(images.shape[0]):
        taken = int64(0)
        for word in range(WORDS):
            begins, twos = word_of_terms(images, i, word, pairs, taken)
            taken = (twos >> 63) & 1
            terms[i] += ones(begins)
            pixels[i] += ones(begins) + ones(twos)


@kernel
def list_terms(images, pairs, scale, row_start, place, value, uses):
    """Fill place (16 times pixel j, or 784 + j for two) and value, zero before; add to uses [2 x 784]."""
    for i in range(images.shape[0]):
        p = row_start[i]
        taken = int64(0)
        for word in range(WORDS):
            begins, twos = word_of_terms(images, i, word, pairs, taken)
            taken = (twos >> 63) & 1
            while begins:
                bit = lowest(begins)
                begins &= begins - 1
                j = word * 64 + bit
                source = j + INPUTS * ((twos >> bit) & 1)
                uses[source] += 1
                place[p] = uint16(source * LANES)
                value[p] = float32(images[i, j]) * scale
                p += 1


@kernel
def renumber(place, new):
    """place[p] = 16 times the new number of what stands there."""
    for p in range(place.size):
        place[p] = new[place[p] // LANES] * LANES


def starts_of(lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """The start of each of the lists of the given lengths, and the end of the last one."""
    return np.concatenate((np.zeros(1, np.int64), np.cumsum(lengths, dtype=np.int64)))


def parts_of(count: int, size: int) -> list[slice]:
    return [slice(begin, min(begin + size, count)) for begin in range(0, count, size)]


def compress(images: NDArray[Any], pool: Executor, pairs: bool = False) -> Images:
    """Images uint8 (meaning byte / 256) or float32 [N, 784], as lists of terms or, if few pixels are zero, dense."""
    images = np.ascontiguousarray(images)
    scale = np.float32(1 / 256 if images.dtype == np.uint8 else 1)
    pixels, terms = np.zeros((2, len(images)), np.int64)
    parts = parts_of(len(images), ROWS_AT_A_TIME)
    list(pool.map(lambda part: count_terms(images[part], pairs, pixels[part], terms[part]), parts))
    if pixels.sum() > DENSE_ABOVE * images.size:
        dense = aligned_zeros((len(images) + SPARE_ROWS) * INPUTS)
        np.multiply(images.reshape(-1), scale, out=dense[: images.size], casting="same_kind")
        return EMPTY_IMAGES._replace(pixels=dense)
    row_start = starts_of(-(-terms // 4) * 4)
    place, value = aligned_zeros(row_start[-1], dtype=np.uint16), aligned_zeros(row_start[-1])

    def fill(part: slice) -> NDArray[np.int64]:
        uses = np.zeros(2 * INPUTS, np.int64)
        list_terms(images[part], pairs, scale, row_start[part.start : part.stop + 1], place, value, uses)
        return uses

    uses = sum(pool.map(fill, parts), np.zeros(2 * INPUTS, np.int64))
    source = np.arange(INPUTS)
    if pairs:
        source = np.argsort(-uses, kind="stable")[: np.count_nonzero(uses)]
        new = np.zeros(2 * INPUTS, np.uint16)
        new[source] = np.arange(len(source))
        entries = [slice(row_start[part.start], row_start[part.stop]) for part in parts]
        list(pool.map(lambda part: renumber(place[part], new), entries))
    return Images(row_start, place, value, source, EMPTY_IMAGES.pixels)


@part
def order_columns(rows, first_row, last_row, counts, order, places):
    """Count each column's pixels in rows first_row .. last_row; return how many columns have any.

    order[0], order[1] ... are those columns, the longest first (and after them the others). places is scratch, for
    every count the place of the next column that has it.
    """
    for j in range(INPUTS):
        counts[j] = 0
    for count in range(last_row - first_row + 1):
        places[count] = 0
    for p in range(rows.row_start[first_row], rows.row_start[last_row]):
        if rows.value[p] != 0:
            counts[rows.place[p] // LANES] += 1
    for j in range(INPUTS):
        places[counts[j]] += 1
    lit = INPUTS - places[0]
    placed = 0
    for count in range(last_row - first_row, -1, -1):
        columns = places[count]
        places[count] = placed
        placed += columns
    for j in range(INPUTS):
        order[places[counts[j]]] = j
        places[counts[j]] += 1
    return lit


@kernel
def count_columns(rows, segment_row, groups, entries):
    """For each segment the number of its groups of four columns, and of their entries with what fills them."""
    counts = np.zeros(INPUTS, np.int64)
    order = np.zeros(INPUTS, np.int64)
    places = np.zeros(SEGMENT + 1, np.int64)
    for s in range(segment_row.size - 1):
        lit = order_columns(rows, segment_row[s], segment_row[s + 1], counts, order, places)
        for c in range(0, lit, 4):
            groups[s] += 1
            entries[s] += 4 * counts[order[c]]


@kernel
def list_columns(rows, batches, first_entry, begin, end):
    """Fill column, group_start, place and value of the segments begin .. end; all of them are zero before."""
    counts = np.zeros(INPUTS, np.int64)
    order = np.zeros(INPUTS, np.int64)
    places = np.zeros(SEGMENT + 1, np.int64)
    at = np.zeros(INPUTS, np.int64)
    for s in range(begin, end):
        first_row = batches.segment_row[s]
        last_row = batches.segment_row[s + 1]
        first_group = batches.segment_group[s]
        next_entry = first_entry[s]
        entry = next_entry
        for c in range(order_columns(rows, first_row, last_row, counts, order, places)):
            j = order[c]
            if c % 4 == 0:
                entry = next_entry
                next_entry += 4 * counts[j]
                batches.group_start[first_group + c // 4] = entry
            batches.column[4 * first_group + c] = uint16(j * LANES)
            at[j] = entry + c % 4
        for i in range(first_row, last_row):
            for p in range(rows.row_start[i], rows.row_start[i + 1]):
                if rows.value[p] != 0:
                    j = rows.place[p] // LANES
                    batches.place[at[j]] = uint16((i - first_row) * LANES)
                    batches.value[at[j]] = rows.value[p]
                    at[j] += 4


def by_column(images: Images, batch_size: int, pool: Executor) -> Batches:
    """The batches of `batch_size` rows in order, the last one shorter if need be."""
    batch_starts = np.arange(0, images.number, batch_size)
    within = np.arange(0, min(batch_size, images.number), SEGMENT)
    segment_row = (batch_starts[:, None] + within).ravel()
    segment_row = np.append(segment_row[segment_row < images.number], images.number)
    ends_batch = np.append(np.isin(segment_row[1:-1], batch_starts), True).astype(np.uint8)
    segments = len(ends_batch)
    groups, entries = np.zeros((2, segments), np.int64)
    listed = not images.dense and batch_size > SCATTER_UP_TO
    parts = parts_of(segments, max(1, ROWS_AT_A_TIME // min(batch_size, SEGMENT))) if listed else []

    def count(part: slice) -> None:
        count_columns(images, segment_row[part.start : part.stop + 1], groups[part], entries[part])

    list(pool.map(count, parts))
    segment_group, first_entry = starts_of(groups), starts_of(entries)
    batches = Batches(
        segment_row=segment_row,
        ends_batch=ends_batch,
        segment_group=segment_group if listed else segment_group[:0],
        column=aligned_zeros(4 * segment_group[-1], dtype=np.uint16),
        group_start=np.full(segment_group[-1] + 1, first_entry[-1]),
        place=aligned_zeros(first_entry[-1], dtype=np.uint16),
        value=aligned_zeros(first_entry[-1]),
    )
    list(pool.map(lambda part: list_columns(images, batches, first_entry, part.start, part.stop), parts))
    return batches
