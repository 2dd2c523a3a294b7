"""Compile what the lesson launches on a GPU, in this fresh process, as the first use of such a GPU does: in threads.

    python -m benchmarks.compile_lesson sm_75

It needs no GPU and prints the seconds that imports and compiling took, as JSON. What Triton has in its cache
(TRITON_CACHE_DIR) is loaded from there.
"""

from __future__ import annotations

import json
import sys
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter

#: The lesson's form of each kernel among those shipped; what follows a comma depends on the size of the GPU.
FORMS = {
    "cooperative_training": "784-16-16-10 batch 100 u8",
    "evaluation_forward": "16-16 u8",
    "ordered_sum": "16x32 fp64",
}


def main(name: str) -> None:
    began = perf_counter()
    import torch  # noqa: F401  as every use of breaknet does

    from breaknet.kernels.host.machine_code import compile_case
    from breaknet.kernels.host.supported_configurations import supported_configurations
    from breaknet.kernels.host.targets import parse_target

    imported = perf_counter()
    capability = parse_target(name).capability
    supported = supported_configurations(capability)
    # of the trainer's forms for GPUs of different size the last: the largest GPU's
    chosen = {case.name: case for case in supported if case.config.split(", ")[0] == FORMS.get(case.name)}
    assert chosen.keys() == FORMS.keys(), f"shipped no more: {FORMS.keys() - chosen.keys()}"
    with ThreadPoolExecutor(len(chosen)) as pool:
        list(pool.map(lambda case: compile_case(case, capability), chosen.values()))
    print(json.dumps({"imports": imported - began, "compiling": perf_counter() - imported}))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("target: one, such as sm_75")
    main(sys.argv[1])
