"""What `breaknet doctor` finds: versions, devices, which backends work here, and what "auto" picks."""

from __future__ import annotations

import os
import platform
from typing import Any

import numpy as np
import torch

from ..backends import select
from ..lesson.experiments import versions
from ..model import MLP
from ..training import train


def examine() -> dict[str, Any]:
    """Look at this machine and try every backend that can be used on it.

    Returns:
        A dictionary with `versions`, `machine`, `gpus`, `backends` (by name: `usable`, `reason`, `checks`, a
        list of `name`, `ok`, `detail`) and `auto`: the backend, device and why.
    """
    obstacles = select.reasons()
    backends: dict[str, dict[str, Any]] = {}
    for name, reason in obstacles.items():
        checks = [] if reason else _checks(name)
        backends[name] = {"usable": reason is None, "reason": reason, "checks": checks}
    return {
        "versions": versions(),
        "machine": {
            "system": platform.platform(),
            "cores": os.cpu_count(),
            "threads": torch.get_num_threads(),
        },
        "gpus": _gpus(),
        "backends": backends,
        "auto": _automatic(backends),
    }


def _automatic(backends: dict[str, dict[str, Any]]) -> dict[str, str]:
    usable = select.choices("auto", "auto")
    before = list(backends)[: list(backends).index(usable[0].name)]
    passed_over = [f"{name}: {backends[name]['reason']}" for name in before]
    for choice in usable:
        failed = [check["name"] for check in backends[choice.name]["checks"] if not check["ok"]]
        if not failed:
            why = "; ".join(passed_over) or "the fastest of all"
            return {"backend": choice.name, "device": str(choice.device), "why": why}
        passed_over.append(f"{choice.name} failed: {', '.join(failed)}")
    return {"backend": "", "device": "", "why": "; ".join(passed_over)}


def _checks(name: str) -> list[dict[str, Any]]:
    module = select.load(name)
    device = next(choice.device for choice in select.choices(name, "auto"))
    found = []
    if hasattr(module, "self_check"):  # what only the backend itself can check, such as compiling each kernel
        found = [
            {"name": check, "ok": ok, "detail": detail} for check, ok, detail in module.self_check(device)
        ]
    try:
        error = _error_of_an_epoch(name, device)
    except Exception as failure:
        detail = str(failure).splitlines()[0] if str(failure) else type(failure).__name__
        found.append({"name": "training", "ok": False, "detail": detail})
    else:
        detail = f"update within {error:.1e} of float64 (allowed: 1e-05)"
        found.append({"name": "training", "ok": error < 1e-5, "detail": detail})
    return found


def _error_of_an_epoch(backend: str, device: torch.device) -> float:
    """The largest relative error of any parameter's update over an epoch of 25 steps, against float64."""
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (250, 784), np.uint8) * (random.random((250, 784)) < 0.2)
    labels = random.integers(0, 10, 250)
    run = train((images, labels), epochs=1, batch_size=10, backend=backend, device=device)
    exact = MLP.seeded(0).double()
    optimizer = torch.optim.SGD(exact.parameters(), lr=0.05)
    for low in range(0, 250, 10):
        target = torch.nn.functional.one_hot(torch.from_numpy(labels[low : low + 10]), 10).double()
        output = exact(torch.from_numpy(images[low : low + 10]).double() / 256)
        optimizer.zero_grad()
        torch.nn.functional.mse_loss(output, target, reduction="sum").backward()
        optimizer.step()
    start, trained = MLP.seeded(0).double().state_dict(), run.checkpoints[0].double().state_dict()
    return max(
        float((trained[name] - value).norm() / (value - start[name]).norm())
        for name, value in exact.state_dict().items()
    )


def _gpus() -> list[dict[str, Any]]:
    if not torch.cuda.is_available():
        return []
    found = []
    for number in range(torch.cuda.device_count()):
        gpu = torch.cuda.get_device_properties(number)
        found.append(
            {
                "name": gpu.name,
                "capability": f"sm_{gpu.major}{gpu.minor}",
                "multiprocessors": gpu.multi_processor_count,
                "gib": round(gpu.total_memory / 2**30, 1),
            }
        )
    return found


def no_gpu_advice() -> str:
    """Why torch sees no GPU, and what to do about it."""
    if torch.version.cuda is None and torch.version.hip is None:
        return "this torch was built without CUDA; on Colab choose Runtime > Change runtime type > T4 GPU"
    return "no NVIDIA driver answers; on Colab choose Runtime > Change runtime type > T4 GPU"
