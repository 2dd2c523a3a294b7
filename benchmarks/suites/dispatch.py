"""What one call costs before any arithmetic: the fused operators on 1 image of 1 input and 1 output.

On a GPU nothing is waited for within the timed calls but at their end, so a row there is the time that the host needs
to issue the work, or the device to do it, whichever is longer.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from benchmarks import launches
from benchmarks.lab import Lab
from benchmarks.measure import Ready, Way
from breaknet.kernels.linear_sigmoid import LinearSigmoid, launch_forward, linear_sigmoid, linear_sigmoid_spec
from breaknet.kernels.summed_mse import summed_mse, summed_mse_spec

CALLS = {"rehearse": 2, "quick": 200, "full": 1_000}  # in one timed call

Call = Callable[[], Tensor]


def inputs(device: torch.device, requires_grad: bool) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """x [1, 1], weight [1, 1], bias [1], target [1, 1]."""
    sizes = ((1, 1), (1, 1), (1,))
    x, weight, bias = (torch.full(size, 0.5, device=device, requires_grad=requires_grad) for size in sizes)
    return x, weight, bias, torch.ones(1, 1, device=device)


def layer_ways(device: torch.device) -> dict[str, Call]:
    """Layer forward, no gradient wanted."""
    x, weight, bias, _ = inputs(device, requires_grad=False)
    module = LinearSigmoid.from_linear(torch.nn.Linear(1, 1)).to(device).requires_grad_(False)
    module.weight.copy_(weight)
    module.bias.copy_(bias)
    operator = torch.ops.breaknet.linear_sigmoid
    return {
        "torch": lambda: linear_sigmoid_spec(x, weight, bias),
        "operator": lambda: operator(x, weight, bias),
        "function": lambda: linear_sigmoid(x, weight, bias),
        "module": lambda: module(x),
        "launcher": lambda: launch_forward(x, weight, bias),
    }


def cost_ways(device: torch.device) -> dict[str, Call]:
    """Cost, no gradient wanted."""
    x, _, _, target = inputs(device, requires_grad=False)
    return {"torch": lambda: summed_mse_spec(x, target)[0], "function": lambda: summed_mse(x, target)}


def step_ways(device: torch.device) -> dict[str, Call]:
    """Layer and cost, forward and backward; gives the gradient of the weight."""
    x, weight, bias, target = inputs(device, requires_grad=True)

    def plain() -> Tensor:
        return summed_mse_spec(linear_sigmoid_spec(x, weight, bias), target)[0]

    def fused() -> Tensor:
        return summed_mse(linear_sigmoid(x, weight, bias), target)

    return {
        "torch": lambda: torch.autograd.grad(plain(), (x, weight, bias))[1],
        "function": lambda: torch.autograd.grad(fused(), (x, weight, bias))[1],
    }


#: What is called, how its ways are made, and how a reader calls each.
WHAT: dict[str, tuple[str, Callable[[torch.device], dict[str, Call]], dict[str, str]]] = {
    "linear_sigmoid": (
        "one layer forward", layer_ways,
        {
            "torch": "torch.sigmoid(x W^T + b)", "operator": "torch.ops.breaknet.linear_sigmoid",
            "function": "linear_sigmoid", "module": "LinearSigmoid", "launcher": "the kernel's launcher",
        },
    ),
    "summed_mse": ("one cost", cost_ways, {"torch": "sum of squares in torch", "function": "summed_mse"}),
    "step": (
        "layer and cost, forward and backward", step_ways,
        {"torch": "the same in torch", "function": "both fused operators"},
    ),
}  # fmt: skip


def ways(lab: Lab) -> list[Way]:
    return [
        Way(
            name=f"dispatch/{lab.device}/{what}/{name}", group="dispatch", title=title,
            work=f"{work}, 1 image, 1 input, 1 output", device=lab.device, contest=f"dispatch/{what}",
            prepare=partial(_ready, lab, make, name), needs=("triton",) if name == "launcher" else (),
        )
        for what, (work, make, titles) in WHAT.items()
        for name, title in titles.items()
        if name != "launcher" or lab.gpu  # a CPU has no kernel to launch
    ]  # fmt: skip


def _ready(lab: Lab, make: Callable[[torch.device], dict[str, Call]], name: str) -> Ready:
    device, count = lab.place, CALLS[lab.size.name]
    calls = make(device)
    call = calls[name]
    torch.testing.assert_close(call(), calls["torch"]())

    def run() -> None:
        for _ in range(count):
            call()
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    lab.warm_up(run)
    counted = launches.of_torch(lambda: [call() for _ in range(10)], 10, device)
    timed = {"in": "the calls, and waiting once for the device at their end", "out": "compiling"}
    return Ready(run, count, counted, conditions={"batch": 1, "timed": timed})
