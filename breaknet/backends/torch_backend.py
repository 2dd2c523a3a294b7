"""The plain PyTorch backend, on any torch device: autograd and `torch.optim.SGD`, as the lesson's notebook has them."""

from collections.abc import Iterator
from copy import deepcopy
from time import perf_counter

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from ..model import INPUTS, MLP, OUTPUTS, PARAMETER_NAMES, all_finite, hidden_widths, room_for
from .interface import Examples, Parameters, Report, Scores, Trained, TrainingJob

NAME = "torch"
PLANS = ("autograd",)

#: Images go through the network in blocks of this many, and as many checkpoints at a time as keep the largest
#: array of a block within this many bytes; a handful of such arrays exist at once.
_IMAGES_AT_ONCE = 8192
_BYTES_AT_ONCE = 64 * 2**20


def unavailable(device: torch.device) -> str | None:
    """Why this backend cannot run on `device`; None if it can."""
    try:
        torch.empty(1, dtype=torch.float32, device=device)
    except Exception as error:  # torch raises AssertionError, RuntimeError or NotImplementedError by device
        line = str(error).splitlines()[0].rstrip(".")
        return f"this torch has no {device.type}" if "Could not run" in line else line
    return "it keeps no values" if device.type == "meta" else None


def unsupported(job: TrainingJob) -> str | None:
    """Every job can be run."""
    return None


def unsupported_hidden(hidden: tuple[int, int]) -> str | None:
    """Every width can be evaluated."""
    return None


def train(jobs: list[TrainingJob], device: torch.device, plan: str | None, report: Report) -> list[Trained]:
    """Train the jobs one after another, each by autograd and `torch.optim.SGD`."""
    uploaded: dict[int, Tensor] = {}
    return [_train_one(number, job, device, uploaded, report) for number, job in enumerate(jobs)]


def _train_one(
    number: int, job: TrainingJob, device: torch.device, uploaded: dict[int, Tensor], report: Report
) -> Trained:
    began = perf_counter()
    sets = [_upload(data, device, uploaded) for data in (job.train, job.valid) if data is not None]
    model = _own_copy(job.module, device) if job.module is not None else _from_start(job.start, device)
    optimizer = torch.optim.SGD(model.parameters(), lr=job.learning_rate)
    seconds = {"compile": 0.0, "transfer": perf_counter() - began, "training": 0.0, "evaluation": 0.0}

    state = model.state_dict()  # the parameters' own memory
    points = job.epochs // job.every
    job.checkpoints = room_for(points, hidden_widths(job.start))
    curves = np.zeros((2, 2, points))  # [training or validation, cost or accuracy, kept epoch]
    diverged_at, kept = None, 0
    for epoch in range(job.epochs):
        began = perf_counter()
        _train_epoch(model, optimizer, sets[0], job.batch_size)
        if (epoch + 1) % job.every:
            seconds["training"] += perf_counter() - began
            continue
        for name, tensor in state.items():
            job.checkpoints[name][kept] = tensor
        seconds["training"] += perf_counter() - began
        if not all_finite({name: tensor[kept] for name, tensor in job.checkpoints.items()}):
            diverged_at = epoch
            break
        began = perf_counter()
        for curve, examples in zip(curves, sets, strict=False):
            scores = _scores({name: tensor[None] for name, tensor in state.items()}, examples)
            curve[:, kept] = scores.cost[0], scores.accuracy[0]
        seconds["evaluation"] += perf_counter() - began
        report(number, epoch, float(curves[0, 0, kept]))
        kept += 1
    seconds["total"] = sum(seconds.values())
    train, valid = curves[:, :, :kept]
    return Trained(
        parameters={name: tensor[:kept] for name, tensor in job.checkpoints.items()},
        train_cost=train[0],
        train_accuracy=train[1],
        valid_cost=valid[0] if job.valid is not None else None,
        valid_accuracy=valid[1] if job.valid is not None else None,
        diverged_at=diverged_at,
        plan=PLANS[0],
        device=str(device),
        seconds=seconds,
    )


def _from_start(start: Parameters, device: torch.device) -> nn.Module:
    # copies: the optimiser writes into them, and the start stays the caller's
    return MLP.of_parameters({name: start[name].to(device, copy=True) for name in PARAMETER_NAMES})


def _own_copy(module: nn.Module, device: torch.device) -> nn.Module:
    """A copy of the caller's module that trains as it would: frozen and shared parameters, and hooks, as they are."""
    model = deepcopy(module).to(device)
    for mine, theirs in zip(model.parameters(), module.parameters(), strict=True):  # a deep copy has no hooks
        for hook in (theirs._backward_hooks or {}).values():
            mine.register_hook(hook)
        for hook in (theirs._post_accumulate_grad_hooks or {}).values():
            mine.register_post_accumulate_grad_hook(hook)
    return model


def _train_epoch(model: nn.Module, optimizer: torch.optim.SGD, train: Examples, batch_size: int) -> None:
    cost_of = nn.MSELoss(reduction="sum")
    targets = _one_hot(train.labels)
    for images, target in zip(train.images.split(batch_size), targets.split(batch_size), strict=True):
        cost = cost_of(model(images), target)
        optimizer.zero_grad()
        cost.backward()
        optimizer.step()


