"""`breaknet bench`: an epoch of the lesson by a notebook's usual code, by tidier torch, and by breaknet."""

from __future__ import annotations

import logging
import os
import platform
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..quantities import time
from . import output
from .options import AsJson, Data, Device, Quiet, Verbose, check_backend, load_digits

if TYPE_CHECKING:
    import torch

    from ..data.splits import Split
    from ..model import MLP

#: By epoch count: the trained parameters, and the cost on training and validation images after the last epoch.
Trainer = Callable[[int], tuple[dict[str, "torch.Tensor"], tuple[float, float]]]

BATCH, LEARNING_RATE = 100, 0.05
#: Training and validation images of the check, and how far update and cost may be off of float64's.
CHECKED, UPDATE_ALLOWED, COST_ALLOWED = (500, 100), 1e-4, 1e-5
ROUNDS = 7  # at most
BUSY = 1.5  # times the quickest call: where the median is over that, the machine does something else, too
#: Epochs of one call of breaknet, which does on a GPU in one launch what the others do in thousands.
EPOCHS = {"cpu": 20, "cuda": 100}
WORK = "batches of 100 in order, then cost on training and validation images and a copy of the parameters"


@dataclass(eq=False)
class Contender:
    """An implementation: `prepare(train, valid, device)` puts the data where it wants them and gives a Trainer."""

    name: str
    title: str
    prepare: Callable[[Split, Split, torch.device], Trainer]
    epochs: int = 1  # of one timed call
    sets_up: bool = False  # whether its first call does what later ones are spared
    seconds: list[float] = field(default_factory=list)  # of an epoch, by call
    problem: str = ""  # why it has no time

    def row(self, base: float | None) -> dict[str, Any]:
        """Its line of the table; `base` is the notebook's median."""
        if not self.seconds:
            return {"name": self.name, "title": self.title, "problem": self.problem or "no time left for it"}
        middle = median(self.seconds)
        return {
            "name": self.name, "title": self.title, "seconds": middle, "low": min(self.seconds),
            "high": max(self.seconds), "calls": len(self.seconds), "epochs_a_call": self.epochs,
            "ratio": base / middle if base else None,
        }  # fmt: skip


