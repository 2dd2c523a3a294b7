"""What each kernel does by its documentation, in torch, from the arguments of its launch."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from breaknet.kernels import jobs as layout
from breaknet.kernels.jobs import Shape


def _step(shape: Shape, row: Tensor, images: Tensor, labels: Tensor, rate: float) -> None:
    """One step of plain SGD on a flat row of parameters."""
    w1, b1, w2, b2, w3, b3 = shape.unpack(row)
    x = images.float() / 256 if images.dtype == torch.uint8 else images
    a1 = torch.sigmoid(x @ w1.T + b1)
    a2 = torch.sigmoid(a1 @ w2.T + b2)
    a3 = torch.sigmoid(a2 @ w3.T + b3)
    d3 = 2 * (a3 - torch.nn.functional.one_hot(labels.long(), shape.outputs)) * a3 * (1 - a3)
    d2 = d3 @ w3 * a2 * (1 - a2)
    d1 = d2 @ w2 * a1 * (1 - a1)
    for weight, bias, delta, below in ((w1, b1, d1, x), (w2, b2, d2, a1), (w3, b3, d3, a2)):
        weight -= rate * delta.T @ below
        bias -= rate * delta.sum(0)


def _shape(a: Any) -> Shape:
    return Shape(a.INPUTS, a.HIDDEN1, a.HIDDEN2, a.OUTPUTS)


def _rows(flat: Tensor, start: int, count: int, width: int) -> Tensor:
    """Rows from an element of a tensor's memory on, as a kernel sees them: past its end is an error."""
    return flat.as_strided((count, width), (width, 1), flat.storage_offset() + start)


