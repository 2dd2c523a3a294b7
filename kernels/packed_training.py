"""One program trains one small network, batches of at most one tile of rows: the fast form of packed training.

The step is that of `training_step`, its activations a called y here. The first layer holds nearly all of the work. Its
update by step s and its forward pass for step s + 1 read the same weights, so both are done in one pass over chunks of
inputs:

    W1[chunk] -= learning_rate x_s[:, chunk]^T d1      z += x_{s+1}[:, chunk] W1[chunk]

That pass is the inner loop, and it runs on across the ends of epochs. The parameters stay in global memory, which
the caches hold, W1 a chunk at a time and the small layers read and written once a step; z, d1 and the activations
of a step stay in registers. W1 has an area of its own, in which the units of an input lie side by side: so a chunk is
one piece of memory, and in shared memory no 16 threads wait for one bank. It is transposed back at the end of an epoch.

Cost: 2 B K H1 FMAs a step on one SM; FMA and shared-memory throughput are the limit, images stream from L2.

Arguments of all packed kernels (the grid is one program a job here and in `packed_training_general`, none knows of
another):

    images_ptr       uint8 (meaning byte / 256) or float32 [M, pitch], pitch a multiple of 16
    labels_ptr       int32 [L]
    live_ptr         float32 [*, P], the current parameters: where jobs start and are left
    checkpoints_ptr  float32 [*, P], of which each job writes one row an epoch
    jobs_ptr         the job table, int64 [J, 8], and
    rates_ptr        its learning rates, float32 [J] (`jobs`)
    shape_ptr        int32 [4]: inputs, hidden1, hidden2, outputs, so that one build serves all widths of a tile
    TILES            a `host.tiles.PackedConfig`, compile-time

and of the fused one

    transposed_ptr   float32 [J, transposed_rows, width]: hidden1.weight transposed, zero past the true sizes
"""

from breaknet.kernels import jobs
from breaknet.kernels._triton import jit, tl
from breaknet.kernels.device_functions import (
    grouped_dot,
    keep_float32,
    load_images,
    load_job,
    pixels_to_float32,
    sigmoid,
    sigmoid_derivative,
)

OUTPUT_BLOCK = tl.constexpr(jobs.MAX_OUTPUTS)


@jit
def load_image_groups(batch_ptr, pitch, rows, start_k, TILES: tl.constexpr):
    """Inputs start_k, ... of the first `rows` of a batch in groups: float32 [input_groups, rows, chunk / input_groups].

    They are loaded one group below the other, not side by side and permuted. Triton keeps the left side of a product
    in shared memory with its last axis outermost and the others as they lie in registers: here rows innermost, so
    that a thread reads four of them at a time, else groups.
    """
    LENGTH: tl.constexpr = TILES.chunk // TILES.input_groups
    place = tl.arange(0, TILES.input_groups * TILES.rows)
    row = place % TILES.rows
    first = start_k + place // TILES.rows * LENGTH
    k = tl.arange(0, LENGTH)
    mask = (row < rows)[:, None] & (first[:, None] + k[None, :] < pitch)
    x = tl.load(batch_ptr + (row * pitch + first)[:, None] + k[None, :], mask=mask, other=0)
    return tl.reshape(pixels_to_float32(x), [TILES.input_groups, TILES.rows, LENGTH])


@jit
def copy_parameters(from_ptr, to_ptr, count, BLOCK: tl.constexpr):
    """Copy `count` float32, with a barrier on both sides: other threads wrote them and will write them again."""
    tl.debug_barrier()
    for start in range(0, count, BLOCK):
        i = start + tl.arange(0, BLOCK)
        tl.store(to_ptr + i, tl.load(from_ptr + i, mask=i < count, other=0.0), mask=i < count)
    tl.debug_barrier()


@jit
def job_batches(images_ptr, jobs_ptr, job, pitch):
    """The first of a job's images; its examples, examples a batch and epochs."""
    image_row, _, examples, batch, epochs, _, _ = load_job(jobs_ptr, job)
    return images_ptr + image_row * pitch, examples, batch, epochs


@jit
def job_network(labels_ptr, live_ptr, checkpoints_ptr, jobs_ptr, rates_ptr, job, parameters):
    """The first of a job's labels, parameters and checkpoints; its learning rate."""
    _, first_label, _, _, _, live_row, checkpoint_row = load_job(jobs_ptr, job)
    live_ptr += live_row * parameters
    checkpoints_ptr += checkpoint_row * parameters
    return labels_ptr + first_label, live_ptr, checkpoints_ptr, tl.load(rates_ptr + job)