def bench(
    data: Data = None,
    device: Device = "auto",
    seconds: Annotated[float, typer.Option(help="Time for all of it; some rounds at most.")] = 60.0,
    json: AsJson = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Time an epoch of the lesson as a notebook would train it, as tidier torch, and as breaknet does."""
    output.configure(verbose, quiet)
    if not 5 <= seconds <= 3600:
        raise ValueError(f"seconds: 5 to 3600, not {seconds:g}")
    backend = check_backend("auto", device)
    digits = load_digits(data)
    if len(digits.train) < BATCH or not len(digits.valid):
        raise ValueError(
            f"data: {BATCH} training images or more and some to validate, not {len(digits.train)}"
        )
    import torch

    from ..backends.select import choices

    place = choices(backend, device)[0].device
    found = compare(digits.train, digits.valid, place, backend, seconds)
    conditions = {
        "data_source": digits.source, "device": _device_name(place), "cores": os.cpu_count(),
        "threads": torch.get_num_threads(), "load": _load(),
    }  # fmt: skip
    found = conditions | found
    if json:
        output.show_json(found)
    else:
        show(found)
    if any("problem" in row for row in found["rows"]):
        raise typer.Exit(1)


def contenders(device: torch.device, backend: str) -> list[Contender]:
    """Those of a device, the slowest first."""
    found = [
        Contender("notebook", "a notebook's loop: DataLoader, nn.Module", notebook),
        Contender("sliced", "sliced tensors, nn.Module", sliced),
    ]
    if device.type == "cuda":
        found.append(Contender("cuda-graph", "a CUDA graph of the step", cuda_graph, sets_up=True))
    ours = Contender("breaknet", f"breaknet.train, backend {backend}", ours_with(backend))
    ours.epochs = EPOCHS.get(device.type, 1) if backend != "torch" else 1
    return [*found, ours]


def compare(train: Split, valid: Split, device: torch.device, backend: str, seconds: float) -> dict[str, Any]:
    """Check every contender against float64, then time those that are right in turn, as long as there is time.

    Returns:
        `work`, `images` [training, validation], `rows`: of each contender its title, `seconds` of an epoch (the
        median), `low`, `high`, `calls`, `epochs_a_call`, and `ratio`, how many times the notebook's loop takes; or
        instead its `problem`.
    """
    end = perf_counter() + 0.9 * seconds
    some = contenders(device, backend)
    few = train[: min(CHECKED[0], len(train) // BATCH * BATCH)], valid[: CHECKED[1]]
    for one in some:
        logging.getLogger("breaknet").info("checking %s", one.title)
        try:
            check(one, *few, device)
        except Exception as error:
            one.problem = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
    right = [one for one in some if not one.problem]
    images, trainers = len(train), []
    if right:
        images = affordable(right[0].prepare(*few, device), len(few[0]), len(train), seconds)
        train, valid = train[:images], valid[: max(1, len(valid) * images // len(train))]
        trainers = [(one, one.prepare(train, valid, device)) for one in right]
        for one, trainer in trainers:
            if one.sets_up:
                trainer(1)
        logging.getLogger("breaknet").info("timing epochs of %s images", f"{images:,}")
    for number in range(ROUNDS):
        for one, trainer in trainers:
            if number and perf_counter() + one.seconds[-1] * one.epochs > end:
                continue
            began = perf_counter()
            trainer(one.epochs)
            one.seconds.append((perf_counter() - began) / one.epochs)
    base = median(some[0].seconds) if some[0].seconds else None
    return {"work": WORK, "images": [images, len(valid)], "rows": [one.row(base) for one in some]}


def affordable(trainer: Trainer, few: int, most: int, seconds: float) -> int:
    """The images of an epoch, whole batches: all that there are, or less on a machine too slow for whole epochs.

    `trainer` trains on `few` images. By its quickest of three epochs or more, a timed one takes a twelfth of `seconds`.
    """
    tried: list[float] = []
    while len(tried) < 3 or (
        sum(tried) < seconds / 20 and len(tried) < 50
    ):  # on a busy machine few are quick
        began = perf_counter()
        trainer(1)
        tried.append(perf_counter() - began)
    quickest = min(tried)
    return max(BATCH, min(int(few * seconds / 12 / quickest), most) // BATCH * BATCH)


def check(one: Contender, train: Split, valid: Split, device: torch.device) -> None:
    """One epoch on a few images against float64. Raises ArithmeticError, and what the contender raises."""
    from .. import reference
    from ..model import MLP

    start = {name: value.detach() for name, value in MLP.seeded(0).state_dict().items()}
    (exact,) = reference.epochs(
        start, train.images, train.labels, batch_size=BATCH, learning_rate=LEARNING_RATE
    )
    parameters, costs = one.prepare(train, valid, device)(1)
    error = reference.update_error(start, parameters, exact)
    if not error <= UPDATE_ALLOWED:
        raise ArithmeticError(f"update off by {error:.1e} of float64's, allowed {UPDATE_ALLOWED:.0e}")
    for split, cost in zip((train, valid), costs, strict=True):
        wanted = reference.evaluation(exact, split.images, split.labels).cost
        if not abs(cost - wanted) <= COST_ALLOWED * wanted:
            raise ArithmeticError(f"cost {cost:.6f}, but float64's is {wanted:.6f}")


# ---- the contenders


def notebook(train: Split, valid: Split, device: torch.device) -> Trainer:
    """As a notebook is usually written: a DataLoader over a TensorDataset of images and one-hot targets."""
    from torch.utils.data import DataLoader, TensorDataset

    (images, targets), held_out = _tensors(train, device), _tensors(valid, device)
    loader = DataLoader(TensorDataset(images, targets.long()), batch_size=BATCH)

    def steps(model: MLP, optimizer: torch.optim.Optimizer) -> None:
        for some, target in loader:
            optimizer.zero_grad()
            _cost(model(some), target.float()).backward()
            optimizer.step()

    return _looping(steps, (images, targets), held_out, device)


def sliced(train: Split, valid: Split, device: torch.device) -> Trainer:
    """The same loop over slices of one tensor."""
    (images, targets), held_out = _tensors(train, device), _tensors(valid, device)

    def steps(model: MLP, optimizer: torch.optim.Optimizer) -> None:
        for low in range(0, len(images), BATCH):
            optimizer.zero_grad(set_to_none=True)
            _cost(model(images[low : low + BATCH]), targets[low : low + BATCH]).backward()
            optimizer.step()

    return _looping(steps, (images, targets), held_out, device)


def cuda_graph(train: Split, valid: Split, device: torch.device) -> Trainer:
    """Forward, backward and update of one batch, captured once and replayed for every batch."""
    import torch

    (images, targets), held_out = _tensors(train, device), _tensors(valid, device)
    some, target = images[:BATCH].clone(), targets[:BATCH].clone()
    captured: dict[int, torch.cuda.CUDAGraph] = {}  # by model: a graph knows the places of its parameters

    def capture(model: MLP, optimizer: torch.optim.Optimizer) -> torch.cuda.CUDAGraph:
        start = deepcopy(model.state_dict())

        def step() -> None:
            _cost(model(some), target).backward()
            optimizer.step()

        aside = torch.cuda.Stream(device)
        aside.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(aside):
            for _ in range(3):  # torch asks for some steps before the capture
                optimizer.zero_grad(set_to_none=True)
                step()
        torch.cuda.current_stream(device).wait_stream(aside)
        optimizer.zero_grad(set_to_none=True)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=torch.cuda.Stream(device)):
            step()
        model.load_state_dict(start)
        return graph

    def steps(model: MLP, optimizer: torch.optim.Optimizer) -> None:
        graph = captured.get(id(model))
        if graph is None:
            graph = captured[id(model)] = capture(model, optimizer)
        for low in range(0, len(images), BATCH):
            some.copy_(images[low : low + BATCH])
            target.copy_(targets[low : low + BATCH])
            graph.replay()

    return _looping(steps, (images, targets), held_out, device, again=True)


def ours_with(backend: str) -> Callable[[Split, Split, torch.device], Trainer]:
    """The public call, from arrays to curves and checkpoints, accuracies included."""

    def prepare(train: Split, valid: Split, device: torch.device) -> Trainer:
        import breaknet

        def run(epochs: int) -> tuple[dict[str, torch.Tensor], tuple[float, float]]:
            done = breaknet.train(
                train, valid=valid, epochs=epochs, batch_size=BATCH, learning_rate=LEARNING_RATE,
                backend=backend, device=device, progress=False,
            )  # fmt: skip
            assert done.valid_cost is not None
            costs = float(done.train_cost[-1]), float(done.valid_cost[-1])
            return {name: value[-1] for name, value in done.checkpoints.stacked.items()}, costs

        return run

    return prepare


def _looping(
    steps: Callable[[MLP, torch.optim.Optimizer], None],
    train: tuple[torch.Tensor, torch.Tensor],
    valid: tuple[torch.Tensor, torch.Tensor],
    device: torch.device,
    again: bool = False,
) -> Trainer:
    """A Trainer that evaluates and copies the model after the `steps` of each epoch.

    With `again` all calls train one model object, from the same start.
    """
    import torch

    from ..model import MLP

    kept: list[tuple[MLP, torch.optim.Optimizer]] = []

    def fresh() -> tuple[MLP, torch.optim.Optimizer]:
        if not (again and kept):
            model = MLP.seeded(0).to(device)
            kept[:] = [(model, torch.optim.SGD(model.parameters(), lr=LEARNING_RATE))]
        return kept[0]

    def run(epochs: int) -> tuple[dict[str, torch.Tensor], tuple[float, float]]:
        model, optimizer = fresh()
        model.load_state_dict(MLP.seeded(0).state_dict())
        for _ in range(epochs):
            steps(model, optimizer)
            with torch.no_grad():
                costs = [
                    _cost(model(images), target).item() / len(images) for images, target in (train, valid)
                ]
            checkpoint = deepcopy(model)
        return {name: value.cpu() for name, value in checkpoint.state_dict().items()}, (costs[0], costs[1])

    return run


def _tensors(split: Split, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Images float32 [N, 784] and one-hot targets float32 [N, 10] on the device."""
    import torch

    images = torch.from_numpy(split.images).to(device).float() / 256
    labels = torch.from_numpy(split.labels.astype("int64"))
    return images, torch.nn.functional.one_hot(labels, 10).to(device).float()


def _cost(found: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    import torch

    return torch.nn.functional.mse_loss(found, target, reduction="sum")


# ---- the table


def show(found: dict[str, Any]) -> None:
    """The table with its conditions, for people."""
    images, held_out = found["images"]
    steps = images // BATCH
    print(f"One epoch: {images:,} training images, {steps:,} {found['work']} ({held_out:,} images).")
    print(
        f"{found['data_source']}; {found['device']}, {found['cores']} cores, {found['threads']} threads",
        end="",
    )
    print(f", load {found['load']:.1f}\n" if found["load"] is not None else "\n")
    lines = []
    for row in found["rows"]:
        if "problem" in row:
            lines.append((row["title"], row["problem"], "", "", ""))
            continue
        ratio = "" if row["ratio"] is None else f"{row['ratio']:.1f}"
        spread = f"{time(row['low'])} to {time(row['high'])}"
        lines.append((row["title"], time(row["seconds"]), spread, time(row["seconds"] / steps), ratio))
    header = ("", "an epoch", f"of {_calls(found['rows'])} calls", "a step of it", "times as fast")
    print(output.table(header, lines))
    ours = found["rows"][-1]
    if "epochs_a_call" in ours:
        print(
            f"\nbreaknet: {ours['epochs_a_call']} epochs a call, from arrays to checkpoints, accuracies included."
        )
    if any("seconds" in row and row["seconds"] > BUSY * row["low"] for row in found["rows"]):
        print("\nCalls of one implementation differ much: this machine is busy. Measure again when it rests.")


def _calls(rows: Sequence[dict[str, Any]]) -> str:
    counts = sorted({row["calls"] for row in rows if "calls" in row}) or [0]
    return str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"


def _device_name(device: torch.device) -> str:
    import torch

    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"CPU ({platform.machine()})" if device.type == "cpu" else str(device)


def _load() -> float | None:
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None
