"""What one step of training does, cut where programs must exchange data: device functions on tiles.

For a batch x [B, K] with labels y and parameters W1, b1, W2, b2, W3, b3 (row-vector form, s = sigmoid):

    forward    a1 = s(x W1' + b1)          a2 = s(a1 W2' + b2)      a3 = s(a2 W3' + b3)
    backward   d3 = 2 (a3 - onehot(y)) a3 (1 - a3)    d2 = d3 W3 a2 (1 - a2)    d1 = d2 W2 a1 (1 - a1)
    update     Wi -= rate di' a(i-1)       bi -= rate sum(di over rows)          with a0 = x

The inputs are cut into slices of INPUT_BLOCK. Input number K is the constant 1 and its weight is b1. Phase 1 gives each
slice's part of x W1' (`partials`), phase 2 does everything of a few rows (`deltas`), phase 3 updates.

Widths are padded to powers of two (HIDDEN1P, HIDDEN2P, 16 outputs). Padded weights load as zero and are never stored,
and rows past a batch carry the label -1, for which d3 and with it d2 and d1 are exactly zero.

Scratch of one job, float32: partials [SLICES, ROWS, HIDDEN1P]; deltas: a1, d1 [ROWS, HIDDEN1P] each, a2, d2
[ROWS, HIDDEN2P] each, d3 [ROWS, 16], one after another. ROWS is the batch rounded up to whole row blocks.
All sums have a fixed order.
"""

from breaknet.kernels._triton import jit, tl
from breaknet.kernels.device_functions import sigmoid, sigmoid_derivative
from breaknet.kernels.group_sum import sum_groups
from breaknet.kernels.hidden_origin import hidden_origin

OUTPUT_BLOCK = tl.constexpr(16)
#: Products that `times_transposed` holds at once, in 256 threads.
MOST_PRODUCTS = tl.constexpr(8192)


@jit
def dot_transposed(a, b, GROUPS: tl.constexpr):
    """a' b for a [L, M], b [L, N]: [M, N]. L is summed in GROUPS equal runs, then over the groups.

    Groups make more independent outputs, of which each thread then holds a 4 x 4 tile: fewer loads a multiply-add.
    """
    if GROUPS == 1:
        return tl.dot(tl.trans(a), b, input_precision="ieee")
    else:
        L: tl.constexpr = a.shape[0] // GROUPS
        a3 = tl.permute(tl.reshape(a, [GROUPS, L, a.shape[1]]), [0, 2, 1])
        b3 = tl.reshape(b, [GROUPS, L, b.shape[1]])
        return sum_groups(tl.dot(a3, b3, input_precision="ieee"))


@jit
def load_images(
    images_ptr,
    first_row,
    rows,
    first_input,
    INPUTS: tl.constexpr,
    ROW_BLOCK: tl.constexpr,
    INPUT_BLOCK: tl.constexpr,
):
    """x as float32 [ROW_BLOCK, INPUT_BLOCK]: zero past `rows`, column INPUTS the constant 1.

    first_row is int64: a row's offset may pass 2^31.
    """
    row = tl.arange(0, ROW_BLOCK)
    column = first_input + tl.arange(0, INPUT_BLOCK)
    offsets = row[:, None] * INPUTS + column[None, :]
    mask = (row < rows)[:, None] & (column < INPUTS)[None, :]
    x = tl.load(images_ptr + first_row * INPUTS + offsets, mask=mask, other=0)
    if images_ptr.dtype.element_ty == tl.uint8:
        x = hidden_origin(x.to(tl.float32)) * (1.0 / 256)
    return tl.where((column == INPUTS)[None, :], 1.0, x)


