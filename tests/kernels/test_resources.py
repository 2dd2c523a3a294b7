"""Every shipped form of every kernel, cross-compiled for every target: no spill, within the limits."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from breaknet.kernels._triton import HAVE_TRITON, why_not
from breaknet.kernels.host import machine_code, resources
from breaknet.kernels.host.machine_code import category, loops
from breaknet.kernels.host.resources import (
    FIELDS,
    ResourceRow,
    kernel_modules,
    listing,
    render,
    resource_report,
)
from breaknet.kernels.host.targets import TARGETS, Target

needs_triton = pytest.mark.skipif(not HAVE_TRITON and not os.environ.get("CI"), reason="needs Triton")


@needs_triton
def test_triton_is_there():
    """Under CI a missing Triton is a failure, not a skip."""
    assert HAVE_TRITON, why_not()


#: A T4 and a large GPU in `make test`; each of the other five compiles for a minute or two, in `make test-all`.
QUICK = {"sm_75", "sm_90"}


@needs_triton
@pytest.mark.parametrize(
    "target",
    [
        pytest.param(target, id=target.name, marks=[] if target.name in QUICK else pytest.mark.slow)
        for target in TARGETS.values()
    ],
)
def test_every_shipped_form_fits_its_target(target: Target):
    # beside another process of tests, one that compiles is enough
    workers = 1 if "PYTEST_XDIST_WORKER" in os.environ else 2
    rows = resource_report(targets=[target.name], workers=workers)
    problems = [problem for row in rows if (problem := row.problem())]
    assert not problems, "\n".join(problems)
    expected = [
        (case.name, case.config, target.name)
        for module in kernel_modules().values()
        for case in module.compile_cases(target.capability)
    ]
    assert expected
    assert [(row.kernel, row.config, row.target) for row in rows] == expected


@needs_triton
def test_a_listing_shows_where_the_work_is():
    found = listing("packed_fused", "rows16 width16 byte", "sm_75")
    assert ".target sm_75" in found.ptx
    assert "FFMA" in found.sass
    whole, *inner = found.loops
    assert whole["depth"] == 0
    deepest = max(inner, key=lambda loop: loop["instructions"].get("fma", 0))
    assert deepest["instructions"]["fma"] > 50
    assert deepest["depth"] >= 1


BUILDING = """
from collections import Counter
from dataclasses import replace
import json
from breaknet.kernels import linear_sigmoid, ordered_sum
from breaknet.kernels.host import packed_trainer as packed_training
from breaknet.kernels.host.machine_code import builds, disassembly, loops

def case(module, number, **changes):
    return replace(module.compile_cases({capability})[number], **changes)

