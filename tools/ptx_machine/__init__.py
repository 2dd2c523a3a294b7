"""Triton's compiled kernels run without a GPU: `Machine` runs PTX, `fake_gpu.FakeGpus` launch it."""

from tools.ptx_machine.machine import Machine
from tools.ptx_machine.memory import Fault
from tools.ptx_machine.traffic import Traffic

__all__ = ["Fault", "Machine", "Traffic"]
