"""The cooperative trainer cut into launches: one phase of one step each, for GPUs or networks without a barrier.

    grid      (PROGRAMS, jobs), programs as in `cooperative_training`, which documents the arguments
    a step    three launches: PHASE 1, 2 and 3. The end of a launch is the barrier, so any number of programs will do.

The phases are the same device functions on the same tiles with sums in the same order. Between launches all
parameters lie in the job's live row. No launch argument changes from step to step, so that a CUDA graph can hold any
number of steps and be replayed: which step it is stands in `clock`, int32 [jobs, 2], zero before a job's first step.
Phases 1 and 2 read column 0 and phase 3 column 1; phase 2 copies the one to the other, phase 3 the other, plus one,
back. A job whose epochs are done is left alone.
"""

from breaknet.kernels._triton import jit, tl
from breaknet.kernels.cooperative_training import (
    BATCH,
    CHECKPOINT_ROW,
    EPOCHS,
    EXAMPLES,
    IMAGE_ROW,
    JOB_COLUMNS,
    LABEL,
    LIVE_ROW,
)
from breaknet.kernels.training_step import (
    OUTPUT_BLOCK,
    hidden2_gradient,
    load_matrix,
    load_slice,
    output_gradients,
    row_deltas,
    slice_forward,
    slice_gradient,
    store_matrix,
    store_slice,
)


@jit
def split_training_kernel(
    images_ptr,
    labels_ptr,
    live_ptr,
    checkpoints_ptr,
    partials_ptr,
    deltas_ptr,
    clock_ptr,
    jobs_ptr,
    rates_ptr,
    PHASE: tl.constexpr,
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
):
    OWNERS: tl.constexpr = HIDDEN1P // HIDDEN_BLOCK
    W2: tl.constexpr = HIDDEN1 * (INPUTS + 1)
    B2: tl.constexpr = W2 + HIDDEN2 * HIDDEN1
    W3: tl.constexpr = B2 + HIDDEN2
    B3: tl.constexpr = W3 + OUTPUTS * HIDDEN2
    P: tl.constexpr = B3 + OUTPUTS

    part = tl.program_id(0)
    job = tl.program_id(1)
    table = jobs_ptr + job * JOB_COLUMNS
    examples = tl.load(table + EXAMPLES).to(tl.int32)
    batch = tl.load(table + BATCH).to(tl.int32)
    epochs = tl.load(table + EPOCHS).to(tl.int32)
    steps = (examples + batch - 1) // batch
    clock = clock_ptr + job * 2
    step = tl.load(clock + (1 if PHASE == 3 else 0))
    epoch = step // steps
    done = (step - epoch * steps) * batch
    rows = tl.minimum(batch, examples - done)
    image_row = tl.load(table + IMAGE_ROW) + done
    labels = labels_ptr + tl.load(table + LABEL) + done
    live = live_ptr + tl.load(table + LIVE_ROW) * P
    checkpoint = checkpoints_ptr + (tl.load(table + CHECKPOINT_ROW) + epoch) * P
    rate = tl.load(rates_ptr + job)
    partials = partials_ptr + job.to(tl.int64) * (SLICES * ROWS * HIDDEN1P)
    deltas = deltas_ptr + job.to(tl.int64) * (ROWS * (2 * HIDDEN1P + 2 * HIDDEN2P + OUTPUT_BLOCK))
    last = done + batch >= examples  # of its epoch

    if PHASE == 2:
        if part == 0:  # of a finished job too, or its phase 3 would take its last step for ever
            tl.store(clock + 1, step)
    if epoch < epochs:
        if PHASE == 2:
            if part < SLICES:
                for first in range(part * DELTA_ROWS, rows, SLICES * DELTA_ROWS):
                    row_deltas(
                        live, labels, partials, deltas, first, rows,
                        INPUTS, HIDDEN1, HIDDEN2, OUTPUTS, HIDDEN1P, HIDDEN2P, HIDDEN_BLOCK,
                        DELTA_ROWS, SLICES, SLICE_BLOCK, ROWS,
                    )  # fmt: skip
        elif part < SLICES:
            first_input = part * INPUT_BLOCK
            w1 = load_slice(live, first_input, INPUTS, HIDDEN1, HIDDEN1P, INPUT_BLOCK)
            if PHASE == 1:
                slice_forward(
                    images_ptr, w1, partials + part * (ROWS * HIDDEN1P), image_row, rows, first_input,
                    INPUTS, HIDDEN1P, INPUT_BLOCK, ROW_BLOCK, INPUT_GROUPS,
                )  # fmt: skip
            else:
                w1 -= rate * slice_gradient(
                    images_ptr, deltas, image_row, rows, first_input,
                    INPUTS, HIDDEN1P, INPUT_BLOCK, ROWS, ROW_BLOCK, ROW_GROUPS,
                )  # fmt: skip
                tl.debug_barrier()  # no thread stores before all have loaded
                store_slice(live, w1, first_input, INPUTS, HIDDEN1, HIDDEN1P, INPUT_BLOCK)
                if last:
                    store_slice(checkpoint, w1, first_input, INPUTS, HIDDEN1, HIDDEN1P, INPUT_BLOCK)
        elif PHASE == 3:
            if part < SLICES + OWNERS:
                unit = (part - SLICES) * HIDDEN_BLOCK
                w2 = load_matrix(live + W2, 0, unit, HIDDEN2, HIDDEN1, HIDDEN2P, HIDDEN_BLOCK)
                w2 -= rate * hidden2_gradient(
                    deltas, rows, unit, ROWS, ROW_BLOCK, HIDDEN1P, HIDDEN2P, HIDDEN_BLOCK, ROW_GROUPS
                )
                tl.debug_barrier()
                store_matrix(live + W2, w2, 0, unit, HIDDEN2, HIDDEN1, HIDDEN2P, HIDDEN_BLOCK)
                if last:
                    store_matrix(checkpoint + W2, w2, 0, unit, HIDDEN2, HIDDEN1, HIDDEN2P, HIDDEN_BLOCK)
            else:
                unit2 = tl.arange(0, HIDDEN2P)
                digit = tl.arange(0, OUTPUT_BLOCK)
                b2 = tl.load(live + B2 + unit2, mask=unit2 < HIDDEN2, other=0.0)
                w3 = load_matrix(live + W3, 0, 0, OUTPUTS, HIDDEN2, OUTPUT_BLOCK, HIDDEN2P)
                b3 = tl.load(live + B3 + digit, mask=digit < OUTPUTS, other=0.0)
                for_b2, for_w3, for_b3 = output_gradients(
                    deltas, rows, ROWS, ROW_BLOCK, HIDDEN1P, HIDDEN2P, ROW_GROUPS
                )
                b2 -= rate * for_b2
                w3 -= rate * for_w3
                b3 -= rate * for_b3
                tl.debug_barrier()
                tl.store(live + B2 + unit2, b2, mask=unit2 < HIDDEN2)
                store_matrix(live + W3, w3, 0, 0, OUTPUTS, HIDDEN2, OUTPUT_BLOCK, HIDDEN2P)
                tl.store(live + B3 + digit, b3, mask=digit < OUTPUTS)
                if last:
                    tl.store(checkpoint + B2 + unit2, b2, mask=unit2 < HIDDEN2)
                    store_matrix(checkpoint + W3, w3, 0, 0, OUTPUTS, HIDDEN2, OUTPUT_BLOCK, HIDDEN2P)
                    tl.store(checkpoint + B3 + digit, b3, mask=digit < OUTPUTS)
                tl.store(clock, step + 1)
