"""The operators under every way of differentiating, after a reload, and with tensors that no kernel takes."""

import importlib
import subprocess
import sys

import pytest
import torch
from torch.autograd import forward_ad

from breaknet.kernels.linear_sigmoid import linear_sigmoid
from breaknet.kernels.summed_mse import summed_mse

RANDOM = torch.Generator().manual_seed(0)
X, W, B, T = (torch.randn(*shape, generator=RANDOM) for shape in ((6, 5), (4, 5), (4,), (6, 4)))
DIRECTIONS = tuple(torch.randn(tensor.shape, generator=RANDOM) for tensor in (X, W, B, T))


def ours(x, weight, bias, target):
    return summed_mse(linear_sigmoid(x, weight, bias), target)


def plain(x, weight, bias, target):
    return ((torch.sigmoid(x @ weight.T + bias) - target) ** 2).sum()


def test_jvp():
    found = torch.func.jvp(ours, (X, W, B, T), DIRECTIONS)
    torch.testing.assert_close(found, torch.func.jvp(plain, (X, W, B, T), DIRECTIONS))


def test_dual_tensors():
    with forward_ad.dual_level():
        found, expected = (
            forward_ad.unpack_dual(function(X, forward_ad.make_dual(W, DIRECTIONS[1]), B, T)).tangent
            for function in (ours, plain)
        )
        torch.testing.assert_close(found, expected)


def test_forward_over_reverse():
    def of_weight(function):
        return torch.func.hessian(lambda weight: function(X, weight, B, T))(W)

    torch.testing.assert_close(of_weight(ours), of_weight(plain))


@pytest.mark.parametrize("bad", [X.to_sparse(), torch.nested.nested_tensor([torch.zeros(5)] * 6)])
def test_other_layouts_are_refused(bad):
    with pytest.raises(ValueError, match="x: a dense tensor, not a "):
        linear_sigmoid(bad, W, B)
    with pytest.raises(ValueError, match="prediction: a dense tensor, not a "):
        summed_mse(bad, T)


def test_modules_can_be_reloaded_and_imported_again():
    script = (
        "import sys, importlib, torch\n"
        "from breaknet.kernels import linear_sigmoid as module, summed_mse\n"
        "for again in range(3): importlib.reload(module); importlib.reload(summed_mse)\n"
        "for name in [name for name in sys.modules if name.startswith('breaknet')]: del sys.modules[name]\n"
        "from breaknet.kernels.linear_sigmoid import linear_sigmoid\n"
        "x = torch.ones(2, 3, requires_grad=True)\n"
        "linear_sigmoid(x, torch.ones(4, 3)).sum().backward()\n"
        "assert module.linear_sigmoid(x, torch.ones(4, 3)).shape == (2, 4)\n"
        "print(float(x.grad.sum()))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) == pytest.approx(24 * 0.0451767, rel=1e-4)
    assert importlib.import_module("breaknet.kernels.linear_sigmoid").linear_sigmoid is linear_sigmoid
