"""The report of `breaknet doctor`: versions, devices, which backends work here, and what "auto" picks."""

import os
import platform
from typing import Any

import torch

from ..backends import select
from ..backends.check import check_backend
from ..versions import versions


def examine() -> dict[str, Any]:
    """Look at this machine and try every backend that can be used on it.

    Returns:
        A dictionary with `versions`, `machine`, `gpus`, `backends` (by name: `usable`, `reason`, `checks`, a
        list of `name`, `ok`, `detail`) and `auto`: the backend, device and why.
    """
    backends = {
        name: {"usable": reason is None, "reason": reason, "checks": [] if reason else _checks(name)}
        for name, reason in select.reasons().items()
    }
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
    (choice,) = select.choices(name, "auto")
    return [found._asdict() for found in check_backend(name, choice.device)]


def _gpus() -> list[dict[str, Any]]:
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return [
        {
            "name": gpu.name,
            "capability": f"sm_{gpu.major}{gpu.minor}",
            "multiprocessors": gpu.multi_processor_count,
            "gib": round(gpu.total_memory / 2**30, 1),
        }
        for gpu in map(torch.cuda.get_device_properties, range(count))
    ]


def no_gpu_advice() -> str:
    """Why torch sees no GPU, and what to do about it."""
    if torch.version.cuda is None and torch.version.hip is None:
        return "this torch was built without CUDA; on Colab choose Runtime > Change runtime type > T4 GPU"
    return "no NVIDIA driver answers; on Colab choose Runtime > Change runtime type > T4 GPU"
