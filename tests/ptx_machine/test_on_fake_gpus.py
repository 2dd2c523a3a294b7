"""Compiled kernels and the host's side of launches, on fake GPUs: right results, no race, nothing a GPU would refuse.

In processes of their own, since kernels are interpreted in this one. All scenarios of a process are one test: as one
each they would be run by every process that tests run in side by side.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from scenarios import assert_pass, output_of, scenarios_of

from breaknet.kernels.host.targets import TARGETS

pytest.importorskip("triton")

KERNELS, HOST = "kernel_scenarios.py", "host_scenarios.py"
#: Of the first target with asynchronous copies and matrix stores: one launch of each kernel.
OTHER_INSTRUCTIONS = [
    "scenario_packed_training", "scenario_blocks_take_turns_in_any_order", "scenario_the_fused_layer_and_cost",
    "scenario_networks_are_evaluated_where_the_images_lie",
]  # fmt: skip


@pytest.mark.parametrize(
    ("target", "names"),
    [
        pytest.param("sm_75", scenarios_of(KERNELS), id="sm_75"),
        pytest.param("sm_90", OTHER_INSTRUCTIONS, id="sm_90"),
    ],
)
def test_compiled_kernels(target: str, names: list[str]) -> None:
    assert_pass(KERNELS, target, names=names)


@pytest.mark.slow
@pytest.mark.parametrize("target", [target.name for target in TARGETS.values()])
def test_all_of_compiled_kernels(target: str) -> None:
    assert_pass(KERNELS, target, names=scenarios_of(KERNELS, "slow_"))


@pytest.mark.slow
@pytest.mark.parametrize("target", ["sm_75", "sm_90"])
def test_the_host_with_compiled_kernels(target: str) -> None:
    assert_pass(KERNELS, target, names=[n for n in scenarios_of(KERNELS, "host_") if n.startswith("host_")])


def test_the_hosts_side() -> None:
    assert_pass(HOST, names=scenarios_of(HOST))


def test_the_readmes_example(tmp_path: Path, repository: Path) -> None:
    text = (repository / "tools" / "ptx_machine" / "README.md").read_text()
    script = tmp_path / "example.py"  # Triton looks into it
    found = re.search(r"```python\n(.*?)```", text, re.DOTALL)
    assert found is not None
    script.write_text(f"import sys\nsys.path.insert(0, {str(repository)!r})\n{found[1]}")
    assert output_of(str(script)).startswith("tensor([0., 2., 4.]) (4, 1, 1)")
