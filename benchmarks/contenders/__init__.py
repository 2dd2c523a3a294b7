"""The implementations that are compared, in one table, and the ladder: from the notebook's loop to one launch.

    from benchmarks.contenders import IMPLEMENTATIONS, compare
    rows = compare("cpu", size="quick")

Every implementation is checked against float64 before it is timed; those of training are timed in turn, and those of
the accuracy of a network on many images.

implementation, agreement   what makes a contender of an implementation; its check against float64
notebook, sliced, hand_written, compiled, cuda_graph   one network in torch, with less and less overhead
torch_func, jax_scan        many networks in torch, and in JAX
fused, kernel_trainers, numba_cpu, public_calls   breaknet's operators, trainers, CPU kernels, public calls
vectorised, torch_evaluation, all_checkpoints     accuracy of one network, and of all checkpoints
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

from benchmarks import launches
from benchmarks.contenders import (
    all_checkpoints,
    compiled,
    cuda_graph,
    fused,
    hand_written,
    kernel_trainers,
    notebook,
    numba_cpu,
    public_calls,
    sliced,
    torch_evaluation,
    torch_func,
    vectorised,
)
from benchmarks.contenders.implementation import Implementation, prepare_evaluation, prepare_training
from benchmarks.measure import Contender, Context, measure
from benchmarks.problem import Problem, Trainer, single, size_of
from benchmarks.rows import Row
from breaknet import Digits

_CUDA: dict[str, Any] = {"devices": ("cuda",)}
_TRITON: dict[str, Any] = {
    "devices": ("cuda",), "needs": ("triton",), "rehearsed": True, "image_bytes": 784.0, "label_bytes": 4.0,
    "count_whole": True, "held": True,
}  # fmt: skip
_NUMBA: dict[str, Any] = {
    "devices": ("cpu",), "needs": ("numba",), "sparse": True, "label_bytes": 8.0, "count": launches.of_numba,
}  # fmt: skip


def _jax(build: str, problems: Sequence[Problem], epochs: int) -> Trainer:
    """A builder of `jax_scan`, imported only where JAX is."""
    from benchmarks.contenders import jax_scan

    trainer: Trainer = getattr(jax_scan, build)(problems, epochs)
    return trainer


#: The ladder's come first, in its order.
IMPLEMENTATIONS: dict[str, Implementation] = {
    "notebook": Implementation(
        "the notebook's loop: DataLoader, nn.Module", single(notebook.trainer), label_bytes=80.0
    ),
    "notebook-accuracy": Implementation(
        "the notebook's accuracy, one sample at a time", notebook.evaluator, evaluates=True, sampled=True,
        label_bytes=80.0,
    ),
    "sliced": Implementation("sliced tensors, nn.Module", single(sliced.trainer)),
    "vectorised-accuracy": Implementation(
        "vectorised accuracy", vectorised.evaluator, evaluates=True, label_bytes=8.0
    ),
    "cuda-graph": Implementation("a CUDA graph of the step", single(cuda_graph.trainer), **_CUDA),
    "compiled": Implementation('torch.compile(mode="reduce-overhead")', single(compiled.trainer), **_CUDA),
    "fused": Implementation(
        "fused operators under autograd", single(fused.trainer), label_bytes=8.0, devices=("cuda",),
        needs=("triton",), rehearsed=True,
    ),
    "fused-network": Implementation(
        "fused operator of the whole network", single(fused.network_trainer), label_bytes=8.0,
        devices=("cuda",), needs=("triton",), rehearsed=True,
    ),
    "fused-network-graph": Implementation(
        "a CUDA graph of its step", single(cuda_graph.network_trainer), label_bytes=8.0, needs=("triton",), **_CUDA
    ),
    "cooperative": Implementation(
        "all epochs in one launch", kernel_trainers.cooperative, epochs=20, **_TRITON
    ),
    "packed": Implementation(
        "many networks in one launch", kernel_trainers.packed, models=kernel_trainers.packed_capacity,
        describe=kernel_trainers.packed_form, **_TRITON,
    ),
    "all-checkpoints": Implementation(
        "all checkpoints in one launch", all_checkpoints.evaluator, evaluates=True, together=True,
        describe=all_checkpoints.form, **_TRITON,
    ),
    "hand-written": Implementation(
        "gradients written out in torch", single(hand_written.trainer), devices=("cpu",)
    ),
    "numba": Implementation(
        "breaknet's CPU kernels", numba_cpu.trainer, held=True, count_whole=True, threads=1, **_NUMBA
    ),
    "numba-evaluation": Implementation(
        "breaknet's CPU kernels, all checkpoints at once", partial(public_calls.evaluator, "numba"),
        evaluates=True, together=True, **_NUMBA,
    ),
}  # fmt: skip
LADDER = tuple(IMPLEMENTATIONS)

# outside the ladder: alternatives, and forms of our own that are timed beside them
IMPLEMENTATIONS |= {
    "as-chosen": Implementation(
        "breaknet, as train_many does it", kernel_trainers.as_chosen, describe=kernel_trainers.plan_of, **_TRITON
    ),
    "split": Implementation("three launches a step", kernel_trainers.split, **_TRITON),
    "jax": Implementation("JAX, jit + lax.scan", partial(_jax, "trainer"), needs=("jax",)),
    "jax-in-turn": Implementation("JAX, one after the other", partial(_jax, "one_after_another"), needs=("jax",)),
    "torch-func": Implementation("torch.func, stacked ensemble", torch_func.trainer),
    "triton-evaluation": Implementation(
        "breaknet, the backend's evaluate", partial(public_calls.evaluator, "triton"), evaluates=True,
        together=True, **_TRITON,
    ),
    "triton-evaluation-kept": Implementation(
        "breaknet, the backend's evaluate, images kept", partial(public_calls.evaluator, "triton", loaded=True),
        evaluates=True, together=True, **_TRITON,
    ),
    "all-checkpoints-fma": Implementation(
        "all checkpoints in one launch, by FMAs", all_checkpoints.evaluator_by_fma, evaluates=True, together=True,
        describe=lambda problem, models: {"form": "FMA"}, **_TRITON,
    ),
    "all-checkpoints-float16": Implementation(
        "all checkpoints in one launch, in float16", all_checkpoints.evaluator_in_float16, evaluates=True,
        together=True, describe=lambda problem, models: {"form": "float16 tensor cores"}, **_TRITON,
    ),
    "numba-prepared": Implementation(
        "breaknet, images and networks prepared", numba_cpu.prepared_evaluator, evaluates=True, together=True,
        **_NUMBA,
    ),
    "torch-one-by-one": Implementation(
        "vectorised torch", torch_evaluation.one_by_one, evaluates=True, together=True, label_bytes=8.0
    ),
    "torch-wide": Implementation(
        "torch, all first layers in one product", torch_evaluation.wide, evaluates=True, together=True,
        label_bytes=8.0,
    ),
}  # fmt: skip


def compare(
    device: str = "cpu",
    *,
    only: Sequence[str] | None = None,
    size: str = "quick",
    data: Digits | None = None,
    survive: bool = False,
) -> list[Row]:
    """Check, count and time the ladder's implementations on a device.

    Args:
        device: "cpu" or "cuda".
        only: names of those wanted; all of the device's by default.
        size: "quick" or "full" ("rehearse" runs every path, and its times mean nothing).
        data: what to train and evaluate on; by default what BREAKNET_DATA names, else synthetic digits.
        survive: leave out an implementation that fails, with a warning, instead of raising.

    Raises:
        ValueError: an unknown device, implementation or size, or data that is blank.
        WrongResult: a result is not float64's; it gets no time.
        Missing: a package that an implementation needs is not installed.
    """
    context = Context(device, size_of(size), data)
    here = {one.name.rpartition("/")[2]: one for one in ladder(context)}
    unknown = sorted(set(only or ()) - set(here))
    if unknown:
        raise ValueError(f"only: implementations on {device}, {', '.join(here)}; not {', '.join(unknown)}")
    chosen = [one for name, one in here.items() if only is None or name in only]
    return measure(chosen, context, survive=survive)


def ladder(context: Context) -> list[Contender]:
    """The ladder on the context's device; training comes first."""
    size, found = context.size, []
    for name in ladder_names(context):
        one = IMPLEMENTATIONS[name]
        kind, work = "step", f"one training step of {size.batch_size} images"
        prepare = partial(prepare_training, one, context, images=size.train_images, count=True)
        if one.evaluates:
            kind, work = "accuracy", f"the accuracy of one network on {size.evaluated_images:,} images"
            prepare = partial(prepare_evaluation, one, context)
        full_name = f"{kind}/{context.device}/{name}"
        found.append(Contender(full_name, "ladder", one.title, work, f"ladder/{kind}", prepare, one.needs))
    return found


def ladder_names(context: Context) -> list[str]:
    """The ladder's names on the device, less, in a GPU's rehearsal, those that need a real one."""
    found = [
        name
        for name in LADDER
        if context.device in (one := IMPLEMENTATIONS[name]).devices
        and (context.place.type in one.devices or one.rehearsed)
    ]
    return sorted(found, key=lambda name: IMPLEMENTATIONS[name].evaluates)
