"""The tile sizes of every trainer, for a network, a batch and a GPU; or in one line why a plan cannot run there.

Pure functions of the sizes and of the GPU's capability and SMs: what they choose never depends on the other jobs of a
launch, for the order of a job's sums must not. Nothing here imports triton or asks for a device.

Kernels take a configuration as one compile-time argument. Triton's cache knows it by its text, so all that a kernel
reads of it is a field, no property, and the classes keep the `__str__` of dataclasses.
"""

from dataclasses import dataclass, replace

from breaknet.kernels.host.targets import target_for
from breaknet.kernels.jobs import MAX_OUTPUTS, Shape, padded

#: Widest padded hidden layer for which the cooperative kernel stays within 255 registers on every target.
MAX_COOPERATIVE_WIDTH = 64
THREADS = 256
WARPS = THREADS // 32  # 16 would halve the registers a thread may have, 4 would spill


@dataclass(frozen=True)
class TileConfig:
    """Tile sizes of one job of the cooperative and split plans, powers of two; `training_step` says what each cuts."""

    slices: int  # programs that share the inputs and the constant 1 that stands for the bias; any number
    width1: int  # padded hidden widths
    width2: int
    input_block: int  # inputs a slice
    row_block: int  # batch rows a tile
    rows: int  # batch rows that scratch holds
    delta_rows: int  # rows of phase 2 a program takes at a time
    hidden_block: int  # units of hidden1 held at a time in phase 2 and by an owner of W2
    slice_block: int  # slices added at a time
    input_groups: int
    row_groups: int

    @property
    def programs(self) -> int:
        """Programs a job: slices, owners of W2, one owner of the rest."""
        return self.slices + self.width1 // self.hidden_block + 1

    @property
    def scratch(self) -> tuple[int, int]:
        """Floats of `partials` and of `deltas` that a job needs."""
        deltas = self.rows * (2 * self.width1 + 2 * self.width2 + MAX_OUTPUTS)
        return self.slices * self.rows * self.width1, deltas


