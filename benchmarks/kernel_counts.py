"""Work of the lesson's kernels, counted on what Triton compiles for a GPU, without one.

    python -m benchmarks.kernel_counts T4 [evaluation] [evaluation-float16] [cooperative] [packed] [--lines]

Prints the counts as JSON, or with --lines also where in the sources the memory transactions come from, the most first.
"""

import argparse
import json
from collections.abc import Callable
from dataclasses import asdict

import torch

from benchmarks.t4_model import FLOAT16, GPUS, SHAPE, Counts, Gpu
from breaknet.kernels.evaluation import TENSOR_TILES_75, TILES, Tile, evaluate_checkpoints
from breaknet.kernels.host.packed_trainer import PackedTrainer
from breaknet.kernels.host.tiles import cooperative_tiles, packed_tiles
from breaknet.kernels.host.trainers import CooperativeTrainer
from breaknet.kernels.jobs import JobRow
from tools.ptx_machine import Traffic
from tools.ptx_machine.fake_gpu import FakeGpus

BATCH, STEPS = 100, 2
CHECKPOINTS, IMAGES = 8, 128
#: Work that does not grow with images.
ONCE = ("split_f16_forward_kernel",)


def _data(checkpoints: int, images: int) -> tuple[torch.Tensor, ...]:
    """Random parameters float32 [C, P], pixels uint8 [N, K] and labels int32 [N] on the GPU."""
    random = torch.Generator().manual_seed(0)
    rows = torch.rand(checkpoints, SHAPE.parameters, generator=random) - 0.5
    pixels = torch.randint(0, 256, (images, SHAPE.inputs), generator=random, dtype=torch.uint8)
    labels = torch.randint(0, SHAPE.outputs, (images,), generator=random, dtype=torch.int32)
    return rows.to("cuda"), pixels.to("cuda"), labels.to("cuda")


def _evaluate(tiles: dict[int, Tile]) -> None:
    """8 networks on 128 images, in a form of a T4."""
    hidden = SHAPE.hidden1, SHAPE.hidden2
    evaluate_checkpoints(*_data(CHECKPOINTS, IMAGES), hidden, SHAPE.outputs, tile=tiles[SHAPE.hidden1])


def _train(gpu: Gpu, kind: type[CooperativeTrainer | PackedTrainer]) -> None:
    """Two steps of a network."""
    if kind is CooperativeTrainer:
        config = cooperative_tiles(SHAPE, BATCH, gpu.capability, gpu.sms)
    else:
        config = packed_tiles(SHAPE, BATCH, byte_images=True)
    live, images, labels = _data(1, STEPS * BATCH)
    trainer = kind(SHAPE, config, images, labels, live, capacity=1)
    trainer.launch(torch.empty_like(live), [JobRow(0, 0, STEPS * BATCH, BATCH, 1, 0, 0, 0.05)])


#: What runs by kernel, and what it does in units: images of a checkpoint, or training steps of a network.
WORK: dict[str, tuple[Callable[[Gpu], None], int]] = {
    "evaluation": (lambda gpu: _evaluate(TILES), CHECKPOINTS * IMAGES),
    FLOAT16: (lambda gpu: _evaluate(TENSOR_TILES_75), CHECKPOINTS * IMAGES),
    "cooperative": (lambda gpu: _train(gpu, CooperativeTrainer), STEPS),
    "packed": (lambda gpu: _train(gpu, PackedTrainer), STEPS),
}


def counted(kernel: str, gpu: Gpu) -> tuple[Counts, Traffic]:
    """The counts of one of `WORK` as compiled for a GPU, and its memory transactions by line of the sources."""
    run, units = WORK[kernel]
    traffic = Traffic()
    with FakeGpus(gpu.capability, gpu.sms) as gpus:
        gpus.traffic, gpus.uncounted = traffic, ONCE
        run(gpu)
    programs = next(launch.grid for launch in gpus.launches if launch.kernel not in ONCE)
    shared = traffic.total("shared").transactions
    if kernel == FLOAT16:  # nearly all are loads of 128 bytes, which on a GPU lie in one line
        shared += traffic.total("global").requests
    found = traffic.instructions, traffic.fmas, shared, traffic.matrix_fmas
    return Counts(units, programs[0] * programs[1], *found), traffic


def main() -> None:
    gpus = {gpu.name: gpu for gpu in GPUS}
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("gpu", choices=gpus)
    parser.add_argument("kernel", nargs="*", choices=[*WORK, []], help="all if none is named")
    parser.add_argument("--lines", action="store_true", help="by line of the sources")
    arguments = parser.parse_args()
    for kernel in arguments.kernel or WORK:
        counts, traffic = counted(kernel, gpus[arguments.gpu])
        lines = traffic.total("global").transactions
        print(json.dumps({"kernel": kernel, **asdict(counts), "lines": lines}))
        by_line = sorted(traffic.counts.items(), key=lambda item: -item[1].transactions)
        for (_, source, opcode), count in by_line if arguments.lines else ():
            print(f"{count.transactions:9,} {count.requests:9,}  {opcode:24} {source}")


if __name__ == "__main__":
    main()
