"""Compiled kernels and the host's side of launches, on fake GPUs: right results, no race, nothing a GPU would refuse.

In processes of their own, since kernels are interpreted in this one. All tests of such a process are one here: as one
each they would be run by every process that tests run in side by side.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from checks import run_python

from breaknet.kernels.host.targets import TARGETS

pytest.importorskip("triton")

KERNELS, HOST = "kernel_scenarios.py", "host_scenarios.py"
TESTS = {
    "sm_75": [KERNELS],
    # of the first target with asynchronous copies and matrix stores a launch of each kernel that it uses for bytes
    "sm_90": [
        f"{KERNELS}::test_training[packed]",
        f"{KERNELS}::test_networks_that_share_a_program",
        f"{KERNELS}::test_a_networks_turn_begins_and_ends_with_a_barrier",
        f"{KERNELS}::test_blocks_take_turns_in_any_order",
        f"{KERNELS}::test_the_fused_layer_and_cost",
        f"{KERNELS}::test_the_fused_network",
        f"{KERNELS}::test_networks_are_evaluated_where_the_images_lie",
    ],
}


def assert_pass(*tests: str, target: str = "sm_75", mark: str = "not slow") -> None:
    paths = [str(Path(__file__).parent / test) for test in tests]
    options = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", mark]
    run_python(*options, *paths, timeout=900, TRITON_INTERPRET="0", BREAKNET_TEST_TARGET=target)


@pytest.mark.parametrize("target", TESTS)
def test_compiled_kernels(target: str) -> None:
    assert_pass(*TESTS[target], target=target)


@pytest.mark.slow
@pytest.mark.parametrize("target", [target.name for target in TARGETS.values()])
def test_all_of_compiled_kernels(target: str) -> None:
    assert_pass(KERNELS, target=target, mark="")


def test_the_hosts_side() -> None:
    assert_pass(HOST)


def test_the_readmes_example(tmp_path: Path, repository: Path) -> None:
    text = (repository / "tools" / "ptx_machine" / "README.md").read_text()
    script = tmp_path / "example.py"  # Triton looks into it
    found = re.search(r"```python\n(.*?)```", text, re.DOTALL)
    assert found is not None
    script.write_text(found[1])
    output = run_python(str(script), TRITON_INTERPRET="0").stdout
    assert output.startswith("tensor([0., 2., 4.]) (4, 1, 1)")