def evaluate(parameters: Parameters, examples: Examples, device: torch.device, confusion: bool) -> Scores:
    """Cost and accuracy of every checkpoint, in blocks of images and of checkpoints: memory is bounded."""
    on_device = {name: tensor.to(device) for name, tensor in parameters.items()}
    moved = Examples(examples.images.to(device), examples.labels.to(device))
    return _scores(on_device, moved, confusion)


def models_at_once(hidden: tuple[int, int], examples: int) -> int:
    """The number of models computed in one product; of whole such blocks the bits are the same in another call."""
    return max(1, _BYTES_AT_ONCE // (4 * max(*hidden, OUTPUTS) * min(examples, _IMAGES_AT_ONCE)))


@torch.no_grad()
def evaluate_modules(
    modules: list[nn.Module], examples: Examples, device: torch.device, confusion: bool
) -> Scores:
    """The scores of `evaluate`, by calling each module of images [N, 784]; modules are left where and as they are.

    Raises:
        ValueError: for a module that does not give outputs [N, 10].
    """
    costs, accuracies, counts = [], [], []
    for number, module in enumerate(modules):
        first = next((one for one in module.parameters() if one.is_floating_point()), None)
        place, dtype = (device, torch.float32) if first is None else (first.device, first.dtype)
        cost, table = 0.0, torch.zeros(OUTPUTS, OUTPUTS, dtype=torch.int64)
        for some_images, some_labels in _blocks(examples):
            output = module(some_images.to(place, dtype))
            if not isinstance(output, Tensor) or output.shape != (len(some_labels), OUTPUTS):
                shape = list(output.shape) if isinstance(output, Tensor) else type(output).__name__
                raise ValueError(f"models: outputs [N, {OUTPUTS}], but number {number} gives {shape}")
            output = output.detach().cpu().to(torch.float64)
            labels = some_labels.cpu()
            cost += float((output - functional.one_hot(labels, OUTPUTS)).square().sum())
            cells = labels * OUTPUTS + output.argmax(dim=1)
            table += torch.bincount(cells, minlength=OUTPUTS**2).view(OUTPUTS, OUTPUTS)
        costs.append(cost / len(examples))
        accuracies.append(int(table.trace()) / len(examples))
        counts.append(table.numpy())
    return Scores(np.array(costs), np.array(accuracies), np.stack(counts) if confusion else None)


@torch.no_grad()
def _scores(parameters: Parameters, examples: Examples, confusion: bool = False) -> Scores:
    count, n = len(parameters["output.bias"]), len(examples)
    at_once = models_at_once(hidden_widths(parameters), n)
    cost = np.zeros(count)
    hits = np.zeros(count)
    counts = np.zeros((count, OUTPUTS, OUTPUTS), np.int64)
    for images, labels in _blocks(examples):
        target = _one_hot(labels)
        for low in range(0, count, at_once):
            some = slice(low, low + at_once)
            output = _outputs({name: tensor[some] for name, tensor in parameters.items()}, images)
            cost[some] += _summed_in_double((output - target).square_())
            predicted = output.argmax(dim=2)
            hits[some] += (predicted == labels).sum(dim=1).cpu().numpy()
            if confusion:
                models = torch.arange(len(output), device=labels.device)[:, None]
                cells = (models * OUTPUTS + labels) * OUTPUTS + predicted
                found = torch.bincount(cells.flatten(), minlength=len(output) * OUTPUTS**2)
                counts[some] += found.view(-1, OUTPUTS, OUTPUTS).cpu().numpy()
    return Scores(cost / n, hits / n, counts if confusion else None)


def _outputs(parameters: Parameters, images: Tensor) -> Tensor:
    """Outputs [C, N, 10] of C networks on N images: one product for all first layers, then batched ones."""
    weight = parameters["hidden1.weight"]
    sums = images @ weight.reshape(-1, INPUTS).T
    activation = sums.view(len(images), weight.shape[0], weight.shape[1]).transpose(0, 1)
    activation = torch.sigmoid(activation + parameters["hidden1.bias"][:, None])
    for layer in ("hidden2", "output"):
        weight, bias = parameters[f"{layer}.weight"], parameters[f"{layer}.bias"]
        activation = torch.sigmoid(torch.baddbmm(bias[:, None], activation, weight.transpose(1, 2)))
    return activation


def _summed_in_double(errors: Tensor) -> np.ndarray:
    """Sums [C] of float32 [C, N, 10]: a few in float32 at a time, the rest in float64 (MPS has none: on the CPU)."""
    return errors.sum(dim=2).cpu().sum(dim=1, dtype=torch.float64).numpy()


def _blocks(examples: Examples) -> Iterator[tuple[Tensor, Tensor]]:
    for low in range(0, len(examples), _IMAGES_AT_ONCE):
        some = slice(low, low + _IMAGES_AT_ONCE)
        yield _as_float(examples.images[some]), examples.labels[some]


def _as_float(images: Tensor) -> Tensor:
    return images if images.dtype == torch.float32 else images.to(torch.float32) / 256


def _upload(examples: Examples, device: torch.device, uploaded: dict[int, Tensor]) -> Examples:
    key = id(examples.images)
    if key not in uploaded:
        uploaded[key] = _as_float(examples.images.to(device))
    return Examples(uploaded[key], examples.labels.to(device))


def _one_hot(labels: Tensor) -> Tensor:
    return functional.one_hot(labels, OUTPUTS).to(torch.float32)
