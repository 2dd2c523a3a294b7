"""One step of training, cut where programs must exchange data: device functions on tiles.

For a batch x [B, K] with labels y and parameters W1, b1, W2, b2, W3, b3 (row-vector form, s = sigmoid):

    forward    a1 = s(x W1' + b1)          a2 = s(a1 W2' + b2)      a3 = s(a2 W3' + b3)
    backward   d3 = 2 (a3 - onehot(y)) a3 (1 - a3)    d2 = d3 W3 a2 (1 - a2)    d1 = d2 W2 a1 (1 - a1)
    update     Wi -= learning_rate di' a(i-1)         bi -= learning_rate sum(di over rows)       with a0 = x

The inputs are cut into slices of `input_block`. Input number K is the constant 1 and its weight is b1. Phase 1 gives
each slice's part of x W1' (`partials`), phase 2 does everything of a few rows (`deltas`), phase 3 updates.

NET is a `jobs.Shape` and TILES a `host.tiles.TileConfig`, both compile-time. Hidden widths are padded to powers of two,
`width1` and `width2`, outputs to 16. Padded weights load as zero and are never stored, and rows past a batch carry the
label -1, for which d3 and with it d2 and d1 are exactly zero.

Scratch of one job, float32: partials [slices, rows, width1]; deltas: a1, d1 [rows, width1] each, a2, d2 [rows, width2]
each, d3 [rows, 16], one after another. `rows` is the batch rounded up to whole row blocks. All sums have a fixed order.
"""

from breaknet.kernels import jobs
from breaknet.kernels._triton import jit, tl
from breaknet.kernels.device_functions import (
    grouped_dot,
    load_images,
    rounded_product,
    sigmoid,
    sigmoid_derivative,
)

OUTPUT_BLOCK = tl.constexpr(jobs.MAX_OUTPUTS)
#: Products that `times_transposed` holds at once, in 256 threads.
MAX_PRODUCTS = tl.constexpr(8192)


@jit
def load_slice_inputs(images_ptr, first_row, rows, first_input, NET: tl.constexpr, TILES: tl.constexpr):
    """x as float32 [row_block, input_block]: zero past `rows`, column K the constant 1.

    first_row is int64: a row's offset may pass 2^31.
    """
    row = tl.arange(0, TILES.row_block)
    column = first_input + tl.arange(0, TILES.input_block)
    x = load_images(images_ptr + first_row * NET.inputs, NET.inputs, row, row < rows, column)
    return tl.where((column == NET.inputs)[None, :], 1.0, x)


@jit
def slice_offsets(first_input, NET: tl.constexpr, TILES: tl.constexpr):
    """Places in a row of a slice [input_block, width1] of (W1 | b1)', laid flat, and which of them exist."""
    place = tl.arange(0, TILES.input_block * TILES.width1)
    column, unit = first_input + place // TILES.width1, place % TILES.width1
    offsets = tl.where(column == NET.inputs, NET.hidden1 * NET.inputs + unit, unit * NET.inputs + column)
    return offsets, (unit < NET.hidden1) & (column <= NET.inputs)


@jit
def load_slice(flat_ptr, first_input, NET: tl.constexpr, TILES: tl.constexpr):
    """The slice from `first_input` on, zero where there is none.

    In memory its inputs lie side by side. Loaded as a matrix they would stay so in shared memory, by an order of the
    axes that is Triton's to choose, and 16 threads that read 16 units would wait for one bank. A flat load has no
    axes to order, and what is made of it has units side by side.
    """
    offsets, exists = slice_offsets(first_input, NET, TILES)
    return tl.reshape(tl.load(flat_ptr + offsets, mask=exists, other=0.0), [TILES.input_block, TILES.width1])


@jit
def store_slice(flat_ptr, w1, first_input, NET: tl.constexpr, TILES: tl.constexpr):
    """The reverse of `load_slice`."""
    offsets, exists = slice_offsets(first_input, NET, TILES)
    tl.store(flat_ptr + offsets, tl.reshape(w1, [TILES.input_block * TILES.width1]), mask=exists)


