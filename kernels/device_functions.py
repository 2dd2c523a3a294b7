"""Device functions that the kernels share: the activation and its derivative.

They take and return blocks of float32 of one shape; nothing here touches memory.
"""

from breaknet.kernels._triton import jit, tl


@jit
def sigmoid(z):
    """y = 1 / (1 + exp(-z)); exp may overflow to inf, which gives the right 0. NaN stays NaN."""
    return 1.0 / (1.0 + tl.exp(-z))


@jit
def sigmoid_derivative(y):
    """dy/dz from the output alone: y (1 - y), so that z need not be kept."""
    return y * (1.0 - y)