def _train(a: Any, job: int, first_step: int, steps: int | None) -> None:
    shape, table = _shape(a), a.jobs_ptr.flatten()[job * layout.JOB_COLUMNS :].tolist()
    examples, batch, epochs = table[layout.EXAMPLES], table[layout.BATCH], table[layout.EPOCHS]
    rate = float(a.rates_ptr[job])
    live = a.live_ptr[table[layout.LIVE_ROW]]
    images = a.images_ptr[table[layout.IMAGE_ROW] :][:examples]
    labels = a.labels_ptr[table[layout.LABEL] :][:examples]
    assert len(images) == len(labels) == examples
    assert min(batch, examples) <= a.ROWS
    an_epoch = -(-examples // batch)
    assert an_epoch * epochs < 10**5, "no test trains for so long"
    last = an_epoch * epochs if steps is None else min(first_step + steps, an_epoch * epochs)
    for step in range(first_step, last):
        epoch, start = step // an_epoch, step % an_epoch * batch
        _step(shape, live, images[start : start + batch], labels[start : start + batch], rate)
        if start + batch >= examples:
            a.checkpoints_ptr[table[layout.CHECKPOINT_ROW] + epoch] = live


def cooperative_training(grid: tuple[int, ...], a: SimpleNamespace) -> None:
    programs = a.SLICES + a.HIDDEN1P // a.HIDDEN_BLOCK + 1
    jobs, rest = divmod(grid[0], programs)
    assert rest == 0
    assert a.first_program == 0
    assert not bool(a.arrivals_ptr.any()), "a counter that is not zero before its launch"
    assert a.arrivals_ptr.numel() >= jobs * 32
    assert a.partials_ptr.numel() >= jobs * a.SLICES * a.ROWS * a.HIDDEN1P
    assert a.deltas_ptr.numel() >= jobs * a.ROWS * (2 * a.HIDDEN1P + 2 * a.HIDDEN2P + 16)
    for job in range(jobs):
        _train(a, job, 0, None)
    a.arrivals_ptr.fill_(7)


def split_training(grid: tuple[int, ...], a: SimpleNamespace) -> None:
    assert grid[0] == a.SLICES + a.HIDDEN1P // a.HIDDEN_BLOCK + 1
    for job in range(grid[1]):
        step = int(a.clock_ptr[job, 1 if a.PHASE == 3 else 0])
        if a.PHASE == 2:
            a.clock_ptr[job, 1] = step
        elif a.PHASE == 3:
            table = a.jobs_ptr[job].tolist()
            if step < -(-table[layout.EXAMPLES] // table[layout.BATCH]) * table[layout.EPOCHS]:
                _train(a, job, step, 1)
                a.clock_ptr[job, 0] = step + 1


def packed_training(grid: tuple[int, ...], a: SimpleNamespace) -> None:
    inputs, hidden1, hidden2, outputs = a.shape_ptr.tolist()
    shape = Shape(inputs, hidden1, hidden2, outputs)
    assert a.images_ptr.data_ptr() % 16 == 0
    assert a.pitch % 16 == 0
    assert (a.images_ptr.dtype == torch.uint8) == a.BYTES
    assert max(hidden1, hidden2) <= a.WIDTH
    for job in range(grid[0]):
        row, label, examples, batch, epochs, offset = a.jobs_ptr[job].tolist()
        assert hasattr(a, "scratch_ptr") or batch <= a.BLOCK_B
        images = _rows(a.images_ptr, row * a.pitch, examples, a.pitch)[:, :inputs]
        labels = a.labels_ptr[label : label + examples]
        live = _rows(a.parameters_ptr, job * a.parameters_pitch, 1, shape.parameters)[0]
        if hasattr(a, "turned_ptr"):
            first = live[: hidden1 * inputs].view(hidden1, inputs)
            turned = a.turned_ptr[job, :inputs, :hidden1].T
            assert torch.equal(turned.nan_to_num(7), first.nan_to_num(7))
            assert a.turned_ptr[job].shape == (a.turned_rows, a.WIDTH)
            assert a.turned_rows % a.BLOCK_K == 0
        for epoch in range(epochs):
            for start in range(0, examples, batch):
                end = start + batch
                _step(shape, live, images[start:end], labels[start:end], float(a.rates_ptr[job]))
            place = offset + epoch * shape.parameters
            a.checkpoints_ptr[place : place + shape.parameters] = live


def evaluation(grid: tuple[int, ...], a: SimpleNamespace) -> None:
    shape = _shape(a)
    assert grid[:2] == (-(-a.images // a.BLOCK_M), -(-a.checkpoints // a.BLOCK_C))
    # Triton's pointers are those of the slices that were handed over
    pitch = a.stride_checkpoint
    rows = a.checkpoint_ptr.as_strided((a.checkpoints, shape.parameters), (pitch, 1))
    images = a.column_ptr.as_strided((shape.inputs, a.images), (a.stride_column, 1)).T.double() * a.scale
    assert a.stride_column >= grid[0] * a.BLOCK_M
    turned = a.weight_ptr.as_strided(
        (shape.inputs, a.checkpoints, a.BLOCK_H1), (a.stride_weight, a.BLOCK_H1, 1)
    )
    first = rows[:, : shape.hidden1 * shape.inputs].view(a.checkpoints, shape.hidden1, shape.inputs)
    assert torch.equal(turned[:, :, : shape.hidden1].permute(1, 2, 0).nan_to_num(7), first.nan_to_num(7))
    assert a.stride_weight >= grid[1] * a.BLOCK_C * a.BLOCK_H1
    labels = a.label_ptr[: a.images].long()
    assert len(labels) == a.images
    a.cost_ptr.zero_()
    a.hits_ptr.zero_()
    for number, row in enumerate(rows.double()):
        activation = images
        parts = shape.unpack(row)
        for weight, bias in zip(parts[::2], parts[1::2], strict=True):
            activation = torch.sigmoid(activation @ weight.T + bias)
        target = torch.nn.functional.one_hot(labels, shape.outputs)
        predicted = activation.argmax(1)
        a.cost_ptr[0, number] = ((activation - target) ** 2).sum()
        a.hits_ptr[-1, number] = (predicted == labels).sum()
        if a.CONFUSION:
            cells = torch.bincount(labels * shape.outputs + predicted, minlength=shape.outputs**2)
            a.confusion_ptr[number] += cells.view(shape.outputs, shape.outputs)


def ordered_sum(grid: tuple[int, ...], a: SimpleNamespace) -> None:
    assert grid[0] == -(-a.columns // a.BLOCK_M)
    a.total_ptr.copy_(_rows(a.partial_ptr, 0, a.parts, a.columns).double().sum(0))


def _matrix(tensor: Tensor, rows: int, columns: int, down: int, right: int) -> Tensor:
    return tensor.as_strided((rows, columns), (down, right))


def linear_forward(grid: tuple[int, ...], a: SimpleNamespace) -> None:
    x = _matrix(a.x_ptr, a.batch, a.inputs, a.stride_xb, a.stride_xk)
    z = x @ _matrix(a.weight_ptr, a.outputs, a.inputs, a.stride_wn, a.stride_wk).T
    if a.HAS_BIAS:
        z = z + a.bias_ptr.as_strided((a.outputs,), (a.stride_bias,))
    a.y_ptr.copy_(torch.sigmoid(z))


def _dz(a: Any) -> Tensor:
    y = _matrix(a.y_ptr, a.batch, a.outputs, a.stride_yb, a.stride_yn)
    return _matrix(a.grad_ptr, a.batch, a.outputs, a.stride_gb, a.stride_gn) * y * (1 - y)


def linear_input_backward(grid: tuple[int, ...], a: SimpleNamespace) -> None:
    a.dx_ptr.copy_(_dz(a) @ _matrix(a.weight_ptr, a.outputs, a.inputs, a.stride_wn, a.stride_wk))


def linear_parameters_backward(grid: tuple[int, ...], a: SimpleNamespace) -> None:
    dz, x = _dz(a), _matrix(a.x_ptr, a.batch, a.inputs, a.stride_xb, a.stride_xk)
    for split in range(grid[2]):
        rows = slice(split * a.rows_per_split, (split + 1) * a.rows_per_split)
        a.dweight_ptr[split] = (dz[rows].T @ x[rows]).flatten()
        a.dbias_ptr[split] = dz[rows].sum(0)


def summed_mse(grid: tuple[int, ...], a: SimpleNamespace) -> None:
    prediction = _matrix(a.prediction_ptr, a.batch, a.classes, a.stride_pb, a.stride_pc)
    if a.LABELS:
        labels = a.target_ptr.as_strided((a.batch,), (a.stride_tb,))
        target = torch.nn.functional.one_hot(labels.long(), a.classes)
    else:
        target = _matrix(a.target_ptr, a.batch, a.classes, a.stride_tb, a.stride_tc)
    difference = prediction - target
    if a.WITH_GRADIENT:
        a.gradient_ptr.copy_(2 * difference)
    a.partial_ptr.zero_()
    a.partial_ptr[0, 0] = (difference**2).sum()


EFFECTS = {
    "cooperative_training_kernel": cooperative_training,
    "split_training_kernel": split_training,
    "packed_fused_kernel": packed_training,
    "packed_looped_kernel": packed_training,
    "evaluation_forward_kernel": evaluation,
    "ordered_sum_forward_kernel": ordered_sum,
    "linear_sigmoid_forward_kernel": linear_forward,
    "linear_sigmoid_input_backward_kernel": linear_input_backward,
    "linear_sigmoid_parameters_backward_kernel": linear_parameters_backward,
    "summed_mse_forward_kernel": summed_mse,
}
