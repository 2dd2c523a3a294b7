"""What `breaknet doctor` asks of the Triton backend: every kernel compiled here, and each held against float64."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from functools import partial
from time import perf_counter

import torch
from torch import Tensor

from ..errors import BackendError
from ..model import MLP, PARAMETER_NAMES
from .interface import Examples, Parameters, TrainingJob
from .triton_gpu.grouping import grouped

Check = tuple[str, bool, str]

_UPDATE_ALLOWED = 1e-5  # of the update's norm, as the numeric contract has it for a step
_COST_ALLOWED = 1e-6


def self_check(device: torch.device) -> list[Check]:
    """(what was checked, whether it holds, detail) for each plan, evaluation and the fused operators."""
    from .triton_gpu.backend import PLANS

    checks: dict[str, Callable[[], str]] = {
        "operators": lambda: _check_operators(device),
        "evaluation": lambda: _check_evaluation(device),
    }
    # in threads, as most of the time goes into compiling; what does not compile is told by its check
    with ThreadPoolExecutor(4 if device.type == "cuda" else 1) as pool:
        compiling = [pool.submit(_compile_plan, plan, device) for plan in PLANS]
        found = list(pool.map(lambda name: _judged(name, checks[name], device), checks))
        wait(compiling)
    # in turn, since one captures a graph: a thread that waits for the GPU meanwhile would spoil it
    for plan in PLANS:
        found.append(_judged(f"plan {plan}", partial(_check_plan, plan, device), device))
    return found


def _judged(name: str, check: Callable[[], str], device: torch.device) -> Check:
    began = perf_counter()
    try:
        with torch.cuda.device_of(torch.empty(0, device=device)):
            detail = check()
    except Exception as error:
        lines = str(error).strip().splitlines()
        return name, False, f"{type(error).__name__}: {lines[0] if lines else ''}"
    return name, True, f"{detail}; {perf_counter() - began:.1f} s"


def _problem(count: int, classes: int = 10) -> tuple[Examples, Parameters]:
    random = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (count, 784), generator=random, dtype=torch.uint8)
    images *= (torch.rand(images.shape, generator=random) < 0.2).to(torch.uint8)
    labels = torch.randint(0, classes, (count,), generator=random)
    start = {name: tensor.detach().clone() for name, tensor in MLP.seeded(0).state_dict().items()}
    return Examples(images, labels), start


def _job() -> TrainingJob:
    """Three steps, the last on a partial batch."""
    examples, start = _problem(25)
    return TrainingJob(examples, None, epochs=1, batch_size=10, learning_rate=0.05, start=start)


def _compile_plan(plan: str, device: torch.device) -> None:
    """The trainer of `plan`, which comes first of a group's; evaluation's kernel is compiled by its own check."""
    jobs = [_job()]
    for group in grouped(jobs, device, plan):
        for compile_trainer in group.compilations(jobs, device)[:1]:
            compile_trainer()


def _check_plan(plan: str, device: torch.device) -> str:
    """The job against float64."""
    from .triton_gpu.backend import train

    job = _job()
    examples, start = job.train, job.start
    try:
        found = train([job], device, plan, lambda job, epoch, cost: None)[0].parameters
    except BackendError as reason:
        if plan != "cooperative":
            raise
        # training steps down from it by itself, so a GPU too small for it is no reason to leave the GPU alone
        return f"left alone, split takes its place ({reason})"
    exact = MLP().double()
    exact.load_state_dict(start)
    for images, labels in zip(examples.images.split(10), examples.labels.split(10), strict=True):
        exact.zero_grad()
        _cost(exact(images.double() / 256), labels).backward()
        with torch.no_grad():
            for parameter in exact.parameters():
                assert parameter.grad is not None
                parameter.sub_(parameter.grad, alpha=0.05)
    after = exact.state_dict()
    error = max(
        float((found[name][0].double() - after[name]).norm() / (after[name] - start[name].double()).norm())
        for name in PARAMETER_NAMES
    )
    return _within("update", error, _UPDATE_ALLOWED)


def _check_evaluation(device: torch.device) -> str:
    """Cost and confusion counts of two networks on 1,000 images against float64."""
    from .triton_gpu.backend import evaluate

    examples, start = _problem(1000)
    other = {name: tensor.clone() for name, tensor in MLP.seeded(1).state_dict().items()}
    stacked = {name: torch.stack([start[name], other[name]]) for name in PARAMETER_NAMES}
    scores = evaluate(stacked, examples, device, True)
    worst = 0.0
    for number, parameters in enumerate((start, other)):
        exact = MLP().double()
        exact.load_state_dict(parameters)
        with torch.no_grad():
            output = exact(examples.images.double() / 256)
            cost = float(_cost(output, examples.labels)) / 1000
        worst = max(worst, abs(scores.cost[number] - cost) / cost)
        assert scores.confusion is not None
        wrong = int(
            (scores.confusion[number].sum(axis=0) != output.argmax(1).bincount(minlength=10).numpy()).sum()
        )
        if wrong:
            raise ArithmeticError(f"predictions differ from float64's in {wrong} classes")
    return _within("cost", worst, _COST_ALLOWED)


def _check_operators(device: torch.device) -> str:
    """A fused layer and the fused cost, forward and backward, against float64."""
    from ..kernels.linear_sigmoid import linear_sigmoid
    from ..kernels.summed_mse import summed_mse

    random = torch.Generator().manual_seed(0)
    tensors = [torch.randn(size, generator=random) for size in ((33, 50), (7, 50), (7,))]
    labels = torch.randint(0, 7, (33,), generator=random)
    gradients = []
    for dtype, place in ((torch.float32, device), (torch.float64, torch.device("cpu"))):
        x, weight, bias = (tensor.to(place, dtype, copy=True).requires_grad_() for tensor in tensors)
        if dtype == torch.float32:
            cost = summed_mse(linear_sigmoid(x, weight, bias), labels.to(place))
        else:
            cost = _cost(torch.sigmoid(x @ weight.T + bias), labels)
        cost.backward()
        gradients.append([cost.detach(), *(tensor.grad for tensor in (x, weight, bias))])
    error = max(
        float((found.double().cpu() - exact).norm() / exact.norm())
        for found, exact in zip(*gradients, strict=True)
    )
    return _within("gradient", error, _UPDATE_ALLOWED)


def _cost(output: Tensor, labels: Tensor) -> Tensor:
    target = torch.nn.functional.one_hot(labels, output.shape[1]).to(output.dtype)
    return ((output - target) ** 2).sum()


def _within(what: str, error: float, allowed: float) -> str:
    if not error <= allowed:
        raise ArithmeticError(f"{what} off by {error:.1e} of float64's, allowed {allowed:.0e}")
    return f"{what} within {error:.1e} of float64's (allowed {allowed:.0e})"