@jit
def first_hidden(partials_ptr, row, rows, unit, TILES: tl.constexpr):
    """a1 of the given rows and units: every slice_block-th slice's partial sum, then these, then the sigmoid.

    slice_block is such that a thread has one sum: then the threads' sums meet in shared memory only once.
    """
    SLICES: tl.constexpr = TILES.slices
    SLICE_BLOCK: tl.constexpr = TILES.slice_block
    tile = row[:, None] * TILES.width1 + unit[None, :]
    z = tl.zeros([SLICE_BLOCK, row.shape[0], unit.shape[0]], tl.float32)
    for first in tl.static_range(0, SLICES, SLICE_BLOCK):
        part = first + tl.arange(0, SLICE_BLOCK)
        z += tl.load(
            partials_ptr + part[:, None, None] * (TILES.rows * TILES.width1) + tile[None, :, :],
            mask=(part < SLICES)[:, None, None] & (row < rows)[None, :, None],
            other=0.0,
        )
    return sigmoid(tl.sum(z, 0))


@jit
def times_transposed(a, w):
    """a w' for a [R, K], w [N, K]: [R, N].

    A dot would have every warp read all of w from shared memory, 16 threads to a bank; of few rows the products fit
    the threads, and each sum over K stays in a warp.
    """
    if a.shape[0] * w.shape[0] * w.shape[1] <= MAX_PRODUCTS:
        return tl.sum(rounded_product(a[:, None, :], w[None, :, :]), 2)
    else:
        return tl.dot(a, tl.trans(w), input_precision="ieee")


@jit
def matrix_tile(
    first_row, first_column, HEIGHT: tl.constexpr, WIDTH: tl.constexpr, H: tl.constexpr, W: tl.constexpr
):
    """The offsets of a tile [H, W] of a row-major matrix [HEIGHT, WIDTH], and which lie inside."""
    row = first_row + tl.arange(0, H)
    column = first_column + tl.arange(0, W)
    mask = (row < HEIGHT)[:, None] & (column < WIDTH)[None, :]
    return row[:, None] * WIDTH + column[None, :], mask


@jit
def load_w2(row_ptr, first_unit, NET: tl.constexpr, TILES: tl.constexpr):
    """W2 of hidden_block units of hidden1 from a row's W2 on: [width2, hidden_block], zero past the true widths."""
    tile, inside = matrix_tile(0, first_unit, NET.hidden2, NET.hidden1, TILES.width2, TILES.hidden_block)
    return tl.load(row_ptr + tile, mask=inside, other=0.0)


@jit
def store_w2(row_ptr, w2, first_unit, NET: tl.constexpr, TILES: tl.constexpr):
    """The reverse of `load_w2`."""
    tile, inside = matrix_tile(0, first_unit, NET.hidden2, NET.hidden1, TILES.width2, TILES.hidden_block)
    tl.store(row_ptr + tile, w2, mask=inside)


@jit
def output_tiles(NET: tl.constexpr, TILES: tl.constexpr):
    """Places of b2 [width2], W3 [16, width2] and b3 [16] from a row's b2 on, and which of each exist."""
    unit2 = tl.arange(0, TILES.width2)
    digit = tl.arange(0, OUTPUT_BLOCK)
    w3, w3_inside = matrix_tile(0, 0, NET.outputs, NET.hidden2, OUTPUT_BLOCK, TILES.width2)
    b3 = NET.hidden2 + NET.outputs * NET.hidden2 + digit
    return unit2, unit2 < NET.hidden2, NET.hidden2 + w3, w3_inside, b3, digit < NET.outputs


@jit
def load_outputs(row_ptr, NET: tl.constexpr, TILES: tl.constexpr):
    """b2 [width2], W3 [16, width2] and b3 [16] from a row's b2 on, zero past the true widths."""
    b2, b2_inside, w3, w3_inside, b3, b3_inside = output_tiles(NET, TILES)
    return (
        tl.load(row_ptr + b2, mask=b2_inside, other=0.0),
        tl.load(row_ptr + w3, mask=w3_inside, other=0.0),
        tl.load(row_ptr + b3, mask=b3_inside, other=0.0),
    )


@jit
def store_outputs(row_ptr, b2, w3, b3, NET: tl.constexpr, TILES: tl.constexpr):
    """The reverse of `load_outputs`."""
    b2_tile, b2_inside, w3_tile, w3_inside, b3_tile, b3_inside = output_tiles(NET, TILES)
    tl.store(row_ptr + b2_tile, b2, mask=b2_inside)
    tl.store(row_ptr + w3_tile, w3, mask=w3_inside)
    tl.store(row_ptr + b3_tile, b3, mask=b3_inside)


