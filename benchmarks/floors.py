"""The least that a piece of work must move and compute, and the time that takes at a machine's measured ceilings.

A floor counts what no implementation of this kind can leave out: every pixel is read once in the form in which it is
kept, parameters are read and written once for each launch that cannot hold them, and every FMA is done once.
Sigmoids, the latency of launches and of memory, and what caches cannot hold are not in it: the distance shows them.
"""

from __future__ import annotations

from dataclasses import dataclass

from breaknet.kernels.jobs import Shape

INPUTS, OUTPUTS = 784, 10


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


def parameter_count(hidden: tuple[int, int] = (16, 16)) -> int:
    """All weights and biases of 784 -> hidden -> 10."""
    return Shape(INPUTS, *hidden, OUTPUTS).parameters


def training_step(
    batch: int,
    hidden: tuple[int, int] = (16, 16),
    *,
    image_bytes: float = INPUTS * 4.0,
    label_bytes: float = OUTPUTS * 4.0,
    inked: float = 1.0,
    held: bool = False,
) -> Work:
    """One step: forward, the gradient of every parameter, the deltas of both hidden layers, the update.

    Args:
        batch: images in it.
        hidden: the widths.
        image_bytes, label_bytes: of one image and its label or target, as they are kept.
        inked: the share of the first layer's FMAs that is done; under 1 where zero pixels are skipped.
        held: whether the parameters stay in registers or a core's cache from step to step.
    """
    first, second = hidden
    small = first * second + second * OUTPUTS
    forward = INPUTS * first * inked + small
    fmas = batch * (2 * forward + small) + parameter_count(hidden)
    moved = batch * (image_bytes + label_bytes) + (0 if held else 2 * 4 * parameter_count(hidden))
    return Work(bytes=moved, operations=2.0 * fmas)


def evaluation(
    images: int,
    hidden: tuple[int, int] = (16, 16),
    *,
    models: int = 1,
    image_bytes: float = INPUTS * 4.0,
    label_bytes: float = 8.0,
    inked: float = 1.0,
) -> Work:
    """One network's outputs on `images` images, when `models` networks share one reading of them."""
    first, second = hidden
    fmas = images * (INPUTS * first * inked + first * second + second * OUTPUTS)
    moved = images * (image_bytes + label_bytes) / models + 4 * parameter_count(hidden)
    return Work(bytes=moved, operations=2.0 * fmas)
