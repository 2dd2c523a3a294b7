"""The products of a layer, forward and backward. Every sum has one order, whatever rows stand beside it.

matrix[k], a[r] and out[r] are vectors of sixteen lanes, `*_step` numbers apart in a flat array, beginning at `*_at`.
Four rows share each vector loaded and keep eight AVX registers of sums busy, enough to hide the latency of a
FMA. Compressed rows are read one round ahead, up to four places past their end.
"""

from numba import float32, int64

from .compiling import part
from .simd import LANES, fill, fma, load, split4, spread, spread4, store, word4
from .simd_math import sigmoid


@part
def sparse_fours(begin, end, index, value, matrix, matrix_at, start):
    """Four sums over p in begin..end of value[p] * matrix[matrix_at + index[p] ..]: p, p + 4, p + 8 ... go to one of
    them, the first of which begins at `start`; begin and end are multiples of 4."""
    sum0 = start
    sum1 = fill(float32(0.0))
    sum2 = sum1
    sum3 = sum1
    ahead = word4(index, begin)
    for p in range(begin, end, 4):
        i0, i1, i2, i3 = split4(ahead)
        ahead = word4(index, p + 4)
        v0, v1, v2, v3 = spread4(value, p)
        sum0 = fma(v0, load(matrix, matrix_at + i0), sum0)
        sum1 = fma(v1, load(matrix, matrix_at + i1), sum1)
        sum2 = fma(v2, load(matrix, matrix_at + i2), sum2)
        sum3 = fma(v3, load(matrix, matrix_at + i3), sum3)
    return sum0, sum1, sum2, sum3


@part
def sparse_row(begin, end, index, value, matrix, matrix_at, start):
    """start + sum over p in begin..end of value[p] * matrix[matrix_at + index[p] ..]."""
    sum0, sum1, sum2, sum3 = sparse_fours(begin, end, index, value, matrix, matrix_at, start)
    return (sum0 + sum1) + (sum2 + sum3)


@part
def two_sparse_fours(begin, end, index, value, matrix, first_at, second_at, first_start, second_start):
    """`sparse_fours` of two matrices in one array: the same bits, each place and value read once for both."""
    sum0, sum4 = first_start, second_start
    sum1 = fill(float32(0.0))
    sum2 = sum1
    sum3 = sum1
    sum5 = sum1
    sum6 = sum1
    sum7 = sum1
    ahead = word4(index, begin)
    for p in range(begin, end, 4):
        i0, i1, i2, i3 = split4(ahead)
        ahead = word4(index, p + 4)
        v0, v1, v2, v3 = spread4(value, p)
        sum0 = fma(v0, load(matrix, first_at + i0), sum0)
        sum4 = fma(v0, load(matrix, second_at + i0), sum4)
        sum1 = fma(v1, load(matrix, first_at + i1), sum1)
        sum5 = fma(v1, load(matrix, second_at + i1), sum5)
        sum2 = fma(v2, load(matrix, first_at + i2), sum2)
        sum6 = fma(v2, load(matrix, second_at + i2), sum6)
        sum3 = fma(v3, load(matrix, first_at + i3), sum3)
        sum7 = fma(v3, load(matrix, second_at + i3), sum7)
    return (sum0, sum1, sum2, sum3), (sum4, sum5, sum6, sum7)


@part
def sparse_chain(begin, end, index, value, matrix, matrix_at, start):
    """`start`, and to it value[p] * matrix[matrix_at + index[p] ..] for one p in begin..end after another."""
    total = start
    ahead = word4(index, begin)
    for p in range(begin, end, 4):
        i0, i1, i2, i3 = split4(ahead)
        ahead = word4(index, p + 4)
        v0, v1, v2, v3 = spread4(value, p)
        total = fma(v0, load(matrix, matrix_at + i0), total)
        total = fma(v1, load(matrix, matrix_at + i1), total)
        total = fma(v2, load(matrix, matrix_at + i2), total)
        total = fma(v3, load(matrix, matrix_at + i3), total)
    return total


@part
def load4(matrix, at, step):
    """Four vectors: matrix[at ..], matrix[at + step ..] and so on."""
    return load(matrix, at), load(matrix, at + step), load(matrix, at + 2 * step), load(matrix, at + 3 * step)


@part
def add_to_four(value, matrix, at, step, sums):
    """A term of each of four sums: value * matrix[at ..], matrix[at + step ..] and so on."""
    sum0, sum1, sum2, sum3 = sums
    return (
        fma(value, load(matrix, at), sum0),
        fma(value, load(matrix, at + step), sum1),
        fma(value, load(matrix, at + 2 * step), sum2),
        fma(value, load(matrix, at + 3 * step), sum3),
    )


@part
def sparse_quad(begin, end, index, value, matrix, matrix_at, step, start, start_at, start_step):
    """`sparse_chain` with matrices at matrix_at, matrix_at + step ..., and starts likewise: the same bits, each value
    read once for four."""
    sums = load4(start, start_at, start_step)
    ahead = word4(index, begin)
    for p in range(begin, end, 4):
        i0, i1, i2, i3 = split4(ahead)
        ahead = word4(index, p + 4)
        v0, v1, v2, v3 = spread4(value, p)
        sums = add_to_four(v0, matrix, matrix_at + i0, step, sums)
        sums = add_to_four(v1, matrix, matrix_at + i1, step, sums)
        sums = add_to_four(v2, matrix, matrix_at + i2, step, sums)
        sums = add_to_four(v3, matrix, matrix_at + i3, step, sums)
    return sums


