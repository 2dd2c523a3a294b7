"""Shared by all tests: kernels run on a GPU where there is one, else under Triton's interpreter.

With BREAKNET_TEST_TARGET=sm_75 (or another target of the kernels) they run as Triton compiles them for that GPU, on a
fake one (`tools/ptx_machine`), which finds races and addresses out of bounds.
"""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from quick_interpreter import spare_the_interpreter

TARGET = os.environ.get("BREAKNET_TEST_TARGET")

# Triton decides when a kernel is decorated whether it is compiled or interpreted, so this comes before any import.
if TARGET:
    os.environ.pop("TRITON_INTERPRET", None)
elif not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"
    spare_the_interpreter()

# A shell that runs the tests in the background has them, and all they start, ignore Ctrl-C, which some tests send.
signal.signal(signal.SIGINT, signal.default_int_handler)

# What the tests train is tiny: a second thread would only wait, and on a busy machine for long.
os.environ.setdefault("OMP_NUM_THREADS", "1")
torch.set_num_threads(1)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    no_gpu = pytest.mark.skip(reason="needs a CUDA GPU")
    no_mnist = pytest.mark.skip(reason="needs the real MNIST, named by BREAKNET_DATA")
    for item in items:
        if "gpu" in item.keywords and not torch.cuda.is_available():
            item.add_marker(no_gpu)
        if "mnist" in item.keywords and not os.environ.get("BREAKNET_DATA"):
            item.add_marker(no_mnist)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """The command line sets up the log of a whole process: every test begins with the log as it is on import."""
    log = logging.getLogger("breaknet")
    log.setLevel(logging.NOTSET)
    log.propagate, log.handlers = True, []


@pytest.fixture(scope="session")
def device() -> torch.device:
    """The device of the kernels in these tests: a GPU, else the CPU under the interpreter."""
    return torch.device("cuda" if TARGET or torch.cuda.is_available() else "cpu")


@pytest.fixture(autouse=True)
def _compiled(request: pytest.FixtureRequest) -> Iterator[None]:
    """The GPU that BREAKNET_TEST_TARGET names, but for tests with fake GPUs of their own."""
    if not TARGET or request.path.parent.name == "ptx_machine":
        yield
        return
    from fake_gpus import forget_gpus, largest

    forget_gpus()
    with largest(TARGET):
        yield


@pytest.fixture(scope="session")
def repository() -> Path:
    return Path(__file__).parents[1]


@pytest.fixture(scope="session")
def mnist():
    """The real MNIST; for tests marked `mnist`."""
    import breaknet

    return breaknet.load_mnist(os.environ["BREAKNET_DATA"])
