"""One call's cost before any arithmetic: the fused operators on 1 image of 1 input, with 1 unit a layer.

On a GPU nothing is waited for within the timed calls but at their end, so a row there is the time that the host needs
to issue the work, or the device to do it, whichever is longer.
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from benchmarks import launches
from benchmarks.measure import Contender, Context, Ready
from breaknet.kernels.fused_network import fused_network_cost, fused_network_spec
from breaknet.kernels.linear_sigmoid import LinearSigmoid, launch_forward, linear_sigmoid, linear_sigmoid_spec
from breaknet.kernels.summed_mse import summed_mse, summed_mse_spec

CALLS = {"rehearse": 2, "quick": 200, "full": 1_000}  # in one timed call

#: By kind of call: its work, and its contenders' titles; those of `calls` by "kind/name".
KINDS: dict[str, tuple[str, dict[str, str]]] = {
    "linear_sigmoid": (
        "one layer forward",
        {
            "torch": "torch.sigmoid(x W^T + b)", "operator": "torch.ops.breaknet.linear_sigmoid",
            "function": "linear_sigmoid", "module": "LinearSigmoid", "launcher": "the kernel's launcher",
        },
    ),
    "summed_mse": ("one cost", {"torch": "sum of squares in torch", "function": "summed_mse"}),
    "step": (
        "layer and cost, forward and backward",
        {"torch": "the same in torch", "function": "both fused operators"},
    ),
    "network": (
        "a network 1-1-1-1 and its cost, forward and backward",
        {"torch": "the same in torch", "layers": "fused operators by layer", "function": "fused_network_cost"},
    ),
}  # fmt: skip


def calls(device: torch.device) -> dict[str, Callable[[], Tensor]]:
    """Every call by "kind/name": a layer's output, a cost, or (of a step or a network, the ones with gradients) dW."""
    sizes = ((1, 1), (1, 1), (1,))
    x, weight, bias = (torch.full(size, 0.5, device=device) for size in sizes)
    target = torch.ones(1, 1, device=device)
    module = LinearSigmoid.from_linear(torch.nn.Linear(1, 1)).to(device).requires_grad_(False)
    module.weight.copy_(weight)
    module.bias.copy_(bias)
    operator = torch.ops.breaknet.linear_sigmoid
    leaves = [tensor.clone().requires_grad_() for tensor in (x, weight, bias)]

    def plain_step() -> Tensor:
        cost = summed_mse_spec(linear_sigmoid_spec(*leaves), target)[0]
        return torch.autograd.grad(cost, leaves)[1]

    def fused_step() -> Tensor:
        return torch.autograd.grad(summed_mse(linear_sigmoid(*leaves), target), leaves)[1]

    parameters = [leaf for _ in range(3) for leaf in leaves[1:]]

    def by_layers() -> Tensor:
        y = x
        for _ in range(3):
            y = linear_sigmoid(y, *leaves[1:])
        return summed_mse(y, target)

    def of_network(cost: Callable[[], Tensor]) -> Callable[[], Tensor]:
        return lambda: torch.autograd.grad(cost(), leaves[1:])[0]

    return {
        "network/torch": of_network(lambda: fused_network_spec(x, target, *parameters)),
        "network/layers": of_network(by_layers),
        "network/function": of_network(lambda: fused_network_cost(x, target, parameters)),
        "linear_sigmoid/torch": lambda: linear_sigmoid_spec(x, weight, bias),
        "linear_sigmoid/operator": lambda: operator(x, weight, bias),
        "linear_sigmoid/function": lambda: linear_sigmoid(x, weight, bias),
        "linear_sigmoid/module": lambda: module(x),
        "linear_sigmoid/launcher": lambda: launch_forward(x, weight, bias),
        "summed_mse/torch": lambda: summed_mse_spec(x, target)[0],
        "summed_mse/function": lambda: summed_mse(x, target),
        "step/torch": plain_step,
        "step/function": fused_step,
    }


def contenders(context: Context) -> list[Contender]:
    return [
        Contender(
            f"dispatch/{context.device}/{kind}/{name}", "dispatch", title, f"{work}, 1 image, 1 input, 1 output",
            f"dispatch/{kind}", partial(_ready, context, kind, name), ("triton",) if name == "launcher" else (),
        )
        for kind, (work, titles) in KINDS.items()
        for name, title in titles.items()
        if name != "launcher" or context.gpu  # a CPU has no kernel to launch
    ]  # fmt: skip


def _ready(context: Context, kind: str, name: str) -> Ready:
    device, count = context.place, CALLS[context.size.name]
    every = calls(device)
    call = every[f"{kind}/{name}"]
    torch.testing.assert_close(call(), every[f"{kind}/torch"]())

    def run() -> None:
        for _ in range(count):
            call()
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    context.warm_up(run)
    counted = launches.of_torch(lambda: [call() for _ in range(10)], 10, device)
    timed = "the calls, and waiting once for the device at their end", "compiling"
    return Ready(run, count, counted, conditions={"batch": 1}, timed=timed)
