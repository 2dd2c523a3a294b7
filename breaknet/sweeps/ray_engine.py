"""Shards as tasks on a Ray cluster: its scheduler, dashboard and retries; results come back to this process, which
writes them. A killed worker's shard is trained again by another; the bits are those of the local engine."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from ..data.splits import Digits
from .shards import Shard, trained

#: How to get Ray.
ADVICE = "the ray engine needs Ray: pip install 'breaknet[sweep,ray]'"

#: How often a shard whose worker died is tried again.
RETRIES = 3


class RayEngine:
    """An engine of `runner.run`.

    Args:
        backend, device: as in `train`. Where the cluster has GPUs and the device is not the CPU, each task asks for
            one, else for one CPU.
        address: of the cluster; None: RAY_ADDRESS, else a cluster of this machine's own, bound to 127.0.0.1.
        parameters: as in `sweep`.

    Raises:
        ImportError: without Ray.
    """

    def __init__(self, backend: str, device: Any, address: str | None, parameters: bool = False) -> None:
        try:
            import ray
        except ImportError as error:
            raise ImportError(f"{ADVICE} ({error})") from error
        self._ray: Any = ray
        self._address, self._asked = address, (backend, device, parameters)

    def __call__(self, digits: Digits, shards: list[Shard]) -> Iterator[tuple[Shard, list[dict[str, Any]]]]:
        ray = self._ray
        started = not ray.is_initialized()
        if started:
            self._connect()
        try:
            asked = self._resources()
            data = ray.put(digits)
            task = ray.remote(max_retries=RETRIES, **asked)(_trained_on_worker)
            waiting = {
                task.remote(data, shard.settings, *self._asked, asked.get("num_cpus")): shard
                for shard in shards
            }
            while waiting:
                (done,), _ = ray.wait(list(waiting), num_returns=1)
                yield waiting.pop(done), ray.get(done)
        finally:
            if started:
                ray.shutdown()

    def _connect(self) -> None:
        address = self._address or os.environ.get("RAY_ADDRESS")
        quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
        if not address:
            own = {"_node_ip_address": "127.0.0.1", "dashboard_host": "127.0.0.1", "include_dashboard": False}
            quiet |= own
        self._ray.init(address=address, **quiet)

    def _resources(self) -> dict[str, float]:
        """Resources that a task asks for; with one CPU each, shards run side by side."""
        there = self._ray.cluster_resources()
        if there.get("GPU", 0) >= 1 and not str(self._asked[1]).startswith("cpu"):
            return {"num_gpus": 1}
        return {"num_cpus": 1}


def _trained_on_worker(
    digits: Digits, settings: Any, backend: str, device: Any, parameters: bool, cpus: float | None
) -> list[dict[str, Any]]:
    """One shard, on as many threads as the task has CPUs; the number of threads changes no bit."""
    if cpus is not None:
        os.environ["BREAKNET_THREADS"] = str(max(1, int(cpus)))
    return trained(digits, settings, backend, device, parameters)
