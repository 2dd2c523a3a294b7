"""Three implementations of training and evaluation behind one interface.

interface   what passes between `train`, `evaluate` and a backend
select      which backend and device a call uses
check       every backend held against `breaknet.reference`, for `breaknet doctor`
torch_backend, numba_cpu/, triton_gpu/   plain torch; compiled for the CPU; Triton kernels for a GPU
"""