built = builds(
    [
        case(ordered_sum, 0),
        case(ordered_sum, 0, signature={{}}),
        case(packed_training, 2, maxnreg=64),
        case(linear_sigmoid, 0),
    ],
    {capability},
)
broken = built.pop(1)
print(json.dumps([
    [type(broken).__name__, str(broken)],
    [[one.registers, one.stack_bytes, one.spill_instructions] for one in built],
    [one.instructions for one in built],
    [sum((Counter(loop.instructions) for loop in loops(disassembly(one.cubin))), Counter()) for one in built],
]))
"""


@needs_triton
@pytest.mark.parametrize("capability", [75, 100])
def test_forms_built_together_are_told_apart(capability):
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, "-c", BUILDING.format(capability=capability)],
        capture_output=True,
        text=True,
        env=environment,
        check=True,
    )
    (kind, reason), figures, together, alone = json.loads(done.stdout.splitlines()[-1])
    assert kind == "ValueError"
    assert "arguments missing" in reason
    whole, spilling, other = figures
    assert spilling[0] <= 64
    assert all(spilling[1:]), "a spill is seen"
    assert whole[1:] == other[1:] == [0, 0]
    assert together == alone


def test_instructions_that_are_not_listed_are_an_error(monkeypatch):
    monkeypatch.setattr(machine_code, "_code", lambda cubin: bytes(48))
    listed = [f"        /*{address:04x}*/                   NOP ;" for address in (0, 16, 32, 48, 64, 80)]
    monkeypatch.setattr(machine_code, "_tool", lambda *words, content: "\n".join(listed))
    assert machine_code._mixes([b"", b""], ".target sm_75") == [{"other": 3}, {"other": 3}]
    del listed[4]
    with pytest.raises(RuntimeError, match="left out"):
        machine_code._mixes([b"", b""], ".target sm_75")


@pytest.mark.parametrize(("workers", "batches"), [(1, 2), (2, 8), (8, 20)])
def test_batches_hold_every_task_once_and_one_target_each(workers, batches):
    tasks = [{"capability": capability} for capability in [75] * 9 + [90] * 11]
    found = resources._batches(tasks, workers)
    assert sorted(number for batch in found for number in batch) == list(range(20))
    assert all(len({tasks[number]["capability"] for number in batch}) == 1 for batch in found)
    assert len(found) == batches


@needs_triton
def test_a_form_that_does_not_compile_is_one_line(monkeypatch):
    monkeypatch.setattr(
        resources, "_run", lambda tasks, workers: [{"error": "k c on sm_75: no"}] * len(tasks)
    )
    with pytest.raises(RuntimeError, match="k c on sm_75: no"):
        resource_report(targets=["sm_75"], kernels=["host.packed_trainer"])
    errors: list[str] = []
    assert resource_report(targets=["sm_75"], kernels=["host.packed_trainer"], errors=errors) == []
    assert set(errors) == {"k c on sm_75: no"}


@needs_triton
def test_a_worker_that_dies_is_told(monkeypatch):
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(RuntimeError, match="compiling process ended with status 1"):
        resource_report(targets=["sm_75"], kernels=["host.packed_trainer"])


@needs_triton
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


def test_fields_are_those_of_the_command_line():
    assert FIELDS == (
        "kernel", "config", "target", "triton", "registers", "stack_bytes", "spill_instructions", "shared_bytes",
        "shared_limit_bytes", "warps", "blocks_per_sm", "instructions",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({}, None),
        ({"stack_bytes": 8}, "spills"),
        ({"spill_instructions": 2}, "spills"),
        ({"shared_bytes": 65_537}, "shared memory"),
        ({"blocks_per_sm": 0}, "multiprocessor"),
        ({"instructions": {"fma": 60, "tensor": 1}}, "TF32"),
    ],
)
def test_what_must_not_be_shipped(change, word):
    problem = ResourceRow(**{**ROW.__dict__, **change}).problem()
    assert problem is None if word is None else word in problem


def test_the_table():
    lines = render([ROW, ResourceRow(**{**ROW.__dict__, "kernel": "longer name"})]).splitlines()
    assert lines[0].startswith("Triton 3.7.1")
    assert len(lines) == 4
    assert lines[2].split() == [
        "k",
        "c",
        "sm_75",
        "100",
        "0",
        "0",
        "1000",
        "65536",
        "8",
        "2",
        "100",
        "60%",
        "40%",
    ]
    assert lines[1].index("target") == lines[2].index("sm_75") == lines[3].index("sm_75")


SASS = """
.text.k:
        /*0000*/                   MOV R1, c[0x0][0x28] ;
.L_x_2:
        /*0010*/                   LDG.E R2, [R4.64] ;
.L_x_1:
        /*0020*/                   FFMA R0, R1, R2, R3 ;
        /*0030*/                   LDS.U.128 R8, [R9] ;
        /*0040*/              @!P0 BRA `(.L_x_1) ;
        /*0050*/               @P1 STL [R1], R2 ;
        /*0060*/                   BRA `(.L_x_2) ;
        /*0070*/                   EXIT ;
.L_x_3:
        /*0080*/                   BRA `(.L_x_3);
"""


def test_loops_of_a_listing():
    whole, outer, inner = loops(SASS)
    assert (whole.first, whole.last, whole.depth) == (0, 8, 0)
    assert whole.instructions == {"integer": 1, "branch": 2}
    assert (outer.first, outer.last, outer.depth) == (1, 6, 1)
    assert outer.instructions == {"global_load": 1, "spill_store": 1, "branch": 1}
    assert (inner.first, inner.last, inner.depth) == (2, 4, 2)
    assert inner.instructions == {"fma": 1, "shared_load_128": 1, "branch": 1}


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
        ("I2FP.F32.U32", "convert"), ("IMAD.MOV.U32", "integer"), ("HGMMA.64x16x16.F32.BF16", "tensor"),
        ("NOP", "other"),
    ],
)  # fmt: skip
def test_categories(mnemonic, name):
    assert category(mnemonic) == name
