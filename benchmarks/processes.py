"""Fresh Python processes that find this checkout, for what is timed from a process's start, and what runs in them.

    python -m benchmarks.processes compile sm_75                     the lesson's kernels for such a GPU
    python -m benchmarks.processes lesson DATA BACKEND DEVICE SCALE  the lesson without figures and report

Both print the seconds of their phases as JSON. Nothing heavy is imported before it is timed.
"""

from time import perf_counter

_BEGAN = perf_counter()

import json  # noqa: E402
import os  # noqa: E402
import subprocess  # noqa: E402
import sys  # noqa: E402
from collections.abc import Mapping, Sequence  # noqa: E402
from concurrent.futures import ThreadPoolExecutor  # noqa: E402
from pathlib import Path  # noqa: E402

ROOT = Path(__file__).parents[1]
#: The lesson's configuration of each kernel among those supported; what follows a comma depends on the GPU's size.
CONFIGURATIONS = {
    "cooperative_training": "784-16-16-10 batch 100 u8",
    "evaluation_forward": "16-16 u8",
    "ordered_sum": "16x32 fp64",
}


def run_python(
    what: str, arguments: Sequence[str], environment: Mapping[str, str], folder: Path | None = None
) -> str:
    """Run this Python with `arguments` in `folder`, or in this one; returns its output. `what` names it in the error.

    Raises:
        RuntimeError: it failed, with the last line of its errors.
    """
    paths = [str(ROOT), environment.get("PYTHONPATH")]
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env={**environment, "PYTHONPATH": os.pathsep.join(filter(None, paths))},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        raise RuntimeError(f"{what} ended with {done.returncode}: {lines[-1] if lines else ''}")
    return done.stdout


def compile_kernels(name: str) -> dict[str, float]:
    """Compile the lesson's kernels as the first use of such a GPU does, in threads; no GPU is needed.

    What Triton has in its cache (TRITON_CACHE_DIR) is loaded from there.
    """
    import torch  # noqa: F401  as every use of breaknet does

    from breaknet.kernels.host.machine_code import compile_case
    from breaknet.kernels.host.supported_configurations import supported_configurations
    from breaknet.kernels.host.targets import parse_target

    imported = perf_counter()
    capability = parse_target(name).capability
    supported = supported_configurations(capability)
    # of the trainer's configurations for GPUs of different size the last: the largest GPU's
    chosen = {
        case.name: case for case in supported if case.config.split(", ")[0] == CONFIGURATIONS.get(case.name)
    }
    assert chosen.keys() == CONFIGURATIONS.keys(), (
        f"no longer supported: {CONFIGURATIONS.keys() - chosen.keys()}"
    )
    with ThreadPoolExecutor(len(chosen)) as pool:
        list(pool.map(lambda case: compile_case(case, capability), chosen.values()))
    return {"imports": imported - _BEGAN, "compiling": perf_counter() - imported}


def lesson(source: str, backend: str, device: str, scale: str) -> dict[str, float]:
    """Load the data, train, evaluate and fit, for machines that lack what figures and report need."""
    import torch

    torch_imported = perf_counter()

    from benchmarks.problem import digits
    from breaknet.lesson.experiments import Lesson, Settings

    imported = perf_counter()
    if device == "cuda":
        torch.cuda.init()
    data = digits(source)
    loaded = perf_counter()
    results = Lesson(data, Settings(backend=backend, device=device, epochs_scale=float(scale))).run()
    seconds = dict(results["seconds"])
    seconds |= {
        "torch": torch_imported - _BEGAN, "imports": imported - torch_imported, "data": loaded - imported,
        "total": perf_counter() - _BEGAN,
    }  # fmt: skip
    return seconds


if __name__ == "__main__":
    entry = {"compile": compile_kernels, "lesson": lesson}[sys.argv[1]]
    print(json.dumps(entry(*sys.argv[2:])))
