"""Shared by the tests of `evaluate_checkpoints`: made-up checkpoints and images, and checks against float64."""

from typing import Any

import pytest
import torch
from kernel_checks import guarded_outputs, surrounded
from torch import Tensor

from breaknet import reference
from breaknet.kernels._triton import capability_of
from breaknet.kernels.evaluation import evaluate_checkpoints, tensor_form
from breaknet.kernels.jobs import Shape
from breaknet.model import PARAMETER_NAMES

#: checkpoints, images, inputs, hidden, outputs, floating images
Case = tuple[int, int, int, tuple[int, int], int, bool]

#: What the biases of some outputs are set to.
BREAKS = {
    "one NaN": {3: float("nan")},
    "two NaN, the first counts": {2: float("nan"), 7: float("nan")},
    "all NaN": dict.fromkeys(range(10), float("nan")),
    "NaN beats one": {1: 1e30, 5: float("nan")},
    "infinite": {4: float("inf"), 6: float("inf")},
    "minus infinite": {0: float("-inf")},
    "a tie at one": {8: 500.0, 9: 600.0},
    "all equal": dict.fromkeys(range(10), 0.0),
    "all below a padded output's one half": dict.fromkeys(range(10), -3.0),
}


def split(row: Tensor, case: Case) -> dict[str, Tensor]:
    """One checkpoint's parameters by torch's names, views of its flat row."""
    return dict(zip(PARAMETER_NAMES, net_of(case).unpack(row), strict=True))


def net_of(case: Case) -> Shape:
    _, _, inputs, hidden, outputs, _ = case
    return Shape(inputs, *hidden, outputs)


def example(case: Case, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Checkpoints whose outputs spread over 0..1, images and labels, on the CPU."""
    count, images, inputs, _, outputs, floating = case
    draw = torch.Generator().manual_seed(seed)
    rows = torch.randn(count, net_of(case).parameters, generator=draw)
    for weight in net_of(case).unpack(rows)[::2]:
        weight *= 2 / weight.shape[2] ** 0.5
    pixels = torch.randint(0, 256, (images, inputs), generator=draw, dtype=torch.uint8)
    labels = torch.randint(0, outputs, (images,), generator=draw)
    return rows, pixels.float() / 256 if floating else pixels, labels


def check(device: torch.device, case: Case, confusion: bool = False, seed: int = 0, **options: Any) -> None:
    """Costs within the contract, hits and counts exact, nothing outside written or read."""
    rows, images, labels = example(case, seed)
    # a result's partial parts are filled with NaN, its tensors surrounded by it, before the kernel runs
    given = [surrounded(tensor, device) for tensor in (rows, images, labels)]
    with guarded_outputs():
        cost, hits, counts = evaluate_checkpoints(*given, *case[3:5], confusion=confusion, **options)
    assert cost.dtype == torch.float64
    assert hits.dtype == torch.int64
    for index, row in enumerate(rows):
        exact = reference.evaluation(split(row, case), images, labels)
        total = exact.cost * len(images)
        # 1e-6 of the cost and, below 1,000 examples, 1e-6 of its root
        assert abs(float(cost[index]) - total) <= 1e-6 * (total + total**0.5), f"cost {index} of {case}"
        assert int(hits[index]) == int(exact.confusion.trace()), f"hits of checkpoint {index} of {case}"
        if confusion:
            assert counts is not None
            assert torch.equal(counts[index].cpu(), exact.confusion), f"counts of {index} of {case}"
    if not confusion:
        assert counts is None


def check_maximum(device: torch.device, broken: dict[int, float]) -> None:
    """Hits and counts of a checkpoint whose outputs are `broken`, and of its neighbour, as torch's argmax has them."""
    case: Case = (2, 40, 20, (5, 6), 10, True)
    rows, images, labels = example(case)
    *_, weight, bias = split(rows[0], case).values()
    for output, value in broken.items():
        weight[output] = 0
        bias[output] = value
    _, hits, counts = evaluate_checkpoints(
        *(tensor.to(device) for tensor in (rows, images, labels)), *case[3:5], confusion=True
    )
    assert counts is not None
    for index, row in enumerate(rows):  # the whole neighbour of the broken one is checked too
        # float32 decides what ties; the outputs that are broken on purpose are the same in it and in the kernel
        right = reference.evaluation(split(row, case), images, labels, torch.float32)
        assert int(hits[index]) == int(right.confusion.trace())
        assert torch.equal(counts[index].cpu(), right.confusion)


def check_infinite_parameter(device: torch.device) -> None:
    """A unit that an infinite bias or weight has driven to 1 is fine: no other unit may read what drives it."""
    for inputs in (4, 20):
        case: Case = (5, 40, inputs, (5, 6), 10, True)
        rows, images, labels = example(case)
        images += 0.01  # zero times infinity would be NaN by right
        for row in rows:
            parameters = split(row, case)
            parameters["hidden1.weight"][1] = float("inf")
            parameters["hidden1.bias"][0] = float("inf")
            parameters["hidden2.weight"][2] = float("-inf")
        cost, hits, _ = evaluate_checkpoints(
            *(surrounded(tensor, device) for tensor in (rows, images, labels)), *case[3:5]
        )
        for index, row in enumerate(rows):
            exact = reference.evaluation(split(row, case), images, labels)
            assert abs(float(cost[index]) / (exact.cost * len(images)) - 1) < 1e-6
            assert int(hits[index]) == int(exact.confusion.trace())


def on_tensor_cores(device: torch.device, form: str = "bfloat16") -> None:
    """Skips where that form of the kernel neither runs nor is interpreted; float16's runs on every GPU."""
    missing = form == "bfloat16" and tensor_form(torch.uint8, capability_of(device)) != form
    if device.type == "cuda" and missing:
        pytest.skip("no tensor cores for bfloat16")


def given_on(device: torch.device, case: Case) -> tuple[Any, ...]:
    """The first five arguments of `evaluate_checkpoints`."""
    return (*(tensor.to(device) for tensor in example(case)), *case[3:5])
