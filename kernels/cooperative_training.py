"""One network trained by many programs: the trainer for one run, or a few side by side.

    grid      (jobs * PROGRAMS,). A job's programs: `slices` slices of the inputs, then one owner of W2 for every
              `hidden_block` units of hidden1, then one owner of b2, W3 and b3. Jobs share no barrier.
    held      Each program keeps its parameters in registers for the whole launch. The owners also store theirs to
              the job's current parameters after every step, for all to read. The next batch's pixels are loaded
              before the barrier that precedes their use, where a batch is one tile of rows.
    a step    phase 1 (slices)   partial sums over their inputs -> partials       then barrier 1
              phase 2 (slices)   all deltas of a few rows each  -> deltas         then barrier 2
              phase 3 (all)      updates; faster programs go on to the next step's phase 1 meanwhile

    Two barriers suffice: partials are read before barrier 2 and overwritten after it; deltas are read before the
    next barrier 1 and overwritten after it; W2, b2, W3 and b3 are stored between barrier 2 and the next barrier 1
    and read between that one and the next barrier 2.

Cost: 2 B K H1 FMAs a step shared by the slices, two barriers, three dependent reads through L2; latency is the limit.

PHASE 0 is the whole run, one cooperative launch. PHASE 1, 2 and 3 are one phase of one step each, for GPUs or networks
whose programs do not all run at once ("split"): the end of a launch is the barrier, and between launches all parameters
lie in the job's current parameters. No argument changes from step to step, so that a CUDA graph can hold any number of
steps and be replayed: the counters say which step it is. A job whose epochs are done is left alone.

Arguments, all contiguous: images uint8 (meaning byte / 256) or float32 [M, K]; labels int32 [L]; live float32 [*, P],
the current parameters; checkpoints float32 [*, P], of which each job writes one row an epoch; partials and deltas,
float32 scratch (`training_step`); counters int32 [jobs, COUNTER_STRIDE], zero before a launch of PHASE 0 and before the
first step of a split run; the job table int64 [jobs, 8] and the learning rates float32 [jobs] of `jobs`.
`first_program` is 0 except in tests, which run each program as a process. NET, TILES: see `training_step`.
"""

from breaknet.kernels._triton import jit, tl
from breaknet.kernels.device_functions import grouped_dot, load_job
from breaknet.kernels.grid_barrier import COUNTER_STRIDE, grid_barrier
from breaknet.kernels.training_step import (
    OUTPUT_BLOCK,
    hidden2_gradient,
    load_d1,
    load_outputs,
    load_slice,
    load_slice_inputs,
    load_w2,
    output_gradients,
    row_deltas,
    slice_forward,
    slice_gradient,
    store_outputs,
    store_partials,
    store_slice,
    store_w2,
)

_COUNTER_STRIDE = tl.constexpr(COUNTER_STRIDE)