@jit
def row_deltas(
    live_ptr, labels_ptr, partials_ptr, deltas_ptr, program, rows, NET: tl.constexpr, TILES: tl.constexpr
):
    """Phase 2: layers 2 and 3 and all deltas, from the partial sums, of every slices-th run of delta_rows rows.

    hidden_block units of hidden1 are held at a time; wider networks add the partial sums once more on the way back,
    which costs less than it would to read back what this program has just written.
    """
    W2: tl.constexpr = NET.hidden1 * (NET.inputs + 1)
    B2: tl.constexpr = W2 + NET.hidden2 * NET.hidden1
    D1: tl.constexpr = TILES.rows * TILES.width1
    A2: tl.constexpr = 2 * TILES.rows * TILES.width1
    D2: tl.constexpr = A2 + TILES.rows * TILES.width2
    D3: tl.constexpr = D2 + TILES.rows * TILES.width2
    unit = tl.arange(0, TILES.hidden_block)
    unit2 = tl.arange(0, TILES.width2)
    digit = tl.arange(0, OUTPUT_BLOCK)
    for start in range(program * TILES.delta_rows, rows, TILES.slices * TILES.delta_rows):
        row = start + tl.arange(0, TILES.delta_rows)
        b2, w3, b3 = load_outputs(live_ptr + B2, NET, TILES)
        label = tl.load(labels_ptr + row, mask=row < rows, other=-1)

        if TILES.hidden_block == TILES.width1:
            w2 = load_w2(live_ptr + W2, 0, NET, TILES)
            a1 = first_hidden(partials_ptr, row, rows, unit, TILES)
            z2 = times_transposed(a1, w2)
        else:
            z2 = tl.full([TILES.delta_rows, TILES.width2], 0.0, tl.float32)
            for first in range(0, TILES.width1, TILES.hidden_block):
                part = load_w2(live_ptr + W2, first, NET, TILES)
                z2 += times_transposed(first_hidden(partials_ptr, row, rows, first + unit, TILES), part)
        a2 = sigmoid(z2 + b2[None, :])
        a3 = sigmoid(times_transposed(a2, w3) + b3[None, :])

        target = tl.where(label[:, None] == digit[None, :], 1.0, 0.0)
        real = (label >= 0)[:, None] & (digit < NET.outputs)[None, :]
        d3 = tl.where(real, 2.0 * (a3 - target) * sigmoid_derivative(a3), 0.0)
        d2 = times_transposed(d3, tl.trans(w3)) * sigmoid_derivative(a2)

        whole = (row < rows)[:, None]
        tile1 = row[:, None] * TILES.width1 + unit[None, :]
        tile2 = row[:, None] * TILES.width2 + unit2[None, :]
        if TILES.hidden_block == TILES.width1:
            d1 = times_transposed(d2, tl.trans(w2)) * sigmoid_derivative(a1)
            tl.store(deltas_ptr + tile1, a1, mask=whole)
            tl.store(deltas_ptr + D1 + tile1, d1, mask=whole)
        else:
            for first in range(0, TILES.width1, TILES.hidden_block):
                part = load_w2(live_ptr + W2, first, NET, TILES)
                a = first_hidden(partials_ptr, row, rows, first + unit, TILES)
                d = times_transposed(d2, tl.trans(part)) * sigmoid_derivative(a)
                tl.store(deltas_ptr + tile1 + first, a, mask=whole)
                tl.store(deltas_ptr + D1 + tile1 + first, d, mask=whole)
        tl.store(deltas_ptr + A2 + tile2, a2, mask=whole)
        tl.store(deltas_ptr + D2 + tile2, d2, mask=whole)
        tl.store(deltas_ptr + D3 + row[:, None] * OUTPUT_BLOCK + digit[None, :], d3, mask=whole)


@jit
def load_rows(scratch_ptr, first_row, rows, STRIDE: tl.constexpr, H: tl.constexpr, W: tl.constexpr):
    """Tile [H, W] of scratch rows STRIDE wide; zero past the batch's `rows`, where scratch may be stale."""
    row = first_row + tl.arange(0, H)
    tile = row[:, None] * STRIDE + tl.arange(0, W)[None, :]
    return tl.load(scratch_ptr + tile, mask=(row < rows)[:, None], other=0.0)


