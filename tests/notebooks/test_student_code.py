"""Messages for a kernel that is none, that stops, or whose programs each do all the work; the student's progress."""

import json

import pytest

from breaknet.kernels._triton import HAVE_TRITON
from notebooks.course import checks, checks_in_python, progress, solutions
from notebooks.course.checking import Verdict
from notebooks.course.solutions import compiled, solution, source

needs_triton = pytest.mark.skipif(not HAVE_TRITON, reason="needs Triton")


def message(name: str, *edits: str) -> str:
    verdict = checks.KERNELS[name](solution(name, *edits))
    assert not verdict
    assert "\n" not in verdict.message
    return verdict.message


@needs_triton
@pytest.mark.parametrize("name", checks.KERNELS)
def test_a_forgotten_decorator_has_its_own_sentence(name):
    said = message(name, "@triton.jit\n", "")
    assert "is a plain Python function: write @triton.jit in the line above its `def`" in said


@needs_triton
def test_a_name_that_is_not_defined_comes_with_its_line():
    said = message("scale", "pixel.to(tl.float32)", "pixl.to(tl.float32)")
    number = (
        source("scale")
        .splitlines()
        .index("    tl.store(x_ptr + place, pixel.to(tl.float32) / 256, mask=inside)")
        + 1
    )
    assert "NameError: name 'pixl' is not defined" in said
    assert (
        f"line {number} of the cell: `tl.store(x_ptr + place, pixl.to(tl.float32) / 256, mask=inside)`"
        in said
    )


@needs_triton
@pytest.mark.parametrize(
    ("edits", "code"),
    [
        (("tl.load(pixel_ptr + place, mask=inside, other=0)", "pixel_ptr[place]"), "pixel_ptr[place]"),
        (("tl.store(x_ptr + place, pixel.to(tl.float32) / 256, mask=inside)", "x_ptr[place] = pixel"), "x_ptr[place]"),
    ],
)  # fmt: skip
def test_a_pointer_indexed_as_in_numpy_has_its_own_sentence(edits, code):
    said = message("scale", *edits)
    assert (
        f"`{code}`: a pointer is not indexed as an array of NumPy is; tl.load({code[: code.index('[')]} + "
        in said
    )
    assert said.startswith("line ")


@needs_triton
def test_an_element_picked_from_a_block_has_its_own_sentence():
    said = message("forward", "z + bias[None, :]", "z + bias[0]")
    assert "`bias[0]`: a block has no elements to pick out" in said
    # what only adds axes is right, and another error keeps its own words
    assert "NameError" in message("forward", "z + bias[None, :]", "z + bas[None, :]")


ALL_ROWS = """
@triton.jit
def scale_kernel(pixel_ptr, x_ptr, count, BLOCK: tl.constexpr):
    for first in range(0, count, BLOCK):
        place = first + tl.arange(0, BLOCK)
        pixel = tl.load(pixel_ptr + place, mask=place < count, other=0)
        tl.store(x_ptr + place, pixel.to(tl.float32) / 256, mask=place < count)
"""


@needs_triton
def test_a_kernel_whose_every_program_does_all_the_work_is_found():
    verdict = checks.scale(compiled("scale", ALL_ROWS))
    assert not verdict
    assert (
        "the values are right, but every program does all of the work: 3 programs are launched"
        in verdict.message
    )


@needs_triton
def test_the_backward_pass_over_all_columns_by_every_program_is_found():
    code = source("backward")
    first = code.index("    k = tl.program_id(0)")
    body = (
        code[first:]
        .replace("tl.program_id(0) * BLOCK_K", "column", 1)
        .replace("if tl.program_id(0) == 0:", "if True:")
    )
    looped = "    for column in range(0, inputs, BLOCK_K):\n" + "\n".join(
        f"    {line}" for line in body.splitlines()
    )
    verdict = checks.backward(compiled("backward", code[:first] + looped + "\n"))
    assert "every program does all of the work" in verdict.message


def test_a_compilers_error_names_the_kernels_line():
    from types import SimpleNamespace

    from notebooks.course.student_code import stopped

    error = ValueError("at 3:8:\n    y = x\nNameError('x is not defined')")
    error.node, error.src = (
        SimpleNamespace(lineno=2),
        "def kernel(a):\n    y = x\n",
    )  # as Triton's compiler gives them
    assert (
        stopped(error)
        == "it stopped with ValueError: NameError('x is not defined') (line 2 of the kernel: `y = x`)"
    )
    error.node.lineno = 9
    assert stopped(error).endswith("NameError('x is not defined')")


# ---- progress


@pytest.fixture
def nothing_solved(monkeypatch, tmp_path):
    """Nothing solved, and a file of its own."""
    monkeypatch.setattr(progress, "_solved", set())
    monkeypatch.setenv("BREAKNET_COURSE_FILE", str(tmp_path / "folder" / "course.json"))
    return tmp_path / "folder" / "course.json"


def test_progress_is_kept_from_notebook_to_notebook(nothing_solved, monkeypatch):
    known = list(solutions.cells())
    check = checks_in_python.blocks_per_sm
    assert check(solution("blocks_per_sm", version="student")).progress == f"solved: 0 of {len(known)}"
    assert check(solution("blocks_per_sm")).progress == f"solved: 1 of {len(known)} (exercise 9)"
    monkeypatch.setattr(progress, "_solved", set())  # another notebook's kernel
    assert progress.line(known, "scale") == f"solved: 2 of {len(known)} (exercises 1, 9)"
    assert json.loads(nothing_solved.read_text()) == ["blocks_per_sm", "scale"]


@pytest.mark.parametrize("content", ["no json", "[1, null]", "{}", '["unknown"]'])
def test_a_broken_file_of_progress_is_no_reason_to_fail(nothing_solved, content):
    nothing_solved.parent.mkdir()
    nothing_solved.write_text(content)
    assert progress.line(["scale", "cost"], "cost") == "solved: 1 of 2 (exercise 2)"


def test_a_place_that_cannot_be_written_is_none_either(nothing_solved, monkeypatch):
    monkeypatch.setenv("BREAKNET_COURSE_FILE", "/dev/null/course.json")
    assert progress.line(["scale", "cost"], "scale") == "solved: 1 of 2 (exercise 1)"


def test_nothing_is_kept_outside_of_notebooks(monkeypatch):
    monkeypatch.delenv("BREAKNET_COURSE_FILE", raising=False)
    monkeypatch.delitem(__import__("sys").modules, "ipykernel", raising=False)
    assert progress.file() is None
    monkeypatch.setenv("BREAKNET_COURSE_FILE", "")
    assert progress.file() is None


def test_a_verdict_shows_the_progress_below_and_escaped():
    verdict = Verdict("exercise 1", True, "correct", "solved: 1 of 9 <b>")
    assert repr(verdict) == "✔ exercise 1: correct\n  solved: 1 of 9 <b>"
    assert "solved: 1 of 9 &lt;b&gt;</div>" in verdict._repr_html_()
