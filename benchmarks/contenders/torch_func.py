"""Torch's own ensembles: stacked parameters, `vmap` over `grad` of a functional call, plain SGD."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, stack_module_state, vmap

from benchmarks.problem import Parameters, Problem, Trainer, stepping, unstacked


def trainer(problems: Sequence[Problem], epochs: int) -> Trainer:
    """Networks on the same images, each with labels and a start of its own."""
    first = problems[0]
    images, learning_rate = first.floats, first.learning_rate
    targets = torch.stack([one.targets for one in problems])  # [C, N, 10]
    parameters, _ = stack_module_state([one.model() for one in problems])
    parameters = {name: value.detach() for name, value in parameters.items()}
    skeleton = first.model().to("meta")

    def cost(some: Parameters, some_images: Tensor, some_targets: Tensor) -> Tensor:
        output = functional_call(skeleton, some, (some_images,))
        return nn.functional.mse_loss(output, some_targets, reduction="sum")

    gradients = vmap(grad(cost), in_dims=(0, None, 0))

    @torch.no_grad()
    def step(batch: slice) -> None:
        for name, gradient in gradients(parameters, images[batch], targets[:, batch]).items():
            parameters[name].sub_(gradient, alpha=learning_rate)

    return stepping(first, epochs, step, lambda: unstacked(parameters))
