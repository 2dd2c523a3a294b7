"""The machine at hand as a `Machine`: asked of the system, never typed."""

import hashlib
import os
import platform
import re
import subprocess
from datetime import date
from pathlib import Path

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
    limit = facts.get("power.limit", "")
    build = {"torch": torch.__version__} | ({"cuda": torch.version.cuda} if torch.version.cuda else {})
    return Machine(
        name=slug(gpu) if gpu else slug(f"{cpu} {cores} cores"),
        cpu=cpu,
        cores=cores,
        gpu=gpu,
        power_limit_w=float(limit) if re.fullmatch(r"\d+(\.\d+)?", limit) else None,
        driver=facts.get("driver_version"),
        versions=versions("jax", "pytest-benchmark") | build,
        commit=commit(),
        date=date.today().isoformat(),
        ceilings=dict(ceilings or {}),
    )


def cpu_name() -> str:
    """Such as "AMD EPYC (family 23, model 1)": servers' CPUs often hide their full names."""
    info = Path("/proc/cpuinfo")
    text = info.read_text().partition("\n\n")[0] if info.exists() else ""
    facts = dict(re.findall(r"^(.*?)\s*: (.*)$", text, re.MULTILINE))
    name = facts.get("model name") or platform.processor() or platform.machine() or "unknown"
    name = " ".join(re.sub(r"\(R\)|\(TM\)|\bCPU\b|@.*", " ", name).split())
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


def commit() -> str:
    """The commit, "+changes" if files other than stored results differ; without git what a notebook that carries these
    files says in COMMIT, else a digest of the sources."""
    carried = ROOT / "COMMIT"
    if carried.exists():
        return carried.read_text().strip()
    head = _git("rev-parse", "--short=7", "HEAD")
    if not head:
        digest = hashlib.sha256()
        for folder in ("breaknet", "kernels", "benchmarks"):
            for path in sorted((ROOT / folder).rglob("*.py")):
                digest.update(path.relative_to(ROOT).as_posix().encode() + path.read_bytes())
        return f"sources-{digest.hexdigest()[:12]}"
    changed = _git("status", "--porcelain", "--", ".", ":!benchmarks/results")
    return head if changed == "" else f"{head}+changes"


def _git(*words: str) -> str | None:
    return _output("git", "-C", str(ROOT), *words) if (ROOT / ".git").exists() else None


def _output(*command: str) -> str | None:
    """Its output; None where it is not installed, fails, or takes long."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _nvidia_smi() -> dict[str, str]:
    """Power limit in watts and driver of the current GPU; empty where nvidia-smi does not answer."""
    wanted = ("power.limit", "driver_version")
    uuid = getattr(torch.cuda.get_device_properties(torch.cuda.current_device()), "uuid", None)
    which = f"GPU-{uuid}" if uuid else str(torch.cuda.current_device())
    query = f"--query-gpu={','.join(wanted)}", "--format=csv,noheader,nounits"
    values = (_output("nvidia-smi", f"--id={which}", *query) or "").split(", ")
    return dict(zip(wanted, values, strict=True)) if len(values) == len(wanted) else {}
