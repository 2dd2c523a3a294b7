"""One program trains one network of any shape within the limits: the general form of packed training.

The step is that of `packed_training.py`, written as loops over tiles of memory: three forward layers, two backward
ones, three updates, with a barrier between them. Activations y1, y2 and deltas d1, d2, d3 of the batch lie in a
scratch area of the program's own, row by row, `width` floats apart (d3: 16); the parameters are updated where they
lie. At these sizes all of it stays in the caches. Weights past the true widths are loaded as 0 and never stored,
so what else lies there takes no part.

Memory that one thread wrote and another reads is safe only past a barrier, and Triton places none for global
memory: hence the `tl.debug_barrier` after every phase.

Arguments are those of `packed_training.py`, and scratch_ptr, float32 [J, scratch_rows * (4 width + 16)].
"""

from breaknet.kernels._triton import jit, tl
from breaknet.kernels.device_functions import keep_float32, load_images, sigmoid, sigmoid_derivative
from breaknet.kernels.packed_training import (
    OUTPUT_BLOCK,
    copy_parameters,
    job_batches,
    job_network,
    output_delta,
    widths,
)


@jit
def load_tile(x_ptr, pitch, row, rows, k, LAYER: tl.constexpr):
    """[rows, columns] of a layer's input: of layer 1 the images, else an activation in scratch (no mask needed)."""
    if LAYER == 1:
        x = load_images(x_ptr, pitch, row, row < rows, k)
    else:
        x = tl.load(x_ptr + row[:, None] * pitch + k[None, :])
    return x


@jit
def layer_output(x_ptr, pitch, row, rows, w_ptr, inside, outside, LAYER: tl.constexpr, TILES: tl.constexpr):
    """y = sigmoid(x W^T + b) for one tile of rows; `inside` inputs and `outside` outputs; b lies behind W."""
    N: tl.constexpr = OUTPUT_BLOCK if LAYER == 3 else TILES.width
    n = tl.arange(0, N)
    z = tl.full([TILES.rows, N], 0.0, tl.float32)
    for start_k in range(0, inside, TILES.chunk):
        k = start_k + tl.arange(0, TILES.chunk)
        x = load_tile(x_ptr, pitch, row, rows, k, LAYER)
        mask = (k < inside)[:, None] & (n < outside)[None, :]
        w = tl.load(w_ptr + n[None, :] * inside + k[:, None], mask=mask, other=0.0)
        z = tl.dot(x, w, z, input_precision="ieee")
    b = tl.load(w_ptr + outside * inside + n, mask=n < outside, other=0.0)
    return sigmoid(z + b[None, :])


@jit
def hidden_layer(x_ptr, pitch, rows, w_ptr, inside, outside, y_ptr, LAYER: tl.constexpr, TILES: tl.constexpr):
    """A hidden layer's output for the whole batch, written to y_ptr [rows, width]."""
    WIDTH: tl.constexpr = TILES.width
    for start in range(0, rows, TILES.rows):
        row = start + tl.arange(0, TILES.rows)
        y = layer_output(x_ptr, pitch, row, rows, w_ptr, inside, outside, LAYER, TILES)
        tl.store(y_ptr + row[:, None] * WIDTH + tl.arange(0, WIDTH)[None, :], y)


@jit
def hidden_deltas(
    delta_ptr, w_ptr, y_ptr, into_ptr, rows, inside, outside, LAYER: tl.constexpr, TILES: tl.constexpr
):
    """The deltas below a layer, (delta W) y (1 - y), written to `into_ptr` [rows, width]; delta [rows, DELTA]."""
    DELTA: tl.constexpr = OUTPUT_BLOCK if LAYER == 3 else TILES.width
    BLOCK_N: tl.constexpr = OUTPUT_BLOCK if LAYER == 3 else TILES.chunk
    h = tl.arange(0, TILES.width)
    n = tl.arange(0, BLOCK_N)
    for start in range(0, rows, TILES.rows):
        row = start + tl.arange(0, TILES.rows)
        sums = tl.full([TILES.rows, TILES.width], 0.0, tl.float32)
        for start_n in range(0, outside, BLOCK_N):
            delta = tl.load(delta_ptr + row[:, None] * DELTA + (start_n + n)[None, :])
            mask = (start_n + n < outside)[:, None] & (h < inside)[None, :]
            w = tl.load(w_ptr + (start_n + n)[:, None] * inside + h[None, :], mask=mask, other=0.0)
            sums = tl.dot(delta, w, sums, input_precision="ieee")
        block = row[:, None] * TILES.width + h[None, :]
        tl.store(into_ptr + block, sums * sigmoid_derivative(tl.load(y_ptr + block)))


