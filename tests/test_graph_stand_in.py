"""The stand-in for CUDA graphs behaves as they do, so that what passes on it says something about them."""

from __future__ import annotations

import gc

import pytest
import torch
from graph_stand_in import GraphStandIn, Refused
from torch import Tensor, nn

from breaknet.model import MLP


@pytest.fixture
def gpu():
    with GraphStandIn() as gpu:
        yield gpu


def captured(work, stream=None):
    """A graph of `work`, which has run before, and what it returned in the capture."""
    work()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=stream):
        found = work()
    return graph, found


def test_a_capture_computes_nothing_and_a_replay_does_with_what_is_then_in_memory(gpu):
    x, total = torch.tensor([1.0, 2.0]), torch.zeros(2)

    def work() -> Tensor:
        total.add_(x)
        return 10 * x[1:]

    graph, found = captured(work)
    assert total.tolist() == [1, 2]
    assert found.isnan().all()
    for _ in range(2):
        graph.replay()
    assert total.tolist() == [3, 6]
    assert found.tolist() == [20]
    x.fill_(5)
    graph.replay()
    assert total.tolist() == [8, 11]
    assert found.tolist() == [50]
    assert (gpu.captures, gpu.replays) == (1, 3)


@pytest.mark.parametrize("kind", [{"foreach": False}, {"foreach": True}, {"fused": True}])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_backward_passes_and_every_kind_of_optimizer_are_captured(kind, momentum, gpu):
    images, targets = torch.rand(6, 784), torch.rand(6, 10)

    def stepper():
        model = MLP.seeded(0)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=momentum, **kind)

        def step() -> None:
            nn.functional.mse_loss(model(images), targets, reduction="sum").backward()
            optimizer.step()

        return model, optimizer, step

    eager, optimizer, step = stepper()
    for _ in range(5):
        optimizer.zero_grad()
        step()
    model, optimizer, step = stepper()
    for _ in range(2):
        optimizer.zero_grad()
        step()
    optimizer.zero_grad()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    for _ in range(3):
        graph.replay()
    for found, exact in zip(model.parameters(), eager.parameters(), strict=True):
        assert torch.equal(found, exact)


def test_gradients_left_from_before_grow_with_every_replay(gpu):
    weight = torch.ones(3, requires_grad=True)
    (2 * weight).sum().backward()
    graph, _ = captured(lambda: (2 * weight).sum().backward())
    assert weight.grad.tolist() == [4, 4, 4]
    for _ in range(3):
        graph.replay()
    assert weight.grad.tolist() == [10, 10, 10]


@pytest.mark.parametrize(
    "work",
    [
        lambda x: x.sum().item(),
        lambda x: bool(x[0] > 0),
        lambda x: x.tolist(),
        lambda x: x.cpu(),
        lambda x: x.numpy(),
        lambda x: x.nonzero(),
        lambda x: x[x > 0],
        lambda x: x + torch.tensor([1.0, 2.0]),
        lambda x: torch.cuda.synchronize(),
    ],
)
def test_in_a_capture_the_host_neither_reads_nor_waits_nor_gives(work, gpu):
    x = torch.ones(2)
    work(x)
    with pytest.raises(Refused, match="not permitted while a stream is captured"):
        captured(lambda: work(x))


def test_nothing_runs_for_the_first_time_in_a_capture(gpu):
    x = torch.ones(2)
    for _ in range(2):
        graph = torch.cuda.CUDAGraph()
        with pytest.raises(Refused, match="aten::exp: runs for the first time"), torch.cuda.graph(graph):
            x.exp()
        x.double().exp()  # is another kernel


def test_a_graph_without_a_whole_capture_is_not_replayed(gpu):
    graph = torch.cuda.CUDAGraph()
    with pytest.raises(Refused, match="no capture"):
        graph.replay()
    with pytest.raises(Refused, match="synchronize"), torch.cuda.graph(graph):
        torch.cuda.synchronize()
    with pytest.raises(Refused, match="no capture"):
        graph.replay()


def test_a_graph_keeps_its_own_memory_alive_and_no_other(gpu):
    y = torch.zeros(2)
    others = [torch.ones(2)]
    graph, _ = captured(lambda: y.copy_(2 * others[0]))
    graph.replay()
    assert y.tolist() == [2, 2]
    others.clear()
    with pytest.raises(Refused, match="has been freed"):
        graph.replay()


@pytest.mark.parametrize("waits", [True, False])
@pytest.mark.parametrize("reads_first", [True, False])
def test_streams_race_unless_one_waits(waits, reads_first, gpu):
    x, aside = torch.zeros(2), torch.cuda.Stream()
    x + 1 if reads_first else x.add_(1)
    if waits:
        aside.wait_stream(torch.cuda.current_stream())

    def other() -> None:
        with torch.cuda.stream(aside):
            x.add_(1)

    if waits:
        other()
        torch.cuda.synchronize()
        assert float(x[0]) == 2 - reads_first
    else:
        with pytest.raises(Refused, match="two streams"):
            other()


def test_a_replay_races_as_its_operators_would(gpu):
    x, aside = torch.zeros(2), torch.cuda.Stream()
    graph, _ = captured(lambda: x.add_(1))
    x.add_(1)
    with torch.cuda.stream(aside), pytest.raises(Refused, match="two streams"):
        graph.replay()


@pytest.mark.parametrize("own_streams", [True, False])
def test_a_graph_takes_its_streams_workspace_with_it(own_streams, gpu):
    x = torch.rand(3, 3)
    graphs = [captured(lambda: x @ x, torch.cuda.Stream() if own_streams else None)[0] for _ in range(2)]
    del graphs[0]
    gc.collect()
    if own_streams:
        graphs[0].replay()
    else:
        with pytest.raises(Refused, match="workspace"):
            graphs[0].replay()


def test_torchs_capture_stream_is_the_first_devices(gpu):
    captured(lambda: torch.zeros(2).add_(1))
    with torch.cuda.device("cuda:1"):
        with pytest.raises(Refused, match="a stream of cpu, not of cuda:1"):
            captured(lambda: torch.zeros(2).add_(1))
        captured(lambda: torch.zeros(2).add_(1), torch.cuda.Stream("cuda:1"))


def test_torch_is_as_it_was_afterwards():
    names = "CUDAGraph", "graph", "Stream", "stream", "current_stream", "synchronize", "device"
    before = [getattr(torch.cuda, name) for name in names]
    with GraphStandIn():
        pass
    assert [getattr(torch.cuda, name) for name in names] == before
    assert torch.ones(2).cpu().tolist() == torch.ones(2).numpy().tolist() == [1, 1]
    assert "tolist" not in vars(torch.Tensor)
