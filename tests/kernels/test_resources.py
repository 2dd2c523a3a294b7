"""Every supported configuration of every kernel, cross-compiled for every target: no spill, within the limits."""

import json
import os
from collections import Counter
from dataclasses import replace

import pytest

from breaknet.cli.commands import main
from breaknet.kernels._triton import HAVE_TRITON, why_not
from breaknet.kernels.host import machine_code, resources
from breaknet.kernels.host.machine_code import builds, category, disassembly
from breaknet.kernels.host.resources import ResourceRow, in_compiling_processes, render, resource_report
from breaknet.kernels.host.supported_configurations import supported_configurations
from breaknet.kernels.host.targets import TARGETS, Target

pytestmark = pytest.mark.skipif(not HAVE_TRITON and not os.environ.get("CI"), reason="needs Triton")


def test_triton_is_there():
    """Under CI a missing Triton is a failure, not a skip."""
    assert HAVE_TRITON, why_not()


#: A T4 and a large GPU in `make test`; each of the other five compiles for a minute or two, in `make test-all`.
QUICK = {"sm_75", "sm_90"}


@pytest.mark.parametrize(
    "target",
    [
        pytest.param(target, id=target.name, marks=[] if target.name in QUICK else pytest.mark.slow)
        for target in TARGETS.values()
    ],
)
def test_every_supported_configuration_fits_its_target(target: Target):
    # beside another process of tests, one that compiles is enough
    workers = 1 if "PYTEST_XDIST_WORKER" in os.environ else 2
    rows, problems = resource_report(targets=[target.name], workers=workers)
    assert not problems, "\n".join(problems)
    expected = [(case.name, case.config, target.name) for case in supported_configurations(target.capability)]
    assert [(row.kernel, row.config, row.target) for row in rows] == expected
    assert len(expected) == len(set(expected)) > 50


def build_together(capability: int) -> tuple[str, list[tuple[int, int, int]], list[dict], list[dict]]:
    """Three configurations built with a broken one: its error, figures, and instructions counted together and alone."""
    found = {case.name: case for case in reversed(supported_configurations(capability))}
    cases = [
        found["ordered_sum"],
        replace(found["packed_fused"], options=found["packed_fused"].options | {"maxnreg": 64}),
        found["linear_sigmoid_forward"],
    ]
    broken, *built = builds([replace(cases[0], signature={}), *cases], capability)
    alone = [
        Counter(category(match[2]) for line in disassembly(one.cubin).splitlines() if (match := LISTED(line)))
        for one in built
    ]
    figures = [(one.registers, one.stack_bytes, one.spill_instructions) for one in built]
    return repr(broken), figures, [one.instructions for one in built], [dict(mix) for mix in alone]


LISTED = machine_code._INSTRUCTION.match


@pytest.mark.parametrize("capability", [75, 100])
def test_configurations_built_together_are_kept_apart(capability):
    ((broken, figures, together, alone),) = in_compiling_processes(build_together, [(capability,)])
    assert broken.startswith("ValueError")
    assert "arguments missing" in broken
    whole, spilling, other = figures
    assert spilling[0] <= 64
    assert all(spilling[1:]), "a spill is seen"
    assert whole[1:] == other[1:] == (0, 0)
    assert together == alone


def test_instructions_that_are_not_listed_are_an_error(monkeypatch):
    monkeypatch.setattr(machine_code, "_code", lambda cubin: bytes(48))
    listed = [f"        /*{address:04x}*/                   NOP ;" for address in (0, 16, 32, 48, 64, 80)]
    monkeypatch.setattr(machine_code, "_tool", lambda *words, content: "\n".join(listed))
    assert machine_code._mixes([b"", b""], ".target sm_75") == [{"other": 3}, {"other": 3}]
    del listed[4]
    with pytest.raises(RuntimeError, match="left out"):
        machine_code._mixes([b"", b""], ".target sm_75")


def test_a_tool_that_fails_shows_its_reason():
    with pytest.raises(RuntimeError, match=r"nvdisasm ended with status \d+: .*fatal"):
        disassembly(b"not a cubin")


@pytest.mark.parametrize(("workers", "batches"), [(1, 1), (2, 4), (8, 9)])
def test_batches_hold_every_configuration_once(workers, batches):
    names = ["linear_sigmoid_forward", "summed_mse_forward"]
    found = resources._batches(75, names, workers)
    numbers = sorted(number for _, batch in found for number in batch)
    cases = supported_configurations(75)
    assert [cases[number].name for number in numbers] == [names[0]] * 3 + [names[1]] * 6
    assert len(set(numbers)) == len(numbers)
    assert len(found) == batches


def test_a_process_that_dies_is_an_error():
    with pytest.raises(RuntimeError, match="ended before it answered"):
        in_compiling_processes(os._exit, [(1,)])


