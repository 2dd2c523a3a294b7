"""Spare Triton's interpreter work that comes to nothing: a third or more of the time of small kernels.

At every launch, and whenever one kernel function calls another, it lists all that `triton.language` holds to replace
the builtins there, and for every NumPy type it looks up it makes their table again. Neither list ever changes.
And it works out whether integers overflow, for an assertion that stands only in debug mode, which it has not.
"""

import inspect
from dataclasses import replace
from functools import cache
from typing import Any


def spare_the_interpreter() -> None:
    """Have it make both lists once, and no comparisons that nothing reads; nothing to do without Triton.

    Called before any kernel is launched.
    """
    try:
        import triton.language as tl
        from triton.runtime import interpreter
    except ImportError:
        return
    holders = [tl, tl.core, tl.math, tl.tensor]
    if hasattr(tl.core, "tensor_descriptor_base"):
        holders.append(tl.core.tensor_descriptor_base)
    builtins = {
        holder: [(name, member) for name, member in inspect.getmembers(holder) if tl.core.is_builtin(member)]
        for holder in holders
    }
    of_scalar = cache(interpreter._get_np_dtype)
    of_pointer = interpreter._get_np_dtype(tl.pointer_type(tl.float32))

    def patch_builtin(holder: Any, *rest: Any) -> None:
        for name, member in builtins[holder]:
            if getattr(holder, name) is member:  # else it is replaced already
                interpreter._patch_attr(holder, name, member, *rest)

    def get_np_dtype(kind: Any) -> Any:
        scalar = kind.scalar  # of a block, its elements' type
        return of_pointer if scalar.is_ptr() else of_scalar(scalar)

    interpreter._patch_builtin = patch_builtin
    interpreter._get_np_dtype = get_np_dtype
    builder = interpreter.interpreter_builder
    if not builder.options.debug:
        builder.options = replace(builder.options, sanitize_overflow=False)
