"""The course's exercises: solutions pass, blanks are recognised, and every usual mistake is rejected by name."""

import inspect
import os
import subprocess
import sys
from typing import Annotated, get_args, get_origin, get_type_hints

import pytest
import torch

from breaknet.kernels._triton import HAVE_TRITON, tl
from breaknet.kernels.linear_sigmoid import linear_sigmoid_spec
from breaknet.kernels.summed_mse import summed_mse_spec
from notebooks.course import barriers, checks, checks_in_python, exercises, solutions, specs
from notebooks.course.checking import NOT_FILLED_IN
from notebooks.course.here import INTERPRETED

needs_triton = pytest.mark.skipif(not HAVE_TRITON, reason="needs Triton")
CHECKS = {**checks.KERNELS, **checks_in_python.FUNCTIONS}


def test_every_exercise_has_a_blank_a_solution_and_a_checker():
    assert list(solutions.cells()) == list(CHECKS)
    for name in CHECKS:
        assert solutions.source(name, "student") != solutions.source(name)


@needs_triton
@pytest.mark.parametrize("name", CHECKS)
def test_solutions_pass_and_blanks_are_recognised(name):
    verdict = CHECKS[name](solutions.solution(name))
    assert verdict, verdict.message
    assert repr(verdict).startswith("✔")
    verdict = CHECKS[name](solutions.solution(name, version="student"))
    assert not verdict
    assert verdict.waiting
    assert verdict.message.startswith(NOT_FILLED_IN)
    assert repr(verdict).startswith("○")


@needs_triton
@pytest.mark.parametrize(
    ("name", "edits", "message"),
    [(name, *mistake) for name, exercise in CHECKS.items() for mistake in exercise.mistakes.items()],
)
def test_usual_mistakes_are_rejected_by_name(name, edits, message):
    verdict = CHECKS[name](solutions.solution(name, *edits))
    assert not verdict
    assert not verdict.waiting
    assert message in verdict.message
    assert "\n" not in verdict.message


def test_instructors_see_the_checkers_messages():
    exercise = CHECKS["blocks_per_sm"]
    lines = exercise.usual_mistakes().splitlines()
    assert len(lines) - 2 == len(exercise.mistakes) > 2
    assert lines[2].startswith(
        "| `by_registers, by_shared,` → `by_registers,` | 32 registers a thread, 4 warps"
    )
    assert "the register file" in lines[3]


@pytest.mark.parametrize("name", checks.KERNELS)
def test_shapes_in_the_annotations_are_those_of_the_cases(name):
    """The letters of a spec are bound by its inputs; outputs must have the sizes that the letters then say."""
    task = checks.KERNELS[name]
    hints = get_type_hints(task.spec, include_extras=True)
    returned = hints.pop("return")
    results = [
        one.__metadata__[1] for one in (get_args(returned) if get_origin(returned) is tuple else [returned])
    ]
    inputs = {key: one.__metadata__[1] for key, one in hints.items() if get_origin(one) is Annotated}
    assert set(inputs) == {key for key, one in task.cases[0].items() if isinstance(one, torch.Tensor)}
    assert len(results) == len(task.outputs)
    for case in task.cases:
        sizes: dict[str, int] = {}
        for key, letters in inputs.items():
            assert len(letters) == case[key].ndim
            for letter, size in zip(letters, case[key].shape, strict=True):
                assert sizes.setdefault(letter, size) == size
        for letters, exact in zip(results, task.exact(case), strict=True):
            assert len(letters) == exact.ndim
            for letter, size in zip(letters, exact.shape, strict=True):
                assert sizes.setdefault(letter, size) == size


def test_specs_are_the_kernels_own():
    random = torch.Generator().manual_seed(0)
    x, w, b = (torch.randn(*shape, generator=random) for shape in ((7, 20), (5, 20), (5,)))
    assert torch.allclose(specs.linear_sigmoid_spec(x, w, b), linear_sigmoid_spec(x, w, b))
    prediction, label = torch.rand(7, 5, generator=random), torch.tensor([0, 1, 2, 3, 4, 0, 1])
    gradient, partial = specs.summed_cost_spec(prediction, label, 3)
    cost, reference = summed_mse_spec(prediction, label)
    assert torch.allclose(gradient, reference)
    assert torch.allclose(partial.sum(), cost)
    z = (x @ w.T + b).requires_grad_(True)
    y = torch.sigmoid(z)
    grad = torch.randn(y.shape, generator=random)
    y.backward(grad)
    dweight, dbias = specs.linear_sigmoid_backward_spec(grad, y.detach(), x)
    assert torch.allclose(dweight, z.grad.T @ x, atol=1e-6)
    assert torch.allclose(dbias, z.grad.sum(0), atol=1e-6)


