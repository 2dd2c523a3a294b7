"""The table of GPU generations and its arithmetic."""

import subprocess
import sys

import pytest

from breaknet.kernels.host.targets import TARGETS, parse_target, target_for


def test_the_seven_targets_and_their_shared_memory():
    kilobytes = {name: target.shared_per_block / 1024 for name, target in TARGETS.items()}
    assert kilobytes == {75: 64, 80: 163, 86: 99, 89: 99, 90: 227, 100: 227, 120: 99}
    assert all(target.capability == capability for capability, target in TARGETS.items())


@pytest.mark.parametrize(
    ("capability", "registers", "warps", "shared", "blocks"),
    [
        (75, 255, 8, 18_432, 1),  # 256 x 256 registers fill the file
        (75, 128, 8, 18_432, 2),
        (75, 32, 8, 0, 4),  # 32 warps
        (75, 32, 4, 24_000, 2),  # shared memory
        (75, 32, 4, 65_536, 1),
        (90, 32, 8, 0, 8),
        (90, 32, 1, 0, 32),  # the most blocks
        (80, 64, 4, 81_920, 2),  # 2 x (80 KB + 1 KB) of 164 KB
        (80, 64, 4, 166_912, 1),
        (75, 32, 8, 65_537, 0),  # over the limit
    ],
)
def test_resident_blocks(capability, registers, warps, shared, blocks):
    assert TARGETS[capability].blocks_per_sm(registers, warps, shared) == blocks


def test_unlisted_capabilities_plan_by_the_nearest_older_one():
    assert target_for(87) is TARGETS[86]
    assert target_for(103) is TARGETS[100]
    assert target_for(121) is TARGETS[120]
    with pytest.raises(ValueError, match="capability"):
        target_for(70)


def test_names():
    assert parse_target("sm_75") is TARGETS[75]
    assert TARGETS[120].name == "sm_120"
    with pytest.raises(ValueError, match=r"sm_75, .*not 'sm_70'"):
        parse_target("sm_70")


def test_importing_the_table_imports_neither_torch_nor_triton(repository):
    code = (
        "import importlib.util, sys;"
        "spec = importlib.util.spec_from_file_location('targets', 'kernels/host/targets.py');"
        "module = importlib.util.module_from_spec(spec); sys.modules['targets'] = module;"
        "spec.loader.exec_module(module);"
        "assert 'torch' not in sys.modules and 'triton' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=repository)
