"""One program trains one small network, batches of at most one tile of rows: the fast form of packed training.

A step of plain SGD on z = x W^T + b, y = sigmoid(z), cost = sum (y3 - onehot)^2 is

    forward   y1 = s(x W1^T + b1)    y2 = s(y1 W2^T + b2)    y3 = s(y2 W3^T + b3)
    backward  d3 = 2 (y3 - t) y3 (1 - y3)    d2 = d3 W3 y2 (1 - y2)    d1 = d2 W2 y1 (1 - y1)
    update    W -= rate d^T y_below    b -= rate sum over rows of d

The first layer holds nearly all of the work. Its update by step s and its forward pass for step s + 1 read the
same weights, so both are done in one pass over chunks of BLOCK_K inputs:

    W1[chunk] -= rate x_s[:, chunk]^T d1      z += x_{s+1}[:, chunk] W1[chunk]

That pass is the inner loop, and it runs on across the ends of epochs. The parameters stay in global memory, which
the caches hold, W1 a chunk at a time and the small layers read and written once a step; z, d1 and the activations
of a step stay in registers. W1 has an area of its own, in which the units of an input lie side by side: so a chunk is
one piece of memory, and in shared memory no 16 threads wait for one bank. It is turned back at the end of an epoch.

Arguments of both packed kernels (J jobs, the grid is one program each, none knows of another):

    images_ptr       uint8 (meaning byte / 256) or float32 [N, pitch], pitch a multiple of 16
    labels_ptr       uint8, flat
    parameters_ptr   float32 [J, parameters_pitch]: each row in torch's order; where jobs start and are left
    checkpoints_ptr  float32, flat: each job's parameters after each epoch, [epochs, P] from its offset on
    jobs_ptr         int64 [J, 6]: first image, first label, examples, batch, epochs, checkpoint offset
    rates_ptr        float32 [J]: learning rates
    shape_ptr        int32 [4]: inputs, hidden1, hidden2, outputs

and of the fused one

    turned_ptr       float32 [J, turned_rows, WIDTH]: hidden1.weight transposed, zero past the true sizes
"""

from breaknet.kernels._triton import jit, tl
from breaknet.kernels.device_functions import sigmoid, sigmoid_derivative
from breaknet.kernels.group_sum import sum_groups
from breaknet.kernels.hidden_origin import hidden_origin


@jit
def image_values(x, BYTES: tl.constexpr):
    """float32 of loaded images, which are bytes or float32."""
    if BYTES:
        x = hidden_origin(x.to(tl.float32)) * (1.0 / 256.0)
    return x


@jit
def load_images(batch_ptr, pitch, row, valid, k, BYTES: tl.constexpr, BY_FOURS: tl.constexpr = False):
    """float32 [rows, inputs] of a batch; rows that are not `valid` and columns past the pitch are 0.

    BY_FOURS has a thread load 4 bytes, not 16: eight neighbours then hold 32 inputs of one row, which they can
    store side by side in shared memory. With 16 bytes each, those that store at a time hold four rows, and four
    wait for one bank.
    """
    x_ptr = batch_ptr + row[:, None] * pitch + k[None, :]
    if BY_FOURS:
        # true of more than 4, but told only this much Triton loads no more than 4 bytes at a time
        x_ptr = tl.multiple_of(x_ptr, [4, 4])
    return image_values(tl.load(x_ptr, mask=valid[:, None] & (k < pitch)[None, :], other=0), BYTES)


@jit
def load_image_groups(
    batch_ptr, pitch, rows, start_k, BLOCK_B: tl.constexpr, GROUPS: tl.constexpr, LENGTH: tl.constexpr,
    BYTES: tl.constexpr,
):  # fmt: skip
    """Inputs start_k, ... of the first `rows` of a batch in groups: float32 [GROUPS, BLOCK_B, LENGTH].

    They are loaded one group below the other, not side by side and permuted. Triton keeps the left side of a product
    in shared memory with its last axis outermost and the others as they lie in registers: here rows innermost, so
    that a thread reads four of them at a time, else groups.
    """
    row = tl.arange(0, GROUPS * BLOCK_B) % BLOCK_B
    first = start_k + tl.arange(0, GROUPS * BLOCK_B) // BLOCK_B * LENGTH
    k = tl.arange(0, LENGTH)
    mask = (row < rows)[:, None] & (first[:, None] + k[None, :] < pitch)
    x = tl.load(batch_ptr + (row * pitch + first)[:, None] + k[None, :], mask=mask, other=0)
    return tl.reshape(image_values(x, BYTES), [GROUPS, BLOCK_B, LENGTH])


