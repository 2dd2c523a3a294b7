"""Train many small networks in one launch, one program a network: the launcher, its plan and its torch spec.

Each job is plain SGD on the summed squared error of inputs -> hidden1 -> hidden2 -> outputs with sigmoids, batches
in the order of the examples, the last partial batch kept. Jobs share one tensor of images and differ in labels,
example count, start, learning rate, batch size and epochs; all in one launch have the same widths and the same
plan. All epochs of a launch run without the host. A job's bits depend on its own data, shape and plan alone: not
on its neighbours, not on how its epochs are divided among launches.

Two kernels do it, and `plan` says which: `packed_training.py` (byte images, both widths <= 32, batches that fit one
tile: everything but the first layer in registers) and `packed_training_general.py` (all the rest within the limits).
All products are IEEE float32 multiply-adds.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from itertools import pairwise

import torch
from torch import Tensor

from breaknet.kernels._triton import HAVE_TRITON, interpreted, why_not
from breaknet.kernels.host.packed_tiles import FORMS, MAX_REGISTERS, PackedPlan, parameter_count, plan
from breaknet.kernels.host.targets import TARGETS, CompileCase
from breaknet.kernels.jobs import to_device
from breaknet.kernels.packed_training import packed_fused_kernel
from breaknet.kernels.packed_training_general import packed_looped_kernel

_PITCH = 16  # rows of images start at multiples of this many elements, so that loads are 16 bytes wide
_OUT = 16  # columns of the output layer's tile


def aligned_images(images: Tensor) -> Tensor:
    """`images` [N, K] itself if its rows lie as the kernels want them, else a copy that does, as a view [N, K].

    Rows must start at multiples of 16 elements, be whole and finite up to the next, and the first must start at a
    multiple of 16 bytes.
    784 bytes are fine as they are; 1,000 are copied to rows of 1,008. Call it once where you launch many times.
    """
    length, inputs = images.shape
    pitch, behind = images.stride(0), images.untyped_storage().size() // images.element_size()
    whole = images.storage_offset() + length * pitch <= behind if pitch >= inputs else False
    if images.stride(1) == 1 and pitch % _PITCH == 0 and whole and images.data_ptr() % 16 == 0:
        return images
    rows = torch.zeros(length, -(-inputs // _PITCH) * _PITCH, dtype=images.dtype, device=images.device)
    rows[:, :inputs] = images
    return rows[:, :inputs]


def train_packed(
    images: Tensor,
    labels: Tensor,
    parameters: Tensor,
    checkpoints: Tensor,
    *,
    hidden: tuple[int, int],
    outputs: int,
    learning_rates: Sequence[float],
    batch_sizes: Sequence[int],
    epochs: Sequence[int],
    examples: Sequence[int],
    first_image: Sequence[int],
    first_label: Sequence[int],
    checkpoint_offsets: Sequence[int],
) -> PackedPlan:
    """Run J jobs for `epochs[j]` epochs each in one launch, without waiting for it; returns the plan it took.

    Args (all tensors on one device; the sequences have J entries each and stay on the host):
        images: uint8 (meaning byte / 256) or float32 and finite, [N, K]; see `aligned_images`.
        labels: uint8 [L], each below `outputs`; not looked at here.
        parameters: float32 [J, P], rows contiguous: where each job starts, and where it is left afterwards,
            so that the next launch goes on from there.
        checkpoints: float32 [at least all of them]; job j writes its parameters after each epoch to
            `[checkpoint_offsets[j] : ... + epochs[j] * P]`, viewed as [epochs[j], P].
        learning_rates: taken as float32.
        batch_sizes: 1 to 1,024, where they are not cut to the job's examples; all must lead to one plan.
        epochs: 0 leaves the job as it is; a launch of such a job compiles the kernel and does no more.
        examples: how many images the job trains on, starting at row `first_image[j]` of the images and entry
            `first_label[j]` of the labels.

    Raises:
        TypeError, ValueError: for wrong types, shapes, lengths or ranges, or a shape that `plan` refuses.
        RuntimeError: where Triton cannot run.
    """
    if not HAVE_TRITON:
        raise RuntimeError(f"train_packed needs Triton: {why_not()}")
    _check_tensors(images, labels, parameters, checkpoints)
    jobs = parameters.shape[0]
    columns = {
        "learning_rates": learning_rates,
        "batch_sizes": batch_sizes,
        "epochs": epochs,
        "examples": examples,
        "first_image": first_image,
        "first_label": first_label,
        "checkpoint_offsets": checkpoint_offsets,
    }
    for name, column in columns.items():
        if len(column) != jobs:
            raise ValueError(f"{name}: one entry for each of {jobs} jobs, not {len(column)}")
    inputs = images.shape[1]
    count = parameter_count(inputs, hidden, outputs)
    if parameters.shape[1] != count:
        raise ValueError(f"parameters: [{jobs}, {count}] for these widths, not {list(parameters.shape)}")
    for job in range(jobs):
        _check_job(job, columns, len(images), len(labels), len(checkpoints), count)
    _check_apart(checkpoint_offsets, epochs, count)
    batch_sizes = [min(batch, length) for batch, length in zip(batch_sizes, examples, strict=True)]
    chosen = _common_plan(images, inputs, hidden, outputs, batch_sizes)
    if jobs == 0:
        return chosen

    images = aligned_images(images)
    device = images.device
    table = torch.tensor(
        list(zip(first_image, first_label, examples, batch_sizes, epochs, checkpoint_offsets, strict=True)),
        dtype=torch.int64,
    )
    rates = torch.tensor(list(learning_rates), dtype=torch.float32)
    shape = torch.tensor([inputs, *hidden, outputs], dtype=torch.int32)
    arguments = {
        "images_ptr": images,
        "labels_ptr": labels,
        "parameters_ptr": parameters,
        "checkpoints_ptr": checkpoints,
        "jobs_ptr": to_device(table, device),
        "rates_ptr": to_device(rates, device),
        "shape_ptr": to_device(shape, device),
        "pitch": images.stride(0),
        "parameters_pitch": parameters.stride(0),
    }
    if chosen.form == "fused":
        kernel = packed_fused_kernel
        turned = turned_weights(parameters, inputs, hidden[0], chosen)
        arguments |= {"turned_ptr": turned, "turned_rows": turned.shape[1]}
    else:
        kernel = packed_looped_kernel
        rows = -(-max(batch_sizes) // chosen.rows) * chosen.rows
        scratch = torch.empty(jobs * rows * (4 * chosen.width + _OUT), dtype=torch.float32, device=device)
        arguments |= {"scratch_ptr": scratch, "scratch_rows": rows}
    with torch.cuda.device(device) if device.type == "cuda" else nullcontext():
        kernel[(jobs,)](**arguments, **chosen.constexprs(), **chosen.options())
    return chosen


def turned_weights(parameters: Tensor, inputs: int, hidden1: int, form: PackedPlan) -> Tensor:
    """hidden1.weight of parameters [J, P] as the fused form keeps it: [J, inputs, width], zero past both ends."""
    rows = -(-inputs // form.chunk) * form.chunk
    turned = parameters.new_zeros(len(parameters), rows, form.width)
    given = parameters[:, : hidden1 * inputs].unflatten(1, (hidden1, inputs))
    turned[:, :inputs, :hidden1] = given.transpose(1, 2)
    return turned


def _check_tensors(images: Tensor, labels: Tensor, parameters: Tensor, checkpoints: Tensor) -> None:
    wanted = {
        "images": (images, (torch.uint8, torch.float32), 2),
        "labels": (labels, (torch.uint8,), 1),
        "parameters": (parameters, (torch.float32,), 2),
        "checkpoints": (checkpoints, (torch.float32,), 1),
    }
    for name, (tensor, dtypes, dimensions) in wanted.items():
        if not isinstance(tensor, Tensor):
            raise TypeError(f"{name}: a tensor, not {type(tensor).__name__}")
        if tensor.dtype not in dtypes or tensor.dim() != dimensions:
            allowed = " or ".join(str(dtype).removeprefix("torch.") for dtype in dtypes)
            given = str(tensor.dtype).removeprefix("torch.")
            raise ValueError(f"{name}: {allowed} with {dimensions} axes, not {given} {list(tensor.shape)}")
        if tensor.device != images.device:
            raise ValueError(f"{name}: on {images.device} as the images are, not on {tensor.device}")
        if name != "images" and tensor.numel() and tensor.stride(-1) != 1:
            raise ValueError(f"{name}: contiguous along its last axis, not strides {tensor.stride()}")
    if parameters.shape[0] > 1 and parameters.stride(0) < parameters.shape[1]:
        raise ValueError("parameters: a row of its own for every job, not rows that overlap")
    if images.device.type != "cuda" and not interpreted():
        raise RuntimeError("train_packed needs a CUDA device, or TRITON_INTERPRET=1 to run on the CPU")


def _common_plan(
    images: Tensor, inputs: int, hidden: tuple[int, int], outputs: int, batch_sizes: Sequence[int]
) -> PackedPlan:
    if images.device.type == "cuda":
        major, minor = torch.cuda.get_device_capability(images.device)
        capability = major * 10 + minor
    else:
        capability = min(TARGETS)
    chosen = None
    for batch in sorted(set(batch_sizes)) or [1]:
        found = plan(inputs, hidden, outputs, batch, capability, byte_images=images.dtype == torch.uint8)
        if isinstance(found, str):
            raise ValueError(found)
        if chosen is not None and found != chosen:
            raise ValueError(f"batch_sizes: all of one plan, not both {chosen} and {found}")
        chosen = found
    assert chosen is not None
    return chosen


def _check_job(
    job: int, columns: dict[str, Sequence], images: int, labels: int, checkpoints: int, count: int
) -> None:
    examples, epochs = columns["examples"][job], columns["epochs"][job]
    first_image, first_label = columns["first_image"][job], columns["first_label"][job]
    if examples < 1 or first_image < 0 or first_image + examples > images:
        raise ValueError(
            f"examples: 1 or more within the {images} images, not {examples} from {first_image} (job {job})"
        )
    rate, batch = columns["learning_rates"][job], columns["batch_sizes"][job]
    if not 0 < rate < float("inf"):
        raise ValueError(f"learning_rates: finite and above 0, not {rate} (job {job})")
    if batch < 1:
        raise ValueError(f"batch_sizes: 1 or more, not {batch} (job {job})")
    if first_label < 0 or first_label + examples > labels:
        raise ValueError(f"first_label: {examples} of {labels} labels, not from {first_label} (job {job})")
    if epochs < 0 or -(-examples // batch) * epochs >= 2**31:
        raise ValueError(f"epochs: 0 or more, below 2^31 steps, not {epochs} (job {job})")
    offset = columns["checkpoint_offsets"][job]
    if offset < 0 or offset + epochs * count > checkpoints:
        raise ValueError(
            f"checkpoint_offsets: {epochs} x {count} floats within {checkpoints}, not from {offset} (job {job})"
        )


def _check_apart(offsets: Sequence[int], epochs: Sequence[int], count: int) -> None:
    taken = sorted(
        (offset, offset + length * count) for offset, length in zip(offsets, epochs, strict=True) if length
    )
    for (_, end), (start, _) in pairwise(taken):
        if start < end:
            raise ValueError(f"checkpoint_offsets: a block of its own for every job, not two over {start}")


def compile_cases(capability: int) -> list[CompileCase]:
    """Every shipped form; they are the same on all targets."""
    cases = []
    for form in FORMS:
        signature = {
            "images_ptr": "*u8" if form.byte_images else "*fp32",
            "labels_ptr": "*u8",
            "parameters_ptr": "*fp32",
            "checkpoints_ptr": "*fp32",
            "jobs_ptr": "*i64",
            "rates_ptr": "*fp32",
            "shape_ptr": "*i32",
            "pitch": "i32",
            "parameters_pitch": "i32",
        }
        divisible: tuple[str, ...] = ("pitch",)
        if form.form == "fused":
            kernel = packed_fused_kernel
            signature |= {"turned_ptr": "*fp32", "turned_rows": "i32"}
            divisible += ("turned_rows",)
        else:
            kernel = packed_looped_kernel
            signature |= {"scratch_ptr": "*fp32", "scratch_rows": "i32"}
            divisible += ("scratch_rows",)
        cases.append(
            CompileCase(
                kernel=kernel,
                name=f"packed_{form.form}",
                config=str(form).split(" ", 1)[1],
                signature=signature,
                constexprs=form.constexprs(),
                num_warps=form.num_warps,
                maxnreg=MAX_REGISTERS,
                divisible=divisible,
            )
        )
    return cases


def train_packed_spec(
    images: Tensor,
    labels: Tensor,
    parameters: Tensor,
    *,
    hidden: tuple[int, int],
    outputs: int,
    learning_rate: float,
    batch_size: int,
    epochs: int,
) -> Tensor:
    """What one job computes, in torch and in the dtype of `parameters` [P]: its checkpoints, [epochs, P].

    images [N, K] uint8 (meaning byte / 256) or floating, labels [N].
    """
    x = images.to(parameters.dtype) / 256 if images.dtype == torch.uint8 else images.to(parameters.dtype)
    target = torch.nn.functional.one_hot(labels.long(), outputs).to(parameters.dtype)
    row = parameters.clone()
    inputs = images.shape[1]
    shapes = [
        (hidden[0], inputs),
        hidden[:1],
        (hidden[1], hidden[0]),
        hidden[1:],
        (outputs, hidden[1]),
        (outputs,),
    ]
    pieces = row.split([torch.Size(shape).numel() for shape in shapes])
    w1, b1, w2, b2, w3, b3 = (piece.view(shape) for piece, shape in zip(pieces, shapes, strict=True))
    history = []
    for _ in range(epochs):
        for start in range(0, len(x), batch_size):
            x0, t = x[start : start + batch_size], target[start : start + batch_size]
            y1 = torch.sigmoid(x0 @ w1.T + b1)
            y2 = torch.sigmoid(y1 @ w2.T + b2)
            y3 = torch.sigmoid(y2 @ w3.T + b3)
            d3 = 2 * (y3 - t) * y3 * (1 - y3)
            d2 = d3 @ w3 * y2 * (1 - y2)
            d1 = d2 @ w2 * y1 * (1 - y1)
            for w, b, d, y in ((w1, b1, d1, x0), (w2, b2, d2, y1), (w3, b3, d3, y2)):
                w -= learning_rate * d.T @ y
                b -= learning_rate * d.sum(0)
        history.append(row.clone())
    return torch.stack(history) if history else row.new_empty(0, len(row))
