"""The ladder: from the notebook's loop to a whole run in one launch, every rung on the same network and data.

    from benchmarks.ladder import RUNGS, climb
    rows = climb("cpu", size="quick")

Two flights of stairs: steps of training, and the accuracy of a network on many images. Each rung is checked against
float64 before it is timed; the rungs of a flight are timed in turn.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarks import launches
from benchmarks.contenders import (
    all_checkpoints,
    compiled,
    cooperative,
    cuda_graph,
    fused,
    hand_written,
    notebook,
    numba_cpu,
    packed,
    sliced,
    vectorised,
)
from benchmarks.contenders.contender import Rung, single
from benchmarks.lab import Lab
from benchmarks.measure import Way, measure
from benchmarks.rows import Row
from benchmarks.sizes import size_of
from breaknet import Digits

_CUDA: dict[str, Any] = {"devices": ("cuda",)}
_TRITON: dict[str, Any] = {"devices": ("cuda",), "needs": ("triton",), "rehearsed": True}
_NUMBA: dict[str, Any] = {"devices": ("cpu",), "needs": ("numba",), "sparse": True, "label_bytes": 8.0}
_BYTES: dict[str, Any] = {"image_bytes": 784.0, "label_bytes": 4.0}

RUNGS: dict[str, Rung] = {
    rung.name: rung
    for rung in (
        Rung(0, "notebook", "the notebook's loop: DataLoader, nn.Module", single(notebook.trainer), label_bytes=80.0),
        Rung(
            0, "notebook-accuracy", "the notebook's accuracy, one sample at a time", notebook.scorer, scores=True,
            sampled=True, label_bytes=80.0,
        ),
        Rung(1, "sliced", "sliced tensors, nn.Module", single(sliced.trainer)),
        Rung(2, "vectorised-accuracy", "vectorised accuracy", vectorised.scorer, scores=True, label_bytes=8.0),
        Rung(3, "cuda-graph", "a CUDA graph of the step", single(cuda_graph.trainer), **_CUDA),
        Rung(4, "compiled", 'torch.compile(mode="reduce-overhead")', single(compiled.trainer), **_CUDA),
        Rung(
            5, "fused", "fused operators under autograd", single(fused.trainer), label_bytes=8.0, **_TRITON
        ),
        Rung(
            6, "persistent", "all epochs in one launch", single(cooperative.trainer), epochs=20, held=True,
            count_whole=True, **_TRITON, **_BYTES,
        ),
        Rung(
            7, "many-models", "many networks in one launch", packed.trainer, models=packed.capacity, held=True,
            count_whole=True, **_TRITON, **_BYTES,
        ),
        Rung(
            8, "all-checkpoints", "all checkpoints in one launch", all_checkpoints.scorer, scores=True, together=True,
            **_TRITON, **_BYTES,
        ),
        Rung(9, "hand-written", "gradients written out in torch", single(hand_written.trainer), devices=("cpu",)),
        Rung(
            10, "numba", "breaknet's CPU kernels", numba_cpu.trainer, held=True, count=launches.of_numba,
            count_whole=True, threads=1, **_NUMBA,
        ),
        Rung(
            10, "numba-evaluation", "breaknet's CPU kernels, all checkpoints at once", numba_cpu.scorer, scores=True,
            together=True, count=launches.of_numba, **_NUMBA,
        ),
    )
}  # fmt: skip


def climb(
    device: str = "cpu",
    *,
    only: Sequence[str] | None = None,
    size: str = "quick",
    data: Digits | None = None,
    survive: bool = False,
) -> list[Row]:
    """Check, count and time the rungs of a device.

    Args:
        device: "cpu" or "cuda".
        only: names of the rungs wanted; all of the device's by default.
        size: "quick" or "full" ("rehearse" tries every path, and its times mean nothing).
        data: what to train and score on; by default what BREAKNET_DATA names, else synthetic digits.
        survive: leave out a rung that fails, with a warning, instead of raising.

    Raises:
        ValueError: an unknown device, rung or size, or data that is blank.
        WrongResult: a rung's result is not float64's; it gets no time.
        Missing: a package that a rung needs is not installed.
    """
    lab = Lab(device, size_of(size), data)
    here = {rung.name: rung for rung in rungs_on(lab)}
    unknown = sorted(set(only or ()) - set(here))
    if unknown:
        raise ValueError(f"only: rungs on {device}, {', '.join(here)}; not {', '.join(unknown)}")
    chosen = [rung.way(lab) for name, rung in here.items() if only is None or name in only]
    return measure(chosen, lab, survive=survive)


def ways(lab: Lab) -> list[Way]:
    """All rungs of the lab's device."""
    return [rung.way(lab) for rung in rungs_on(lab)]


def rungs_on(lab: Lab) -> list[Rung]:
    """Those of its device, less, in a GPU's rehearsal, those that need a real one; training comes first."""
    found = [
        rung
        for rung in RUNGS.values()
        if lab.device in rung.devices and (lab.place.type in rung.devices or rung.rehearsed)
    ]
    return sorted(found, key=lambda rung: rung.scores)
