"""The kernels' checkers: `checks.forward(kernel)` says whether the kernel is correct, or what is wrong.

    scale, forward, backward, cost      one launch each, by any number of programs
    rounds                              programs that wait for each other (`barriers`)
    train_many, first_maximum           a program for each network, for each checkpoint and block of images

For each kernel: the inputs it is tried on, how it is launched, and the usual mistakes. `exercises` does the rest;
exercises in plain Python are in `checks_in_python`.
"""

import torch
from torch import Tensor

from breaknet.kernels._triton import triton
from notebooks.course import specs
from notebooks.course.barriers import launch_rounds
from notebooks.course.exercises import Kernel

_ROWS = "(row < batch)[:, None] & "
_UNITS = "unit[:, None] * inputs + k[None, :]"
_BARRIER = "        barrier(counter_ptr, arrivals, INTERPRETED)  # all have "
_WAIT = f"        arrivals += PROGRAMS\n{_BARRIER}"

_generator = torch.Generator().manual_seed(0)


def _random(*shape: int, scale: float = 1.0) -> Tensor:
    return torch.randn(shape, generator=_generator) * scale


def _labels(*shape: int, classes: int) -> Tensor:
    return torch.randint(0, classes, shape, generator=_generator, dtype=torch.int32)


scale = Kernel(
    "scale",
    "exercise 1, bytes to numbers",
    specs.scale_bytes_spec,
    ["x"],
    [{"pixels": torch.arange(count).remainder(256).to(torch.uint8)} for count in (128, 1, 300, 784)],
    lambda kernel, x, pixels: kernel[(triton.cdiv(len(x), 128),)](pixels, x, len(x), BLOCK=128),
    look_alikes={
        ("/ 256", "/ 255"): "`x` is pixels / 255: the lesson's pixels are byte / 256",
        (" / 256", ""): "`x` is the byte itself: the division by 256 is missing",
    },
    mistakes={
        ("/ 256, mask=inside", "/ 256"): "beyond the end of `x`",
        ("tl.program_id(0) * BLOCK", "0"): "were not written",
    },
)

forward = Kernel(
    "forward",
    "exercise 2, linear + sigmoid",
    specs.linear_sigmoid_spec,
    ["y"],
    [
        {"x": _random(b, k), "weight": _random(n, k, scale=k**-0.5), "bias": _random(n)}
        for b, k, n in ((32, 32, 16), (10, 20, 16), (33, 50, 5), (100, 784, 16))
    ],
    lambda kernel, y, x, weight, bias: kernel[(triton.cdiv(len(x), 32),)](
        x, weight, bias, y, *x.shape, len(weight), BLOCK_B=32, BLOCK_K=32, BLOCK_N=16
    ),
    look_alikes={
        ("z + bias[None, :]", "z"): "`y` is the result of a layer without its bias",
        (
            "1 / (1 + tl.exp(-(z + bias[None, :])))",
            "z + bias[None, :]",
        ): "`y` is x Wᵀ + b: the sigmoid is missing",
        ("tl.exp(-(z", "tl.exp((z"): "`y` is 1 / (1 + exp(+z)): the sign inside exp is wrong",
        ("range(0, inputs, BLOCK_K)", "range(0, 1, BLOCK_K)"): (
            "`y` contains the first 32 inputs only: the loop must go on to the next block of x and W"
        ),
    },
    mistakes={
        (f"y_inside = {_ROWS}", "y_inside = "): "beyond the end of `y`",
        (", mask=x_inside, other=0.0)", ")"): "something outside the tensors",
        (" & (k < inputs)[None, :]", "", " & (k < inputs)[:, None]", ""): "`y`",
        ("k = first + tl.arange", "k = tl.arange"): "`y`",
    },
)

backward = Kernel(
    "backward",
    "exercise 3, its gradients",
    specs.linear_sigmoid_backward_spec,
    ["dweight", "dbias"],
    [
        {"grad": _random(b, n), "y": torch.sigmoid(_random(b, n)), "x": _random(b, k)}
        for b, k, n in ((32, 64, 16), (10, 20, 16), (33, 70, 5), (100, 784, 16))
    ],
    lambda kernel, dweight, dbias, grad, y, x: kernel[(triton.cdiv(x.shape[1], 64),)](
        grad, y, x, dweight, dbias, *x.shape, y.shape[1], BLOCK_B=32, BLOCK_K=64, BLOCK_N=16
    ),
    look_alikes={
        (
            "grad * y * (1 - y)",
            "grad",
        ): "dz was computed as grad: the sigmoid's derivative y (1 - y) is missing",
        ("grad * y * (1 - y)", "grad * y"): "dz was computed as grad · y: the derivative is y (1 - y), not y",
        ("dz = grad * y * (1 - y)", "s = 1 / (1 + tl.exp(-y))\n        dz = grad * s * (1 - s)"): (
            "dz was computed as grad · σ(y)(1 - σ(y)): y is already the sigmoid's result"
        ),
        (
            "range(0, batch, BLOCK_B)",
            "range(0, 1, BLOCK_B)",
        ): "only the first 32 rows of the batch were added up",
    },
    mistakes={
        ("grad * y * (1 - y)", "grad * y * (y - 1)"): "wrong sign",
        (f"    inside = {_ROWS}", "    inside = "): "NaN",
        ("tl.store(dbias_ptr + unit, dbias, mask=unit < outputs)", "pass"): "`dbias`: ",
    },
)

