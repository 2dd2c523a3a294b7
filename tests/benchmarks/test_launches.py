"""Launches are counted: operators called for themselves, kernels on the device, compiled calls in any thread."""

from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest
import torch
from torch.autograd import DeviceType

from benchmarks import launches

CPU = torch.device("cpu")


def test_operators_called_for_themselves_are_counted():
    """Ours is one, and a backward pass counts too."""
    import breaknet.kernels.linear_sigmoid  # noqa: F401 - registers the operator

    linear_sigmoid = torch.ops.breaknet.linear_sigmoid

    def counted(work):
        return launches.of_torch(lambda: [work() for _ in range(5)], 5, CPU)["torch_operators"]

    x, weight, bias = torch.rand(3, 4), torch.rand(2, 4), torch.rand(2)
    # one operator, which calls two others, and an addition
    assert counted(lambda: torch.add(torch.nn.functional.linear(x, weight), 1.0)) == 2
    assert counted(lambda: linear_sigmoid(x, weight, bias)) == 1
    leaf = torch.rand(3, requires_grad=True)
    assert counted(lambda: torch.sigmoid(leaf).sum()) == 2
    assert counted(lambda: torch.autograd.grad(torch.sigmoid(leaf).sum(), leaf)) >= 4


def event(name, device=DeviceType.CPU, annotation=False):
    return SimpleNamespace(name=name, device_type=device, is_user_annotation=annotation, cpu_parent=None)


def test_on_a_gpu_kernels_copies_and_the_hosts_launches_are_told_apart():
    on_the_host = (
        "aten::addmm", "cudaLaunchKernel", "cudaLaunchKernelExC", "cuLaunchKernelEx", "cudaGraphLaunch",
        "cudaMemcpyAsync", "cudaMemsetAsync", "cudaDeviceSynchronize", "cudaStreamIsCapturing", "cudaEventRecord",
    )  # fmt: skip
    on_the_device = (
        "ampere_sgemm_32x128_tn", "cooperative_training_kernel", "Memcpy HtoD (Pinned -> Device)", "Memset (Device)",
    )  # fmt: skip
    events = [event(name) for name in on_the_host]
    events += [event(name, DeviceType.CUDA) for name in on_the_device]
    events.append(event("Optimizer.step#SGD.step", DeviceType.CUDA, annotation=True))
    assert launches.gpu_launches(events) == {"kernels": 2, "copies": 2, "host_launches": 6}


@pytest.fixture
def compiled():
    """Two compiled functions, one of which calls the other."""
    numba = pytest.importorskip("numba")

    @numba.njit(nogil=True)
    def inner(x):
        return x + 1

    @numba.njit(nogil=True)
    def outer(x):
        return inner(x) + inner(x)

    outer(1)
    return inner, outer


def test_compiled_calls_are_counted_in_every_thread(compiled):
    inner, outer = compiled

    def work():
        with ThreadPoolExecutor(4) as pool:
            assert list(pool.map(outer, range(200))) == [2 * x + 2 for x in range(200)]
        inner(1)

    assert launches.of_numba(work, 201, CPU) == {"compiled_calls": 1.0}


def test_calls_are_counted_no_longer_after_an_error(compiled):
    dispatcher = type(compiled[0])
    before = dispatcher.__call__
    with pytest.raises(ZeroDivisionError):
        launches.of_numba(lambda: 1 / 0, 1, CPU)
    assert dispatcher.__call__ is before