@jit(do_not_specialize=["first_program"])
def cooperative_training_kernel(
    images_ptr, labels_ptr, live_ptr, checkpoints_ptr, partials_ptr, deltas_ptr, counters_ptr, jobs_ptr, rates_ptr,
    first_program, PHASE: tl.constexpr, NET: tl.constexpr, TILES: tl.constexpr,
):  # fmt: skip
    OWNERS: tl.constexpr = TILES.width1 // TILES.hidden_block
    PROGRAMS: tl.constexpr = TILES.slices + OWNERS + 1
    # a batch's pixels stay in registers
    HELD: tl.constexpr = (PHASE == 0) and (TILES.rows == TILES.row_block)
    W2: tl.constexpr = NET.hidden1 * (NET.inputs + 1)
    B2: tl.constexpr = W2 + NET.hidden2 * NET.hidden1
    P: tl.constexpr = B2 + NET.hidden2 + NET.outputs * (NET.hidden2 + 1)

    program = tl.program_id(0) + first_program
    job = program // PROGRAMS
    part = program % PROGRAMS
    image_row, first_label, examples, batch, epochs, live_row, checkpoint_row = load_job(jobs_ptr, job)
    labels = labels_ptr + first_label
    live = live_ptr + live_row * P
    checkpoint = checkpoints_ptr + checkpoint_row * P
    learning_rate = tl.load(rates_ptr + job)
    partials = partials_ptr + job.to(tl.int64) * (TILES.slices * TILES.rows * TILES.width1)
    deltas = deltas_ptr + job.to(tl.int64) * (
        TILES.rows * (2 * TILES.width1 + 2 * TILES.width2 + OUTPUT_BLOCK)
    )
    counter = counters_ptr + job * _COUNTER_STRIDE
    steps = (examples + batch - 1) // batch
    done = 0  # examples of this epoch trained on
    target = 0  # arrivals that open the next barrier
    if PHASE > 0:
        # Phases 1 and 2 read the step from word 0 of the counter and phase 3 from word 1: phase 2 copies the one to
        # the other, phase 3 the other, plus one, back. So no program reads what another of its launch writes.
        step = tl.load(counter + (1 if PHASE == 3 else 0))
        if PHASE == 2:
            if part == 0:  # of a finished job too, or its phase 3 would take its last step again
                tl.store(counter + 1, step)
        epoch = step // steps
        done = (step - epoch * steps) * batch
        checkpoint += epoch.to(tl.int64) * P
        if epoch >= epochs:
            return
        epochs = 1
        steps = 1

    if part < TILES.slices:
        first_input = part * TILES.input_block
        own_partials = partials + part * (TILES.rows * TILES.width1)
        w1 = load_slice(live, first_input, NET, TILES)
        if HELD:
            rows = tl.minimum(batch, examples)
            x = load_slice_inputs(images_ptr, image_row, rows, first_input, NET, TILES)
        for _ in range(epochs):
            for _ in range(steps):
                rows = tl.minimum(batch, examples - done)
                row = image_row + done
                if HELD:
                    store_partials(own_partials, grouped_dot(x, w1, TILES.input_groups), TILES)
                elif PHASE < 2:
                    slice_forward(images_ptr, w1, own_partials, row, rows, first_input, NET, TILES)
                if PHASE == 0:
                    target += PROGRAMS
                    grid_barrier(counter, target)
                if (PHASE == 0) or (PHASE == 2):
                    row_deltas(live, labels + done, partials, deltas, part, rows, NET, TILES)
                following = tl.where(done + batch < examples, done + batch, 0)
                if HELD:
                    next_rows = tl.minimum(batch, examples - following)
                    next_x = load_slice_inputs(
                        images_ptr, image_row + following, next_rows, first_input, NET, TILES
                    )
                if PHASE == 0:
                    target += PROGRAMS
                    grid_barrier(counter, target)
                if HELD:
                    d1 = load_d1(deltas, 0, rows, TILES)
                    w1 -= learning_rate * tl.trans(grouped_dot(tl.trans(d1), x, TILES.row_groups))
                    x = next_x
                elif (PHASE == 0) or (PHASE == 3):
                    w1 -= learning_rate * slice_gradient(
                        images_ptr, deltas, row, rows, first_input, NET, TILES
                    )
                done = following
            if PHASE == 0:
                store_slice(checkpoint, w1, first_input, NET, TILES)
                checkpoint += P
        if PHASE == 0:
            store_slice(live, w1, first_input, NET, TILES)
        elif PHASE == 3:
            tl.debug_barrier()  # no thread stores before all have loaded
            store_slice(live, w1, first_input, NET, TILES)
            if done == 0:
                store_slice(checkpoint, w1, first_input, NET, TILES)
    elif (PHASE == 0) or (PHASE == 3):
        if part < TILES.slices + OWNERS:
            unit = (part - TILES.slices) * TILES.hidden_block
            w2 = load_w2(live + W2, unit, NET, TILES)
            for _ in range(epochs):
                for _ in range(steps):
                    rows = tl.minimum(batch, examples - done)
                    if PHASE == 0:
                        target += 2 * PROGRAMS
                        grid_barrier(counter, target - PROGRAMS)
                        grid_barrier(counter, target)
                    w2 -= learning_rate * hidden2_gradient(deltas, rows, unit, TILES)
                    if PHASE == 3:
                        tl.debug_barrier()
                    store_w2(live + W2, w2, unit, NET, TILES)
                    done = tl.where(done + batch < examples, done + batch, 0)
                if (PHASE == 0) or (done == 0):
                    store_w2(checkpoint + W2, w2, unit, NET, TILES)
                checkpoint += P
        else:
            b2, w3, b3 = load_outputs(live + B2, NET, TILES)
            for _ in range(epochs):
                for _ in range(steps):
                    rows = tl.minimum(batch, examples - done)
                    if PHASE == 0:
                        target += 2 * PROGRAMS
                        grid_barrier(counter, target - PROGRAMS)
                        grid_barrier(counter, target)
                    for_b2, for_w3, for_b3 = output_gradients(deltas, rows, TILES)
                    b2 -= learning_rate * for_b2
                    w3 -= learning_rate * for_w3
                    b3 -= learning_rate * for_b3
                    if PHASE == 3:
                        tl.debug_barrier()
                    store_outputs(live + B2, b2, w3, b3, NET, TILES)
                    done = tl.where(done + batch < examples, done + batch, 0)
                if (PHASE == 0) or (done == 0):
                    store_outputs(checkpoint + B2, b2, w3, b3, NET, TILES)
                checkpoint += P
                if PHASE == 3:
                    tl.store(counter, step + 1)
