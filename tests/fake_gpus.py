"""Fake GPUs of the kinds that the kernels are compiled for, and training on them."""

from typing import Any
from unittest.mock import patch

import breaknet
from breaknet.backends.triton_gpu import rounds
from breaknet.kernels import fused_network_kernels
from breaknet.kernels.host.supported_configurations import SMS
from breaknet.kernels.host.targets import parse_target
from tools.ptx_machine.fake_gpu import FakeGpus


def largest(target: str, **options: Any) -> FakeGpus:
    """The largest GPU known of a target such as "sm_75"."""
    capability = parse_target(target).capability
    return FakeGpus(capability, max(SMS[capability]), **options)


def forget_gpus() -> None:
    """Drop what the fused network keeps on GPUs: those of the test before are gone."""
    fused_network_kernels._tickets.clear()
    fused_network_kernels._free_tickets.clear()


def train(gpus: FakeGpus, jobs: list[breaknet.Job], steps: int = 4, **options: object) -> list[breaknet.Run]:
    """On the fake GPUs, in rounds of few steps."""
    short = patch.dict(rounds.FIRST_STEPS, cuda=steps), patch.object(rounds, "ROUND_SECONDS", 0.01)
    with gpus, short[0], short[1]:
        return breaknet.train_many(jobs, **{"backend": "triton", "device": "cuda", **options})
