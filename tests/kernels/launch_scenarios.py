"""Launches of the operators as Triton would pass them on, with a driver and a compiler that do nothing.

TRITON_INTERPRET=0 python tests/kernels/launch_scenarios.py key | launches | time
"""

import random
import sys
import timeit
from collections import Counter
from collections.abc import Callable
from typing import Any
from unittest.mock import patch

import torch
import triton
from torch import Tensor
from torch.profiler import ProfilerActivity, profile
from triton.backends.compiler import GPUTarget

from breaknet.kernels import (
    _launching,
    _operators,
    fused_network,
    fused_network_kernels,
    linear_sigmoid,
    summed_mse,
)
from breaknet.kernels.fused_network import FusedNetwork
from breaknet.kernels.linear_sigmoid import LinearSigmoid

#: Operators of torch that launch nothing.
NO_LAUNCH = {
    "view", "reshape", "empty", "empty_like", "empty_strided", "ones_like", "detach", "split", "split_with_sizes",
    "as_strided",
}  # fmt: skip


class Driver:
    """Of CPU tensors, whose device has the number -1."""

    def get_current_device(self) -> int:
        return -1

    def get_current_stream(self, device: int) -> int:
        return 0

    def get_current_target(self) -> GPUTarget:
        return GPUTarget("cuda", 90, 32)


class Kernel:
    """In place of a CompiledKernel."""

    function = packed_metadata = None
    launches = 0

    def __init__(self, source: Any, **_: Any) -> None:
        self.arguments = source.fn.arg_names

    def launch_metadata(self, *_: Any) -> None:
        return None

    def run(self, *given: Any) -> None:
        assert len(given) == 9 + len(self.arguments)
        Kernel.launches += 1

    def __getitem__(self, grid: tuple[int, int, int]) -> Callable[..., None]:
        return lambda *arguments: self.run(*grid, *(None,) * 6, *arguments)


def random_launch(draw: random.Random) -> tuple[tuple[Tensor, ...], tuple[int, ...], _launching.Build]:
    """Arguments of the layer's forward kernel: dtypes, alignments and numbers that Triton compiles differently for."""
    tensors = tuple(
        torch.empty(64, dtype=draw.choice((torch.float32, torch.float64)))[draw.choice((0, 1, 2, 4, 16)) :]
        for _ in range(4)
    )
    numbers = tuple(draw.choice((1, 2, 16, 17, 32, 2**31)) for _ in range(8))
    return tensors, numbers, linear_sigmoid._build(draw.choice((7, 20)), torch.device("cpu"), HAS_BIAS=True)


def contradictions(count: int) -> int:
    """Of so many random launches those that one key would take for another that Triton compiles differently."""
    kernel, draw, found = linear_sigmoid.linear_sigmoid_forward_kernel, random.Random(0), 0
    binder = kernel.device_caches[-1][-1]
    seen: dict[Any, Any] = {}
    for _ in range(count):
        tensors, numbers, build = random_launch(draw)
        # one argument differs from the base, so that keys come again
        base = random_launch(random.Random(1))
        place = draw.randrange(12)
        mixed = [*base[0], *base[1]]
        mixed[place] = [*tensors, *numbers][place]
        tensors, numbers = tuple(mixed[:4]), tuple(mixed[4:])
        key = _launching._key(kernel, -1, tensors, numbers, build)
        _, specialization, options = binder(*tensors, *numbers, **build.keywords)
        compiled = str(specialization), str(options), str(build.values)
        found += seen.setdefault(key, compiled) != compiled
    assert len(seen) < count / 4, "keys come again"
    assert len(set(seen.values())) > 20, "what is compiled differs"
    return found


def check_key() -> None:
    """Equal keys are compiled alike, and each part of the key is needed for that."""
    assert contradictions(3000) == 0
    whole = _launching._key
    blind: dict[str, Callable[..., Any]] = {
        "dtypes": lambda key: (*key[:-1], tuple(aligned for _, aligned in key[-1])),
        "alignment": lambda key: (*key[:-1], tuple(dtype for dtype, _ in key[-1])),
        "numbers": lambda key: (*key[:3], *key[4:]),
        "build": lambda key: (key[0], *key[2:]),
    }
    for name, part in blind.items():
        with patch.object(_launching, "_key", lambda *given, part=part: part(whole(*given))):
            assert contradictions(3000), name
    check_that_settings_are_heeded()