@jit
def slice_offsets(
    first_input,
    INPUTS: tl.constexpr,
    HIDDEN1: tl.constexpr,
    HIDDEN1P: tl.constexpr,
    INPUT_BLOCK: tl.constexpr,
):
    """Where a slice [INPUT_BLOCK, HIDDEN1P] of (W1 | b1)', laid flat, lies in a row, and which of it exists."""
    place = tl.arange(0, INPUT_BLOCK * HIDDEN1P)
    column, unit = first_input + place // HIDDEN1P, place % HIDDEN1P
    offsets = tl.where(column == INPUTS, HIDDEN1 * INPUTS + unit, unit * INPUTS + column)
    return offsets, (unit < HIDDEN1) & (column <= INPUTS)


@jit
def load_slice(
    flat_ptr,
    first_input,
    INPUTS: tl.constexpr,
    HIDDEN1: tl.constexpr,
    HIDDEN1P: tl.constexpr,
    INPUT_BLOCK: tl.constexpr,
):
    """The slice from `first_input` on, zero where there is none.

    In memory its inputs lie side by side. Loaded as a matrix they would stay so in shared memory, by an order of the
    axes that is Triton's to choose, and 16 threads that read 16 units would wait for one bank. A flat load has no
    axes to order, and what is made of it has units side by side.
    """
    offsets, exists = slice_offsets(first_input, INPUTS, HIDDEN1, HIDDEN1P, INPUT_BLOCK)
    return tl.reshape(tl.load(flat_ptr + offsets, mask=exists, other=0.0), [INPUT_BLOCK, HIDDEN1P])


@jit
def store_slice(
    flat_ptr,
    w1,
    first_input,
    INPUTS: tl.constexpr,
    HIDDEN1: tl.constexpr,
    HIDDEN1P: tl.constexpr,
    INPUT_BLOCK: tl.constexpr,
):
    """The reverse of `load_slice`."""
    offsets, exists = slice_offsets(first_input, INPUTS, HIDDEN1, HIDDEN1P, INPUT_BLOCK)
    tl.store(flat_ptr + offsets, tl.reshape(w1, [INPUT_BLOCK * HIDDEN1P]), mask=exists)


@jit
def partial_sums(x, w1, GROUPS: tl.constexpr):
    """A slice's part of x W1': x [ROWS, L], w1 [L, HIDDEN1P] -> [ROWS, HIDDEN1P], L summed in GROUPS runs."""
    if GROUPS == 1:
        return tl.dot(x, w1, input_precision="ieee")
    else:
        L: tl.constexpr = x.shape[1] // GROUPS
        x3 = tl.permute(tl.reshape(x, [x.shape[0], GROUPS, L]), [1, 0, 2])
        return sum_groups(tl.dot(x3, tl.reshape(w1, [GROUPS, L, w1.shape[1]]), input_precision="ieee"))


