"""Images as evaluation reads them: the terms of the first layer's sums, or all pixels.

A term is a value times sixteen weights. A pixel that is not zero is one; a pixel and its right neighbour of the same
value are one as well, with the sum of their weights: on MNIST 13 % fewer terms than pixels. A kernel therefore does
not read the weights of a model but a table of them (`evaluation.fill_table`), a row for each different term. Its
rows are ordered by how many images have the term, so that those needed most lie close together in the first cache.

An image's terms stand in the order of its pixels and do not depend on other images: nor do its outputs. Lists are
padded to a multiple of four with zeros, the number of entries that are taken at a time.
"""

from __future__ import annotations

from concurrent.futures import Executor
from typing import Any, NamedTuple

import numpy as np
from numba import float32, int64, uint16
from numpy.typing import NDArray

from ...model import INPUTS
from .compiling import kernel, part
from .layout import aligned_zeros
from .simd import LANES, level64, lowest, ones
from .sparse_images import (
    DENSE_ABOVE,
    ROWS_AT_A_TIME,
    WORDS,
    all_pixels,
    lit_word,
    parts_of,
    scale_of,
    starts_of,
    word_masks,
)

#: Pixels in a row of an image; the last of them has no right neighbour.
SIDE = 28

HAS_NEIGHBOUR = word_masks(np.arange(INPUTS) % SIDE < SIDE - 1)

# as the last word of `images.lit_word`, a pixel earlier for its neighbour
_LAST_WORD = INPUTS - 65
_EVEN, _ODD = 0x5555555555555555, -0x5555555555555556


class Terms(NamedTuple):
    """N images as terms, or dense: of `row_start` and `pixels` one is empty.

    Image i's terms are entries row_start[i] .. row_start[i + 1] of `place` and `value`.
    """

    row_start: NDArray[np.int64]  # [N + 1], multiples of 4
    place: NDArray[np.uint16]  # 16 x row of the table
    value: NDArray[np.float32]
    source: NDArray[np.int64]  # [rows of the table]: pixel j alone, or 784 + j with its neighbour
    pixels: NDArray[np.float32]  # [N 784], as `Images.pixels`


@part
def word_of_terms(images, i, word, taken):
    """Bits of 64 pixels of image i: which begin a term, and which of these stand for two pixels.

    taken is 1 if the first pixel belongs to a term of the word before.
    """
    lit = lit_word(images, i, word)
    early = max(int64(0), word * 64 - _LAST_WORD)
    equal = (level64(images, i * INPUTS + word * 64 - early) >> early) & HAS_NEIGHBOUR[word] & lit & ~taken
    # every other pixel of a run of equal ones, from its first: an addition clears the runs that begin at even bits
    begins = equal & ~(equal << 1)
    even_runs = equal & ~(equal + (begins & _EVEN))
    twos = (even_runs & _EVEN) | (equal & ~even_runs & _ODD)
    return lit & ~(twos << 1) & ~taken, twos


@kernel
def count_terms(images, pixels, terms):
    """pixels[i], terms[i] = how many pixels of image i are not zero, and the terms they make."""
    for i in range(images.shape[0]):
        taken = int64(0)
        for word in range(WORDS):
            begins, twos = word_of_terms(images, i, word, taken)
            taken = (twos >> 63) & 1
            terms[i] += ones(begins)
            pixels[i] += ones(begins) + ones(twos)


@kernel
def list_terms(images, scale, row_start, place, value, uses):
    """Fill place (pixel j, or 784 + j for two) and value, zero before; add to uses [2 x 784]."""
    for i in range(images.shape[0]):
        p = row_start[i]
        taken = int64(0)
        for word in range(WORDS):
            begins, twos = word_of_terms(images, i, word, taken)
            taken = (twos >> 63) & 1
            while begins:
                bit = lowest(begins)
                begins &= begins - 1
                j = word * 64 + bit
                source = j + INPUTS * ((twos >> bit) & 1)
                uses[source] += 1
                place[p] = uint16(source)
                value[p] = float32(images[i, j]) * scale
                p += 1


@kernel
def renumber(place, new):
    """place[p] = new[place[p]]."""
    for p in range(place.size):
        place[p] = new[place[p]]


EMPTY_TERMS = Terms(
    np.zeros(0, np.int64),
    np.zeros(0, np.uint16),
    np.zeros(0, np.float32),
    np.zeros(0, np.int64),
    np.zeros(0, np.float32),
)


def collect_terms(images: NDArray[Any], pool: Executor) -> Terms:
    """The terms of images uint8 (meaning byte / 256) or float32 [N, 784], or dense if few pixels are zero."""
    images = np.ascontiguousarray(images)
    pixels, terms = np.zeros((2, len(images)), np.int64)
    parts = [slice(*part) for part in parts_of(len(images), ROWS_AT_A_TIME)]
    list(pool.map(lambda part: count_terms(images[part], pixels[part], terms[part]), parts))
    if pixels.sum() > DENSE_ABOVE * images.size:
        return EMPTY_TERMS._replace(pixels=all_pixels(images))
    row_start = starts_of(-(-terms // 4) * 4)
    place, value = (
        aligned_zeros(row_start[-1], dtype=np.uint16),
        aligned_zeros(row_start[-1], dtype=np.float32),
    )

    def fill(part: slice) -> NDArray[np.int64]:
        uses = np.zeros(2 * INPUTS, np.int64)
        list_terms(images[part], scale_of(images), row_start[part.start : part.stop + 1], place, value, uses)
        return uses

    uses = sum(pool.map(fill, parts), np.zeros(2 * INPUTS, np.int64))
    source = np.argsort(-uses, kind="stable")[: np.count_nonzero(uses)]
    new = np.zeros(2 * INPUTS, np.uint16)
    new[source] = LANES * np.arange(len(source))
    entries = [slice(row_start[part.start], row_start[part.stop]) for part in parts]
    list(pool.map(lambda part: renumber(place[part], new), entries))
    return Terms(row_start, place, value, source, EMPTY_TERMS.pixels)
