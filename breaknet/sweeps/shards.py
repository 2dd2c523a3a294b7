"""Which jobs of a sweep are trained together, how one such shard is trained, and what it all will cost."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from ..data.splits import Digits
from ..model import INPUTS, MLP, OUTPUTS, parameter_shapes
from ..run import Run
from ..training import Job, train_many
from .broken_data import BrokenData, image_set
from .grid import Setting

#: A shard is lost as a whole when a sweep is killed, so it is to last about so long ...
SHARD_SECONDS = 20.0
#: ... and its images, curves and parameters are to take no more memory than this.
SHARD_BYTES = 768 * 2**20
SHARD_JOBS = 2048

#: Bytes of a training image with all that backends make of it, of a validation image, and of a job's results.
IMAGE_BYTES = 784 + 7_000
RESULT_BYTES = 4_000

#: Seconds that a job costs beyond its arithmetic: its start is drawn, its data broken, its row written.
JOB_SECONDS = 2e-3


def parameters(hidden: tuple[int, int]) -> int:
    """Parameters of a network with these widths."""
    first, second = hidden
    return (INPUTS + 1) * first + (first + 1) * second + (second + 1) * OUTPUTS


@dataclass(frozen=True)
class Speed:
    """Seconds an image, of all jobs side by side, by widths: for a training step's share and for an evaluation."""

    training: dict[tuple[int, int], float]
    evaluation: dict[tuple[int, int], float]

    @classmethod
    def guessed(cls) -> Speed:
        """A slow CPU's, for sweeps so small that it does not matter."""
        return cls({(16, 16): 2e-6}, {(16, 16): 5e-7})

    @classmethod
    def measured(cls, digits: Digits, settings: Sequence[Setting], backend: str, device: Any) -> Speed:
        """Found by training a few networks of some of the settings' widths for a moment."""
        shapes = sorted({setting.hidden for setting in settings}, key=parameters)
        chosen = {shapes[place * (len(shapes) - 1) // 3] for place in range(4)}
        batch = max(setting.batch_size for setting in settings)
        data, valid = digits.train[:2000], digits.valid[:2000]
        training, evaluation = {}, {}
        for hidden in sorted(chosen):
            jobs = [
                Job(data, valid=valid, epochs=2, batch_size=batch, hidden=hidden, seed=n) for n in range(4)
            ]
            train_many(jobs[:1], backend=backend, device=device, progress=False)  # compiles
            (run, *_) = train_many(jobs, backend=backend, device=device, progress=False)
            training[hidden] = run.seconds["training"] / (4 * 2 * len(data))
            evaluation[hidden] = run.seconds["evaluation"] / (4 * 2 * (len(data) + len(valid)))
        return cls(training, evaluation)

    def seconds(self, setting: Setting, valid: int) -> float:
        """The cost of a job with `valid` validation examples."""
        known = min(self.training, key=lambda one: abs(parameters(one) - parameters(setting.hidden)))
        larger = max(1.0, parameters(setting.hidden) / parameters(known))
        trained = setting.epochs * setting.examples * self.training[known]
        evaluated = setting.points * (setting.examples + valid) * self.evaluation[known]
        return JOB_SECONDS + larger * (trained + evaluated)


@dataclass(frozen=True)
class Shard:
    """Jobs that are trained in one call and stored in one file."""

    settings: tuple[Setting, ...]
    seconds: float  # estimated
    bytes: int  # of memory, estimated


def cut(settings: Iterable[Setting], speed: Speed, valid: int, at_once: int = 1) -> list[Shard]:
    """The settings, in their order, as shards; `at_once` times as long ones where so many run side by side."""
    shards: list[Shard] = []
    chosen: list[Setting] = []
    seconds, size = 0.0, 0
    sets: set[Any] = set()

    def close() -> None:
        nonlocal seconds, size
        if chosen:
            shards.append(Shard(tuple(chosen), seconds, size))
        chosen.clear()
        sets.clear()
        seconds, size = 0.0, 0

    for setting in settings:
        own_seconds, own_set = speed.seconds(setting, valid), image_set(setting)
        results = RESULT_BYTES + 4 * (setting.points + 2) * parameters(setting.hidden)
        own_bytes = results + (0 if own_set in sets else IMAGE_BYTES * (setting.examples + valid))
        full = (
            len(chosen) >= SHARD_JOBS
            or seconds + own_seconds > SHARD_SECONDS
            or size + own_bytes > SHARD_BYTES
        )
        if chosen and full:
            close()
            own_bytes = results + IMAGE_BYTES * (setting.examples + valid)
        chosen.append(setting)
        sets.add(own_set)
        seconds += own_seconds
        size += own_bytes
    close()
    return shards


def trained(
    digits: Digits, settings: Sequence[Setting], backend: str, device: Any, parameters: bool = False
) -> list[dict[str, Any]]:
    """One row of the result table for each setting, curves included; a diverged job has NaN at its end.

    With `parameters`, also those after the last epoch kept (none of a job that diverged before).
    """
    broken = BrokenData(digits)
    jobs = []
    for setting in settings:
        train, valid = broken.of(setting)
        jobs.append(
            Job(
                train, valid=valid, epochs=setting.epochs, batch_size=setting.batch_size,
                learning_rate=setting.learning_rate, hidden=setting.hidden, seed=setting.seed,
                every=setting.epochs // setting.points, name=str(setting),
            )
        )  # fmt: skip
    runs = train_many(jobs, backend=backend, device=device, progress=False, checkpoints="last")
    nan = float("nan")
    rows = []
    for setting, run in zip(settings, runs, strict=True):
        assert run.valid_cost is not None
        assert run.valid_accuracy is not None
        curves = {
            "train_cost": run.train_cost, "valid_cost": run.valid_cost,
            "train_accuracy": run.train_accuracy, "valid_accuracy": run.valid_accuracy,
        }  # fmt: skip
        ends = {
            name: nan if run.diverged_at is not None else float(curve[-1]) for name, curve in curves.items()
        }
        every = setting.epochs // setting.points
        rows.append(
            {
                "key": setting.key,
                **setting.columns(),
                **ends,
                "gap": ends["train_accuracy"] - ends["valid_accuracy"],
                "diverged_at": run.diverged_at,
                "stuck_at": run.stuck_at,
                "backend": run.backend,
                "plan": run.plan,
                "device": run.device,
                "curve_epoch": [every * (point + 1) - 1 for point in range(len(run.train_cost))],
                **{f"curve_{name}": curve.tolist() for name, curve in curves.items()},
                **({"parameters": _parameters(run)} if parameters else {}),
            }
        )
    return rows


def _parameters(run: Run) -> bytes | None:
    """The last parameters of a run, one tensor after the other."""
    if not len(run.checkpoints):
        return None
    return b"".join(tensor[-1].numpy().astype("<f4").tobytes() for tensor in run.checkpoints.stacked.values())


def model_of(parameters: bytes, hidden: tuple[int, int]) -> MLP:
    """The network whose parameters a row of the result table keeps."""
    flat = torch.frombuffer(bytearray(parameters), dtype=torch.float32)
    shapes = parameter_shapes(hidden)
    parts = flat.split([math.prod(shape) for shape in shapes.values()])
    return MLP.of_parameters(
        {name: part.view(shapes[name]) for name, part in zip(shapes, parts, strict=True)}
    )
