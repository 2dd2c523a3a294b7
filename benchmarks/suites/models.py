"""What a network's step costs when 1 to 4,096 of them train side by side on the same images."""

from __future__ import annotations

from typing import Any

from benchmarks.contenders import numba_cpu, packed
from benchmarks.lab import Lab
from benchmarks.measure import Way
from benchmarks.suites.rivals import jax_scan, torch_func
from benchmarks.suites.training import training_ready


def ways(lab: Lab) -> list[Way]:
    # by name: title, how it is built, what it needs, epochs a call, the rung that has its floor
    builders: dict[str, tuple[str, Any, tuple[str, ...], int, str]] = {
        "breaknet": ("breaknet's CPU kernels, a thread a network", numba_cpu.trainer, ("numba",), 1, "numba"),
        "jax-vmap": ("JAX, vmap over networks", jax_scan, ("jax",), 1, "sliced"),
        "torch-func": ("torch.func, stacked ensemble", torch_func, (), 1, "sliced"),
    }
    if lab.gpu:
        epochs = 1 if lab.rehearsing else 20  # a launch of one epoch is over too soon to be timed well
        ours = "breaknet, a program a network", packed.trainer, ("triton",), epochs, "many-models"
        builders["breaknet"] = ours
    work = f"one training step of {lab.size.batch_size} images, of one of the networks"
    return [
        Way(
            name=f"models/{lab.device}/{name}/{models}", group="models", title=title, work=work, device=lab.device,
            contest=f"models/{models}", needs=needs, series=f"models/{lab.device}/{name}", scale=models,
            prepare=training_ready(
                build, lab, images=lab.size.models_images, models=models, epochs=epochs, floor=floor
            ),
        )
        for models in lab.size.models
        for name, (title, build, needs, epochs, floor) in builders.items()
    ]  # fmt: skip
