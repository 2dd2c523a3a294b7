"""The least that a piece of work must move and compute, and the time that takes at a machine's measured ceilings.

A floor counts what no implementation of this kind can leave out: every pixel is read once in the form in which it is
kept, parameters are read and written once for each launch that cannot hold them, and every FMA is done once.
Sigmoids, the latency of launches and of memory, and what caches cannot hold are not in it: the distance shows them.
"""

from __future__ import annotations

from dataclasses import dataclass

from breaknet.kernels.jobs import Shape

LESSON = Shape(784, 16, 16, 10)
#: FMAs of an image in the first layer, and in the other two.
FIRST, REST = 784 * 16, 16 * 16 + 16 * 10


@dataclass(frozen=True)
class Work:
    """Bytes moved to or from memory, and float32 operations (an FMA is two)."""

    bytes: float
    operations: float

    def times(self, count: float) -> Work:
        """`count` times the work."""
        return Work(self.bytes * count, self.operations * count)

    def floor(self, ceilings: dict[str, float]) -> dict[str, float]:
        """`Row.floor`: bytes, operations and the seconds of the slower of the two at `ceilings`; {} without them."""
        if not {"bytes_per_s", "flop_per_s"} <= set(ceilings):
            return {}
        seconds = max(self.bytes / ceilings["bytes_per_s"], self.operations / ceilings["flop_per_s"])
        return {"bytes": self.bytes, "operations": self.operations, "seconds": seconds}


def training_step(
    batch: int,
    *,
    image_bytes: float = 784 * 4.0,
    label_bytes: float = 10 * 4.0,
    inked: float = 1.0,
    held: bool = False,
) -> Work:
    """One step: forward, the gradient of every parameter, the deltas of both hidden layers, the update.

    Args:
        batch: images in it.
        image_bytes, label_bytes: of one image and its label or target, as they are kept.
        inked: the share of the first layer's FMAs that is done; under 1 where zero pixels are skipped.
        held: whether the parameters stay in registers or a core's cache from step to step.
    """
    fmas = batch * (2 * FIRST * inked + 3 * REST) + LESSON.parameters
    moved = batch * (image_bytes + label_bytes) + (0 if held else 2 * 4 * LESSON.parameters)
    return Work(bytes=moved, operations=2.0 * fmas)


def evaluation(
    images: int,
    *,
    models: int = 1,
    image_bytes: float = 784 * 4.0,
    label_bytes: float = 8.0,
    inked: float = 1.0,
) -> Work:
    """One network's outputs on `images` images, when `models` networks share one reading of them."""
    moved = images * (image_bytes + label_bytes) / models + 4 * LESSON.parameters
    return Work(bytes=moved, operations=2.0 * images * (FIRST * inked + REST))
