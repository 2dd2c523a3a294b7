"""One network trained by many programs in one launch: the trainer for one run, or a few side by side.

    grid      (jobs * PROGRAMS,). A job's programs: SLICES slices of the inputs, then one owner of W2 for every
              HIDDEN_BLOCK units of hidden1, then one owner of b2, W3 and b3. Jobs share no barrier.
    held      Each program keeps its parameters in registers for the whole launch. The owners also store theirs to
              the live row after every step, for all to read. The next batch's pixels are loaded before the barrier
              that precedes their use.
    a step    phase 1 (slices)   partial sums over their inputs -> partials       then barrier 1
              phase 2 (slices)   all deltas of a few rows each  -> deltas         then barrier 2
              phase 3 (all)      updates; faster programs go on to the next step's phase 1 meanwhile

    Two barriers suffice: partials are read before barrier 2 and overwritten after it; deltas are read before the
    next barrier 1 and overwritten after it; W2, b2, W3 and b3 are stored between barrier 2 and the next barrier 1
    and read between that one and the next barrier 2.

Arguments, all contiguous: images uint8 (meaning byte / 256) or float32 [M, K]; labels int32 [L]; live float32
[*, P]; checkpoints float32 [*, P], of which each job writes one row an epoch; partials and deltas, float32 scratch
(`training_step`); arrivals int32 [jobs * COUNTER_STRIDE], zero; the job table int64 [jobs, 8] and the rates
float32 [jobs] of `jobs`. `first_program` is 0 except in tests, which run each program as a process.
"""

from breaknet.kernels import jobs as layout
from breaknet.kernels._triton import jit, tl
from breaknet.kernels.grid_barrier import COUNTER_STRIDE, grid_barrier
from breaknet.kernels.training_step import (
    OUTPUT_BLOCK,
    dot_transposed,
    hidden2_gradient,
    load_images,
    load_matrix,
    load_rows,
    load_slice,
    output_gradients,
    partial_sums,
    row_deltas,
    slice_forward,
    slice_gradient,
    store_matrix,
    store_partials,
    store_slice,
)

IMAGE_ROW = tl.constexpr(layout.IMAGE_ROW)
LABEL = tl.constexpr(layout.LABEL)
EXAMPLES = tl.constexpr(layout.EXAMPLES)
BATCH = tl.constexpr(layout.BATCH)
EPOCHS = tl.constexpr(layout.EPOCHS)
LIVE_ROW = tl.constexpr(layout.LIVE_ROW)
CHECKPOINT_ROW = tl.constexpr(layout.CHECKPOINT_ROW)
JOB_COLUMNS = tl.constexpr(layout.JOB_COLUMNS)
_COUNTER_STRIDE = tl.constexpr(COUNTER_STRIDE)


