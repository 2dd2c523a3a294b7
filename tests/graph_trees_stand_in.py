"""A stand-in for what `torch.compile(mode="reduce-overhead")` does on a GPU: torch's CUDA graph trees, without CUDA.

    with GraphTreesStandIn() as trees:  # torch.compile is the stand-in's
        ...

Dynamo and AOTAutograd are the real ones. In the place of Inductor's code under CUDA graphs stand the graphs' operators,
with what a CUDA graph tree makes of addresses:

- A compiled pass runs plainly the first time, is recorded the second and replayed from then on.
- A recording reads parameters and the forward pass's results at their addresses, and is made anew where those change;
  other inputs are copied to memory of its own.
- A pass's results always come in the same memory. A step that begins takes it back: whatever still holds a result of
  the step before finds NaN there, and then the new step's numbers. (Torch raises an error or leaves it undefined.)
- A step begins with `cudagraph_mark_step_begin`, else with the next forward pass once the last backward pass is done.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any
from unittest.mock import patch

import torch
from functorch.compile import make_boxed_func
from torch import Tensor
from torch._dynamo.backends.common import aot_autograd
from torch._guards import TracingContext


@dataclass
class Recording:
    """A pass as a CUDA graph: the addresses it reads, the memory that other inputs are copied to, its results."""

    addresses: dict[int, int]
    copied: dict[int, Tensor]
    results: list[Any]
    own: list[bool]  # whether a result is memory of the graph's own, not an input looked at in another way


class Pass:
    """A compiled forward or backward pass."""

    def __init__(
        self, trees: GraphTreesStandIn, run: Callable[..., Any], fixed: Sequence[int], backward: bool
    ) -> None:
        self.trees, self.run, self.fixed, self.backward = trees, run, fixed, backward
        self.warm = False
        self.recordings: list[Recording] = []

    def __call__(self, *arguments: Any) -> list[Any]:
        self.trees.enter(self.backward)
        if not self.warm:
            self.warm = True
            results = list(self.run(*arguments))
            self.trees.lend(results, _own(results, arguments))
            return results
        recording = self._recording(arguments)
        given = list(arguments)
        for number, tensor in recording.copied.items():
            given[number] = tensor.copy_(given[number])
        for target, own, one in zip(recording.results, recording.own, self.run(*given), strict=True):
            if own:
                target.copy_(one)
        self.trees.lend(recording.results, recording.own)
        # tensors of their own on the same memory, as autograd may keep them
        return [one.detach() if isinstance(one, Tensor) else one for one in recording.results]

    def _recording(self, arguments: Sequence[Any]) -> Recording:
        """That of these addresses, made if need be."""
        addresses = {number: arguments[number].data_ptr() for number in self.fixed}
        for recording in self.recordings:
            if recording.addresses == addresses:
                self.trees.replays += 1
                return recording
        self.trees.recordings += 1
        given = [
            one.clone() if isinstance(one, Tensor) and number not in addresses else one
            for number, one in enumerate(arguments)
        ]
        copied = {
            number: one
            for number, one in enumerate(given)
            if isinstance(one, Tensor) and number not in addresses
        }
        results = list(self.run(*given))
        self.recordings.append(Recording(addresses, copied, results, _own(results, given)))
        return self.recordings[-1]


def _own(results: Sequence[Any], arguments: Sequence[Any]) -> list[bool]:
    given = {one.untyped_storage().data_ptr() for one in arguments if isinstance(one, Tensor)}
    return [isinstance(one, Tensor) and one.untyped_storage().data_ptr() not in given for one in results]


class GraphTreesStandIn:
    """While entered, `torch.compile(mode="reduce-overhead")` gives such passes."""

    def __init__(self) -> None:
        self.compiled = self.recordings = self.replays = 0
        self.dynamic = False  # whether something was compiled for more than one size
        self._lent: list[Tensor] = []
        self._marked = self._pending = False
        self._compile = torch.compile
        # one object, as torch keeps what is compiled by the backend
        self._backend = aot_autograd(
            fw_compiler=partial(self._passed, backward=False),
            bw_compiler=partial(self._passed, backward=True),
        )

    def __enter__(self) -> GraphTreesStandIn:
        torch._dynamo.reset()
        self._patches = ExitStack()
        self._patches.enter_context(patch.object(torch, "compile", self.compile))
        self._patches.enter_context(patch.object(torch.compiler, "cudagraph_mark_step_begin", self._mark))
        return self

    def __exit__(self, *error: Any) -> None:
        self._patches.close()
        torch._dynamo.reset()

    def compile(self, function: Any = None, *, mode: str, dynamic: bool | None = None) -> Any:
        """Instead of torch.compile."""
        assert mode == "reduce-overhead"
        if function is None:
            return partial(self.compile, mode=mode, dynamic=dynamic)
        return self._compile(function, backend=self._backend, dynamic=dynamic)

    def _passed(self, module: torch.fx.GraphModule, examples: Sequence[Any], backward: bool) -> Any:
        self.compiled += 1
        self.dynamic |= any(isinstance(example, torch.SymInt) for example in examples)
        names = [node.name for node in module.graph.nodes if node.op == "placeholder"]
        if backward:
            fixed = [number for number, name in enumerate(names) if not name.startswith("tangents")]
        else:
            fixed = TracingContext.get().fw_metadata.static_input_indices
        fixed = [number for number in fixed if isinstance(examples[number], Tensor)]
        return make_boxed_func(Pass(self, module.forward, fixed, backward))

    def _mark(self) -> None:
        self._marked = True

    def enter(self, backward: bool) -> None:
        """A pass is about to run: does a step begin with it?"""
        if self._marked or not (backward or self._pending):
            for tensor in self._lent:
                tensor.fill_(float("nan"))
            self._lent, self._marked = [], False
        self._pending = not backward

    def lend(self, results: list[Any], own: list[bool]) -> None:
        """Results of which the next step takes back what is the graph's own."""
        self._lent += [one.detach() for one, lent in zip(results, own, strict=True) if lent]