@jit
def batches_of_pass(step, steps, batch, examples):
    """First example and rows of the two batches of a pass: whose update it applies, and whose z it computes.

    The first pass has nothing to apply, d1 being zero, and of the last nobody reads z: there the two are one.
    """
    batches = (examples + batch - 1) // batch
    old = tl.maximum(step - 1, 0) % batches * batch
    new = tl.minimum(step, tl.maximum(steps - 1, 0)) % batches * batch
    return old, tl.minimum(batch, examples - old), new, tl.minimum(batch, examples - new)


@jit
def widths(shape_ptr):
    """K, H1, H2, O and P, loaded again, so that no address made from them has to lie in a register until its use."""
    K = tl.load(shape_ptr, volatile=True)
    H1 = tl.load(shape_ptr + 1, volatile=True)
    H2 = tl.load(shape_ptr + 2, volatile=True)
    O = tl.load(shape_ptr + 3, volatile=True)
    return K, H1, H2, O, H1 * (K + 1) + H2 * (H1 + 1) + O * (H2 + 1)


@jit
def small_layers(live_ptr, shape_ptr, h, o):
    """Places of all but W1, weights as [in, out], and which units and outputs exist."""
    K, H1, H2, O, _ = widths(shape_ptr)
    # torch's order: each weight [out, in], then its bias
    b1 = live_ptr + H1 * K + h
    w2 = live_ptr + H1 * (K + 1) + h[None, :] * H1 + h[:, None]
    b2 = live_ptr + H1 * (K + 1) + H2 * H1 + h
    w3 = live_ptr + H1 * (K + 1) + H2 * (H1 + 1) + o[None, :] * H2 + h[:, None]
    b3 = live_ptr + H1 * (K + 1) + H2 * (H1 + 1) + O * H2 + o
    return b1, w2, b2, w3, b3, h < H1, h < H2, o < O


@jit
def output_delta(y3, label, valid, o):
    """d3 = 2 (y3 - onehot(label)) y3 (1 - y3), [rows, 16]; rows that are not `valid` or labelled -1 teach nothing."""
    label = tl.where(valid, label, -1)
    target = (label[:, None] == o[None, :]).to(tl.float32)
    return tl.where((label >= 0)[:, None], 2.0 * (y3 - target) * sigmoid_derivative(y3), 0.0)


@jit
def train_small_layers(z, live_ptr, shape_ptr, labels_ptr, rows, learning_rate, TILES: tl.constexpr):
    """A step of all but W1 on the first `rows` of a batch, from z [TILES.rows, width] without b1; returns d1."""
    row = tl.arange(0, TILES.rows)
    h = tl.arange(0, TILES.width)
    o = tl.arange(0, OUTPUT_BLOCK)
    # What lies past the true widths is loaded as 0 and never stored, so it takes no part.
    b1_ptr, w2_ptr, b2_ptr, w3_ptr, b3_ptr, in1, in2, out = small_layers(live_ptr, shape_ptr, h, o)
    b1 = tl.load(b1_ptr, mask=in1, other=0.0)
    w2 = tl.load(w2_ptr, mask=in1[:, None] & in2[None, :], other=0.0)
    b2 = tl.load(b2_ptr, mask=in2, other=0.0)
    w3 = tl.load(w3_ptr, mask=in2[:, None] & out[None, :], other=0.0)
    b3 = tl.load(b3_ptr, mask=out, other=0.0)

    y1 = sigmoid(z + b1[None, :])
    y2 = sigmoid(grouped_dot(y1, w2, TILES.unit_groups) + b2[None, :])
    y3 = sigmoid(grouped_dot(y2, w3, TILES.unit_groups) + b3[None, :])

    valid = row < rows
    label = keep_float32(tl.load(labels_ptr + row, mask=valid, other=0))
    d3 = output_delta(y3, label, valid, o)
    d2 = tl.dot(d3, tl.trans(w3), input_precision="ieee") * sigmoid_derivative(y2)
    d1 = grouped_dot(d2, tl.trans(w2), TILES.unit_groups) * sigmoid_derivative(y1)

    w3 -= learning_rate * grouped_dot(tl.trans(y2), d3, TILES.row_groups)
    w2 -= learning_rate * grouped_dot(tl.trans(y1), d2, TILES.row_groups)
    tl.debug_barrier()  # every thread has loaded the old parameters
    b1_ptr, w2_ptr, b2_ptr, w3_ptr, b3_ptr, in1, in2, out = small_layers(live_ptr, shape_ptr, h, o)
    tl.store(w3_ptr, w3, mask=in2[:, None] & out[None, :])
    tl.store(b3_ptr, b3 - learning_rate * tl.sum(d3, 0), mask=out)
    tl.store(w2_ptr, w2, mask=in1[:, None] & in2[None, :])
    tl.store(b2_ptr, b2 - learning_rate * tl.sum(d2, 0), mask=in2)
    tl.store(b1_ptr, b1 - learning_rate * tl.sum(d1, 0), mask=in1)
    return d1


