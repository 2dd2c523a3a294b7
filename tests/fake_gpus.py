"""Fake GPUs of the kinds that the kernels are compiled for."""

from __future__ import annotations

from typing import Any

from breaknet.kernels.host.supported_configurations import SMS
from breaknet.kernels.host.targets import parse_target
from tools.ptx_machine.fake_gpu import FakeGpus


def largest(target: str, **options: Any) -> FakeGpus:
    """The largest GPU known of a target such as "sm_75"."""
    capability = parse_target(target).capability
    return FakeGpus(capability, max(SMS[capability]), **options)
