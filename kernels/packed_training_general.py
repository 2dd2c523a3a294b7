"""One program trains one network of any shape within the limits: the general form of packed training.

The step is that of `packed_training.py`, written as loops over tiles of memory: three forward layers, two backward
ones, three updates, with a barrier between them. Activations y1, y2 and deltas d1, d2, d3 of the batch lie in a
scratch area of the program's own, row by row, WIDTH floats apart (d3: 16); the parameters are updated where they
lie. At these sizes all of it stays in the caches. Weights past the true widths are loaded as 0 and never stored,
so what else lies there takes no part.

Memory that one thread wrote and another reads is safe only past a barrier, and Triton places none for global
memory: hence the `tl.debug_barrier` after every phase.

Arguments are those of `packed_training.py`, and scratch_ptr, float32 [J, scratch_rows * (4 WIDTH + 16)].
"""

from breaknet.kernels._triton import jit, tl
from breaknet.kernels.device_functions import sigmoid, sigmoid_derivative
from breaknet.kernels.hidden_origin import hidden_origin
from breaknet.kernels.packed_training import copy_parameters, load_images


@jit
def load_tile(x_ptr, pitch, row, valid, k, IMAGES: tl.constexpr, BYTES: tl.constexpr):
    """[rows, columns] of a layer's input: the images, or an activation in the scratch area (no mask needed)."""
    if IMAGES:
        x = load_images(x_ptr, pitch, row, valid, k, BYTES)
    else:
        x = tl.load(x_ptr + row[:, None] * pitch + k[None, :])
    return x


@jit
def layer_output(
    x_ptr, pitch, row, valid, w_ptr, b_ptr, inside, outside, n,
    IMAGES: tl.constexpr, BYTES: tl.constexpr, BLOCK_B: tl.constexpr, BLOCK_K: tl.constexpr, N: tl.constexpr,
):  # fmt: skip
    """y = sigmoid(x W^T + b) for one tile of rows."""
    k = tl.arange(0, BLOCK_K)
    z = tl.zeros([BLOCK_B, N], tl.float32)
    for start_k in range(0, inside, BLOCK_K):
        x = load_tile(x_ptr, pitch, row, valid, start_k + k, IMAGES, BYTES)
        mask = (start_k + k < inside)[:, None] & (n < outside)[None, :]
        w = tl.load(w_ptr + n[None, :] * inside + (start_k + k)[:, None], mask=mask, other=0.0)
        z = tl.dot(x, w, z, input_precision="ieee")
    b = tl.load(b_ptr + n, mask=n < outside, other=0.0)
    return sigmoid(z + b[None, :])


