"""What is launched is counted: operators called for themselves, kernels on the device, compiled calls in any thread."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest
import torch
from torch.autograd import DeviceType

from benchmarks import launches

CPU = torch.device("cpu")


def test_operators_called_for_themselves_are_counted():
    x, weight = torch.rand(3, 4), torch.rand(2, 4)

    def work():
        for _ in range(5):
            y = torch.nn.functional.linear(x, weight)  # one operator, which calls two others
            torch.add(y, 1.0)

    assert launches.of_torch(work, 5, CPU) == {"torch_operators": 2.0}


def test_a_backward_pass_is_counted_too():
    x = torch.rand(3, requires_grad=True)

    def work():
        torch.autograd.grad(torch.sigmoid(x).sum(), x)

    alone = launches.of_torch(lambda: torch.sigmoid(x).sum(), 1, CPU)["torch_operators"]
    assert alone == 2
    assert launches.of_torch(work, 1, CPU)["torch_operators"] >= alone + 2


def test_an_operator_of_ours_is_one():
    from breaknet.kernels.linear_sigmoid import linear_sigmoid

    x, weight, bias = torch.rand(3, 4), torch.rand(2, 4), torch.rand(2)
    assert launches.of_torch(lambda: linear_sigmoid(x, weight, bias), 1, CPU) == {"torch_operators": 1.0}


def event(name, device=DeviceType.CPU, annotation=False):
    return SimpleNamespace(name=name, device_type=device, is_user_annotation=annotation, cpu_parent=None)


def test_on_a_gpu_kernels_copies_and_the_hosts_launches_are_told_apart():
    events = [
        event("aten::addmm"),
        event("cudaLaunchKernel"),
        event("cudaLaunchKernelExC"),
        event("cuLaunchKernelEx"),
        event("cudaGraphLaunch"),
        event("cudaMemcpyAsync"),
        event("cudaMemsetAsync"),
        event("cudaDeviceSynchronize"),
        event("cudaStreamIsCapturing"),
        event("cudaEventRecord"),
        event("ampere_sgemm_32x128_tn", DeviceType.CUDA),
        event("cooperative_training_kernel", DeviceType.CUDA),
        event("Memcpy HtoD (Pinned -> Device)", DeviceType.CUDA),
        event("Memset (Device)", DeviceType.CUDA),
        event("Optimizer.step#SGD.step", DeviceType.CUDA, annotation=True),
    ]
    assert launches.gpu_launches(events) == {"kernels": 2, "copies": 2, "host_launches": 6}


@pytest.fixture
def compiled(monkeypatch):
    """A compiled function held by a module of ours, as the backend's kernels are."""
    numba = pytest.importorskip("numba")
    from breaknet.backends.numba_cpu import backend

    @numba.njit(nogil=True)
    def inner(x):
        return x + 1

    @numba.njit(nogil=True)
    def outer(x):
        return inner(x) + inner(x)

    monkeypatch.setattr(backend, "inner", inner, raising=False)
    monkeypatch.setattr(backend, "outer", outer, raising=False)
    outer(1)
    return backend


def test_compiled_calls_are_counted_in_every_thread(compiled):
    def work():
        with ThreadPoolExecutor(4) as pool:
            assert list(pool.map(lambda x: compiled.outer(x), range(200))) == [2 * x + 2 for x in range(200)]
        compiled.inner(1)

    assert launches.of_numba(work, 201, CPU) == {"compiled_calls": 1.0}


def test_the_functions_are_put_back_even_after_an_error(compiled):
    dispatcher = type(compiled.outer)
    before = dispatcher.__call__
    with pytest.raises(ZeroDivisionError):
        launches.of_numba(lambda: 1 / 0, 1, CPU)
    assert dispatcher.__call__ is before
