"""What a whole `breaknet.train` costs by epochs and by images, beside the torch reference behind the same call."""

from __future__ import annotations

from functools import partial

import torch

from benchmarks.contenders.contender import checked_trainer
from benchmarks.lab import Lab
from benchmarks.measure import Ready, Way
from benchmarks.problem import Problem, Trainer
from breaknet import Job, train_many
from breaknet.model import MLP

TITLES = {
    "triton": "breaknet's GPU kernels",
    "numba": "breaknet's CPU kernels",
    "torch": "the plain torch reference",
}


def ways(lab: Lab) -> list[Way]:
    """A curve over epochs, and one over images at the middle one of the epochs."""
    size = lab.size
    backends = ("triton" if lab.gpu else "numba", "torch")
    few = size.epochs[len(size.epochs) // 2]
    points = [("epochs", epochs, size.epochs_images) for epochs in size.epochs]
    points += [("images", few, images) for images in size.images]
    return [
        Way(
            name=f"epochs/{lab.device}/{backend}/{epochs}x{images}", group="epochs", title=TITLES[backend],
            work=f"a whole call of breaknet.train: {epochs:,} epochs of {images:,} images", device=lab.device,
            contest=f"epochs/{epochs}x{images}", prepare=partial(_ready, lab, backend, epochs, images),
            needs=() if backend == "torch" else (backend,), series=f"epochs/{lab.device}/{backend}/{axis}",
            scale=epochs * images,
            # the reference is slow on a GPU, and time there is short
            repeats=3 if lab.gpu and backend == "torch" else None,
        )
        for axis, epochs, images in points
        for backend in backends
    ]  # fmt: skip


def _ready(lab: Lab, backend: str, epochs: int, images: int) -> Ready:
    checked_trainer(
        lambda problems, count: _public_trainer(problems[0], count, backend),
        [lab.training(lab.size.check_steps * lab.size.batch_size)],
        lab.size.check_steps,
    )
    data = lab.data.train[:images], lab.data.valid[: max(1, images // 5)]
    job = Job(data[0], valid=data[1], epochs=epochs, batch_size=lab.size.batch_size)

    def run() -> None:
        found = train_many([job], backend=backend, device=lab.place)[0]
        assert len(found.train_cost) == epochs, f"{len(found.train_cost)} epochs, not {epochs}"

    lab.warm_up(run)
    conditions = {
        "batch": lab.size.batch_size, "images": len(data[0]), "valid_images": len(data[1]), "epochs": epochs,
        "models": 1,
        "timed": {
            "in": "moving and compressing data, training, cost and accuracy of both sets after each epoch, checkpoints",
            "out": "compiling, loading data from disk",
        },
    }  # fmt: skip
    return Ready(run, 1, conditions=conditions)


def _public_trainer(problem: Problem, epochs: int, backend: str) -> Trainer:
    """`breaknet.train_many` in the form of a builder."""
    runs = []

    def train() -> None:
        start = MLP(problem.hidden)
        start.load_state_dict(problem.start)
        pair = problem.images, torch.from_numpy(problem.labels)
        job = Job(
            pair,
            epochs=epochs,
            batch_size=problem.batch_size,
            learning_rate=problem.learning_rate,
            init=start,
        )
        runs[:] = train_many([job], backend=backend, device=problem.device)

    return Trainer(train, lambda: [runs[0].checkpoints[-1].state_dict()])
