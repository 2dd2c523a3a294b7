"""Memory transactions of the lesson's kernels, counted on what Triton compiles for a GPU.

    python memory_traffic.py sm_75 [evaluation] [cooperative] [packed] [--lines]

Prints totals as JSON, or with --lines where in the sources they come from, the most first.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable

from scenarios import prepare

prepare()

import torch  # noqa: E402
from fake_gpus import largest  # noqa: E402
from trainer_cases import Problem, train_cooperatively  # noqa: E402
from trainer_cases import train_packed as train_packed_network  # noqa: E402

from breaknet.kernels import evaluation  # noqa: E402
from breaknet.kernels.host.targets import TARGETS  # noqa: E402
from breaknet.kernels.host.tiles import cooperative_tiles, packed_tiles  # noqa: E402
from breaknet.kernels.jobs import Shape  # noqa: E402
from tools.ptx_machine import Traffic  # noqa: E402
from tools.ptx_machine.fake_gpu import FakeGpus  # noqa: E402

INPUTS, HIDDEN, OUTPUTS, BATCH = 784, (16, 16), 10, 100


def evaluate(gpus: FakeGpus) -> None:
    """8 networks on 128 images: four programs."""
    random = torch.Generator().manual_seed(0)
    rows = torch.randn(8, Shape(INPUTS, *HIDDEN, OUTPUTS).parameters, generator=random)
    images = torch.randint(0, 256, (128, INPUTS), generator=random, dtype=torch.uint8)
    labels = torch.randint(0, OUTPUTS, (128,), generator=random)
    with gpus:
        evaluation.evaluate_checkpoints(*(one.to("cuda") for one in (rows, images, labels)), HIDDEN, OUTPUTS)


def train_one(gpus: FakeGpus) -> None:
    """Two steps of a network by all its programs."""
    with gpus:
        problem = Problem(Shape(INPUTS, *HIDDEN, OUTPUTS), 2 * BATCH, device=torch.device("cuda"))
        config = cooperative_tiles(problem.shape, BATCH, gpus.capability, gpus.processors)
        assert not isinstance(config, str), config
        train_cooperatively(problem, config, [problem.job(BATCH, 1)])


def train_packed(gpus: FakeGpus) -> None:
    """Two steps of a network by one program."""
    with gpus:
        problem = Problem(Shape(INPUTS, *HIDDEN, OUTPUTS), 2 * BATCH, device=torch.device("cuda"))
        tiles = packed_tiles(problem.shape, BATCH, byte_images=True)
        train_packed_network(problem, tiles, [problem.job(BATCH, 1)])


WORK: dict[str, Callable[[FakeGpus], None]] = {
    "evaluation": evaluate, "cooperative": train_one, "packed": train_packed,
}  # fmt: skip


def counted(work: str, target: str) -> Traffic:
    """The traffic of one of `WORK` on a target's largest GPU."""
    gpus = largest(target)
    gpus.traffic = Traffic()
    WORK[work](gpus)
    return gpus.traffic


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("target", choices=[target.name for target in TARGETS.values()])
    parser.add_argument("work", nargs="*", choices=[*WORK, []], help="all if none is named")
    parser.add_argument("--lines", action="store_true", help="by line of the sources")
    arguments = parser.parse_args()
    totals = {}
    for work in arguments.work or WORK:
        traffic = counted(work, arguments.target)
        totals[work] = {space: vars(traffic.total(space)) for space in ("shared", "global")}
        if arguments.lines:
            print(f"{work}: transactions, requests, instruction, source")
            for (_, source, opcode), count in sorted(
                traffic.counts.items(), key=lambda item: -item[1].transactions
            ):
                print(f"{count.transactions:9,} {count.requests:9,}  {opcode:24} {source}")
    print(json.dumps(totals))


if __name__ == "__main__":
    main()
