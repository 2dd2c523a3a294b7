"""The machine at hand as a `Machine`: asked of the system, never typed."""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shutil
import subprocess
from datetime import date
from pathlib import Path
from typing import Any

import torch

from benchmarks.processes import ROOT
from benchmarks.rows import Machine
from breaknet.versions import versions


def here(device: str = "cpu", ceilings: dict[str, float] | None = None) -> Machine:
    """The machine that rows on `device` ("cpu" or "cuda") are stored with; `ceilings` as measured on it.

    Raises:
        ValueError: a device that is not there.
    """
    if device not in ("cpu", "cuda") or (device == "cuda" and not torch.cuda.is_available()):
        raise ValueError(f'device: "cpu", or "cuda" where there is a GPU, not {device!r}')
    cpu, cores = cpu_name(), core_count()
    gpu = torch.cuda.get_device_name() if device == "cuda" else None
    facts = _nvidia_smi() if gpu else {}
    limit = facts.get("power.limit")
    return Machine(
        name=slug(gpu) if gpu else slug(f"{cpu} {cores} cores"),
        cpu=cpu,
        cores=cores,
        gpu=gpu,
        power_limit_w=float(limit) if limit and re.fullmatch(r"\d+(\.\d+)?", limit) else None,
        driver=facts.get("driver_version"),
        versions=_versions(),
        commit=commit(),
        date=date.today().isoformat(),
        ceilings=dict(ceilings or {}),
    )


def cpu_name() -> str:
    """Such as "AMD EPYC (family 23, model 1)": servers' CPUs often hide their full names."""
    info = Path("/proc/cpuinfo")
    facts: dict[str, str] = {}
    if info.exists():
        for line in info.read_text().split("\n\n")[0].splitlines():
            key, _, value = line.partition(":")
            facts[key.strip()] = value.strip()
    name = facts.get("model name") or platform.processor() or platform.machine() or "unknown"
    name = re.sub(r"\(R\)|\(TM\)|\bCPU\b|@.*", " ", name)
    name = re.sub(r"\s+", " ", name).strip()
    if "cpu family" in facts and "model" in facts:
        name += f" (family {facts['cpu family']}, model {facts['model']})"
    return name


def core_count() -> int:
    """The CPU cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def slug(text: str) -> str:
    """Small letters, digits and hyphens: a folder's name."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def _versions() -> dict[str, str]:
    found = versions("jax", "pytest-benchmark")
    found["torch"] = torch.__version__  # with the kind of build
    if torch.version.cuda:
        found["cuda"] = torch.version.cuda
    return found


def commit() -> str:
    """The commit, "+changes" if files other than stored results differ; without git a digest of the sources."""
    head = _git("rev-parse", "--short=7", "HEAD")
    if not head:
        return f"sources-{_sources()}"
    changed = _git("status", "--porcelain", "--", ".", ":!benchmarks/results")
    return head if changed == "" else f"{head}+changes"


def _git(*words: str) -> str | None:
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        return None
    done = subprocess.run(["git", "-C", str(ROOT), *words], capture_output=True, text=True)
    return done.stdout.strip() if done.returncode == 0 else None


def _sources() -> str:
    digest = hashlib.sha256()
    for folder in ("breaknet", "kernels", "benchmarks"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            digest.update(path.relative_to(ROOT).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()[:12]


def _nvidia_smi() -> dict[str, Any]:
    """Power limit in watts and driver of the current GPU; empty where nvidia-smi does not answer."""
    wanted = ("power.limit", "driver_version")
    uuid = getattr(torch.cuda.get_device_properties(torch.cuda.current_device()), "uuid", None)
    which = f"GPU-{uuid}" if uuid else str(torch.cuda.current_device())
    command = ["nvidia-smi", f"--id={which}", f"--query-gpu={','.join(wanted)}"]
    try:
        done = subprocess.run(
            [*command, "--format=csv,noheader,nounits"], capture_output=True, text=True, timeout=20
        )
    except (OSError, subprocess.TimeoutExpired):
        return {}
    values = done.stdout.strip().split(", ") if done.returncode == 0 else []
    return dict(zip(wanted, values, strict=True)) if len(values) == len(wanted) else {}
