"""The checkers of the kernels that the course asks for, one each: `checks.forward(kernel)` says what is wrong.

    scale, forward, backward, cost      one launch each, by any number of programs
    rounds                              programs that wait for each other (`barriers`)
    train_many, first_maximum           one program a model, one a checkpoint

Each knows how its kernel is launched; `exercise` does the rest. The checkers of exercises in plain Python are in
`checks_in_python`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from breaknet.kernels._triton import triton
from notebooks.course import specs
from notebooks.course.barriers import launch_rounds
from notebooks.course.exercise import Case, Exercise
from notebooks.course.memory import GARBAGE

Inputs = Mapping[str, Tensor]
Settings = Mapping[str, int]


def _random(*shape: int, seed: int, scale: float = 1.0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * scale


def _labels(*shape: int, classes: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, classes, shape, generator=generator, dtype=torch.int32)


# ---- scale: a byte of an image as the network sees it


def _scale_cases() -> Iterator[Case]:
    for count in (128, 1, 300, 784):
        pixels = torch.arange(count).remainder(256).to(torch.uint8)
        yield Case(f"{count} pixel{'s' if count > 1 else ''}", {"pixels": pixels})


def _launch_scale(kernel: Any, inputs: Inputs, outputs: list[Tensor], _: Settings) -> None:
    count = inputs["pixels"].numel()
    kernel[(triton.cdiv(count, 128),)](inputs["pixels"], outputs[0], count, BLOCK=128)


scale = Exercise(
    "exercise 1, bytes to numbers",
    specs.scale_bytes_spec,
    ("x",),
    _scale_cases,
    _launch_scale,
    {
        "`x` is pixels / 255: the lesson's pixels are byte / 256": lambda pixels: pixels.float() / 255,
        "`x` is the byte itself: the division by 256 is missing": lambda pixels: pixels.float(),
    },
)


# ---- forward: a layer in one launch


def _forward_cases() -> Iterator[Case]:
    for seed, (batch, inputs, outputs) in enumerate(
        ((32, 32, 16), (10, 20, 16), (33, 50, 5), (100, 784, 16))
    ):
        yield Case(
            f"x [{batch}, {inputs}], weight [{outputs}, {inputs}]",
            {
                "x": _random(batch, inputs, seed=seed),
                "weight": _random(outputs, inputs, seed=seed + 10, scale=inputs**-0.5),
                "bias": _random(outputs, seed=seed + 20),
            },
        )


def _launch_forward(kernel: Any, inputs: Inputs, outputs: list[Tensor], _: Settings) -> None:
    x, weight, bias = inputs.values()
    batch, width = x.shape
    kernel[(triton.cdiv(batch, 32),)](
        x, weight, bias, outputs[0], batch, width, len(weight), BLOCK_B=32, BLOCK_K=32, BLOCK_N=16
    )


def _without_bias(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return torch.sigmoid(x @ weight.T)


def _without_sigmoid(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return x @ weight.T + bias


def _mirrored(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return torch.sigmoid(-(x @ weight.T + bias))


def _first_inputs(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return torch.sigmoid(x[:, :32] @ weight[:, :32].T + bias)


forward = Exercise(
    "exercise 2, linear + sigmoid",
    specs.linear_sigmoid_spec,
    ("y",),
    _forward_cases,
    _launch_forward,
    {
        "`y` is what a layer without its bias gives": _without_bias,
        "`y` is x Wᵀ + b: the sigmoid is missing": _without_sigmoid,
        "`y` is 1 / (1 + exp(+z)): the sign inside of exp is wrong": _mirrored,
        "`y` holds the first 32 inputs only: the loop must go on to the next block of x and W": _first_inputs,
    },
)


# ---- backward: what the layer's parameters get


def _backward_cases() -> Iterator[Case]:
    for seed, (batch, inputs, outputs) in enumerate(
        ((32, 64, 16), (10, 20, 16), (33, 70, 5), (100, 784, 16))
    ):
        yield Case(
            f"grad and y [{batch}, {outputs}], x [{batch}, {inputs}]",
            {
                "grad": _random(batch, outputs, seed=seed),
                "y": torch.sigmoid(_random(batch, outputs, seed=seed + 10)),
                "x": _random(batch, inputs, seed=seed + 20),
            },
        )


def _launch_backward(kernel: Any, inputs: Inputs, outputs: list[Tensor], _: Settings) -> None:
    grad, y, x = inputs.values()
    batch, width = x.shape
    kernel[(triton.cdiv(width, 64),)](
        grad, y, x, *outputs, batch, width, y.shape[1], BLOCK_B=32, BLOCK_K=64, BLOCK_N=16
    )


def _with(dz_of: Callable[[Tensor, Tensor], Tensor], rows: int | None = None) -> Any:
    """The spec with another dz, or with the first `rows` rows alone."""

    def spec(grad: Tensor, y: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        dz = dz_of(grad, y)[:rows]
        return dz.T @ x[:rows], dz.sum(0)

    return spec


def _dz(grad: Tensor, y: Tensor) -> Tensor:
    return grad * y * (1 - y)


backward = Exercise(
    "exercise 3, its backward",
    specs.linear_sigmoid_backward_spec,
    ("dweight", "dbias"),
    _backward_cases,
    _launch_backward,
    {
        "dz was taken as grad: the sigmoid's derivative y (1 - y) is missing": _with(lambda grad, y: grad),
        "dz was taken as grad · y: the derivative is y (1 - y), not y": _with(lambda grad, y: grad * y),
        "dz was taken as grad · σ(y)(1 - σ(y)): y has been through the sigmoid already": _with(
            lambda grad, y: _dz(grad, torch.sigmoid(y))
        ),
        "only the first 32 rows of the batch were added up": _with(_dz, 32),
    },
)


# ---- cost: the sum of squares and its gradient in one pass


def _cost_cases() -> Iterator[Case]:
    for seed, (batch, classes) in enumerate(((32, 16), (7, 10), (100, 10), (65, 3))):
        yield Case(
            f"prediction [{batch}, {classes}]",
            {
                "prediction": torch.sigmoid(_random(batch, classes, seed=seed)),
                "label": _labels(batch, classes=classes, seed=seed),
            },
            {"rows": 32},
        )


def _launch_cost(kernel: Any, inputs: Inputs, outputs: list[Tensor], settings: Settings) -> None:
    prediction, label = inputs.values()
    batch, classes = prediction.shape
    rows = settings["rows"]
    kernel[(triton.cdiv(batch, rows),)](
        prediction, label, *outputs, batch, classes, BLOCK_B=rows, BLOCK_C=16
    )  # fmt: skip


def _gradient_times(factor: float) -> Any:
    def spec(prediction: Tensor, label: Tensor, rows: int) -> tuple[Tensor, Tensor]:
        gradient, partial = specs.summed_cost_spec(prediction, label, rows)
        return gradient * factor, partial

    return spec


def _added(prediction: Tensor, label: Tensor, rows: int) -> tuple[Tensor, Tensor]:
    gradient, partial = specs.summed_cost_spec(prediction, label, rows)
    return gradient, partial + GARBAGE


def _against_zero(prediction: Tensor, label: Tensor, rows: int) -> tuple[Tensor, Tensor]:
    return 2 * prediction, torch.stack([part.square().sum() for part in prediction.split(rows)])


cost = Exercise(
    "exercise 4, the summed cost",
    specs.summed_cost_spec,
    ("gradient", "partial"),
    _cost_cases,
    _launch_cost,
    {
        "`gradient` is half of what it should be: d(p - t)²/dp is 2 (p - t), a factor of 2 is missing": (
            _gradient_times(0.5)
        ),
        "`gradient` has the wrong sign: it is 2 (p - t), not 2 (t - p)": _gradient_times(-1),
        "`partial` was added to what lay in memory before: tl.store a program's own sum, no atomics": _added,
        "the target was taken as 0 everywhere: it is 1 at the label": _against_zero,
    },
)


# ---- rounds: programs that wait for each other


def _rounds_cases() -> Iterator[Case]:
    for seed, (programs, rounds) in enumerate(((2, 1), (3, 3))):
        yield Case(
            f"{programs} programs, {rounds} round{'s' if rounds > 1 else ''}",
            {"value": _random(programs, 16, seed=seed)},
            {"rounds": rounds},
        )


def _launch_rounds(kernel: Any, inputs: Inputs, outputs: list[Tensor], settings: Settings) -> str | None:
    return launch_rounds(kernel, inputs["value"], outputs[0], settings["rounds"])


rounds = Exercise(
    "exercise 5, programs that wait for each other",
    specs.rounds_spec,
    ("result",),
    _rounds_cases,
    _launch_rounds,
    hint=(
        "`result` is wrong: a program read a row before it was written, or wrote its own before all had read it. "
        "Between which lines must nobody go on before all have arrived, and how many arrivals is that in all?"
    ),
)


# ---- train_many: a whole epoch of many models in one launch


def _train_many_cases() -> Iterator[Case]:
    for seed, (models, examples, inputs, outputs) in enumerate(((1, 16, 64, 16), (3, 40, 50, 10))):
        image = torch.rand(examples, inputs, generator=torch.Generator().manual_seed(seed))
        image[:, -1] = 1  # the constant that makes the last weight a bias
        yield Case(
            f"{models} model{'s' if models > 1 else ''}, {examples} images of {inputs}, {outputs} outputs",
            {
                "image": image,
                "label": _labels(models, examples, classes=outputs, seed=seed),
                "rate": 0.5 / (1 + torch.arange(models, dtype=torch.float32)),
                "weight": _random(models, outputs, inputs, seed=seed, scale=inputs**-0.5),
            },
            {"batch": 16},
        )


def _launch_train_many(kernel: Any, inputs: Inputs, outputs: list[Tensor], settings: Settings) -> None:
    image, label, rate, weight = inputs.values()
    examples, width = image.shape
    kernel[(len(weight),)](
        image, label, rate, weight, outputs[0], examples, width, weight.shape[1],
        BATCH=settings["batch"], BLOCK_K=64, BLOCK_N=16,
    )  # fmt: skip


def _many_with(**changed: Any) -> Any:
    """The spec with some arguments replaced by what a function makes of them."""

    def spec(**arguments: Any) -> Tensor:
        for name, change in changed.items():
            arguments[name] = change(arguments[name])
        return specs.train_many_spec(**arguments)

    return spec


def _without_update(image: Tensor, label: Tensor, rate: Tensor, weight: Tensor, batch: int) -> Tensor:
    """Every step's gradient is taken at the start."""
    steps = [
        specs.train_many_spec(image[low : low + batch], label[:, low : low + batch], rate, weight, batch)
        - weight
        for low in range(0, len(image), batch)
    ]
    return weight + sum(steps)