@jit
def copy_parameters(from_ptr, to_ptr, count, BLOCK: tl.constexpr):
    """Copy `count` float32, with a barrier on both sides: other threads wrote them and will write them again."""
    tl.debug_barrier()
    i = tl.arange(0, BLOCK)
    for start in range(0, count, BLOCK):
        tl.store(
            to_ptr + start + i,
            tl.load(from_ptr + start + i, mask=start + i < count, other=0.0),
            mask=start + i < count,
        )
    tl.debug_barrier()


@jit
def grouped_dot(a, b, M: tl.constexpr, K: tl.constexpr, N: tl.constexpr, GROUPS: tl.constexpr):
    """a b, [M, N] from [M, K] and [K, N], the K axis in GROUPS that are added up at the end.

    A thread then owns a 4 x 4 block of one group even where M x N alone is too small for that, and holds no more
    than K / GROUPS rows of operands in registers at a time.
    """
    if GROUPS == 1:
        product = tl.dot(a, b, input_precision="ieee")
    else:
        a = tl.permute(tl.reshape(a, [M, GROUPS, K // GROUPS]), [1, 0, 2])
        b = tl.reshape(b, [GROUPS, K // GROUPS, N])
        product = sum_groups(tl.dot(a, b, input_precision="ieee"))
    return product


@jit
def widths(shape_ptr):
    """K, H1, H2 and O, loaded anew, so that no address made from them has to lie in a register till its next use."""
    K = tl.load(shape_ptr, volatile=True)
    H1 = tl.load(shape_ptr + 1, volatile=True)
    H2 = tl.load(shape_ptr + 2, volatile=True)
    O = tl.load(shape_ptr + 3, volatile=True)
    return K, H1, H2, O


@jit
def small_parameters(parameters_ptr, shape_ptr, h, o):
    """Where all but W1 lie, weights as [in, out], and which units and outputs exist."""
    K, H1, H2, O = widths(shape_ptr)
    # torch's order: each weight [out, in], then its bias
    b1 = parameters_ptr + H1 * K + h
    w2 = parameters_ptr + H1 * (K + 1) + h[None, :] * H1 + h[:, None]
    b2 = parameters_ptr + H1 * (K + 1) + H2 * H1 + h
    w3 = parameters_ptr + H1 * (K + 1) + H2 * (H1 + 1) + o[None, :] * H2 + h[:, None]
    b3 = parameters_ptr + H1 * (K + 1) + H2 * (H1 + 1) + O * H2 + o
    return b1, w2, b2, w3, b3, h < H1, h < H2, o < O


@jit(do_not_specialize=["parameters_pitch"])
def packed_fused_kernel(
    images_ptr, labels_ptr, parameters_ptr, checkpoints_ptr, jobs_ptr, rates_ptr, shape_ptr, turned_ptr,
    pitch, parameters_pitch, turned_rows,
    BYTES: tl.constexpr, BLOCK_B: tl.constexpr, BLOCK_K: tl.constexpr, WIDTH: tl.constexpr,
    K_GROUPS: tl.constexpr, W1_GROUPS: tl.constexpr, W2_GROUPS: tl.constexpr, Y_GROUPS: tl.constexpr,
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
    parameters_ptr += job.to(tl.int64) * parameters_pitch
    rate = tl.load(rates_ptr + job)
    batches = (examples + batch - 1) // batch
    steps = batches * epochs

    row = tl.arange(0, BLOCK_B)
    k = tl.arange(0, BLOCK_K)
    h = tl.arange(0, WIDTH)
    o = tl.arange(0, OUT)
    inputs = tl.load(shape_ptr)
    turned_ptr += job.to(tl.int64) * turned_rows * WIDTH
    w1_chunk = turned_ptr + k[:, None] * WIDTH + h[None, :]

    d1 = tl.zeros([BLOCK_B, WIDTH], tl.float32)
    # pass `step` applies W1's update of step - 1 and computes z for `step`; the first and the last do half of it
    for step in range(0, steps + 1):
        start_old = tl.maximum(step - 1, 0) % batches * batch
        start = tl.minimum(step, tl.maximum(steps - 1, 0)) % batches * batch
        old_ptr = images_ptr + start_old.to(tl.int64) * pitch
        new_ptr = images_ptr + start.to(tl.int64) * pitch
        old_valid = row < tl.minimum(batch, examples - start_old)
        rows = tl.minimum(batch, examples - start)
        valid = row < rows

        z = tl.zeros([K_GROUPS, BLOCK_B, WIDTH], tl.float32)
        for start_k in range(0, inputs, BLOCK_K):
            x_old = load_images(old_ptr, pitch, row, old_valid, start_k + k, BYTES, BY_FOURS=True)
            x = load_image_groups(
                new_ptr, pitch, rows, start_k, BLOCK_B, K_GROUPS, BLOCK_K // K_GROUPS, BYTES
            )
            # No thread may load an element twice: another may have stored it by then. `plan` sees to that by
            # giving a chunk at least as many elements as there are threads.
            w1 = tl.load(w1_chunk + start_k * WIDTH)
            w1 -= rate * grouped_dot(tl.trans(x_old), d1, BLOCK_K, BLOCK_B, WIDTH, W1_GROUPS)
            tl.store(w1_chunk + start_k * WIDTH, w1, mask=(start_k + k < inputs)[:, None])
            w1 = tl.reshape(w1, [K_GROUPS, BLOCK_K // K_GROUPS, WIDTH])
            z = tl.dot(x, w1, z, input_precision="ieee")
        tl.debug_barrier()  # what follows, and the next pass, reads parameters that other threads have stored

        if (step > 0) & (step % batches == 0):
            K, H1, H2, O = widths(shape_ptr)
            count = H1 * (K + 1) + H2 * (H1 + 1) + O * (H2 + 1)
            for start_k in range(0, K, BLOCK_K):
                w1 = tl.load(w1_chunk + start_k * WIDTH)
                mask = (start_k + k < K)[:, None] & (h < H1)[None, :]
                tl.store(parameters_ptr + h[None, :] * K + (start_k + k)[:, None], w1, mask=mask)
            copy_parameters(parameters_ptr, checkpoints_ptr, count, BLOCK=1024)
            checkpoints_ptr += count

        if step < steps:
            # What lies past the true widths is loaded as 0 and never stored, so it takes no part.
            b1_ptr, w2_ptr, b2_ptr, w3_ptr, b3_ptr, in1, in2, out = small_parameters(
                parameters_ptr, shape_ptr, h, o
            )
            b1 = tl.load(b1_ptr, mask=in1, other=0.0)
            w2 = tl.load(w2_ptr, mask=in1[:, None] & in2[None, :], other=0.0)
            b2 = tl.load(b2_ptr, mask=in2, other=0.0)
            w3 = tl.load(w3_ptr, mask=in2[:, None] & out[None, :], other=0.0)
            b3 = tl.load(b3_ptr, mask=out, other=0.0)

            y1 = sigmoid(tl.sum(z, 0) + b1[None, :])
            y2 = sigmoid(grouped_dot(y1, w2, BLOCK_B, WIDTH, WIDTH, Y_GROUPS) + b2[None, :])
            y3 = sigmoid(grouped_dot(y2, w3, BLOCK_B, WIDTH, OUT, Y_GROUPS) + b3[None, :])

            label = hidden_origin(tl.load(labels_ptr + start + row, mask=valid, other=0).to(tl.int32))
            label = tl.where(valid, label, -1)
            target = (label[:, None] == o[None, :]).to(tl.float32)
            d3 = 2.0 * (y3 - target) * sigmoid_derivative(y3)
            d3 = tl.where((label >= 0)[:, None], d3, 0.0)  # rows past the batch teach nothing
            d2 = tl.dot(d3, tl.trans(w3), input_precision="ieee") * sigmoid_derivative(y2)
            d1 = grouped_dot(d2, tl.trans(w2), BLOCK_B, WIDTH, WIDTH, Y_GROUPS) * sigmoid_derivative(y1)

            w3 -= rate * grouped_dot(tl.trans(y2), d3, WIDTH, BLOCK_B, OUT, W2_GROUPS)
            w2 -= rate * grouped_dot(tl.trans(y1), d2, WIDTH, BLOCK_B, WIDTH, W2_GROUPS)
            tl.debug_barrier()  # every thread has loaded the old parameters
            b1_ptr, w2_ptr, b2_ptr, w3_ptr, b3_ptr, in1, in2, out = small_parameters(
                parameters_ptr, shape_ptr, h, o
            )
            tl.store(w3_ptr, w3, mask=in2[:, None] & out[None, :])
            tl.store(b3_ptr, b3 - rate * tl.sum(d3, 0), mask=out)
            tl.store(w2_ptr, w2, mask=in1[:, None] & in2[None, :])
            tl.store(b2_ptr, b2 - rate * tl.sum(d2, 0), mask=in2)
            tl.store(b1_ptr, b1 - rate * tl.sum(d1, 0), mask=in1)