@jit
def first_hidden(
    partials_ptr,
    row,
    rows,
    unit,
    SLICES: tl.constexpr,
    SLICE_BLOCK: tl.constexpr,
    ROWS: tl.constexpr,
    HIDDEN1P: tl.constexpr,
):
    """a1 of the given rows and units: every SLICE_BLOCK-th slice's partial sum, then these, then the sigmoid.

    SLICE_BLOCK is such that a thread has one sum: then the threads' sums meet in shared memory only once.
    """
    tile = row[:, None] * HIDDEN1P + unit[None, :]
    z = tl.zeros([SLICE_BLOCK, row.shape[0], unit.shape[0]], tl.float32)
    for first in tl.static_range(0, SLICES, SLICE_BLOCK):
        part = first + tl.arange(0, SLICE_BLOCK)
        z += tl.load(
            partials_ptr + part[:, None, None] * (ROWS * HIDDEN1P) + tile[None, :, :],
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
    if a.shape[0] * w.shape[0] * w.shape[1] <= MOST_PRODUCTS:
        return tl.sum(a[:, None, :] * w[None, :, :], 2)
    else:
        return tl.dot(a, tl.trans(w), input_precision="ieee")


@jit
def load_matrix(
    flat_ptr,
    first_row,
    first_column,
    HEIGHT: tl.constexpr,
    WIDTH: tl.constexpr,
    H: tl.constexpr,
    W: tl.constexpr,
):
    """Tile [H, W] of a row-major matrix [HEIGHT, WIDTH], zero outside of it."""
    row = first_row + tl.arange(0, H)
    column = first_column + tl.arange(0, W)
    mask = (row < HEIGHT)[:, None] & (column < WIDTH)[None, :]
    return tl.load(flat_ptr + row[:, None] * WIDTH + column[None, :], mask=mask, other=0.0)


@jit
def store_matrix(
    flat_ptr,
    tile,
    first_row,
    first_column,
    HEIGHT: tl.constexpr,
    WIDTH: tl.constexpr,
    H: tl.constexpr,
    W: tl.constexpr,
):
    """The part of a tile [H, W] that lies inside the row-major matrix [HEIGHT, WIDTH]."""
    row = first_row + tl.arange(0, H)
    column = first_column + tl.arange(0, W)
    mask = (row < HEIGHT)[:, None] & (column < WIDTH)[None, :]
    tl.store(flat_ptr + row[:, None] * WIDTH + column[None, :], tile, mask=mask)


@jit
def row_deltas(
    live_ptr,
    labels_ptr,
    partials_ptr,
    deltas_ptr,
    first_row,
    rows,
    INPUTS: tl.constexpr,
    HIDDEN1: tl.constexpr,
    HIDDEN2: tl.constexpr,
    OUTPUTS: tl.constexpr,
    HIDDEN1P: tl.constexpr,
    HIDDEN2P: tl.constexpr,
    HIDDEN_BLOCK: tl.constexpr,
    DELTA_ROWS: tl.constexpr,
    SLICES: tl.constexpr,
    SLICE_BLOCK: tl.constexpr,
    ROWS: tl.constexpr,
):
    """Phase 2: layers 2 and 3 and all deltas of DELTA_ROWS rows, from the partial sums; `rows` is the batch's length.

    HIDDEN_BLOCK units of hidden1 are held at a time; wider networks add the partial sums once more on the way back,
    which costs less than it would to read back what this program has just written.
    """
    W2: tl.constexpr = HIDDEN1 * (INPUTS + 1)
    W3: tl.constexpr = W2 + HIDDEN2 * (HIDDEN1 + 1)
    row = first_row + tl.arange(0, DELTA_ROWS)
    unit = tl.arange(0, HIDDEN_BLOCK)
    unit2 = tl.arange(0, HIDDEN2P)
    digit = tl.arange(0, OUTPUT_BLOCK)
    b2 = tl.load(live_ptr + W2 + HIDDEN2 * HIDDEN1 + unit2, mask=unit2 < HIDDEN2, other=0.0)
    w3 = load_matrix(live_ptr + W3, 0, 0, OUTPUTS, HIDDEN2, OUTPUT_BLOCK, HIDDEN2P)
    b3 = tl.load(live_ptr + W3 + OUTPUTS * HIDDEN2 + digit, mask=digit < OUTPUTS, other=0.0)
    label = tl.load(labels_ptr + row, mask=row < rows, other=-1)

    if HIDDEN_BLOCK == HIDDEN1P:
        w2 = load_matrix(live_ptr + W2, 0, 0, HIDDEN2, HIDDEN1, HIDDEN2P, HIDDEN_BLOCK)
        a1 = first_hidden(partials_ptr, row, rows, unit, SLICES, SLICE_BLOCK, ROWS, HIDDEN1P)
        z2 = times_transposed(a1, w2)
    else:
        z2 = tl.zeros([DELTA_ROWS, HIDDEN2P], tl.float32)
        for first in range(0, HIDDEN1P, HIDDEN_BLOCK):
            part = load_matrix(live_ptr + W2, 0, first, HIDDEN2, HIDDEN1, HIDDEN2P, HIDDEN_BLOCK)
            a = first_hidden(partials_ptr, row, rows, first + unit, SLICES, SLICE_BLOCK, ROWS, HIDDEN1P)
            z2 += times_transposed(a, part)
    a2 = sigmoid(z2 + b2[None, :])
    a3 = sigmoid(times_transposed(a2, w3) + b3[None, :])

    target = tl.where(label[:, None] == digit[None, :], 1.0, 0.0)
    real = (label >= 0)[:, None] & (digit < OUTPUTS)[None, :]
    d3 = tl.where(real, 2.0 * (a3 - target) * sigmoid_derivative(a3), 0.0)
    d2 = times_transposed(d3, tl.trans(w3)) * sigmoid_derivative(a2)

    A2: tl.constexpr = 2 * ROWS * HIDDEN1P
    D2: tl.constexpr = A2 + ROWS * HIDDEN2P
    D3: tl.constexpr = D2 + ROWS * HIDDEN2P
    whole = (row < rows)[:, None]
    tile1 = row[:, None] * HIDDEN1P + unit[None, :]
    tile2 = row[:, None] * HIDDEN2P + unit2[None, :]
    if HIDDEN_BLOCK == HIDDEN1P:
        d1 = times_transposed(d2, tl.trans(w2)) * sigmoid_derivative(a1)
        tl.store(deltas_ptr + tile1, a1, mask=whole)
        tl.store(deltas_ptr + ROWS * HIDDEN1P + tile1, d1, mask=whole)
    else:
        for first in range(0, HIDDEN1P, HIDDEN_BLOCK):
            part = load_matrix(live_ptr + W2, 0, first, HIDDEN2, HIDDEN1, HIDDEN2P, HIDDEN_BLOCK)
            a = first_hidden(partials_ptr, row, rows, first + unit, SLICES, SLICE_BLOCK, ROWS, HIDDEN1P)
            d = times_transposed(d2, tl.trans(part)) * sigmoid_derivative(a)
            tl.store(deltas_ptr + tile1 + first, a, mask=whole)
            tl.store(deltas_ptr + ROWS * HIDDEN1P + tile1 + first, d, mask=whole)
    tl.store(deltas_ptr + A2 + tile2, a2, mask=whole)
    tl.store(deltas_ptr + D2 + tile2, d2, mask=whole)
    tl.store(deltas_ptr + D3 + row[:, None] * OUTPUT_BLOCK + digit[None, :], d3, mask=whole)


@jit
def load_rows(
    scratch_ptr, first_row, rows, first_column, STRIDE: tl.constexpr, H: tl.constexpr, W: tl.constexpr
):
    """Tile [H, W] of scratch rows STRIDE wide; zero past the batch's `rows`, where scratch may be stale."""
    row = first_row + tl.arange(0, H)
    column = first_column + tl.arange(0, W)
    return tl.load(
        scratch_ptr + row[:, None] * STRIDE + column[None, :], mask=(row < rows)[:, None], other=0.0
    )


@jit
def hidden2_gradient(
    deltas_ptr,
    rows,
    first_unit,
    ROWS: tl.constexpr,
    ROW_BLOCK: tl.constexpr,
    HIDDEN1P: tl.constexpr,
    HIDDEN2P: tl.constexpr,
    HIDDEN_BLOCK: tl.constexpr,
    GROUPS: tl.constexpr,
):
    """d2' a1 over the batch for HIDDEN_BLOCK units of hidden1: [HIDDEN2P, HIDDEN_BLOCK]."""
    D2: tl.constexpr = ROWS * (2 * HIDDEN1P + HIDDEN2P)
    gradient = tl.zeros([HIDDEN2P, HIDDEN_BLOCK], tl.float32)
    for first in range(0, rows, ROW_BLOCK):
        a1 = load_rows(deltas_ptr, first, rows, first_unit, HIDDEN1P, ROW_BLOCK, HIDDEN_BLOCK)
        d2 = load_rows(deltas_ptr + D2, first, rows, 0, HIDDEN2P, ROW_BLOCK, HIDDEN2P)
        gradient += dot_transposed(d2, a1, GROUPS)
    return gradient


@jit
def output_gradients(
    deltas_ptr,
    rows,
    ROWS: tl.constexpr,
    ROW_BLOCK: tl.constexpr,
    HIDDEN1P: tl.constexpr,
    HIDDEN2P: tl.constexpr,
    GROUPS: tl.constexpr,
):
    """Sums over the batch: of d2 [HIDDEN2P], of d3' a2 [16, HIDDEN2P] and of d3 [16]."""
    A2: tl.constexpr = 2 * ROWS * HIDDEN1P
    D2: tl.constexpr = A2 + ROWS * HIDDEN2P
    D3: tl.constexpr = D2 + ROWS * HIDDEN2P
    for_b2 = tl.zeros([HIDDEN2P], tl.float32)
    for_w3 = tl.zeros([OUTPUT_BLOCK, HIDDEN2P], tl.float32)
    for_b3 = tl.zeros([OUTPUT_BLOCK], tl.float32)
    for first in range(0, rows, ROW_BLOCK):
        a2 = load_rows(deltas_ptr + A2, first, rows, 0, HIDDEN2P, ROW_BLOCK, HIDDEN2P)
        d2 = load_rows(deltas_ptr + D2, first, rows, 0, HIDDEN2P, ROW_BLOCK, HIDDEN2P)
        d3 = load_rows(deltas_ptr + D3, first, rows, 0, OUTPUT_BLOCK, ROW_BLOCK, OUTPUT_BLOCK)
        for_b2 += tl.sum(d2, 0)
        for_w3 += dot_transposed(d3, a2, GROUPS)
        for_b3 += tl.sum(d3, 0)
    return for_b2, for_w3, for_b3


@jit
def slice_forward(
    images_ptr,
    w1,
    partials_ptr,
    first_row,
    rows,
    first_input,
    INPUTS: tl.constexpr,
    HIDDEN1P: tl.constexpr,
    INPUT_BLOCK: tl.constexpr,
    ROW_BLOCK: tl.constexpr,
    INPUT_GROUPS: tl.constexpr,
):
    """Phase 1 of one slice, row block by row block; partials_ptr is the slice's own [ROWS, HIDDEN1P]."""
    for first in range(0, rows, ROW_BLOCK):
        x = load_images(
            images_ptr, first_row + first, rows - first, first_input, INPUTS, ROW_BLOCK, INPUT_BLOCK
        )
        store_partials(
            partials_ptr + first * HIDDEN1P, partial_sums(x, w1, INPUT_GROUPS), ROW_BLOCK, HIDDEN1P
        )


@jit
def store_partials(partials_ptr, z, ROW_BLOCK: tl.constexpr, HIDDEN1P: tl.constexpr):
    """A row block of a slice's partial sums; rows past the batch are written too, and never read."""
    tl.store(partials_ptr + tl.arange(0, ROW_BLOCK)[:, None] * HIDDEN1P + tl.arange(0, HIDDEN1P)[None, :], z)


@jit
def slice_gradient(
    images_ptr,
    deltas_ptr,
    first_row,
    rows,
    first_input,
    INPUTS: tl.constexpr,
    HIDDEN1P: tl.constexpr,
    INPUT_BLOCK: tl.constexpr,
    ROWS: tl.constexpr,
    ROW_BLOCK: tl.constexpr,
    ROW_GROUPS: tl.constexpr,
):
    """x' d1 of one slice over the batch, row block by row block: [INPUT_BLOCK, HIDDEN1P]."""
    gradient = tl.zeros([HIDDEN1P, INPUT_BLOCK], tl.float32)
    for first in range(0, rows, ROW_BLOCK):
        x = load_images(
            images_ptr, first_row + first, rows - first, first_input, INPUTS, ROW_BLOCK, INPUT_BLOCK
        )
        d1 = load_rows(deltas_ptr + ROWS * HIDDEN1P, first, rows, 0, HIDDEN1P, ROW_BLOCK, HIDDEN1P)
        gradient += dot_transposed(d1, x, ROW_GROUPS)
    return tl.trans(gradient)