train_many = Exercise(
    "exercise 6, many models",
    specs.train_many_spec,
    ("trained",),
    _train_many_cases,
    _launch_train_many,
    {
        "the models all took the labels of the first: program m reads row m of the labels": _many_with(
            label=lambda label: label[:1].expand_as(label)
        ),
        "the models all took the rate of the first: program m reads entry m of the rates": _many_with(
            rate=lambda rate: rate[:1].expand_as(rate)
        ),
        "the models all took the weights of the first: program m starts at weight[m]": _many_with(
            weight=lambda weight: weight[:1].expand_as(weight)
        ),
        "the weights moved half as far as they should: a factor of 2 is missing in dz": _many_with(
            rate=lambda rate: 0.5 * rate
        ),
        "the weights moved uphill: the update is minus rate times gradient": _many_with(
            rate=lambda rate: -rate
        ),
        "every step started from the first weights: a step must use what the last one left": _without_update,
    },
)


# ---- first_maximum: the predicted class


def _first_maximum_cases() -> Iterator[Case]:
    for seed, (checkpoints, images, classes) in enumerate(((1, 64, 16), (3, 70, 10), (2, 5, 3))):
        output = _random(checkpoints, images, classes, seed=seed)
        yield Case(f"output {list(output.shape)}", {"output": output})
    yield Case("output [2, 70, 10], all below zero", {"output": -1 - _random(2, 70, 10, seed=7).abs()})
    ties = _labels(2, 70, 10, classes=3, seed=8).float() / 2
    yield Case("output [2, 70, 10], many of them equal", {"output": ties})


