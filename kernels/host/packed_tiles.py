"""Which form of packed training takes a shape: the shipped tile shapes and the rule that picks one.

Nothing here imports triton or asks for a device.
"""

from __future__ import annotations

from dataclasses import dataclass

from breaknet.kernels.host.targets import TARGETS, padded

MAX_INPUTS = 16_384
MAX_HIDDEN = 128
OUTPUTS = (2, 16)
MAX_BATCH = 1_024

MAX_REGISTERS = 255  # without it ptxas may stop at 128 and spill


@dataclass(frozen=True)
class PackedPlan:
    """A shipped form of packed training: the kernel and its tile shapes. It fixes the order of every sum.

    `rows` x `width` is the tile of activations, `chunk` how many inputs are taken at a time.
    """

    form: str  # "fused" or "looped"
    byte_images: bool
    rows: int
    width: int
    chunk: int
    num_warps: int
    w2_groups: int = 1  # fused only: groups of rows in the small layers' weight gradients

    def __str__(self) -> str:
        images = "byte" if self.byte_images else "float32"
        return f"{self.form} rows{self.rows} width{self.width} {images}"

    def options(self) -> dict[str, object]:
        """The compiler's options."""
        return {
            "num_warps": self.num_warps,
            "num_stages": 1,
            "maxnreg": MAX_REGISTERS,
            "enable_fp_fusion": True,
        }

    def constexprs(self) -> dict[str, object]:
        """The kernel's compile-time arguments."""
        common: dict[str, object] = {
            "BYTES": self.byte_images,
            "BLOCK_B": self.rows,
            "BLOCK_K": self.chunk,
            "WIDTH": self.width,
        }
        if self.form == "looped":
            return common
        # enough groups that each thread owns 16 sums, none with fewer than 16 terms (a dot's least)
        full = self.num_warps * 32 * 16
        return {
            **common,
            "K_GROUPS": max(1, min(self.chunk // 16, full // (self.rows * self.width))),
            "W1_GROUPS": max(1, min(self.rows // 16, full // (self.chunk * self.width))),
            "W2_GROUPS": self.w2_groups,
            "Y_GROUPS": self.width // 16,
        }


# Chosen by cross-compiling for every target: none spills. In the fused forms chunk * width >= threads, which the
# kernel relies on. A looped tile of 64 x 128 or a fused one of 128 x 32 is too much for the registers of sm_75; a
# fused one of 16 x 32 with 4 warps, or of 64 x 32 with chunks of 16, for those of sm_90 under Triton 3.9.
_FUSED = (
    PackedPlan("fused", True, 16, 16, chunk=32, num_warps=4, w2_groups=1),
    PackedPlan("fused", True, 64, 16, chunk=32, num_warps=8, w2_groups=4),
    PackedPlan("fused", True, 128, 16, chunk=32, num_warps=8, w2_groups=8),
    PackedPlan("fused", True, 16, 32, chunk=16, num_warps=8, w2_groups=1),
    PackedPlan("fused", True, 64, 32, chunk=32, num_warps=8, w2_groups=4),
)
_LOOPED = (
    PackedPlan("looped", True, 128, 16, chunk=16, num_warps=8),
    PackedPlan("looped", True, 128, 32, chunk=16, num_warps=8),
    PackedPlan("looped", True, 64, 64, chunk=16, num_warps=8),
    PackedPlan("looped", True, 16, 128, chunk=16, num_warps=8),
    PackedPlan("looped", True, 32, 128, chunk=16, num_warps=8),
    PackedPlan("looped", False, 128, 32, chunk=16, num_warps=8),
    PackedPlan("looped", False, 16, 128, chunk=16, num_warps=8),
)

#: Every shipped form.
FORMS = _FUSED + _LOOPED


def plan(
    inputs: int,
    hidden: tuple[int, int],
    outputs: int,
    batch: int,
    capability: int,
    *,
    byte_images: bool = True,
) -> PackedPlan | str:
    """The form that trains this shape on a GPU of this capability (75, 80, ...), or in one line why none does."""
    if capability < min(TARGETS):
        return f"compute capability {capability} is below {min(TARGETS)}, the least that Triton compiles for"
    if not 1 <= inputs <= MAX_INPUTS:
        return f"inputs: 1 to {MAX_INPUTS}, not {inputs}"
    if not all(1 <= width <= MAX_HIDDEN for width in hidden):
        return f"hidden: two widths of 1 to {MAX_HIDDEN}, not {tuple(hidden)}"
    if not OUTPUTS[0] <= outputs <= OUTPUTS[1]:
        return f"outputs: {OUTPUTS[0]} to {OUTPUTS[1]}, not {outputs}"
    if not 1 <= batch <= MAX_BATCH:
        return f"batch size: 1 to {MAX_BATCH}, not {batch}"
    width = max(hidden)
    for form in _FUSED:
        if byte_images and width <= form.width and batch <= form.rows and padded(width) == form.width:
            return form
    able = [form for form in _LOOPED if form.byte_images == byte_images and width <= form.width]

    def cost(form: PackedPlan) -> int:
        """Elements of all tiles of a batch, and for each tile the weights read again; the 1,024 is a guess."""
        return -(-batch // form.rows) * (form.rows * form.width + 1_024)

    return min(able, key=cost)


def parameter_count(inputs: int, hidden: tuple[int, int], outputs: int) -> int:
    """P: how many float32 one network has; a row holds them in torch's order, each weight before its bias."""
    return hidden[0] * (inputs + 1) + hidden[1] * (hidden[0] + 1) + outputs * (hidden[1] + 1)
