"""The products of a layer, forward and backward. Every sum has one order, whatever rows stand beside it.

    sparse_row     start + sum_p value[p] matrix[index[p]]                    one compressed row
    four_rows      start + sum_k x[r, k] matrix[k]                            four dense rows
    layer          out[r] = sigmoid(start + sum_k x[r, k] matrix[k])          forward
    back_layer     out[r] = (sum_k x[r, k] matrix[k]) a[r] (1 - a[r])         deltas of the layer below
    add_product    out[k] += scale sum_r x[r, k] matrix[r]                    gradient of the weights
    add_rows       out += scale sum_r matrix[r]                               gradient of the bias

matrix[k], a[r] and out[r] are vectors of sixteen lanes, `*_step` numbers apart in a flat array, beginning at `*_at`.
Four rows share each vector loaded and keep eight AVX registers of sums busy, enough to hide the latency of a
multiply-add.
"""

from __future__ import annotations

from numba import float32, int64

from .compiling import part
from .vector_functions import sigmoid
from .vector_ir import fill, fma, indices4, load, spread, spread4, store


@part
def sparse_row(begin, end, index, value, matrix, matrix_at, start):
    """start + sum over p in begin..end of value[p] * matrix[matrix_at + index[p] ..]; end - begin is 4 n."""
    sum0 = start
    sum1 = fill(float32(0.0))
    sum2 = sum1
    sum3 = sum1
    for p in range(begin, end, 4):
        i0, i1, i2, i3 = indices4(index, p)
        v0, v1, v2, v3 = spread4(value, p)
        sum0 = fma(v0, load(matrix, matrix_at + i0), sum0)
        sum1 = fma(v1, load(matrix, matrix_at + i1), sum1)
        sum2 = fma(v2, load(matrix, matrix_at + i2), sum2)
        sum3 = fma(v3, load(matrix, matrix_at + i3), sum3)
    return (sum0 + sum1) + (sum2 + sum3)


@part
def four_rows(x, x_at, row_step, term_step, matrix, matrix_at, matrix_step, terms, start):
    """Four vectors, r = 0..3: start + sum over k < terms of x[x_at + r row_step + k term_step] * matrix[k]."""
    sum0 = start
    sum1 = start
    sum2 = start
    sum3 = start
    for k in range(terms):
        vector = load(matrix, matrix_at + k * matrix_step)
        at = x_at + k * term_step
        sum0 = fma(spread(x, at), vector, sum0)
        sum1 = fma(spread(x, at + row_step), vector, sum1)
        sum2 = fma(spread(x, at + 2 * row_step), vector, sum2)
        sum3 = fma(spread(x, at + 3 * row_step), vector, sum3)
    return sum0, sum1, sum2, sum3


@part
def one_row(x, x_at, term_step, matrix, matrix_at, matrix_step, terms, start):
    """`four_rows` for a row that is left over."""
    for k in range(terms):
        start = fma(spread(x, x_at + k * term_step), load(matrix, matrix_at + k * matrix_step), start)
    return start


@part
def layer(x, x_at, x_step, matrix, matrix_at, matrix_step, terms, start, out, out_at, out_step, rows):
    """Forward: x [rows, terms] with rows `x_step` apart. Up to three rows past the last are computed too."""
    for r in range(0, rows, 4):
        sum0, sum1, sum2, sum3 = four_rows(
            x, x_at + r * x_step, x_step, int64(1), matrix, matrix_at, matrix_step, terms, start
        )
        at = out_at + r * out_step
        store(out, at, sigmoid(sum0))
        store(out, at + out_step, sigmoid(sum1))
        store(out, at + 2 * out_step, sigmoid(sum2))
        store(out, at + 3 * out_step, sigmoid(sum3))


@part
def store_delta(out, out_at, total, a, a_at):
    """out = total * a * (1 - a): the sigmoid's derivative from its output."""
    activation = load(a, a_at)
    store(out, out_at, total * (activation * (fill(float32(1.0)) - activation)))


@part
def back_layer(
    x, x_at, x_step, matrix, matrix_at, matrix_step, terms, a, a_at, a_step, out, out_at, out_step, rows
):
    """Backward: x holds the deltas above [rows, terms], matrix the weights between, a this layer's outputs.

    Up to three rows past the last are computed too.
    """
    zero = fill(float32(0.0))
    for r in range(0, rows, 4):
        sum0, sum1, sum2, sum3 = four_rows(
            x, x_at + r * x_step, x_step, int64(1), matrix, matrix_at, matrix_step, terms, zero
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
    """The product of x [rows, columns], rows `x_step` apart, transposed, with matrix [rows]."""
    zero = fill(float32(0.0))
    whole = columns // 4 * 4
    for k in range(0, whole, 4):
        sum0, sum1, sum2, sum3 = four_rows(
            x, x_at + k, int64(1), x_step, matrix, matrix_at, matrix_step, rows, zero
        )
        at = out_at + k * out_step
        add_scaled(out, at, scale, sum0)
        add_scaled(out, at + out_step, scale, sum1)
        add_scaled(out, at + 2 * out_step, scale, sum2)
        add_scaled(out, at + 3 * out_step, scale, sum3)
    for k in range(whole, columns):
        total = one_row(x, x_at + k, x_step, matrix, matrix_at, matrix_step, rows, zero)
        add_scaled(out, out_at + k * out_step, scale, total)


@part
def add_rows(matrix, matrix_at, matrix_step, rows, scale, out, out_at):
    """The sum of the rows of a matrix."""
    total = fill(float32(0.0))
    for r in range(rows):
        total = total + load(matrix, matrix_at + r * matrix_step)
    add_scaled(out, out_at, scale, total)
