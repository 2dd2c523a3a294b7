"""The whole step (forward, backward, update) captured once as a CUDA graph and replayed."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from benchmarks.contenders.fused import labels_of, network_of
from benchmarks.problem import Problem, Trainer, stepping

WARM_UP = 3  # steps before the capture, as torch's notes on CUDA graphs ask for


def trainer(problem: Problem, epochs: int) -> Trainer:
    """Of the plain nn.Module."""
    model = problem.model()

    def cost(images: Tensor, targets: Tensor) -> Tensor:
        return nn.functional.mse_loss(model(images), targets, reduction="sum")

    return _captured_trainer(problem, epochs, model, cost, problem.targets)


def network_trainer(problem: Problem, epochs: int) -> Trainer:
    """Of the network whose layers and cost are one fused operator."""
    network = network_of(problem)
    return _captured_trainer(problem, epochs, network, network, labels_of(problem))


def _captured_trainer(
    problem: Problem,
    epochs: int,
    model: nn.Module,
    cost: Callable[[Tensor, Tensor], Tensor],
    targets: Tensor,
) -> Trainer:
    """For whole batches: a graph's tensors have one size."""
    optimizer = torch.optim.SGD(model.parameters(), lr=problem.learning_rate)
    images = problem.floats
    some_images, some_targets = (data[: problem.batch_size].clone() for data in (images, targets))

    def captured() -> None:
        cost(some_images, some_targets).backward()
        optimizer.step()

    aside = torch.cuda.Stream(problem.device)
    aside.wait_stream(torch.cuda.current_stream(problem.device))
    with torch.cuda.stream(aside):
        for _ in range(WARM_UP):
            optimizer.zero_grad(set_to_none=True)
            captured()
    torch.cuda.current_stream(problem.device).wait_stream(aside)
    # without old gradients the captured backward pass writes its own and adds to none
    optimizer.zero_grad(set_to_none=True)
    graph = torch.cuda.CUDAGraph()
    # not torch's usual capture stream: graphs captured on one stream share cuBLAS's workspace, and the end of one takes
    # it from the others (https://github.com/pytorch/pytorch/issues/193402)
    with torch.cuda.graph(graph, stream=torch.cuda.Stream(problem.device)):
        captured()
    model.load_state_dict(problem.start)  # into the tensors that the graph knows

    def step(batch: slice) -> None:
        some_images.copy_(images[batch])
        some_targets.copy_(targets[batch])
        graph.replay()

    return stepping(problem, epochs, step, lambda: [model.state_dict()])