@jit
def load_d1(deltas_ptr, first_row, rows, TILES: tl.constexpr):
    """d1 of a row block: [row_block, width1]."""
    d1_ptr = deltas_ptr + TILES.rows * TILES.width1
    return load_rows(d1_ptr, first_row, rows, TILES.width1, TILES.row_block, TILES.width1)


@jit
def hidden2_gradient(deltas_ptr, rows, first_unit, TILES: tl.constexpr):
    """d2' a1 over the batch for hidden_block units of hidden1: [width2, hidden_block]."""
    D2: tl.constexpr = TILES.rows * (2 * TILES.width1 + TILES.width2)
    gradient = tl.full([TILES.width2, TILES.hidden_block], 0.0, tl.float32)
    for first in range(0, rows, TILES.row_block):
        a1 = load_rows(
            deltas_ptr + first_unit, first, rows, TILES.width1, TILES.row_block, TILES.hidden_block
        )
        d2 = load_rows(deltas_ptr + D2, first, rows, TILES.width2, TILES.row_block, TILES.width2)
        gradient += grouped_dot(tl.trans(d2), a1, TILES.row_groups)
    return gradient


@jit
def output_gradients(deltas_ptr, rows, TILES: tl.constexpr):
    """Sums over the batch: of d2 [width2], of d3' a2 [16, width2] and of d3 [16]."""
    A2: tl.constexpr = 2 * TILES.rows * TILES.width1
    D2: tl.constexpr = A2 + TILES.rows * TILES.width2
    D3: tl.constexpr = D2 + TILES.rows * TILES.width2
    for_b2 = tl.full([TILES.width2], 0.0, tl.float32)
    for_w3 = tl.full([OUTPUT_BLOCK, TILES.width2], 0.0, tl.float32)
    for_b3 = tl.zeros([OUTPUT_BLOCK], tl.float32)
    for first in range(0, rows, TILES.row_block):
        a2 = load_rows(deltas_ptr + A2, first, rows, TILES.width2, TILES.row_block, TILES.width2)
        d2 = load_rows(deltas_ptr + D2, first, rows, TILES.width2, TILES.row_block, TILES.width2)
        d3 = load_rows(deltas_ptr + D3, first, rows, OUTPUT_BLOCK, TILES.row_block, OUTPUT_BLOCK)
        for_b2 += tl.sum(d2, 0)
        for_w3 += grouped_dot(tl.trans(d3), a2, TILES.row_groups)
        for_b3 += tl.sum(d3, 0)
    return for_b2, for_w3, for_b3


@jit
def slice_forward(
    images_ptr, w1, partials_ptr, first_row, rows, first_input, NET: tl.constexpr, TILES: tl.constexpr
):
    """Phase 1 of one slice, row block by row block; partials_ptr is the slice's own [rows, width1]."""
    for first in range(0, rows, TILES.row_block):
        x = load_slice_inputs(images_ptr, first_row + first, rows - first, first_input, NET, TILES)
        store_partials(partials_ptr + first * TILES.width1, grouped_dot(x, w1, TILES.input_groups), TILES)


@jit
def store_partials(partials_ptr, z, TILES: tl.constexpr):
    """A row block of a slice's partial sums; rows past the batch are written too, and never read."""
    row, unit = tl.arange(0, TILES.row_block), tl.arange(0, TILES.width1)
    tl.store(partials_ptr + row[:, None] * TILES.width1 + unit[None, :], z)


@jit
def slice_gradient(
    images_ptr, deltas_ptr, first_row, rows, first_input, NET: tl.constexpr, TILES: tl.constexpr
):
    """x' d1 of one slice over the batch, row block by row block: [input_block, width1]."""
    gradient = tl.full([TILES.width1, TILES.input_block], 0.0, tl.float32)
    for first in range(0, rows, TILES.row_block):
        x = load_slice_inputs(images_ptr, first_row + first, rows - first, first_input, NET, TILES)
        gradient += grouped_dot(tl.trans(load_d1(deltas_ptr, first, rows, TILES)), x, TILES.row_groups)
    return tl.trans(gradient)
