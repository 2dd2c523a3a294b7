"""Keeping products of float32 at float32's precision on every GPU."""

from breaknet.kernels._triton import interpreted, jit, tl

INTERPRETED = tl.constexpr(interpreted())


@jit
def hidden_origin(x):
    """x, float32 or int32, as if it came from nowhere.

    For sm_100 Triton computes a product in TF32, whatever its input_precision says, where it sees that an operand
    was made from bytes in memory (https://github.com/triton-lang/triton/issues/10176). It does not look behind
    assembly, which becomes no instruction. The interpreter knows none and needs none.
    """
    if not INTERPRETED:
        if x.dtype.is_floating():
            x = tl.inline_asm_elementwise(
                "mov.f32 $0, $1;", "=f,f", [x], dtype=tl.float32, is_pure=False, pack=1
            )
        else:
            x = tl.inline_asm_elementwise(
                "mov.b32 $0, $1;", "=r,r", [x], dtype=tl.int32, is_pure=False, pack=1
            )
    return x