@jit
def keep_epoch(w1_ptr, live_ptr, checkpoint_ptr, shape_ptr, COLUMNS: tl.constexpr, TILES: tl.constexpr):
    """The end of an epoch: W1, which lies transposed in rows of COLUMNS, back to its place, and all to a checkpoint."""
    K, H1, _, _, count = widths(shape_ptr)
    k = tl.arange(0, TILES.chunk)
    h = tl.arange(0, TILES.width)
    for start_k in range(0, K, TILES.chunk):
        w1 = tl.load(w1_ptr + (start_k + k)[:, None] * COLUMNS + h[None, :])
        mask = (start_k + k < K)[:, None] & (h < H1)[None, :]
        tl.store(live_ptr + h[None, :] * K + (start_k + k)[:, None], w1, mask=mask)
    copy_parameters(live_ptr, checkpoint_ptr, count, BLOCK=1024)


@jit
def packed_fused_kernel(
    images_ptr, labels_ptr, live_ptr, checkpoints_ptr, transposed_ptr, jobs_ptr, rates_ptr, shape_ptr,
    pitch, transposed_rows, TILES: tl.constexpr,
):  # fmt: skip
    ROWS: tl.constexpr = TILES.rows
    WIDTH: tl.constexpr = TILES.width
    CHUNK: tl.constexpr = TILES.chunk
    GROUPS: tl.constexpr = TILES.input_groups
    job = tl.program_id(0)
    inputs, _, _, _, parameters = widths(shape_ptr)
    images_ptr, examples, batch, epochs = job_batches(images_ptr, jobs_ptr, job, pitch)
    labels_ptr, live_ptr, checkpoints_ptr, learning_rate = job_network(
        labels_ptr, live_ptr, checkpoints_ptr, jobs_ptr, rates_ptr, job, parameters
    )
    batches = (examples + batch - 1) // batch
    steps = batches * epochs

    row = tl.arange(0, ROWS)
    k = tl.arange(0, CHUNK)
    transposed_ptr += job.to(tl.int64) * transposed_rows * WIDTH
    w1_chunk = transposed_ptr + k[:, None] * WIDTH + tl.arange(0, WIDTH)[None, :]

    d1 = tl.zeros([ROWS, WIDTH], tl.float32)
    # pass `step` applies W1's update of step - 1 and computes z for `step`; the first and the last do half of it
    for step in range(0, steps + 1):
        old, old_rows, new, rows = batches_of_pass(step, steps, batch, examples)
        old_ptr = images_ptr + old.to(tl.int64) * pitch
        new_ptr = images_ptr + new.to(tl.int64) * pitch

        z = tl.zeros([GROUPS, ROWS, WIDTH], tl.float32)
        for start_k in range(0, inputs, CHUNK):
            x_old = load_images(old_ptr, pitch, row, row < old_rows, start_k + k, BY_FOURS=True)
            x = load_image_groups(new_ptr, pitch, rows, start_k, TILES)
            # No thread may load an element twice: another may have stored it by then. `packed_tiles` sees to that by
            # giving a chunk at least as many elements as there are threads.
            w1 = tl.load(w1_chunk + start_k * WIDTH)
            w1 -= learning_rate * grouped_dot(tl.trans(x_old), d1, TILES.w1_groups)
            tl.store(w1_chunk + start_k * WIDTH, w1, mask=(start_k + k < inputs)[:, None])
            w1 = tl.reshape(w1, [GROUPS, CHUNK // GROUPS, WIDTH])
            z = tl.dot(x, w1, z, input_precision="ieee")
        tl.debug_barrier()  # what follows, and the next pass, reads parameters that other threads have stored

        if (step > 0) & (step % batches == 0):
            keep_epoch(transposed_ptr, live_ptr, checkpoints_ptr, shape_ptr, WIDTH, TILES)
            checkpoints_ptr += parameters
        if step < steps:
            d1 = train_small_layers(
                tl.sum(z, 0), live_ptr, shape_ptr, labels_ptr + new, rows, learning_rate, TILES
            )