def _launch_first_maximum(kernel: Any, inputs: Inputs, outputs: list[Tensor], _: Settings) -> None:
    output = inputs["output"]
    checkpoints, images, classes = output.shape
    kernel[(triton.cdiv(images, 64), checkpoints)](
        output, outputs[0], images, classes, BLOCK_B=64, BLOCK_C=16
    )


def _last_maximum(output: Tensor) -> Tensor:
    return (output.shape[2] - 1 - output.flip(2).argmax(2)).to(torch.int32)


def _zero_padded(output: Tensor) -> Tensor:
    padding = output.new_zeros(*output.shape[:2], 16 - output.shape[2])
    return torch.cat([output, padding], 2).argmax(2).to(torch.int32)


first_maximum = Exercise(
    "exercise 7, the predicted class",
    specs.first_maximum_spec,
    ("predicted",),
    _first_maximum_cases,
    _launch_first_maximum,
    {
        "of several equal outputs the last one was taken: torch.argmax takes the first": _last_maximum,
        "columns past the last class won: they must load as -inf, not as 0": _zero_padded,
        "every checkpoint gave the predictions of the first: program_id(1) is the checkpoint": lambda output: (
            output[:1].expand_as(output).argmax(2).to(torch.int32)
        ),
    },
)

#: By the names that `solutions` and `wrong` know them by.
KERNELS: dict[str, Exercise] = {
    "scale": scale,
    "forward": forward,
    "backward": backward,
    "cost": cost,
    "rounds": rounds,
    "train_many": train_many,
    "first_maximum": first_maximum,
}