@part
def four_rows(x, x_at, row_step, term_step, matrix, matrix_at, matrix_step, terms, starts):
    """Four vectors, r = 0..3: starts[r] + sum over k < terms of x[x_at + r row_step + k term_step] * matrix[k]."""
    sum0, sum1, sum2, sum3 = starts
    for k in range(terms):
        vector = load(matrix, matrix_at + k * matrix_step)
        at = x_at + k * term_step
        sum0 = fma(spread(x, at), vector, sum0)
        sum1 = fma(spread(x, at + row_step), vector, sum1)
        sum2 = fma(spread(x, at + 2 * row_step), vector, sum2)
        sum3 = fma(spread(x, at + 3 * row_step), vector, sum3)
    return sum0, sum1, sum2, sum3


@part
def store4(out, at, step, sums):
    """Four vectors to out[at ..], out[at + step ..] and so on."""
    sum0, sum1, sum2, sum3 = sums
    store(out, at, sum0)
    store(out, at + step, sum1)
    store(out, at + 2 * step, sum2)
    store(out, at + 3 * step, sum3)


@part
def layer(x, x_at, x_step, matrix, matrix_at, matrix_step, terms, start, out, out_at, out_step, rows):
    """Forward, out[r] = start + sum_k x[r, k] matrix[k]: x [rows, terms] with rows `x_step` apart.

    Up to three rows past the last are computed too.
    """
    starts = (start, start, start, start)
    for r in range(0, rows, 4):
        sums = four_rows(
            x, x_at + r * x_step, x_step, int64(1), matrix, matrix_at, matrix_step, terms, starts
        )
        store4(out, out_at + r * out_step, out_step, sums)


@part
def activate(out, out_at, vectors):
    """The sigmoid of `vectors` vectors of an array; one more may be taken too.

    In a pass of its own and by twos: a sigmoid is a long chain, and the processor works on several at once only
    where they stand side by side.
    """
    for i in range(out_at, out_at + vectors * LANES, 2 * LANES):
        first = sigmoid(load(out, i))
        second = sigmoid(load(out, i + LANES))
        store(out, i, first)
        store(out, i + LANES, second)


@part
def store_delta(out, out_at, total, a, a_at):
    """out = total * a * (1 - a): the sigmoid's derivative from its output."""
    activation = load(a, a_at)
    store(out, out_at, total * (activation * (fill(float32(1.0)) - activation)))


@part
def back_layer(
    x, x_at, x_step, matrix, matrix_at, matrix_step, terms, a, a_at, a_step, out, out_at, out_step, rows
):
    """Backward, out[r] = (sum_k x[r, k] matrix[k]) a[r] (1 - a[r]).

    x holds the deltas above [rows, terms], matrix the weights between, a this layer's outputs. Up to three rows
    past the last are computed too.
    """
    zero = fill(float32(0.0))
    zeros = (zero, zero, zero, zero)
    for r in range(0, rows, 4):
        sum0, sum1, sum2, sum3 = four_rows(
            x, x_at + r * x_step, x_step, int64(1), matrix, matrix_at, matrix_step, terms, zeros
        )
        at = out_at + r * out_step
        below = a_at + r * a_step
        store_delta(out, at, sum0, a, below)
        store_delta(out, at + out_step, sum1, a, below + a_step)
        store_delta(out, at + 2 * out_step, sum2, a, below + 2 * a_step)
        store_delta(out, at + 3 * out_step, sum3, a, below + 3 * a_step)


@part
def add_scaled(out, out_at, scale, total):
    """out += scale * total."""
    store(out, out_at, fma(scale, total, load(out, out_at)))


@part
def add_product(x, x_at, x_step, columns, matrix, matrix_at, matrix_step, rows, scale, out, out_at, out_step):
    """out[k] += scale sum_r x[r, k] matrix[r], the weights' gradient: x [rows, columns], rows `x_step` apart."""
    zero = fill(float32(0.0))
    zeros = (zero, zero, zero, zero)
    whole = columns // 4 * 4
    for k in range(0, whole, 4):
        sum0, sum1, sum2, sum3 = four_rows(
            x, x_at + k, int64(1), x_step, matrix, matrix_at, matrix_step, rows, zeros
        )
        at = out_at + k * out_step
        add_scaled(out, at, scale, sum0)
        add_scaled(out, at + out_step, scale, sum1)
        add_scaled(out, at + 2 * out_step, scale, sum2)
        add_scaled(out, at + 3 * out_step, scale, sum3)
    for k in range(whole, columns):
        total = zero
        for r in range(rows):
            total = fma(spread(x, x_at + k + r * x_step), load(matrix, matrix_at + r * matrix_step), total)
        add_scaled(out, out_at + k * out_step, scale, total)


@part
def add_rows(matrix, matrix_at, matrix_step, rows, scale, out, out_at):
    """out += scale sum_r matrix[r], by fours: shorter chains wait less for each other, and err less."""
    sum0 = fill(float32(0.0))
    sum1 = sum0
    sum2 = sum0
    sum3 = sum0
    whole = rows // 4 * 4
    for r in range(0, whole, 4):
        row0, row1, row2, row3 = load4(matrix, matrix_at + r * matrix_step, matrix_step)
        sum0, sum1, sum2, sum3 = sum0 + row0, sum1 + row1, sum2 + row2, sum3 + row3
    for r in range(whole, rows):
        sum0 = sum0 + load(matrix, matrix_at + r * matrix_step)
    add_scaled(out, out_at, scale, (sum0 + sum1) + (sum2 + sum3))
