"""Sums over groups that lie in different warps."""

from breaknet.kernels._triton import jit, tl


@jit
def sum_groups(x):
    """The sum over the first axis of x [GROUPS, M, N], GROUPS a power of two: halves are added until one is left.

    `tl.sum` would send every group through shared memory side by side, where up to 16 threads wait for one bank;
    a half is moved by a change of layout, in which none do.
    """
    if x.shape[0] == 1:
        return tl.reshape(x, [x.shape[1], x.shape[2]])
    else:
        halves = tl.reshape(x, [2, x.shape[0] // 2, x.shape[1], x.shape[2]])
        first, second = tl.split(tl.permute(halves, [1, 2, 3, 0]))
        return sum_groups(first + second)
