"""One network against the rivals, then two side by side (the lesson's clean and shuffled runs)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarks.contenders import cooperative, numba_cpu, packed, sliced
from benchmarks.contenders.contender import single
from benchmarks.lab import Lab
from benchmarks.measure import Way
from benchmarks.problem import Problem, Trainer, TrainerBuilder
from benchmarks.suites.training import training_ready


def jax_scan(problems: Sequence[Problem], epochs: int) -> Trainer:
    """`rivals.jax_scan.trainer`, imported only where JAX is."""
    from benchmarks.contenders import jax_scan

    return jax_scan.trainer(problems, epochs)


def jax_in_turn(problems: Sequence[Problem], epochs: int) -> Trainer:
    """`rivals.jax_scan.one_after_another`, likewise."""
    from benchmarks.contenders import jax_scan

    return jax_scan.one_after_another(problems, epochs)


def torch_func(problems: Sequence[Problem], epochs: int) -> Trainer:
    """`rivals.torch_func.trainer`."""
    from benchmarks.contenders import torch_func

    return torch_func.trainer(problems, epochs)


def ways(lab: Lab) -> list[Way]:
    epochs = 1 if lab.rehearsing else 20  # a launch of one epoch is over too soon to be timed well
    # by name: title, how it is built, what it needs, epochs a call, the rung that has its floor
    ours: dict[int, tuple[str, Any, tuple[str, ...], int, str]] = {
        1: ("breaknet's CPU kernels", numba_cpu.trainer, ("numba",), 1, "numba"),
        2: ("breaknet's CPU kernels, a thread a network", numba_cpu.trainer, ("numba",), 1, "numba"),
    }
    if lab.gpu:
        one = single(cooperative.trainer)
        ours = {
            1: ("breaknet, all epochs in one launch", one, ("triton",), epochs, "persistent"),
            2: ("breaknet, a program a network", packed.trainer, ("triton",), epochs, "many-models"),
        }
    alone = {
        "breaknet": ours[1],
        "jax-scan": ("JAX, jit + lax.scan", jax_scan, ("jax",), 1, "sliced"),
        "sliced": ("sliced tensors, nn.Module", single(sliced.trainer), (), 1, "sliced"),
    }
    both = {
        "breaknet": ours[2],
        "jax-vmap": ("JAX, vmap over both", jax_scan, ("jax",), 1, "sliced"),
        "jax-in-turn": ("JAX, one after the other", jax_in_turn, ("jax",), 1, "sliced"),
        "torch-func": ("torch.func, stacked ensemble", torch_func, (), 1, "sliced"),
    }
    found = [_way(lab, f"rivals/{lab.device}/one/{name}", 1, *way) for name, way in alone.items()]
    return found + [_way(lab, f"rivals/{lab.device}/two/{name}", 2, *way) for name, way in both.items()]


def _way(
    lab: Lab,
    name: str,
    models: int,
    title: str,
    build: TrainerBuilder,
    needs: tuple[str, ...],
    epochs: int,
    floor: str,
) -> Way:
    one = f"one training step of {lab.size.batch_size} images"
    work = one if models == 1 else f"{one}, of one of {models} networks side by side"
    images = lab.size.train_images
    prepare = training_ready(build, lab, images=images, models=models, epochs=epochs, floor=floor)
    return Way(name, "rivals", title, work, lab.device, f"rivals/{models}", prepare, needs)