@jit(do_not_specialize=["first_program"])
def cooperative_training_kernel(
    images_ptr,
    labels_ptr,
    live_ptr,
    checkpoints_ptr,
    partials_ptr,
    deltas_ptr,
    arrivals_ptr,
    jobs_ptr,
    rates_ptr,
    first_program,
    INPUTS: tl.constexpr,
    HIDDEN1: tl.constexpr,
    HIDDEN2: tl.constexpr,
    OUTPUTS: tl.constexpr,
    HIDDEN1P: tl.constexpr,
    HIDDEN2P: tl.constexpr,
    HIDDEN_BLOCK: tl.constexpr,
    INPUT_BLOCK: tl.constexpr,
    SLICES: tl.constexpr,
    SLICE_BLOCK: tl.constexpr,
    ROWS: tl.constexpr,
    ROW_BLOCK: tl.constexpr,
    DELTA_ROWS: tl.constexpr,
    INPUT_GROUPS: tl.constexpr,
    ROW_GROUPS: tl.constexpr,
    INTERPRETED: tl.constexpr,
):
    OWNERS: tl.constexpr = HIDDEN1P // HIDDEN_BLOCK
    PROGRAMS: tl.constexpr = SLICES + OWNERS + 1
    W2: tl.constexpr = HIDDEN1 * (INPUTS + 1)
    B2: tl.constexpr = W2 + HIDDEN2 * HIDDEN1
    W3: tl.constexpr = B2 + HIDDEN2
    B3: tl.constexpr = W3 + OUTPUTS * HIDDEN2
    P: tl.constexpr = B3 + OUTPUTS

    program = tl.program_id(0) + first_program
    job = program // PROGRAMS
    part = program % PROGRAMS
    table = jobs_ptr + job * JOB_COLUMNS
    image_row = tl.load(table + IMAGE_ROW)
    labels = labels_ptr + tl.load(table + LABEL)
    examples = tl.load(table + EXAMPLES).to(tl.int32)
    batch = tl.load(table + BATCH).to(tl.int32)
    epochs = tl.load(table + EPOCHS).to(tl.int32)
    live = live_ptr + tl.load(table + LIVE_ROW) * P
    checkpoint = checkpoints_ptr + tl.load(table + CHECKPOINT_ROW) * P
    rate = tl.load(rates_ptr + job)
    partials = partials_ptr + job.to(tl.int64) * (SLICES * ROWS * HIDDEN1P)
    deltas = deltas_ptr + job.to(tl.int64) * (ROWS * (2 * HIDDEN1P + 2 * HIDDEN2P + OUTPUT_BLOCK))
    arrivals = arrivals_ptr + job * _COUNTER_STRIDE
    steps = (examples + batch - 1) // batch
    done = 0  # examples of this epoch trained on
    target = 0  # arrivals that open the next barrier

    if part < SLICES:
        first_input = part * INPUT_BLOCK
        own_partials = partials + part * (ROWS * HIDDEN1P)
        w1 = load_slice(live, first_input, INPUTS, HIDDEN1, HIDDEN1P, INPUT_BLOCK)
        if ROWS == ROW_BLOCK:
            rows = tl.minimum(batch, examples)
            x = load_images(images_ptr, image_row, rows, first_input, INPUTS, ROW_BLOCK, INPUT_BLOCK)
        for _ in range(epochs):
            for _ in range(steps):
                rows = tl.minimum(batch, examples - done)
                row = image_row + done
                if ROWS == ROW_BLOCK:
                    store_partials(own_partials, partial_sums(x, w1, INPUT_GROUPS), ROW_BLOCK, HIDDEN1P)
                else:
                    slice_forward(
                        images_ptr, w1, own_partials, row, rows, first_input,
                        INPUTS, HIDDEN1P, INPUT_BLOCK, ROW_BLOCK, INPUT_GROUPS,
                    )  # fmt: skip
                target += PROGRAMS
                grid_barrier(arrivals, target, INTERPRETED)
                for first in range(part * DELTA_ROWS, rows, SLICES * DELTA_ROWS):
                    row_deltas(
                        live, labels + done, partials, deltas, first, rows,
                        INPUTS, HIDDEN1, HIDDEN2, OUTPUTS, HIDDEN1P, HIDDEN2P, HIDDEN_BLOCK,
                        DELTA_ROWS, SLICES, SLICE_BLOCK, ROWS,
                    )  # fmt: skip
                following = tl.where(done + batch < examples, done + batch, 0)
                if ROWS == ROW_BLOCK:
                    next_rows = tl.minimum(batch, examples - following)
                    next_x = load_images(
                        images_ptr,
                        image_row + following,
                        next_rows,
                        first_input,
                        INPUTS,
                        ROW_BLOCK,
                        INPUT_BLOCK,
                    )
                target += PROGRAMS
                grid_barrier(arrivals, target, INTERPRETED)
                if ROWS == ROW_BLOCK:
                    d1 = load_rows(deltas + ROWS * HIDDEN1P, 0, rows, 0, HIDDEN1P, ROW_BLOCK, HIDDEN1P)
                    w1 -= rate * tl.trans(dot_transposed(d1, x, ROW_GROUPS))
                    x = next_x
                else:
                    w1 -= rate * slice_gradient(
                        images_ptr, deltas, row, rows, first_input,
                        INPUTS, HIDDEN1P, INPUT_BLOCK, ROWS, ROW_BLOCK, ROW_GROUPS,
                    )  # fmt: skip
                done = following
            store_slice(checkpoint, w1, first_input, INPUTS, HIDDEN1, HIDDEN1P, INPUT_BLOCK)
            checkpoint += P
        store_slice(live, w1, first_input, INPUTS, HIDDEN1, HIDDEN1P, INPUT_BLOCK)
    elif part < SLICES + OWNERS:
        unit = (part - SLICES) * HIDDEN_BLOCK
        w2 = load_matrix(live + W2, 0, unit, HIDDEN2, HIDDEN1, HIDDEN2P, HIDDEN_BLOCK)
        for _ in range(epochs):
            for _ in range(steps):
                rows = tl.minimum(batch, examples - done)
                target += 2 * PROGRAMS
                grid_barrier(arrivals, target - PROGRAMS, INTERPRETED)
                grid_barrier(arrivals, target, INTERPRETED)
                w2 -= rate * hidden2_gradient(
                    deltas, rows, unit, ROWS, ROW_BLOCK, HIDDEN1P, HIDDEN2P, HIDDEN_BLOCK, ROW_GROUPS
                )
                store_matrix(live + W2, w2, 0, unit, HIDDEN2, HIDDEN1, HIDDEN2P, HIDDEN_BLOCK)
                done = tl.where(done + batch < examples, done + batch, 0)
            store_matrix(checkpoint + W2, w2, 0, unit, HIDDEN2, HIDDEN1, HIDDEN2P, HIDDEN_BLOCK)
            checkpoint += P
    else:
        unit2 = tl.arange(0, HIDDEN2P)
        digit = tl.arange(0, OUTPUT_BLOCK)
        b2 = tl.load(live + B2 + unit2, mask=unit2 < HIDDEN2, other=0.0)
        w3 = load_matrix(live + W3, 0, 0, OUTPUTS, HIDDEN2, OUTPUT_BLOCK, HIDDEN2P)
        b3 = tl.load(live + B3 + digit, mask=digit < OUTPUTS, other=0.0)
        for _ in range(epochs):
            for _ in range(steps):
                rows = tl.minimum(batch, examples - done)
                target += 2 * PROGRAMS
                grid_barrier(arrivals, target - PROGRAMS, INTERPRETED)
                grid_barrier(arrivals, target, INTERPRETED)
                for_b2, for_w3, for_b3 = output_gradients(
                    deltas, rows, ROWS, ROW_BLOCK, HIDDEN1P, HIDDEN2P, ROW_GROUPS
                )
                b2 -= rate * for_b2
                w3 -= rate * for_w3
                b3 -= rate * for_b3
                tl.store(live + B2 + unit2, b2, mask=unit2 < HIDDEN2)
                store_matrix(live + W3, w3, 0, 0, OUTPUTS, HIDDEN2, OUTPUT_BLOCK, HIDDEN2P)
                tl.store(live + B3 + digit, b3, mask=digit < OUTPUTS)
                done = tl.where(done + batch < examples, done + batch, 0)
            tl.store(checkpoint + B2 + unit2, b2, mask=unit2 < HIDDEN2)
            store_matrix(checkpoint + W3, w3, 0, 0, OUTPUTS, HIDDEN2, OUTPUT_BLOCK, HIDDEN2P)
            tl.store(checkpoint + B3 + digit, b3, mask=digit < OUTPUTS)
            checkpoint += P