cost = Kernel(
    "cost",
    "exercise 4, the summed cost",
    specs.summed_cost_spec,
    ["gradient", "partial"],
    [
        {"prediction": torch.sigmoid(_random(b, c)), "label": _labels(b, classes=c), "rows": 32}
        for b, c in ((32, 16), (7, 10), (100, 10), (65, 3))
    ],
    lambda kernel, gradient, partial, prediction, label, rows: kernel[(len(partial),)](
        prediction, label, gradient, partial, *prediction.shape, BLOCK_B=rows, BLOCK_C=16
    ),
    look_alikes={
        ("2 * difference", "difference"): (
            "`gradient` is half of what it should be: d(p - t)²/dp is 2 (p - t), a factor of 2 is missing"
        ),
        ("prediction - target", "target - prediction"): (
            "`gradient` has the wrong sign: it is 2 (p - t), not 2 (t - p)"
        ),
        ("tl.store(partial_ptr", "tl.atomic_add(partial_ptr"): (
            "`partial` was added to what was in memory before: tl.store a program's own sum, no atomics"
        ),
        ("prediction - target", "prediction"): "the target was taken as 0 everywhere: it is 1 at the label",
    },
    mistakes={
        ("prediction - target, 0.0)", "prediction - target, 0.1)"): "`partial`",
        ("2 * difference, mask=inside", "2 * difference"): "beyond the end of `gradient`",
    },
)

rounds = Kernel(
    "rounds",
    "exercise 5, programs that wait for each other",
    specs.rounds_spec,
    ["result"],
    [{"value": _random(programs, 16), "rounds": rounds} for programs, rounds in ((2, 1), (3, 3))],
    launch_rounds,
    mistakes={
        (f"{_WAIT}written\n", ""): "before it was written",
        (f"{_WAIT}read\n", ""): "before all had read it",
        (f"{_WAIT}read", f"{_BARRIER}read"): "before all had read it",
    },
    hint=(
        "`result` is wrong: a program read a row before it was written, or wrote its own before all had read it. "
        "Between which lines must all programs wait, and for how many arrivals in all?"
    ),
    wait=True,
)

train_many = Kernel(
    "train_many",
    "exercise 6, many networks",
    specs.train_many_spec,
    ["trained"],
    [
        {
            # the last input is the constant that makes the last weight a bias
            "image": torch.rand(examples, k, generator=_generator).index_fill(1, torch.tensor(k - 1), 1),
            "label": _labels(m, examples, classes=n),
            "learning_rate": 0.5 / (1 + torch.arange(m, dtype=torch.float32)),
            "weight": _random(m, n, k, scale=k**-0.5),
            "batch": 16,
        }
        for m, examples, k, n in ((1, 16, 64, 16), (3, 40, 50, 10))
    ],
    lambda kernel, trained, image, label, learning_rate, weight, batch: kernel[(len(weight),)](
        image,
        label,
        learning_rate,
        weight,
        trained,
        *image.shape,
        weight.shape[1],
        BATCH=batch,
        BLOCK_K=64,
        BLOCK_N=16,
    ),
    look_alikes={
        ("label_ptr + network * examples", "label_ptr"): (
            "all networks used the labels of the first: program m reads row m of the labels"
        ),
        ("learning_rate_ptr + network", "learning_rate_ptr"): (
            "all networks used the first learning rate: program m reads entry m of the learning rates"
        ),
        ("weight_ptr + place", f"weight_ptr + {_UNITS}"): (
            "all networks started from the weights of the first: program m starts at weight[m]"
        ),
        ("2 * (y - target)", "(y - target)"): (
            "the weights moved half as far as they should: a factor of 2 is missing in dz"
        ),
        (
            "weight -= ",
            "weight += ",
        ): "the weights moved uphill: the update is minus learning rate times gradient",
        (
            *("    learning_rate = ", "    start = weight\n    learning_rate = "),
            "trans(weight)",
            "trans(start)",
        ): ("every step started from the first weights: a step must use what the last one left"),
    },
    mistakes={
        ("(row < examples)[:, None] & ", ""): "`trained` is NaN",
        ("trained_ptr + place", f"trained_ptr + {_UNITS}"): "were not written",
    },
)

first_maximum = Kernel(
    "first_maximum",
    "exercise 7, the predicted class",
    specs.first_maximum_spec,
    ["predicted"],
    [
        *({"output": _random(*shape)} for shape in ((1, 64, 16), (3, 70, 10), (2, 5, 3))),
        {"output": -1 - _random(2, 70, 10).abs()},  # all below zero
        {"output": _labels(2, 70, 10, classes=3).float() / 2},  # many of them equal
    ],
    lambda kernel, predicted, output: kernel[(triton.cdiv(output.shape[1], 64), len(output))](
        output, predicted, *output.shape[1:], BLOCK_B=64, BLOCK_C=16
    ),
    look_alikes={
        ("column[None, :], BLOCK_C)", "column[None, :], -1)", "tl.min(", "tl.max("): (
            "of several equal outputs the last one was taken: torch.argmax takes the first"
        ),
        ('-float("inf")', "0.0"): "columns past the last class won: they must load as -inf, not as 0",
        ("place = (checkpoint * images + image)", "place = image"): (
            "every checkpoint gave the predictions of the first: program_id(1) is the checkpoint"
        ),
    },
    mistakes={("tl.min(candidate, 1), mask=image < images", "tl.min(candidate, 1)"): "predicted"},
)

#: By the names in the tags of the notebooks' cells.
KERNELS = {one.tag: one for one in (scale, forward, backward, cost, rounds, train_many, first_maximum)}
