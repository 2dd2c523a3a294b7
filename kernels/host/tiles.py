"""Which tiles a cooperative or phase-split trainer uses for a network and a batch, and whether it can run at all.

Pure functions of the sizes and of the GPU's capability and multiprocessors: what they choose never depends on the
other jobs of a launch, for the order of a job's sums must not. Nothing here imports triton or asks for a device.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from breaknet.kernels.host.targets import padded
from breaknet.kernels.jobs import Shape

BATCH_LIMIT = 1_024
#: Widest padded hidden layer for which the cooperative kernel stays within 255 registers on every target.
COOPERATIVE_WIDTH = 64
THREADS = 256
WARPS = THREADS // 32  # 16 would halve the registers a thread may have, 4 would spill


@dataclass(frozen=True)
class TrainerConfig:
    """Tile sizes of one job; `training_step` says what each of them cuts. All powers of two."""

    input_block: int  # inputs a slice
    row_block: int  # batch rows a tile
    rows: int  # batch rows that scratch holds
    delta_rows: int  # rows of phase 2 a program takes at a time
    hidden_block: int  # units of hidden1 held at a time in phase 2 and by an owner of W2
    slice_block: int  # slices added at a time
    input_groups: int
    row_groups: int

    def slices(self, shape: Shape) -> int:
        """Programs that share the inputs and the constant 1 that stands for the bias."""
        return -(-(shape.inputs + 1) // self.input_block)

    def programs(self, shape: Shape) -> int:
        """Programs a job: slices, owners of W2, one owner of the rest."""
        return self.slices(shape) + padded(shape.hidden1) // self.hidden_block + 1

    def constexprs(self, shape: Shape) -> dict[str, int]:
        """What both kernels take as constexpr, less PHASE and INTERPRETED."""
        return {
            "INPUTS": shape.inputs,
            "HIDDEN1": shape.hidden1,
            "HIDDEN2": shape.hidden2,
            "OUTPUTS": shape.outputs,
            "HIDDEN1P": padded(shape.hidden1),
            "HIDDEN2P": padded(shape.hidden2),
            "HIDDEN_BLOCK": self.hidden_block,
            "INPUT_BLOCK": self.input_block,
            "SLICES": self.slices(shape),
            "SLICE_BLOCK": self.slice_block,
            "ROWS": self.rows,
            "ROW_BLOCK": self.row_block,
            "DELTA_ROWS": self.delta_rows,
            "INPUT_GROUPS": self.input_groups,
            "ROW_GROUPS": self.row_groups,
        }

    def scratch(self, shape: Shape) -> tuple[int, int]:
        """Floats of `partials` and of `deltas` that a job needs."""
        first, second = padded(shape.hidden1), padded(shape.hidden2)
        return self.slices(shape) * self.rows * first, self.rows * (2 * first + 2 * second + 16)

    def __str__(self) -> str:
        return (
            f"{self.input_block} inputs a slice, tiles of {self.row_block} of {self.rows} rows, "
            f"{self.delta_rows} rows and {self.hidden_block} units at a time"
        )


def tile_config(shape: Shape, batch: int, input_block: int) -> TrainerConfig:
    """The tiles for slices of `input_block` inputs and a batch of 1..BATCH_LIMIT."""
    width = max(padded(shape.hidden1), padded(shape.hidden2))
    rows = padded(batch)
    row_block = min(rows, 32 if width > 64 else 64 if width > 32 or input_block > 32 else 128)
    slices = -(-(shape.inputs + 1) // input_block)
    narrow = width == 16 and row_block >= 64
    delta_rows = min(padded(-(-batch // slices), 1), 8 if width <= 32 else 4)
    hidden_block = min(padded(shape.hidden1), 32)
    return TrainerConfig(
        input_block=input_block,
        row_block=row_block,
        rows=rows,
        delta_rows=delta_rows,
        hidden_block=hidden_block,
        slice_block=min(
            padded(slices, 1), max(1, THREADS // (delta_rows * hidden_block)) if width <= 64 else 64
        ),
        # a thread holds 4 x 4 outputs only where there are 4096 of them for its 256 threads
        input_groups=2 if narrow and input_block >= 32 else 1,
        row_groups=row_block // 16 if narrow else 1,
    )


def cooperative_plan(shape: Shape, batch: int, capability: int, processors: int) -> TrainerConfig | str:
    """The tiles of a cooperative launch for one job, or why there is none, in one line.

    One program fills a multiprocessor, so `processors` bounds the programs. A step's time is mostly that of its
    slice, so thin slices come first; of those the ones that leave room for a second run.
    """
    reason = unsupported(shape, batch)
    if reason is not None:
        return reason
    width = max(padded(shape.hidden1), padded(shape.hidden2))
    if width > COOPERATIVE_WIDTH:
        return (
            f"cooperative: hidden widths up to {COOPERATIVE_WIDTH}, not {shape.hidden1} and {shape.hidden2}"
        )
    thin = [tile_config(shape, batch, block) for block in (16, 32)]
    thick = [tile_config(shape, batch, 64)] if width <= 32 else []
    for room, choices in ((processors // 2, thin), (processors, thin + thick)):
        for config in choices:
            if config.programs(shape) <= room:
                return config
    least = min(config.programs(shape) for config in thin + thick)
    return (
        f"cooperative: {shape} needs {least} programs resident at once, one a multiprocessor, "
        f"and this GPU (sm_{capability}) has {processors}"
    )


def split_plan(shape: Shape, batch: int, capability: int) -> TrainerConfig | str:
    """The tiles of phase-split launches: every network and batch within the limits, on every target."""
    reason = unsupported(shape, batch)
    if reason is not None:
        return reason
    return tile_config(shape, batch, 32)


def interpreter_plan(shape: Shape, batch: int) -> TrainerConfig | str:
    """Few, wide slices for Triton's interpreter, which runs programs one after another and pays by the operation."""
    config = split_plan(shape, batch, 0)
    if isinstance(config, str):
        return config
    block = padded(-(-(shape.inputs + 1) // 2))
    wide = tile_config(shape, batch, block)
    return replace(wide, delta_rows=padded(-(-batch // wide.slices(shape)), 1), input_groups=1, row_groups=1)


def unsupported(shape: Shape, batch: int) -> str | None:
    """Why neither form takes this network and batch, in one line; None where they do."""
    if not 1 <= batch <= BATCH_LIMIT:
        return f"batch_size: up to {BATCH_LIMIT} for the Triton kernels, not {batch}"
    return shape.unsupported()