@jit
def hidden_deltas(
    delta_ptr, w_ptr, y_ptr, into_ptr, rows, inside, outside,
    DELTA: tl.constexpr, BLOCK_B: tl.constexpr, BLOCK_N: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    """The deltas below a layer, (delta W) y (1 - y), written to `into_ptr` [rows, WIDTH]; delta [rows, DELTA]."""
    h = tl.arange(0, WIDTH)
    n = tl.arange(0, BLOCK_N)
    for start in range(0, rows, BLOCK_B):
        row = start + tl.arange(0, BLOCK_B)
        sums = tl.zeros([BLOCK_B, WIDTH], tl.float32)
        for start_n in range(0, outside, BLOCK_N):
            delta = tl.load(delta_ptr + row[:, None] * DELTA + (start_n + n)[None, :])
            mask = (start_n + n < outside)[:, None] & (h < inside)[None, :]
            w = tl.load(w_ptr + (start_n + n)[:, None] * inside + h[None, :], mask=mask, other=0.0)
            sums = tl.dot(delta, w, sums, input_precision="ieee")
        block = row[:, None] * WIDTH + h[None, :]
        tl.store(into_ptr + block, sums * sigmoid_derivative(tl.load(y_ptr + block)))


@jit
def update_layer(
    x_ptr, pitch, delta_ptr, w_ptr, b_ptr, rows, rate, inside, outside,
    IMAGES: tl.constexpr, BYTES: tl.constexpr,
    BLOCK_B: tl.constexpr, BLOCK_K: tl.constexpr, N: tl.constexpr,
):  # fmt: skip
    """W -= rate delta^T x and b -= rate sum of delta, over all rows of the batch; delta [rows, N]."""
    GROUPS: tl.constexpr = BLOCK_B // 16
    k = tl.arange(0, BLOCK_K)
    n = tl.arange(0, N)
    for start_k in range(0, inside, BLOCK_K):
        sums = tl.zeros([GROUPS, BLOCK_K, N], tl.float32)
        for start in range(0, rows, BLOCK_B):
            row = start + tl.arange(0, BLOCK_B)
            x = load_tile(x_ptr, pitch, row, row < rows, start_k + k, IMAGES, BYTES)
            delta = tl.load(delta_ptr + row[:, None] * N + n[None, :])
            x = tl.permute(tl.reshape(x, [GROUPS, 16, BLOCK_K]), [0, 2, 1])
            sums = tl.dot(x, tl.reshape(delta, [GROUPS, 16, N]), sums, input_precision="ieee")
        mask = (start_k + k < inside)[:, None] & (n < outside)[None, :]
        block = w_ptr + n[None, :] * inside + (start_k + k)[:, None]
        w = tl.load(block, mask=mask, other=0.0)
        tl.store(block, w - rate * tl.sum(sums, 0), mask=mask)
    total = tl.zeros([N], tl.float32)
    for start in range(0, rows, BLOCK_B):
        row = start + tl.arange(0, BLOCK_B)
        total += tl.sum(tl.load(delta_ptr + row[:, None] * N + n[None, :]), 0)
    b = tl.load(b_ptr + n, mask=n < outside, other=0.0)
    tl.debug_barrier()  # every warp loads all of b, and one of them stores it
    tl.store(b_ptr + n, b - rate * total, mask=n < outside)


@jit(do_not_specialize=["parameters_pitch"])
def packed_looped_kernel(
    images_ptr, labels_ptr, parameters_ptr, checkpoints_ptr, scratch_ptr, jobs_ptr, rates_ptr, shape_ptr,
    pitch, parameters_pitch, scratch_rows,
    BYTES: tl.constexpr, BLOCK_B: tl.constexpr, BLOCK_K: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    OUT: tl.constexpr = 16
    job = tl.program_id(0)
    table = jobs_ptr + job * 6
    images_ptr += tl.load(table) * pitch
    labels_ptr += tl.load(table + 1)
    examples = tl.load(table + 2).to(tl.int32)
    batch = tl.load(table + 3).to(tl.int32)
    epochs = tl.load(table + 4).to(tl.int32)
    checkpoints_ptr += tl.load(table + 5)
    rate = tl.load(rates_ptr + job)
    inputs = tl.load(shape_ptr)
    hidden1 = tl.load(shape_ptr + 1)
    hidden2 = tl.load(shape_ptr + 2)
    outputs = tl.load(shape_ptr + 3)

    # torch's order: each weight [out, in], then its bias
    w1_ptr = parameters_ptr + job.to(tl.int64) * parameters_pitch
    b1_ptr = w1_ptr + hidden1 * inputs
    w2_ptr = b1_ptr + hidden1
    b2_ptr = w2_ptr + hidden2 * hidden1
    w3_ptr = b2_ptr + hidden2
    b3_ptr = w3_ptr + outputs * hidden2
    count = hidden1 * (inputs + 1) + hidden2 * (hidden1 + 1) + outputs * (hidden2 + 1)

    y1_ptr = scratch_ptr + job.to(tl.int64) * scratch_rows * (4 * WIDTH + OUT)
    y2_ptr = y1_ptr + scratch_rows * WIDTH
    d1_ptr = y2_ptr + scratch_rows * WIDTH
    d2_ptr = d1_ptr + scratch_rows * WIDTH
    d3_ptr = d2_ptr + scratch_rows * WIDTH

    h = tl.arange(0, WIDTH)
    o = tl.arange(0, OUT)
    for _epoch in range(0, epochs):
        x_ptr = images_ptr
        for first in range(0, examples, batch):
            rows = tl.minimum(batch, examples - first)

            for start in range(0, rows, BLOCK_B):
                row = start + tl.arange(0, BLOCK_B)
                y1 = layer_output(
                    x_ptr,
                    pitch,
                    row,
                    row < rows,
                    w1_ptr,
                    b1_ptr,
                    inputs,
                    hidden1,
                    h,
                    True,
                    BYTES,
                    BLOCK_B,
                    BLOCK_K,
                    WIDTH,
                )
                tl.store(y1_ptr + row[:, None] * WIDTH + h[None, :], y1)
            tl.debug_barrier()
            for start in range(0, rows, BLOCK_B):
                row = start + tl.arange(0, BLOCK_B)
                y2 = layer_output(
                    y1_ptr,
                    WIDTH,
                    row,
                    row < rows,
                    w2_ptr,
                    b2_ptr,
                    hidden1,
                    hidden2,
                    h,
                    False,
                    BYTES,
                    BLOCK_B,
                    BLOCK_K,
                    WIDTH,
                )
                tl.store(y2_ptr + row[:, None] * WIDTH + h[None, :], y2)
            tl.debug_barrier()
            for start in range(0, rows, BLOCK_B):
                row = start + tl.arange(0, BLOCK_B)
                y3 = layer_output(
                    y2_ptr,
                    WIDTH,
                    row,
                    row < rows,
                    w3_ptr,
                    b3_ptr,
                    hidden2,
                    outputs,
                    o,
                    False,
                    BYTES,
                    BLOCK_B,
                    BLOCK_K,
                    OUT,
                )
                label = hidden_origin(
                    tl.load(labels_ptr + first + row, mask=row < rows, other=0).to(tl.int32)
                )
                label = tl.where(row < rows, label, -1)
                target = (label[:, None] == o[None, :]).to(tl.float32)
                d3 = 2.0 * (y3 - target) * sigmoid_derivative(y3)
                d3 = tl.where((label >= 0)[:, None], d3, 0.0)  # rows past the batch teach nothing
                tl.store(d3_ptr + row[:, None] * OUT + o[None, :], d3)
            tl.debug_barrier()
            hidden_deltas(d3_ptr, w3_ptr, y2_ptr, d2_ptr, rows, hidden2, outputs, OUT, BLOCK_B, OUT, WIDTH)
            tl.debug_barrier()
            hidden_deltas(
                d2_ptr, w2_ptr, y1_ptr, d1_ptr, rows, hidden1, hidden2, WIDTH, BLOCK_B, BLOCK_K, WIDTH
            )
            tl.debug_barrier()
            update_layer(
                x_ptr,
                pitch,
                d1_ptr,
                w1_ptr,
                b1_ptr,
                rows,
                rate,
                inputs,
                hidden1,
                True,
                BYTES,
                BLOCK_B,
                BLOCK_K,
                WIDTH,
            )
            update_layer(
                y1_ptr,
                WIDTH,
                d2_ptr,
                w2_ptr,
                b2_ptr,
                rows,
                rate,
                hidden1,
                hidden2,
                False,
                BYTES,
                BLOCK_B,
                BLOCK_K,
                WIDTH,
            )
            update_layer(
                y2_ptr,
                WIDTH,
                d3_ptr,
                w3_ptr,
                b3_ptr,
                rows,
                rate,
                hidden2,
                outputs,
                False,
                BYTES,
                BLOCK_B,
                BLOCK_K,
                OUT,
            )
            tl.debug_barrier()
            x_ptr += batch.to(tl.int64) * pitch
        copy_parameters(w1_ptr, checkpoints_ptr, count, BLOCK=1024)
        checkpoints_ptr += count
