"""A stand-in for CUDA streams and graphs on CPU tensors: a capture records, and only a replay computes.

    with GraphStandIn() as gpu:  # torch.cuda.graph and its kin are the stand-in's meanwhile
        ...

What it takes over from CUDA and torch:

- While a graph is captured nothing runs: what was in memory stays, and new tensors hold NaN.
- A graph knows addresses. Replays run what was recorded on the same memory. The graph's own memory lives as long as
  it does, other memory may be freed, and a replay that would use it is refused.
- In a capture the host can neither read a result nor wait nor hand over data nor ask for page-locked memory, and
  nothing may run for the first time, as it would be compiled, loaded or initialised then. (For an operator of its own
  torch asks for a warm-up; not all of them fail without.)
- Streams are ordered only by `wait_stream` and `synchronize`: what would race is refused.
- cuBLAS has one workspace for each stream. A graph uses that of the stream it is captured on, and when a graph is
  destroyed the workspace of its stream goes with it, though another graph may use it
  (https://github.com/pytorch/pytorch/issues/193402).

What it does not know: events, sizes of memory, memory handed on from one tensor to the next, copies between devices.
"""

from __future__ import annotations

import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only


class Refused(RuntimeError):
    """Something that CUDA or torch would refuse, or do with an undefined result."""


class Stream:
    """What runs on it is in order."""

    def __init__(self, device: object = None, priority: int = 0) -> None:
        self.device = torch.device("cpu" if device is None else device)
        self.seen: Counter[Stream] = Counter()  # by stream, the moment up to which its work is waited for

    def wait_stream(self, other: Stream) -> None:
        self.seen |= other.seen


class Place:
    """A tensor by its address, which does not keep it alive."""

    def __init__(self, tensor: Tensor) -> None:
        self._storage = StorageWeakRef(tensor.untyped_storage())
        self._form = tensor.storage_offset(), tensor.size(), tensor.stride()
        self._dtype = tensor.dtype

    def tensor(self) -> Tensor:
        storage = torch.UntypedStorage._new_with_weak_ptr(self._storage.cdata)
        if storage is None:
            raise Refused("replay: memory that the graph uses has been freed")
        return torch.empty(0, dtype=self._dtype).set_(storage, *self._form)


@dataclass
class Use:
    """Who read and wrote a piece of memory, and when."""

    memory: StorageWeakRef  # keeps its key from being given to other memory
    written: tuple[Stream, int] | None = None
    read: dict[Stream, int] = field(default_factory=dict)


@dataclass(eq=False)
class Workspace:
    """CuBLAS's memory for a stream, in the pool of the graph in whose capture it was allocated."""

    pool: weakref.ref[Graph] | None


class Graph:
    """Stands for torch.cuda.CUDAGraph."""

    def __init__(self, gpu: GraphStandIn) -> None:
        self.gpu = gpu
        self.stream: Stream | None = None
        self.complete = False
        self.work: list[Callable[[], None]] = []
        self.read: list[Place] = []
        self.written: list[Place] = []
        self.pool: list[torch.UntypedStorage] = []
        self.workspaces: set[Workspace] = set()

    def record(
        self, run: Callable[..., Any], arguments: Any, fresh: list[Tensor | None], written: Any
    ) -> None:
        """Add `run(*arguments)`; its results, where they are `fresh` memory, will be written there again."""
        places = tree_map_only(Tensor, Place, arguments)
        targets = [None if tensor is None else Place(tensor) for tensor in fresh]

        def again() -> None:
            found = run(*tree_map_only(Place, Place.tensor, places))
            for target, tensor in zip(targets, _tensors(found), strict=True):
                if target is not None:
                    target.tensor().copy_(tensor)

        self.work.append(again)
        self.pool += [tensor.untyped_storage() for tensor in fresh if tensor is not None]
        own = {storage._cdata for storage in self.pool}
        for tensors, seen in ((_tensors(arguments), self.read), (_tensors(written), self.written)):
            seen += [Place(tensor) for tensor in tensors if tensor.untyped_storage()._cdata not in own]

    def replay(self) -> None:
        if not self.complete:
            raise Refused("replay: no capture came to its end before")
        self.gpu.replay(self)

    def __del__(self) -> None:
        self.gpu.workspaces.pop(self.stream, None)


