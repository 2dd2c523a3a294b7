"""The kernels' checkers: `checks.forward(kernel)` says whether the kernel is correct, or what is wrong.

    scale, forward, backward, cost      one launch each, by any number of programs
    rounds                              programs that wait for each other (`barriers`)
    train_many, first_maximum           a program for each network, for each checkpoint and block of images

For each kernel: the inputs it is tried on, how it is launched, and mistakes that are recognised by their results, as
edits of the spec's source. `checking` does the rest; exercises in plain Python are in `checks_in_python`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from breaknet.kernels._triton import triton
from notebooks.course import specs
from notebooks.course.barriers import launch_rounds
from notebooks.course.checking import Cases, Exercise


def _random(*shape: int, seed: int, scale: float = 1.0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * scale


def _labels(*shape: int, classes: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, classes, shape, generator=generator, dtype=torch.int32)


def _scale_cases() -> Cases:
    for count in (128, 1, 300, 784):
        yield {"pixels": torch.arange(count).remainder(256).to(torch.uint8)}


def _launch_scale(kernel: Any, x: Tensor, pixels: Tensor) -> None:
    kernel[(triton.cdiv(len(x), 128),)](pixels, x, len(x), BLOCK=128)


scale = Exercise(
    "exercise 1, bytes to numbers",
    specs.scale_bytes_spec,
    ("x",),
    _scale_cases,
    _launch_scale,
    {
        "`x` is pixels / 255: the lesson's pixels are byte / 256": ("/ 256", "/ 255"),
        "`x` is the byte itself: the division by 256 is missing": ("/ 256", "/ 1"),
    },
)


def _forward_cases() -> Cases:
    for seed, (batch, inputs, outputs) in enumerate(
        ((32, 32, 16), (10, 20, 16), (33, 50, 5), (100, 784, 16))
    ):
        x, bias = _random(batch, inputs, seed=seed), _random(outputs, seed=seed + 20)
        yield {"x": x, "weight": _random(outputs, inputs, seed=seed + 10, scale=inputs**-0.5), "bias": bias}


def _launch_forward(kernel: Any, y: Tensor, x: Tensor, weight: Tensor, bias: Tensor) -> None:
    grid = (triton.cdiv(len(x), 32),)
    kernel[grid](x, weight, bias, y, *x.shape, len(weight), BLOCK_B=32, BLOCK_K=32, BLOCK_N=16)


forward = Exercise(
    "exercise 2, linear + sigmoid",
    specs.linear_sigmoid_spec,
    ("y",),
    _forward_cases,
    _launch_forward,
    {
        "`y` is the result of a layer without its bias": (" + bias", ""),
        "`y` is x Wᵀ + b: the sigmoid is missing": ("torch.sigmoid", ""),
        "`y` is 1 / (1 + exp(+z)): the sign inside exp is wrong": ("torch.sigmoid", "1 - torch.sigmoid"),
        "`y` contains the first 32 inputs only: the loop must go on to the next block of x and W": (
            "x @ weight.T",
            "x[:, :32] @ weight[:, :32].T",
        ),
    },
)


def _backward_cases() -> Cases:
    for seed, (batch, inputs, outputs) in enumerate(
        ((32, 64, 16), (10, 20, 16), (33, 70, 5), (100, 784, 16))
    ):
        grad, y = _random(batch, outputs, seed=seed), torch.sigmoid(_random(batch, outputs, seed=seed + 10))
        yield {"grad": grad, "y": y, "x": _random(batch, inputs, seed=seed + 20)}


def _launch_backward(kernel: Any, dweight: Tensor, dbias: Tensor, grad: Tensor, y: Tensor, x: Tensor) -> None:
    sizes = (*x.shape, y.shape[1])
    grid = (triton.cdiv(x.shape[1], 64),)
    kernel[grid](grad, y, x, dweight, dbias, *sizes, BLOCK_B=32, BLOCK_K=64, BLOCK_N=16)


_DZ = "grad * y * (1 - y)"
backward = Exercise(
    "exercise 3, its gradients",
    specs.linear_sigmoid_backward_spec,
    ("dweight", "dbias"),
    _backward_cases,
    _launch_backward,
    {
        "dz was computed as grad: the sigmoid's derivative y (1 - y) is missing": (_DZ, "grad"),
        "dz was computed as grad · y: the derivative is y (1 - y), not y": (_DZ, "grad * y"),
        "dz was computed as grad · σ(y)(1 - σ(y)): y is already the sigmoid's result": (
            _DZ,
            "grad * y.sigmoid() * (1 - y.sigmoid())",
        ),
        "only the first 32 rows of the batch were added up": ("dz.T @ x, dz", "dz[:32].T @ x[:32], dz[:32]"),
    },
)


def _cost_cases() -> Cases:
    for seed, (batch, classes) in enumerate(((32, 16), (7, 10), (100, 10), (65, 3))):
        prediction = torch.sigmoid(_random(batch, classes, seed=seed))
        yield {"prediction": prediction, "label": _labels(batch, classes=classes, seed=seed), "rows": 32}


def _launch_cost(
    kernel: Any, gradient: Tensor, partial: Tensor, prediction: Tensor, label: Tensor, rows: int
) -> None:
    pointers = (prediction, label, gradient, partial)
    kernel[(len(partial),)](*pointers, *prediction.shape, BLOCK_B=rows, BLOCK_C=16)


cost = Exercise(
    "exercise 4, the summed cost",
    specs.summed_cost_spec,
    ("gradient", "partial"),
    _cost_cases,
    _launch_cost,
    {
        "`gradient` is half of what it should be: d(p - t)²/dp is 2 (p - t), a factor of 2 is missing": (
            "2 * difference",
            "difference",
        ),
        "`gradient` has the wrong sign: it is 2 (p - t), not 2 (t - p)": (
            "2 * difference",
            "-2 * difference",
        ),
        "`partial` was added to what was in memory before: tl.store a program's own sum, no atomics": (
            ".square().sum()",
            ".square().sum() + GARBAGE",
        ),
        "the target was taken as 0 everywhere: it is 1 at the label": ("n - one_hot(", "n - 0 * one_hot("),
    },
)


def _rounds_cases() -> Cases:
    for seed, (programs, rounds) in enumerate(((2, 1), (3, 3))):
        yield {"value": _random(programs, 16, seed=seed), "rounds": rounds}


rounds = Exercise(
    "exercise 5, programs that wait for each other",
    specs.rounds_spec,
    ("result",),
    _rounds_cases,
    launch_rounds,
    hint=(
        "`result` is wrong: a program read a row before it was written, or wrote its own before all had read it. "
        "Between which lines must all programs wait, and for how many arrivals in all?"
    ),
)


def _train_many_cases() -> Cases:
    for seed, (networks, examples, inputs, outputs) in enumerate(((1, 16, 64, 16), (3, 40, 50, 10))):
        image = torch.rand(examples, inputs, generator=torch.Generator().manual_seed(seed))
        image[:, -1] = 1  # the constant that makes the last weight a bias
        yield {
            "image": image,
            "label": _labels(networks, examples, classes=outputs, seed=seed),
            "learning_rate": 0.5 / (1 + torch.arange(networks, dtype=torch.float32)),
            "weight": _random(networks, outputs, inputs, seed=seed, scale=inputs**-0.5),
            "batch": 16,
        }


def _launch_train_many(
    kernel: Any,
    trained: Tensor,
    image: Tensor,
    label: Tensor,
    learning_rate: Tensor,
    weight: Tensor,
    batch: int,
) -> None:
    pointers = (image, label, learning_rate, weight, trained)
    sizes = (*image.shape, weight.shape[1])
    kernel[(len(weight),)](*pointers, *sizes, BATCH=batch, BLOCK_K=64, BLOCK_N=16)


train_many = Exercise(
    "exercise 6, many networks",
    specs.train_many_spec,
    ("trained",),
    _train_many_cases,
    _launch_train_many,
    {
        "all networks used the labels of the first: program m reads row m of the labels": (
            "label[network]",
            "label[0]",
        ),
        "all networks used the first learning rate: program m reads entry m of the learning rates": (
            "learning_rate[network]",
            "learning_rate[0]",
        ),
        "all networks started from the weights of the first: program m starts at weight[m]": (
            "weight.clone()",
            "weight[:1].expand_as(weight).clone()",
        ),
        "the weights moved half as far as they should: a factor of 2 is missing in dz": (
            "2 * (y - ",
            "(y - ",
        ),
        "the weights moved uphill: the update is minus learning rate times gradient": ("] -= ", "] += "),
        "every step started from the first weights: a step must use what the last one left": (
            *("weight = weight.clone()", "first, weight = weight, weight.clone()"),
            *("x @ weight[", "x @ first["),
        ),
    },
)


def _first_maximum_cases() -> Cases:
    for seed, shape in enumerate(((1, 64, 16), (3, 70, 10), (2, 5, 3))):
        yield {"output": _random(*shape, seed=seed)}
    yield {"output": -1 - _random(2, 70, 10, seed=7).abs()}  # all below zero
    yield {"output": _labels(2, 70, 10, classes=3, seed=8).float() / 2}  # many of them equal


def _launch_first_maximum(kernel: Any, predicted: Tensor, output: Tensor) -> None:
    checkpoints, images, classes = output.shape
    kernel[(triton.cdiv(images, 64), checkpoints)](output, predicted, images, classes, BLOCK_B=64, BLOCK_C=16)


_MAXIMUM = "output.argmax(2)"
first_maximum = Exercise(
    "exercise 7, the predicted class",
    specs.first_maximum_spec,
    ("predicted",),
    _first_maximum_cases,
    _launch_first_maximum,
    {
        "of several equal outputs the last one was taken: torch.argmax takes the first": (
            _MAXIMUM,
            "(output.shape[2] - 1 - output.flip(2).argmax(2))",
        ),
        "columns past the last class won: they must load as -inf, not as 0": (
            _MAXIMUM,
            "torch.nn.functional.pad(output, (0, 16 - output.shape[2])).argmax(2)",
        ),
        "every checkpoint gave the predictions of the first: program_id(1) is the checkpoint": (
            _MAXIMUM,
            "output[:1].expand_as(output).argmax(2)",
        ),
    },
)

#: By the names in the tags of the notebooks' cells.
KERNELS: dict[str, Exercise] = {
    "scale": scale,
    "forward": forward,
    "backward": backward,
    "cost": cost,
    "rounds": rounds,
    "train_many": train_many,
    "first_maximum": first_maximum,
}
