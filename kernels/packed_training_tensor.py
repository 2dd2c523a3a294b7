"""One program trains one small network, or a few on the same images: the form of packed training for tensor cores.

The step and the loop are those of `packed_training.py`. A byte is exact in bfloat16, and three bfloat16 hold a float32
(`bf16_parts`): so three products on tensor cores, added in float32, are the product of the images with W1, and three
more that with d1. `networks` networks lie side by side in the columns of W1, z and d1, and share every load of images:

    W1[chunk] -= rates * (x_s[:, chunk]^T d1)      z += x_{s+1}[:, chunk] W1[chunk]        W1 [K, networks * width]

The small layers are trained one network after another. z goes to them, and d1 comes back, through a piece of memory
that the caches hold, so that no register waits for its network's turn.

A network depends on no column but its own, and a program has the same columns however many networks it trains: a
network without company gives the same bits. Networks of one program have the same images, batch, examples and epochs.

Cost: 6 B K H1 bfloat16 FMAs a step and network, twice the images' bytes for all networks of a program.

Arguments are those of `packed_training.py`, with a slot of the job table and of the rates for each network of each
program, empty slots last and zero, and

    transposed_ptr   float32 [programs, transposed_rows + rows, networks * width]: W1, zero past the true sizes and in
                     empty slots; then `rows` rows for z and d1
"""

from breaknet.kernels._triton import jit, tl
from breaknet.kernels.device_functions import JOB_COLUMNS, as_bf16, bf16_parts
from breaknet.kernels.packed_training import (
    batches_of_pass,
    job_batches,
    job_network,
    keep_epoch,
    train_small_layers,
    widths,
)


@jit
def load_bf16_images(batch_ptr, pitch, row, rows, column):
    """byte / 256 as bfloat16 [rows, columns], exactly: `load_images` for a product on tensor cores."""
    mask = (row < rows)[:, None] & (column < pitch)[None, :]
    x = tl.load(batch_ptr + row[:, None] * pitch + column[None, :], mask=mask, other=0)
    return as_bf16(x.to(tl.float32) * (1.0 / 256))


@jit
def dot_of_parts(x, parts, sums):
    """sums + x w in float32, for x exact in bfloat16 and the bfloat16 parts of w; the smallest are added first."""
    high, middle, low = parts
    sums = tl.dot(x, low, sums, input_precision="ieee")
    sums = tl.dot(x, middle, sums, input_precision="ieee")
    return tl.dot(x, high, sums, input_precision="ieee")


@jit
def packed_tensor_kernel(
    images_ptr, labels_ptr, live_ptr, checkpoints_ptr, transposed_ptr, jobs_ptr, rates_ptr, shape_ptr,
    pitch, transposed_rows, TILES: tl.constexpr,
):  # fmt: skip
    ROWS: tl.constexpr = TILES.rows
    WIDTH: tl.constexpr = TILES.width
    CHUNK: tl.constexpr = TILES.chunk
    NETWORKS: tl.constexpr = TILES.networks
    COLUMNS: tl.constexpr = NETWORKS * WIDTH
    program = tl.program_id(0)
    jobs_ptr += program * (NETWORKS * JOB_COLUMNS)
    rates_ptr += program * NETWORKS
    inputs, _, _, _, parameters = widths(shape_ptr)
    # the same of all its networks
    images_ptr, examples, batch, epochs = job_batches(images_ptr, jobs_ptr, 0, pitch)
    slot_examples = tl.load(jobs_ptr + tl.arange(0, NETWORKS) * JOB_COLUMNS + 2)
    networks = tl.sum((slot_examples > 0).to(tl.int32), 0)
    batches = (examples + batch - 1) // batch
    steps = batches * epochs

    row = tl.arange(0, ROWS)
    k = tl.arange(0, CHUNK)
    h = tl.arange(0, WIDTH)
    column = tl.arange(0, COLUMNS)
    learning_rates = tl.load(rates_ptr + column // WIDTH)
    transposed_ptr += program.to(tl.int64) * (transposed_rows + ROWS) * COLUMNS
    w1_chunk = transposed_ptr + k[:, None] * COLUMNS + column[None, :]
    between_ptr = transposed_ptr + transposed_rows * COLUMNS  # z, then d1
    between_tile = row[:, None] * COLUMNS + column[None, :]
    one_network = row[:, None] * COLUMNS + h[None, :]

    d1 = tl.zeros([ROWS, COLUMNS], tl.float32)
    for step in range(0, steps + 1):
        old, old_rows, new, rows = batches_of_pass(step, steps, batch, examples)
        old_ptr = images_ptr + old.to(tl.int64) * pitch
        new_ptr = images_ptr + new.to(tl.int64) * pitch

        z = tl.zeros([ROWS, COLUMNS], tl.float32)
        d1_parts = bf16_parts(d1)
        for start_k in range(0, inputs, CHUNK):
            x_old = load_bf16_images(old_ptr, pitch, row, old_rows, start_k + k)
            x = load_bf16_images(new_ptr, pitch, row, rows, start_k + k)
            w1 = tl.load(w1_chunk + start_k * COLUMNS)
            gradient = dot_of_parts(tl.trans(x_old), d1_parts, tl.zeros([CHUNK, COLUMNS], tl.float32))
            w1 -= learning_rates[None, :] * gradient
            tl.store(w1_chunk + start_k * COLUMNS, w1, mask=(start_k + k < inputs)[:, None])
            z = dot_of_parts(x, bf16_parts(w1), z)
        tl.debug_barrier()  # what follows, and the next pass, reads parameters that other threads have stored

        if (step > 0) & (step % batches == 0):
            for network in range(0, networks):
                _labels_ptr, own_ptr, checkpoint_ptr, _rate = job_network(
                    labels_ptr, live_ptr, checkpoints_ptr, jobs_ptr, rates_ptr, network, parameters
                )
                checkpoint_ptr += (step // batches - 1).to(tl.int64) * parameters
                keep_epoch(
                    transposed_ptr + network * WIDTH, own_ptr, checkpoint_ptr, shape_ptr, COLUMNS, TILES
                )

        if step < steps:
            tl.store(between_ptr + between_tile, z)
            tl.debug_barrier()
            for network in range(0, networks):
                own_labels_ptr, own_ptr, _checkpoint_ptr, learning_rate = job_network(
                    labels_ptr, live_ptr, checkpoints_ptr, jobs_ptr, rates_ptr, network, parameters
                )
                own_tile = between_ptr + network * WIDTH + one_network
                own_d1 = train_small_layers(
                    tl.load(own_tile), own_ptr, shape_ptr, own_labels_ptr + new, rows, learning_rate, TILES
                )
                tl.store(own_tile, own_d1)
            tl.debug_barrier()
            d1 = tl.load(between_ptr + between_tile)  # of empty slots z, which is zero
