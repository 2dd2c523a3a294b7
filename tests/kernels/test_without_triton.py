"""Without Triton, or with one too old, the kernel modules import, the CPU operators run and a launch says why not."""

import subprocess
import sys
from pathlib import Path

import pytest

from breaknet.kernels import _triton

MODULES = "device_functions", "evaluation", "linear_sigmoid", "summed_mse", "fused_network"

PROGRAM = """
import importlib, sys, types
{setup}
import torch
for name in {modules}:
    importlib.import_module("breaknet.kernels." + name)
from breaknet.kernels import _triton
from breaknet.kernels.linear_sigmoid import LinearSigmoid, launch_forward, linear_sigmoid_forward_kernel
from breaknet.kernels.summed_mse import summed_mse
assert not _triton.HAVE_TRITON
layer = LinearSigmoid(5, 3)
cost = summed_mse(layer(torch.rand(4, 5)), torch.tensor([0, 1, 2, 2]))
cost.backward()
assert layer.weight.grad.isfinite().all()
from breaknet.kernels.fused_network import FusedNetwork
network = FusedNetwork(5, (4, 3), 3)
network(torch.rand(4, 5), torch.tensor([0, 1, 2, 2])).backward()
assert network.hidden1.weight.grad.isfinite().all()
try:
    linear_sigmoid_forward_kernel[(1,)]()
except RuntimeError as error:
    print(error)
"""

SETUPS = {
    "absent": ("sys.modules['triton'] = None", "needs Triton: triton is not installed"),
    "an interpreter older than NumPy": (
        "import os, numpy; os.environ['TRITON_INTERPRET'] = '1'; numpy.__version__ = '2.5.1'\n"
        "fake = types.ModuleType('triton'); fake.__path__ = []; fake.__version__ = '3.6.0'\n"
        "sys.modules['triton'] = fake; sys.modules['triton.language'] = types.ModuleType('triton.language')",
        "needs Triton: the interpreter of triton 3.6.0 fails with NumPy 2.5.1: "
        "NumPy below 2.4 is needed, or triton 3.7 or newer",
    ),
}


@pytest.mark.parametrize("setup", SETUPS)
def test_operators_run_and_kernels_refuse(repository: Path, setup: str) -> None:
    prepare, message = SETUPS[setup]
    # breaknet itself is not under test here: only its namespace is needed
    prepare += (
        f"\npackage = types.ModuleType('breaknet'); package.__path__ = [{str(repository / 'breaknet')!r}]"
    )
    prepare += "\nsys.modules['breaknet'] = package"
    program = PROGRAM.format(setup=prepare, modules=MODULES)
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert message in result.stdout


@pytest.mark.parametrize(
    ("of_triton", "of_numpy", "interpreted", "problem"),
    [
        ("3.4.0", "2.3.5", False, "triton 3.4.0 is too old, 3.5 or newer is needed"),
        ("3.5.0+git1a2b", "2.4.0", False, None),
        ("3.6.0", "2.3.5", True, None),
        ("3.6.0", "2.4.0", True, "the interpreter of triton 3.6.0 fails with NumPy 2.4.0: "),
        ("3.7.0", "2.5.5", True, None),
        ("3.10.0rc1", "2.5.5", True, None),
        ("4.0a1", "2.5.5", True, None),
    ],
)
def test_versions(of_triton, of_numpy, interpreted, problem):
    found = _triton._problem(of_triton, of_numpy, interpreted)
    assert found is None if problem is None else found.startswith(problem)
