"""Everything that is measured, by suites: each gives its contenders in a context, and prepares them only later.

    rows = measure(SUITES["models"](context), context)

Beside the ladder (`benchmarks.contenders`): one or two networks against JAX and torch.func, and many
(`side_by_side`), whole calls by epochs and images (`epochs`), checkpoints by images (`evaluation`), single calls
(`dispatch`), the GPU kernels' design (`kernels`), the lesson (`lesson`), its compiling for a GPU (`compiling`), and
the classroom's notebook (`classroom`).
"""

from collections.abc import Callable

from benchmarks import contenders
from benchmarks.measure import Contender, Context
from benchmarks.suites import (
    classroom,
    compiling,
    dispatch,
    epochs,
    evaluation,
    kernels,
    lesson,
    side_by_side,
)

SUITES: dict[str, Callable[[Context], list[Contender]]] = {
    "ladder": contenders.ladder,
    "comparison": side_by_side.comparison,
    "models": side_by_side.models,
    "epochs": epochs.contenders,
    "evaluation": evaluation.contenders,
    "dispatch": dispatch.contenders,
    "kernels": kernels.contenders,
    "lesson": lesson.contenders,
    "compiling": compiling.contenders,
    "classroom": classroom.contenders,
}