def test_processes_compile_and_print_to_standard_error(monkeypatch, capfd):
    """The process that asks may interpret its kernels, and its standard output may be a report."""
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    assert in_compiling_processes(os.getenv, [("TRITON_INTERPRET",)]) == [None]
    assert os.environ["TRITON_INTERPRET"] == "1"
    in_compiling_processes(print, [("printed",)])
    printed = capfd.readouterr()
    assert "printed" in printed.err
    assert not printed.out


def test_a_kernel_that_some_targets_do_without():
    assert resource_report(targets=["sm_100"], kernels=["split_weights"]) == ([], [])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"targets": ["sm_70"]}, "target: one of sm_75"),
        ({"kernels": ["nothing"]}, "kernel: one of .*nothing"),
    ],
)
def test_unknown_names(arguments, words):
    with pytest.raises(ValueError, match=words):
        resource_report(**arguments)


ROW = ResourceRow(
    "k", "c", "sm_75", "3.7.1", 100, 0, 0, 1_000, 65_536, 8, 2, {"fma": 60, "shared_load_64": 40}
)


def test_the_command_line_reports_rows_and_problems(monkeypatch, capsys):
    answers = ROW, "k c on sm_75, Triton 3.7.1: no", replace(ROW, stack_bytes=8)
    numbered = [((75, number), answer) for number, answer in enumerate(answers)]
    monkeypatch.setattr(resources, "in_compiling_processes", lambda *_: [numbered[1:], numbered[:1]])
    assert main(["kernels", "--json", "--target=sm_75"]) == 1
    shown = capsys.readouterr()
    assert [list(row) for row in json.loads(shown.out)] == [[
        "kernel", "config", "target", "triton", "registers", "stack_bytes", "spill_instructions", "shared_bytes",
        "shared_limit_bytes", "warps", "blocks_per_sm", "instructions",
    ]] * 2  # fmt: skip
    assert [row["stack_bytes"] for row in json.loads(shown.out)] == [0, 8]
    errors, spills = shown.err.splitlines()
    assert errors == "k c on sm_75, Triton 3.7.1: no"
    assert "k c on sm_75, Triton 3.7.1: spills" in spills


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({}, None),
        ({"stack_bytes": 8}, "spills"),
        ({"spill_instructions": 2}, "spills"),
        ({"shared_bytes": 65_537}, "shared memory"),
        ({"blocks_per_sm": 0}, "fit an SM"),
        ({"instructions": {"fma": 60, "tensor": 1}}, "TF32"),
        ({"instructions": {"fma": 60, "tensor_bf16": 1}}, None),
        ({"instructions": {"fma": 60, "tensor_f16": 1}}, None),
    ],
)
def test_what_must_not_be_supported(change, word):
    problem = replace(ROW, **change).problem()
    assert problem is None if word is None else word in problem


def test_the_table():
    lines = render([ROW, replace(ROW, kernel="longer name")]).splitlines()
    assert lines[0].startswith("Triton 3.7.1")
    assert len(lines) == 4
    assert " ".join(lines[2].split()) == "k c sm_75 100 0 0 1000 65536 8 2 100 60% 40%"
    assert lines[1].index("target") == lines[2].index("sm_75") == lines[3].index("sm_75")


@pytest.mark.parametrize(
    ("mnemonic", "name"),
    [
        ("FFMA.FTZ", "fma"), ("FFMA2", "fma2"),
        ("LDS", "shared_load_32"), ("LDS.U", "shared_load_32"), ("LDS.U8", "shared_load_32"),
        ("LDS.64", "shared_load_64"), ("LDS.U.128", "shared_load_128"), ("LDSM.16.MT88.4", "shared_load_matrix"),
        ("STS.128", "shared_store"), ("LDG.E.128.SYS", "global_load"), ("STG.E", "global_store"),
        ("LDGSTS.E.BYPASS.128", "async_copy"), ("LDL.LU", "spill_load"), ("STL.64", "spill_store"),
        ("BAR.SYNC.DEFER_BLOCKING", "barrier"), ("MEMBAR.SC.GPU", "fence"), ("CCTL.IVALL", "fence"),
        ("RED.E.ADD", "atomic"), ("MUFU.EX2", "special"), ("SHFL.BFLY", "shuffle"), ("I2F.U8", "convert"),
        ("I2FP.F32.U32", "convert"), ("IMAD.MOV.U32", "integer"), ("HMMA.1688.F32.TF32", "tensor"),
        ("HMMA.1688.F32", "tensor_f16"), ("HMMA.1688.F16", "tensor"),
        ("HMMA.16816.F32.BF16", "tensor_bf16"), ("HGMMA.64x16x16.F32.BF16.gsb0", "tensor_bf16"),
        ("NOP", "other"),
    ],
)  # fmt: skip
def test_categories(mnemonic, name):
    assert category(mnemonic) == name
