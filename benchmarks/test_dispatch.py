"""What one call costs before any arithmetic: the operators' dispatch, at sizes where the work itself is nothing.

A row is one way to call one thing with a batch of 1, 1 input and 1 output. On a GPU nothing is waited for within the
timed calls, so a row there is the time that the host needs to issue the work. Checks come first: every way must give
the same result, or nothing is timed.
"""

from __future__ import annotations

import platform
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from breaknet.kernels import _triton
from breaknet.kernels.linear_sigmoid import LinearSigmoid, linear_sigmoid, linear_sigmoid_spec
from breaknet.kernels.summed_mse import summed_mse, summed_mse_spec

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
CALLS = 200  # in one timed round
ROUNDS = 50


def conditions() -> dict[str, Any]:
    """What a row must carry to be compared with another."""
    return {
        "device": torch.cuda.get_device_name() if DEVICE.type == "cuda" else platform.processor() or "cpu",
        "torch": torch.__version__,
        "triton": getattr(_triton.triton, "__version__", None) if _triton.HAVE_TRITON else None,
        "python": platform.python_version(),
        "threads": torch.get_num_threads(),
        "calls_per_round": CALLS,
    }


def inputs(requires_grad: bool) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """x [1, 1], weight [1, 1], bias [1], target [1, 1]."""
    sizes = ((1, 1), (1, 1), (1,))
    x, weight, bias = (torch.full(size, 0.5, device=DEVICE, requires_grad=requires_grad) for size in sizes)
    return x, weight, bias, torch.ones(1, 1, device=DEVICE)


def layer_ways() -> dict[str, Callable[[], Tensor]]:
    x, weight, bias, _ = inputs(requires_grad=False)
    module = LinearSigmoid.from_linear(torch.nn.Linear(1, 1)).to(DEVICE).requires_grad_(False)
    module.weight.copy_(weight)
    module.bias.copy_(bias)
    operator = torch.ops.breaknet.linear_sigmoid
    ways = {
        "torch": lambda: linear_sigmoid_spec(x, weight, bias),
        "operator": lambda: operator(x, weight, bias),
        "function": lambda: linear_sigmoid(x, weight, bias),
        "module": lambda: module(x),
    }
    if DEVICE.type == "cuda" and _triton.HAVE_TRITON:
        from breaknet.kernels.linear_sigmoid import launch_forward

        ways["launcher"] = lambda: launch_forward(x, weight, bias)
    return ways


def cost_ways() -> dict[str, Callable[[], Tensor]]:
    x, _, _, target = inputs(requires_grad=False)
    return {
        "torch": lambda: summed_mse_spec(x, target)[0],
        "function": lambda: summed_mse(x, target),
    }


def step_ways() -> dict[str, Callable[[], Tensor]]:
    """Layer and cost, forward and backward; gives the gradient of the weight."""
    x, weight, bias, target = inputs(requires_grad=True)
    return {
        "torch": lambda: torch.autograd.grad(
            summed_mse_spec(linear_sigmoid_spec(x, weight, bias), target)[0], (x, weight, bias)
        )[1],
        "function": lambda: torch.autograd.grad(
            summed_mse(linear_sigmoid(x, weight, bias), target), (x, weight, bias)
        )[1],
    }


WAYS = {"linear_sigmoid": layer_ways, "summed_mse": cost_ways, "step": step_ways}


@pytest.mark.parametrize(("what", "way"), [(what, way) for what, ways in WAYS.items() for way in ways()])
def test_dispatch(benchmark: Any, what: str, way: str) -> None:
    ways = WAYS[what]()
    expected = ways["torch"]()
    call = ways[way]
    torch.testing.assert_close(call(), expected)

    def many() -> None:
        for _ in range(CALLS):
            call()

    def settle() -> None:
        if DEVICE.type == "cuda":
            torch.cuda.synchronize()

    benchmark.group = f"dispatch of {what}"
    benchmark.extra_info.update(conditions())
    benchmark.pedantic(many, setup=settle, rounds=ROUNDS, warmup_rounds=2)
    settle()
    if benchmark.stats is not None:  # None where timing is disabled
        benchmark.extra_info["microseconds_per_call"] = benchmark.stats.stats.median / CALLS * 1e6
