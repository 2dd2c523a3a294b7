"""The whole step (forward, backward, update) captured once as a CUDA graph and replayed."""

import torch
from torch import nn

from benchmarks.problem import Problem, Trainer, stepping

WARM_UP = 3  # steps before the capture, as torch's notes on CUDA graphs ask for


def trainer(problem: Problem, epochs: int) -> Trainer:
    """For whole batches: a graph's tensors have one size."""
    model = problem.model()
    optimizer = torch.optim.SGD(model.parameters(), lr=problem.learning_rate)
    images, targets = problem.floats, problem.targets
    some_images, some_targets = (data[: problem.batch_size].clone() for data in (images, targets))

    def captured() -> None:
        nn.functional.mse_loss(model(some_images), some_targets, reduction="sum").backward()
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