# ---- faults other than wrong values


@needs_triton
def test_what_a_kernel_raises_becomes_one_line():
    broken = solutions.solution("scale", "pixel.to(tl.float32)", "missing_name")
    verdict = checks.scale(broken)
    assert not verdict
    assert "it stopped with" in verdict.message
    assert "missing_name" in verdict.message
    assert "\n" not in verdict.message


@needs_triton
def test_an_input_that_was_written_to_is_named():
    code = solutions.source("cost") + "    tl.store(prediction_ptr, 0.5)\n"
    assert "the input `prediction` was written to" in checks.cost(solutions.compiled("cost", code)).message


@needs_triton
@pytest.mark.skipif(not INTERPRETED, reason="the patience of a GPU is compiled in")
def test_a_barrier_that_waits_in_vain_gives_up(monkeypatch):
    monkeypatch.setattr(barriers, "_PATIENCE", tl.constexpr(300))
    one_too_many = ("arrivals, INTERPRETED)  # all have written", "arrivals + 1, INTERPRETED)")
    verdict = checks.rounds(solutions.solution("rounds", *one_too_many))
    assert "a barrier waited in vain" in verdict.message


@needs_triton
@pytest.mark.skipif(not INTERPRETED, reason="processes of the interpreter")
def test_what_a_program_raises_reaches_the_notebook():
    verdict = checks.rounds(solutions.solution("rounds", "0.5 * own + 0.5", "0.5 * nobody + 0.5"))
    assert "it stopped with NameError" in verdict.message
    assert "nobody" in verdict.message


def test_without_triton_every_kernel_exercise_says_so(monkeypatch):
    monkeypatch.setattr(exercises, "HAVE_TRITON", False)
    monkeypatch.setattr(exercises, "why_not", lambda: "triton is not installed")
    for name, check in checks.KERNELS.items():
        assert check(None).message == "cannot be checked here: triton is not installed", name


def test_python_exercises_take_any_answer():
    for check in (CHECKS["split_product"], CHECKS["blocks_per_sm"]):
        assert "ZeroDivisionError" in check(lambda *given: 1 / 0).message
        assert not check(lambda *given: "text")


def test_edits_must_fit():
    with pytest.raises(ValueError, match="in the source 0 times"):
        solutions.solution("scale", "not there", "")
    with pytest.raises(ValueError, match="name: one of"):
        solutions.source("nothing")


# ---- on a GPU the same cells are compiled

COMPILE = """
import sys
import torch
torch.cuda.is_available = lambda: True  # nothing is launched: it only keeps the kernels from being interpreted
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from notebooks.course import checks, solutions

CONSTANTS = {
    "BLOCK": 128, "BLOCK_B": 32, "BLOCK_K": 32, "BLOCK_N": 16, "BLOCK_C": 16, "BATCH": 16,
    "PROGRAMS": 3, "WIDTH": 16, "INTERPRETED": False,
}
TYPES = {"pixel_ptr": "*u8", "label_ptr": "*i32", "predicted_ptr": "*i32", "counter_ptr": "*i32"}
for name in checks.KERNELS:
    for version in ("instructor", "student"):
        kernel = solutions.solution(name, version=version)
        constants = {key: CONSTANTS[key] for key in kernel.arg_names if key in CONSTANTS}
        signature = {
            key: "constexpr" if key in constants else TYPES.get(key, "*fp32" if key.endswith("_ptr") else "i32")
            for key in kernel.arg_names
        }
        source = ASTSource(kernel, signature, constexprs=constants)
        triton.compile(source, target=GPUTarget("cuda", int(sys.argv[1]), 32))
        print(name, version)
"""


@needs_triton
@pytest.mark.parametrize("capability", [75, pytest.param(90, marks=pytest.mark.slow)])
def test_blanks_and_solutions_compile_for_a_gpu(capability, repository):
    environment = {key: value for key, value in os.environ.items() if key != "TRITON_INTERPRET"}
    environment["PYTHONPATH"] = str(repository)
    command = [sys.executable, "-c", COMPILE, str(capability)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    assert len(done.stdout.splitlines()) == 2 * len(checks.KERNELS)


def test_kernels_keep_their_source_for_triton():
    kernel = solutions.solution("forward")
    assert "tl.dot" in inspect.getsource(getattr(kernel, "fn", kernel))