def check_that_settings_are_heeded() -> None:
    """A known kernel is launched without Triton's analysis, unless Triton would compile again or do more."""
    kernel, layer = linear_sigmoid.linear_sigmoid_forward_kernel, linear_sigmoid.launch_forward
    x, weight = torch.ones(3, 5), torch.ones(4, 5)
    layer(x, weight, None)
    analysed = 0
    run = kernel.run

    def counted(*given: Any, **more: Any) -> Any:
        nonlocal analysed
        analysed += 1
        return run(*given, **more)

    def analyses(x: Tensor = x) -> int:
        before = analysed
        layer(x, weight, None)
        return analysed - before

    with patch.object(kernel, "run", counted):
        assert analyses() == 0
        assert analyses(torch.ones(3, 6)[:, 1:]) == 1, "another stride and alignment"
        with patch.object(triton.knobs.runtime, "debug", True):
            assert analyses() == 1
        kernel.device_caches.clear()
        assert analyses() == 1, "Triton was made to forget"
        assert analyses() == 0
        kernel.pre_run_hooks.append(lambda *_, **__: None)
        kernel.device_caches.clear()
        assert analyses() == analyses() == 1, "hooks are called at every launch"
        kernel.pre_run_hooks.clear()
    with patch.object(_launching, "MAX_KNOWN", 10):
        for batch in range(1, 40):
            layer(torch.ones(batch, 5), weight, None)
        assert len(_launching._known) <= 10


def step_of(layers: torch.nn.Module) -> Callable[[], Any]:
    """Three layers and the cost, forward and backward."""
    images, labels = torch.ones(100, 784), torch.zeros(100, dtype=torch.int64)
    parameters = list(layers.parameters())
    return lambda: torch.autograd.grad(summed_mse.summed_mse(layers(images), labels), parameters)


def check_launches() -> None:
    """Nine launches a step by layer and three of the whole network, torch's own among them."""
    step = step_of(torch.nn.Sequential(*(LinearSigmoid(*size) for size in ((784, 16), (16, 16), (16, 10)))))
    step()
    Kernel.launches = 0
    with profile(activities=[ProfilerActivity.CPU], acc_events=True) as profiler:
        step()
    names = (event.name.removeprefix("aten::") for event in profiler.events() if "aten::" in event.name)
    of_torch = Counter(name for name in names if name not in NO_LAUNCH)
    assert of_torch == {"fill_": 1, "mul": 1}, of_torch
    assert Kernel.launches == 7, Kernel.launches
    # a ticket is filled once for a stream
    ticket = torch.zeros(4, dtype=torch.int32)
    with patch.object(fused_network_kernels, "_ticket", lambda _: ticket):
        network = FusedNetwork()
        images, labels = torch.ones(100, 784), torch.zeros(100, dtype=torch.int64)
        network(images, labels).backward()
        Kernel.launches = 0
        with profile(activities=[ProfilerActivity.CPU], acc_events=True) as profiler:
            torch.autograd.grad(network(images, labels), list(network.parameters()))
    names = (event.name.removeprefix("aten::") for event in profiler.events() if "aten::" in event.name)
    of_torch = Counter(name for name in names if name not in NO_LAUNCH)
    assert of_torch == {"fill_": 1}, of_torch
    assert Kernel.launches == 2, Kernel.launches


def check_time() -> None:
    """Around the dispatcher a step takes the host far less than through it, and a known launch less than a new one."""
    library = torch.library.Library("breaknet", "IMPL")
    library.impl("linear_sigmoid", linear_sigmoid.launch_forward, "CPU")
    library.impl("linear_sigmoid_backward", linear_sigmoid.launch_backward, "CPU")
    library.impl("linear_sigmoid_backward_parameters", linear_sigmoid.launch_backward_parameters, "CPU")
    library.impl("summed_mse", summed_mse.launch_forward, "CPU")
    step = step_of(torch.nn.Sequential(*(LinearSigmoid(*size) for size in ((784, 16), (16, 16), (16, 10)))))

    def dispatched() -> None:
        with (
            patch.object(linear_sigmoid, "eager", lambda *_: False),
            patch.object(summed_mse, "eager", lambda *_: False),
            patch.object(_launching, "_lasting", lambda *_: False),
        ):
            _launching._known.clear()
            for _ in range(20):
                step()

    def direct() -> None:
        for _ in range(20):
            step()

    ratios = []
    for _ in range(15):
        pair = [timeit.timeit(way, number=1) for way in (direct, dispatched)]
        ratios.append(pair[0] / pair[1])
    ratio = sorted(ratios)[len(ratios) // 2]
    print(f"around the dispatcher {ratio:.2f} of the time through it")
    assert ratio < 0.7


def main(name: str) -> None:
    compiler = patch.object(triton.compiler, "compile", lambda source, **_: Kernel(source))
    with compiler, patch.object(triton.runtime.driver, "_active", Driver()):
        for module in (_operators, fused_network, linear_sigmoid, summed_mse):
            module.on_kernel = lambda tensor: True
        {"key": check_key, "launches": check_launches, "time": check_time}[name]()


if __name__ == "__main__":
    main(sys.argv[1])