@jit
def update_layer(
    x_ptr,
    pitch,
    delta_ptr,
    w_ptr,
    rows,
    learning_rate,
    inside,
    outside,
    LAYER: tl.constexpr,
    TILES: tl.constexpr,
):
    """W -= learning_rate delta^T x and b -= learning_rate sum of delta, over the whole batch; delta [rows, N]."""
    N: tl.constexpr = OUTPUT_BLOCK if LAYER == 3 else TILES.width
    GROUPS: tl.constexpr = TILES.rows // 16
    CHUNK: tl.constexpr = TILES.chunk
    k = tl.arange(0, CHUNK)
    n = tl.arange(0, N)
    for start_k in range(0, inside, CHUNK):
        sums = tl.zeros([GROUPS, CHUNK, N], tl.float32)
        for start in range(0, rows, TILES.rows):
            row = start + tl.arange(0, TILES.rows)
            x = load_tile(x_ptr, pitch, row, rows, start_k + k, LAYER)
            delta = tl.load(delta_ptr + row[:, None] * N + n[None, :])
            x = tl.permute(tl.reshape(x, [GROUPS, 16, CHUNK]), [0, 2, 1])
            sums = tl.dot(x, tl.reshape(delta, [GROUPS, 16, N]), sums, input_precision="ieee")
        mask = (start_k + k < inside)[:, None] & (n < outside)[None, :]
        block = w_ptr + n[None, :] * inside + (start_k + k)[:, None]
        w = tl.load(block, mask=mask, other=0.0)
        tl.store(block, w - learning_rate * tl.sum(sums, 0), mask=mask)
    total = tl.zeros([N], tl.float32)
    for start in range(0, rows, TILES.rows):
        row = start + tl.arange(0, TILES.rows)
        total += tl.sum(tl.load(delta_ptr + row[:, None] * N + n[None, :]), 0)
    b_ptr = w_ptr + outside * inside
    b = tl.load(b_ptr + n, mask=n < outside, other=0.0)
    tl.debug_barrier()  # every warp loads all of b, and one of them stores it
    tl.store(b_ptr + n, b - learning_rate * total, mask=n < outside)


@jit
def packed_looped_kernel(
    images_ptr, labels_ptr, live_ptr, checkpoints_ptr, scratch_ptr, jobs_ptr, rates_ptr, shape_ptr,
    pitch, scratch_rows, TILES: tl.constexpr,
):  # fmt: skip
    WIDTH: tl.constexpr = TILES.width
    job = tl.program_id(0)
    inputs, hidden1, hidden2, outputs, count = widths(shape_ptr)
    # torch's order: each weight [out, in], then its bias
    images_ptr, examples, batch, epochs = job_batches(images_ptr, jobs_ptr, job, pitch)
    labels_ptr, w1_ptr, checkpoints_ptr, learning_rate = job_network(
        labels_ptr, live_ptr, checkpoints_ptr, jobs_ptr, rates_ptr, job, count
    )
    w2_ptr = w1_ptr + hidden1 * (inputs + 1)
    w3_ptr = w2_ptr + hidden2 * (hidden1 + 1)

    y1_ptr = scratch_ptr + job.to(tl.int64) * scratch_rows * (4 * WIDTH + OUTPUT_BLOCK)
    y2_ptr = y1_ptr + scratch_rows * WIDTH
    d1_ptr = y2_ptr + scratch_rows * WIDTH
    d2_ptr = d1_ptr + scratch_rows * WIDTH
    d3_ptr = d2_ptr + scratch_rows * WIDTH

    o = tl.arange(0, OUTPUT_BLOCK)
    for _epoch in range(0, epochs):
        x_ptr = images_ptr
        for first in range(0, examples, batch):
            rows = tl.minimum(batch, examples - first)

            hidden_layer(x_ptr, pitch, rows, w1_ptr, inputs, hidden1, y1_ptr, 1, TILES)
            tl.debug_barrier()
            hidden_layer(y1_ptr, WIDTH, rows, w2_ptr, hidden1, hidden2, y2_ptr, 2, TILES)
            tl.debug_barrier()
            for start in range(0, rows, TILES.rows):
                row = start + tl.arange(0, TILES.rows)
                y3 = layer_output(y2_ptr, WIDTH, row, rows, w3_ptr, hidden2, outputs, 3, TILES)
                label = keep_float32(tl.load(labels_ptr + first + row, mask=row < rows, other=0))
                d3 = output_delta(y3, label, row < rows, o)
                tl.store(d3_ptr + row[:, None] * OUTPUT_BLOCK + o[None, :], d3)
            tl.debug_barrier()
            hidden_deltas(d3_ptr, w3_ptr, y2_ptr, d2_ptr, rows, hidden2, outputs, 3, TILES)
            tl.debug_barrier()
            hidden_deltas(d2_ptr, w2_ptr, y1_ptr, d1_ptr, rows, hidden1, hidden2, 2, TILES)
            tl.debug_barrier()
            update_layer(x_ptr, pitch, d1_ptr, w1_ptr, rows, learning_rate, inputs, hidden1, 1, TILES)
            update_layer(y1_ptr, WIDTH, d2_ptr, w2_ptr, rows, learning_rate, hidden1, hidden2, 2, TILES)
            update_layer(y2_ptr, WIDTH, d3_ptr, w3_ptr, rows, learning_rate, hidden2, outputs, 3, TILES)
            tl.debug_barrier()
            x_ptr += batch.to(tl.int64) * pitch
        copy_parameters(w1_ptr, checkpoints_ptr, count, BLOCK=1024)
        checkpoints_ptr += count