def tile_config(shape: Shape, batch: int, input_block: int) -> TileConfig:
    """The tiles for slices of `input_block` inputs and a batch of 1..MAX_BATCH."""
    width1, width2 = padded(shape.hidden1), padded(shape.hidden2)
    width = max(width1, width2)
    rows = padded(batch)
    row_block = min(rows, 32 if width > 64 else 64 if width > 32 or input_block > 32 else 128)
    slices = -(-(shape.inputs + 1) // input_block)
    narrow = width == 16 and row_block >= 64
    delta_rows = min(padded(-(-batch // slices), 1), 8 if width <= 32 else 4)
    hidden_block = min(width1, 32)
    slice_block = max(1, THREADS // (delta_rows * hidden_block)) if width <= 64 else 64
    return TileConfig(
        slices=slices,
        width1=width1,
        width2=width2,
        input_block=input_block,
        row_block=row_block,
        rows=rows,
        delta_rows=delta_rows,
        hidden_block=hidden_block,
        slice_block=min(padded(slices, 1), slice_block),
        # a thread holds 4 x 4 outputs only where there are 4096 of them for its 256 threads
        input_groups=2 if narrow and input_block >= 32 else 1,
        row_groups=row_block // 16 if narrow else 1,
    )


def cooperative_tiles(shape: Shape, batch: int, capability: int, sms: int) -> TileConfig | str:
    """The tiles of a cooperative launch for one job, or why there is none, in one line.

    One program fills an SM, so `sms` bounds the programs. A step's time is mostly that of its slice, so thin slices
    come first; of those the ones that leave room for a second run.
    """
    if reason := shape.unsupported(batch):
        return reason
    width = max(padded(shape.hidden1), padded(shape.hidden2))
    if width > MAX_COOPERATIVE_WIDTH:
        limit = MAX_COOPERATIVE_WIDTH
        return f"cooperative: hidden widths up to {limit}, not {shape.hidden1} and {shape.hidden2}"
    thin = [tile_config(shape, batch, block) for block in (16, 32)]
    thick = [tile_config(shape, batch, 64)] if width <= 32 else []
    for room, choices in ((sms // 2, thin), (sms, thin + thick)):
        for config in choices:
            if config.programs <= room:
                return config
    least = min(config.programs for config in thin + thick)
    return (
        f"cooperative: {shape} needs {least} programs resident at once, one an SM, "
        f"and this GPU (sm_{capability}) has {sms}"
    )


def split_tiles(shape: Shape, batch: int) -> TileConfig | str:
    """The tiles of the split plan: every network and batch within the limits, on every target."""
    return shape.unsupported(batch) or tile_config(shape, batch, 32)


def interpreter_tiles(shape: Shape, batch: int) -> TileConfig | str:
    """Few, wide slices for Triton's interpreter, which runs programs one after another and pays by the operation."""
    if reason := shape.unsupported(batch):
        return reason
    wide = tile_config(shape, batch, padded(-(-(shape.inputs + 1) // 2)))
    return replace(wide, delta_rows=padded(-(-batch // wide.slices), 1), input_groups=1, row_groups=1)


@dataclass(frozen=True)
class PackedConfig:
    """A supported configuration of packed training: the kernel and its tiles, which fix the order of every sum.

    `rows` x `width` is a tile of activations, `chunk` how many inputs are taken at a time, `networks` how many networks
    a program may train. Of the groups that the fused kernel cuts its sums into, each has 16 terms (a dot's least) or as
    many as give each thread 16 sums.
    """

    form: str  # "fused", "looped" or "tensor"
    byte_images: bool
    rows: int
    width: int
    chunk: int
    num_warps: int
    input_groups: int = 1
    w1_groups: int = 1
    row_groups: int = 1
    unit_groups: int = 1
    networks: int = 1
    num_stages: int = 1

    @property
    def name(self) -> str:
        pixels = "byte" if self.byte_images else "float32"
        return f"rows{self.rows} width{self.width} {pixels}, {self.networks} a program, chunk {self.chunk}"


def _fused(rows: int, width: int, chunk: int, num_warps: int = 8) -> PackedConfig:
    full = num_warps * 32 * 16
    inputs, w1 = min(chunk // 16, full // (rows * width)), min(rows // 16, full // (chunk * width))
    groups = max(1, inputs), max(1, w1), rows // 16, width // 16
    return PackedConfig("fused", True, rows, width, chunk, num_warps, *groups)


# Chosen by cross-compiling for every target: none spills. In the fused forms chunk * width >= threads, which the
# kernel relies on. A looped tile of 64 x 128 or a fused one of 128 x 32 is too much for the registers of sm_75; a
# fused one of 16 x 32 with 4 warps, or of 64 x 32 with chunks of 16, for those of sm_90 under Triton 3.9.
_FUSED = (
    _fused(16, 16, chunk=32, num_warps=4),
    _fused(64, 16, chunk=32),
    _fused(128, 16, chunk=32),
    _fused(16, 32, chunk=16),
    _fused(64, 32, chunk=32),
)
_LOOPED = tuple(
    PackedConfig("looped", byte_images, rows, width, chunk=16, num_warps=8)
    for byte_images, tiles in (
        (True, ((128, 16), (128, 32), (64, 64), (16, 128), (32, 128))),
        (False, ((128, 32), (16, 128))),
    )
    for rows, width in tiles
)

#: The configurations of packed training that every target supports.
PACKED = _FUSED + _LOOPED


def _tensor(rows: int, networks: int, chunk: int, num_stages: int) -> PackedConfig:
    return PackedConfig(
        "tensor", True, rows, 16, chunk, 8, row_groups=rows // 16, networks=networks, num_stages=num_stages
    )


#: Those on tensor cores, for the targets where they spill nothing with Triton 3.5 to 3.9. Elsewhere more networks a
#: program do. On sm_90 larger chunks do with one of these versions at least, and two networks a program: in 128 rows
#: in every form with 3.9. On sm_80 and sm_120 even one does in 128 rows. For sm_100 Triton 3.6.0 does not compile the
#: kernel.
TENSOR: dict[int, tuple[PackedConfig, ...]] = {
    80: (_tensor(64, networks=1, chunk=64, num_stages=1),),
    86: (_tensor(64, networks=1, chunk=64, num_stages=1), _tensor(128, networks=1, chunk=64, num_stages=1)),
    89: (_tensor(64, networks=1, chunk=64, num_stages=1), _tensor(128, networks=1, chunk=64, num_stages=1)),
    90: (
        _tensor(64, networks=4, chunk=32, num_stages=2),
        _tensor(128, networks=4, chunk=32, num_stages=1),
    ),
    120: (_tensor(64, networks=1, chunk=64, num_stages=1),),
}


def packed_tiles(
    shape: Shape, batch: int, byte_images: bool, capability: int | None = None
) -> PackedConfig | str:
    """The configuration that trains such a network packed on a GPU of this capability, or in one line why none does.

    Without a capability, one that every GPU supports.
    """
    if reason := shape.unsupported(batch):
        return reason
    width = max(shape.hidden1, shape.hidden2)
    tensor = () if capability is None else TENSOR.get(target_for(capability).capability, ())
    # at equal rows tensor cores come first
    for config in sorted(tensor + _FUSED, key=lambda config: config.rows):
        if byte_images and batch <= config.rows and padded(width) == config.width:
            return config
    able = [config for config in _LOOPED if config.byte_images == byte_images and width <= config.width]
    # elements of all tiles of a batch, and for each tile the weights read again; the 1,024 is a guess
    return min(able, key=lambda tile: -(-batch // tile.rows) * (tile.rows * tile.width + 1_024))