class Kernel:
    """Stands for a Triton kernel: `kernel[grid](...)` is recorded in a capture and else runs."""

    def __init__(self, gpu: GraphStandIn, kernel: Any) -> None:
        self.gpu, self.kernel = gpu, kernel

    def __getitem__(self, grid: Any) -> Callable[..., None]:
        return partial(self._launch, grid)

    def _launch(self, grid: Any, *arguments: Any, **options: Any) -> None:
        # what Triton compiles for: constants, types of pointers, and whether they are multiples of 16
        kinds = [(one.dtype, one.data_ptr() % 16) if isinstance(one, Tensor) else one for one in arguments]
        self.gpu.launch(
            (self.kernel, *kinds, *sorted(options.items())),
            lambda *again: self.kernel[grid](*again, **options),
            arguments,
        )


class GraphStandIn(TorchDispatchMode):
    """While entered, torch.cuda's streams and graphs are stand-ins that work on CPU tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.device = torch.device("cpu")
        self.stream = Stream()
        self.capturing: Graph | None = None
        self.captures = self.launches = self.replays = 0
        self.workspaces: dict[Stream | None, Workspace] = {}
        self._capture_stream: Stream | None = None  # torch's, made for the first capture
        self._replaying = False
        self._loaded: set[Any] = set()
        self._uses: dict[int, Use] = {}
        self._moment = self._finished = 0

    def kernel(self, kernel: Any) -> Kernel:
        """An interpreted Triton kernel whose launches a capture records."""
        return Kernel(self, kernel)

    # ---- what is called instead of torch's -------------------------------------------------------------------------

    def __enter__(self) -> GraphStandIn:
        self._patches = ExitStack()
        self._patches.enter_context(
            patch.multiple(
                torch.cuda, CUDAGraph=partial(Graph, self), graph=self._graph, Stream=self._new_stream,
                stream=self._on, current_stream=lambda device=None: self.stream, synchronize=self._synchronize,
                device=self._on_device, is_current_stream_capturing=lambda: self.capturing is not None,
            )
        )  # fmt: skip
        for name in ("cpu", "numpy", "tolist"):  # on CPU tensors these call no operator
            self._patches.enter_context(patch.object(torch.Tensor, name, self._host_read(name)))
        return super().__enter__()

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        self._patches.close()

    def _host_read(self, name: str) -> Callable[..., Any]:
        original = getattr(torch.Tensor, name)

        def read(tensor: Tensor, *arguments: Any, **named: Any) -> Any:
            self._refuse_in_capture(name)
            return original(tensor, *arguments, **named)

        return read

    def _refuse_in_capture(self, what: str) -> None:
        if self.capturing is not None:
            raise Refused(f"{what}: not permitted while a stream is captured")

    def _new_stream(self, device: object = None, priority: int = 0) -> Stream:
        return Stream(self.device if device is None else device)

    def _synchronize(self, device: object = None) -> None:
        self._refuse_in_capture("synchronize")
        self._finished = self._moment

    @contextmanager
    def _on(self, stream: Stream) -> Iterator[None]:
        before, self.stream = self.stream, stream
        try:
            yield
        finally:
            self.stream = before

    @contextmanager
    def _on_device(self, device: object) -> Iterator[None]:
        before, self.device = self.device, torch.device(device)
        try:
            yield
        finally:
            self.device = before

    @contextmanager
    def _graph(
        self,
        cuda_graph: Graph,
        pool: object = None,
        stream: Stream | None = None,
        capture_error_mode: str = "global",
    ) -> Iterator[None]:
        self._synchronize()
        if self._capture_stream is None and stream is None:
            self._capture_stream = self._new_stream()
        cuda_graph.stream = stream or self._capture_stream
        if cuda_graph.stream.device != self.device:
            raise Refused(f"graph: captured on a stream of {cuda_graph.stream.device}, not of {self.device}")
        self.captures += 1
        with self._on(cuda_graph.stream):
            self.capturing = cuda_graph
            try:
                yield
            finally:
                self.capturing = None
        cuda_graph.complete = True

    # ---- work ------------------------------------------------------------------------------------------------------

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if self._replaying or func.namespace == "profiler":
            return func(*args, **kwargs)
        name = func._schema.name
        if name in ("aten::lift_fresh", "aten::_pin_memory") or {
            torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape
        } & set(func.tags):  # fmt: skip
            self._refuse_in_capture(name)
        given = _tensors((args, kwargs))
        written = _written(func, args, kwargs)
        memory = {tensor.untyped_storage()._cdata for tensor in given}
        key = (func, *(tensor.dtype for tensor in given))
        graph = self.capturing
        if graph is None:
            found = func(*args, **kwargs)
            fresh = _fresh(found, memory)
            if self._launches(name, written, fresh):
                self._run(key, given, [*written, *(one for one in fresh if one is not None)])
                if name in _PRODUCTS:
                    self.workspaces.setdefault(self.stream, Workspace(None))
            return found
        # a copy of what would be written to shows the errors and the form of the results
        copies = {id(tensor): tensor.clone() for tensor in written}
        originals = {id(copies[id(tensor)]): tensor for tensor in written}
        copied = tree_map_only(Tensor, lambda tensor: copies.get(id(tensor), tensor), (args, kwargs))
        found = func(*copied[0], **copied[1])
        fresh = [None if id(one) in originals else one for one in _fresh(found, memory)]
        for tensor in fresh:
            if tensor is not None:
                tensor.fill_(float("nan") if tensor.is_floating_point() else 0)
        if self._launches(name, written, fresh):
            self._refuse_first(key, name)
            if name in _PRODUCTS:
                here = self.workspaces.setdefault(self.stream, Workspace(weakref.ref(graph)))
                graph.workspaces.add(here)
            graph.record(lambda args, kwargs: func(*args, **kwargs), (args, kwargs), fresh, written)
        return tree_map_only(Tensor, lambda tensor: originals.get(id(tensor), tensor), found)

    @staticmethod
    def _launches(name: str, written: list[Tensor], fresh: list[Tensor | None]) -> bool:
        """Whether an operator does more than to look at memory in another way or to allocate it."""
        computes = bool(written) or any(tensor is not None for tensor in fresh)
        return computes and not name.startswith(("aten::empty", "aten::new_empty"))

    def launch(self, key: Any, run: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
        """A kernel that may write to all tensors among its arguments and has no result."""
        if self.capturing is not None:
            self._refuse_first(key, "kernel")
            self.capturing.record(run, arguments, [], arguments)
            return
        self._run(key, [], _tensors(arguments))
        with self._alone():
            run(*arguments)

    def replay(self, graph: Graph) -> None:
        """All that the graph has recorded, in its order."""
        self._refuse_in_capture("replay")
        for workspace in graph.workspaces:
            mine = workspace.pool is not None and workspace.pool() is graph
            if not mine and self.workspaces.get(graph.stream) is not workspace:
                raise Refused(
                    "replay: another graph's end has freed the workspace of cuBLAS that this one uses"
                )
        self.replays += 1
        with self._alone(), torch.no_grad():
            self._use([place.tensor() for place in graph.read], [place.tensor() for place in graph.written])
            for again in graph.work:
                again()

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Operators of a replay and of the interpreter are nobody's launches."""
        self._replaying = True
        try:
            yield
        finally:
            self._replaying = False

    def _refuse_first(self, key: Any, name: str) -> None:
        if key not in self._loaded:
            raise Refused(f"{name}: runs for the first time while a stream is captured")

    def _run(self, key: Any, read: list[Tensor], written: list[Tensor]) -> None:
        self.launches += 1
        self._loaded.add(key)
        self._use(read, written)

    def _use(self, read: list[Tensor], written: list[Tensor]) -> None:
        """Note who uses the memory, and refuse what other streams may still write to or read."""
        self._moment += 1
        here = self.stream
        here.seen[here] = self._moment
        for tensors, writes in ((read, False), (written, True)):
            for tensor in tensors:
                memory = StorageWeakRef(tensor.untyped_storage())
                use = self._uses.setdefault(memory.cdata, Use(memory))
                earlier = [use.written] if use.written is not None else []
                if writes:
                    earlier += use.read.items()
                for stream, moment in earlier:
                    if moment > max(here.seen[stream], self._finished):
                        raise Refused("two streams use a tensor at once: one must wait for the other")
                if writes:
                    use.written, use.read = (here, self._moment), {}
                else:
                    use.read[here] = self._moment


_PRODUCTS = {"aten::mm", "aten::addmm", "aten::bmm", "aten::baddbmm"}


def _tensors(tree: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]


def _fresh(found: Any, memory: set[int]) -> list[Tensor | None]:
    """An operator's results where they are new memory, None where they lie in memory that was given."""
    return [None if one.untyped_storage()._cdata in memory else one for one in _tensors(found)]


def _written(func: Any, args: Any, kwargs: Any) -> list[Tensor]:
    """The arguments that the operator's schema says are written to."""
    found = []
    for number, argument in enumerate(func._schema.arguments):
        if argument.alias_info is not None and argument.alias_info.is_write:
            found += _tensors(args[number] if number < len(args) else kwargs.get(argument.name))
    return found
