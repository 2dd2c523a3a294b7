"""`torch.compile(mode="reduce-overhead")` of network and cost, which captures both passes as CUDA graphs."""

import torch
from torch import Tensor, nn

from benchmarks.problem import Problem, Trainer, stepping


def trainer(problem: Problem, epochs: int) -> Trainer:
    model = problem.model()
    optimizer = torch.optim.SGD(model.parameters(), lr=problem.learning_rate)
    images, targets = problem.floats, problem.targets

    # a second batch size in a process would else be compiled for any size, not for its own
    @torch.compile(mode="reduce-overhead", dynamic=False)
    def cost(some_images: Tensor, some_targets: Tensor) -> Tensor:
        return nn.functional.mse_loss(model(some_images), some_targets, reduction="sum")

    def step(batch: slice) -> None:
        torch.compiler.cudagraph_mark_step_begin()
        optimizer.zero_grad(set_to_none=True)
        cost(images[batch], targets[batch]).backward()
        optimizer.step()

    for _ in range(3):  # compiles, warms up, captures
        step(slice(problem.batch_size))
    model.load_state_dict(problem.start)

    return stepping(problem, epochs, step, lambda: [model.state_dict()])
