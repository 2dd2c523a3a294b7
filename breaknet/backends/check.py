"""Every backend held against the float64 reference on the machine at hand, for `breaknet doctor`."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from functools import partial
from time import perf_counter
from types import ModuleType
from typing import NamedTuple

import torch

from .. import reference
from ..errors import BackendError
from ..model import MLP, PARAMETER_NAMES
from . import select
from .interface import Examples, TrainingJob

_UPDATE_ALLOWED = 1e-5  # of the update's norm, as the numeric contract has it for a step
_COST_ALLOWED = 1e-6
_BATCH = 10


class Check(NamedTuple):
    """One comparison with the reference."""

    name: str
    ok: bool
    detail: str  #: the error found and allowed, or what failed


def check_backend(name: str, device: torch.device) -> list[Check]:
    """Compare each plan and evaluation of a usable backend, and for triton the fused operators, with the reference."""
    backend = select.load(name)
    checks: dict[str, Callable[[], str]] = {"evaluation": partial(_check_evaluation, backend, device)}
    if name == "triton":
        checks["operators"] = partial(_check_operators, device)
    # interpreted, a step takes long; three of them, the last on a partial batch, say as much
    job = _job(25 if name == "triton" and device.type == "cpu" else 245)
    # in threads, as most of the time goes into compiling; what does not compile fails again in its check
    with ThreadPoolExecutor(4 if device.type == "cuda" else 1) as pool:
        compiling = [
            pool.submit(_compile_plan, plan, job, device) for plan in backend.PLANS if name == "triton"
        ]
        found = list(pool.map(lambda check: _outcome(check, checks[check], device), checks))
        wait(compiling)
    # in turn, since one captures a graph: a thread that waits for the GPU meanwhile would spoil it
    for plan in backend.PLANS:
        found.append(_outcome(f"plan {plan}", partial(_check_plan, backend, plan, job, device), device))
    return found


def _outcome(name: str, check: Callable[[], str], device: torch.device) -> Check:
    began = perf_counter()
    try:
        with torch.cuda.device_of(torch.empty(0, device=device)):
            detail = check()
    except Exception as error:
        lines = str(error).strip().splitlines()
        return Check(name, False, f"{type(error).__name__}: {lines[0] if lines else ''}")
    return Check(name, True, f"{detail}; {perf_counter() - began:.1f} s")


def _examples(count: int) -> Examples:
    random = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (count, 784), generator=random, dtype=torch.uint8)
    images *= (torch.rand(images.shape, generator=random) < 0.2).to(torch.uint8)
    return Examples(images, torch.randint(0, 10, (count,), generator=random))


def _job(examples: int) -> TrainingJob:
    return TrainingJob(
        _examples(examples),
        None,
        epochs=1,
        batch_size=_BATCH,
        learning_rate=0.05,
        start=MLP.seeded(0).state_dict(),
    )


def _compile_plan(plan: str, job: TrainingJob, device: torch.device) -> None:
    """The trainer of `plan`, which comes first of a group's; evaluation's kernel is compiled by its own check."""
    from .triton_gpu.grouping import grouped

    for group in grouped([job], device, plan):
        for compile_trainer in group.compilations([job], device)[:1]:
            compile_trainer()


def _check_plan(backend: ModuleType, plan: str, job: TrainingJob, device: torch.device) -> str:
    """An epoch of training."""
    try:
        (trained,) = backend.train([job], device, plan, lambda job, epoch, cost: None)
    except BackendError as reason:
        if plan != "cooperative":
            raise
        # training steps down from it by itself, so a GPU too small for it is no reason to leave the GPU alone
        return f"left alone, split takes its place ({reason})"
    found = {name: tensor[0] for name, tensor in trained.parameters.items()}
    (exact,) = reference.epochs(
        job.start, job.train.images, job.train.labels, batch_size=_BATCH, learning_rate=job.learning_rate
    )
    return _within("update", reference.update_error(job.start, found, exact), _UPDATE_ALLOWED)


def _check_evaluation(backend: ModuleType, device: torch.device) -> str:
    """Cost and confusion counts of two networks on 1,000 images."""
    examples, networks = _examples(1000), [MLP.seeded(seed).state_dict() for seed in (0, 1)]
    stacked = {name: torch.stack([network[name] for network in networks]) for name in PARAMETER_NAMES}
    scores = backend.evaluate(stacked, examples, device, True)
    errors = []
    for network, cost, confusion in zip(networks, scores.cost, scores.confusion, strict=True):
        exact = reference.evaluation(network, examples.images, examples.labels)
        errors.append(abs(cost - exact.cost) / exact.cost)
        wrong = int((torch.from_numpy(confusion) - exact.confusion).abs().sum())
        if wrong > 2 * round(exact.near_ties * len(examples)):
            raise ArithmeticError(f"confusion counts differ from float64's by {wrong}")
    return _within("cost", float(torch.tensor(errors).max()), _COST_ALLOWED)


def _check_operators(device: torch.device) -> str:
    """A fused layer and the fused cost, forward and backward."""
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
            target = torch.nn.functional.one_hot(labels, 7).to(dtype)
            cost = ((torch.sigmoid(x @ weight.T + bias) - target) ** 2).sum()
        cost.backward()
        gradients.append([cost.detach(), *(tensor.grad for tensor in (x, weight, bias))])
    errors = [
        (found.double().cpu() - exact).norm() / exact.norm() for found, exact in zip(*gradients, strict=True)
    ]
    return _within("gradient", float(torch.stack(errors).max()), _UPDATE_ALLOWED)


def _within(name: str, error: float, allowed: float) -> str:
    if not error <= allowed:
        raise ArithmeticError(f"{name} off by {error:.1e} of float64's, allowed {allowed:.0e}")
    return f"{name} within {error:.1e} of float64's (allowed {allowed:.0e})"
