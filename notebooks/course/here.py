"""The place where the course runs: the device, Triton or why there is none, sizes, and the digits.

Import this before anything else that may import Triton: without a GPU it sets TRITON_INTERPRET, which Triton reads
when a kernel is decorated.
"""

import os
from functools import cache

# torch's profiler would report every start and stop on standard error
os.environ.setdefault("KINETO_LOG_LEVEL", "6")

import torch
from torch import Tensor

#: "cuda" where there is a GPU, else "cpu".
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
if DEVICE == "cpu":
    os.environ["TRITON_INTERPRET"] = "1"

from breaknet.data.splits import Digits  # noqa: E402
from breaknet.kernels._triton import HAVE_TRITON, tl, triton, why_not  # noqa: E402, F401

#: Whether exercises run as Python on CPU tensors, program after program.
INTERPRETED = DEVICE == "cpu"
#: How much is measured: BREAKNET_COURSE is "quick" (a minute of one core for the whole course), "full", or "rehearse",
#: which runs everything and gives meaningless times.
SIZE = os.environ.get("BREAKNET_COURSE", "quick")
if SIZE not in ("rehearse", "quick", "full"):
    raise ValueError(f"BREAKNET_COURSE: rehearse, quick or full, not {SIZE!r}")


def introduction() -> str:
    """Three lines on the machine, how kernels run on it, and how much is measured."""
    if DEVICE == "cuda":
        name = torch.cuda.get_device_name()
        machine = f"{name}, {torch.cuda.get_device_properties(0).multi_processor_count} SMs"
    else:
        machine = f"no CUDA GPU here: a CPU with {torch.get_num_threads()} thread(s)"
    if not HAVE_TRITON:
        kernels = f"no kernel can run here ({why_not()}): the checkers will say so; everything else works"
    elif INTERPRETED:
        kernels = f"Triton {triton.__version__}'s interpreter: the same code, thousands of times slower"
    else:
        kernels = f"compiled by Triton {triton.__version__} for your GPU"
    measured = {"rehearse": "in a rehearsal, whose times mean nothing", "full": "at full size"}
    quick = "at quick sizes (BREAKNET_COURSE=full for full ones)"
    return f"torch {torch.__version__} on {machine}\nkernels: {kernels}\nmeasurements: {measured.get(SIZE, quick)}"


@cache
def digits() -> Digits:
    """The digits that BREAKNET_DATA names, else synthetic ones; `.source` says which."""
    from benchmarks.problem import digits as found

    return found()


def trained(data: Digits) -> dict[str, Tensor]:
    """The lesson's network after one epoch: CPU float32 parameters by name."""
    import breaknet

    images = data.train[:1000] if SIZE == "rehearse" else data.train
    run = breaknet.train(images, epochs=1, backend="torch", device="cpu")
    return {name: value[-1] for name, value in run.checkpoints.stacked.items()}
