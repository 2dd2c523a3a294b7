"""The course from top to bottom: both versions as a rehearsal here, at its usual size among the slow tests."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient.exceptions import CellExecutionError

from breaknet.kernels._triton import HAVE_TRITON
from notebooks.course import solutions, wrong
from notebooks.course.diagnosis import NOT_FILLED_IN
from notebooks.course.timings import stored_ladders
from scripts.build_notebooks import NOTEBOOKS, built, tags
from scripts.run_notebooks import executed

SOURCE = NOTEBOOKS / "gpu_performance.py"
SECTIONS = 11
#: Timeline, profile, overhead, blocks, the layer, its backward, partial sums, a step, multiprocessors, models, the
#: wide product, the first maximum, formats, precision, registers, spills, ladder, roofline.
PICTURES = 18

needs_triton = pytest.mark.skipif(not HAVE_TRITON, reason="needs Triton")


def version(ending: str) -> nbformat.NotebookNode:
    return built(SOURCE, "")[f"gpu_performance{ending}.ipynb"]


def run(
    notebook: nbformat.NotebookNode, monkeypatch, size: str, folder: Path = NOTEBOOKS
) -> nbformat.NotebookNode:
    monkeypatch.setenv("BREAKNET_COURSE", size)
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)  # the course settles that by itself
    done = executed(notebook, folder)
    assert not [one for cell in done.cells for one in cell.get("outputs", []) if one.output_type == "error"]
    return done


def printed(notebook: nbformat.NotebookNode, stream: str = "stdout") -> str:
    found = [one for cell in notebook.cells for one in cell.get("outputs", []) if one.get("name") == stream]
    return "\n".join(one.text for one in found)


def texts(notebook: nbformat.NotebookNode) -> list[str]:
    found = [one for cell in notebook.cells for one in cell.get("outputs", []) if "data" in one]
    return [one.data["text/plain"] for one in found]


def pictures(notebook: nbformat.NotebookNode) -> int:
    return sum(
        "image/png" in one.get("data", {}) for cell in notebook.cells for one in cell.get("outputs", [])
    )


def expected_pictures() -> int:
    """One more where the project has stored ladders."""
    return PICTURES + bool(stored_ladders())


def verdicts(notebook: nbformat.NotebookNode) -> list[str]:
    return [text for text in texts(notebook) if re.match("[✔○✘] exercise", text)]


def sections(notebook: nbformat.NotebookNode) -> dict[int, list[nbformat.NotebookNode]]:
    """The cells of every section by its number."""
    found: dict[int, list[nbformat.NotebookNode]] = {}
    number = 0
    for cell in notebook.cells:
        heading = re.match(r"## (\d+ )?", cell.source) if cell.cell_type == "markdown" else None
        if heading:
            number = int(heading[1] or 0)
        if number:
            found.setdefault(number, []).append(cell)
    return found


# ---- as it is written


def test_every_section_has_an_idea_and_ends_with_a_question():
    found = sections(version(""))
    assert list(found) == list(range(1, SECTIONS + 1))
    for number, cells in found.items():
        assert any(cell.cell_type == "code" for cell in cells)
        assert cells[-1].cell_type == "markdown"
        assert f"**Question {number}.**" in cells[-1].source, number


def test_every_question_has_an_answer_for_teachers_alone():
    student, teacher = version(""), version("_instructor")
    assert all("instructor" not in tags(cell) for cell in student.cells)
    answers = [cell for cell in teacher.cells if cell.source.startswith("> **Answer.**")]
    assert len(answers) == SECTIONS
    assert not any("**Answer.**" in cell.source for cell in student.cells)


def test_every_exercise_shows_its_spec_and_is_checked():
    for ending in ("", "_instructor"):
        source = "\n".join(cell.source for cell in version(ending).cells)
        for name in wrong.CHECKS:
            assert re.search(rf"checks(_in_python)?\.{name}\(\w+\)", source), name
        assert (
            source.count("shown(specs.") == len(wrong.CHECKS) - 1
        )  # the last one's spec is the report's own column


def test_solutions_are_missing_from_the_students_notebook():
    source = "\n".join(cell.source for cell in version("").cells)
    for name in solutions.names():
        assert solutions.source(name, "student").strip() in source
        assert solutions.source(name).strip() not in source


def test_code_fits_a_notebooks_width():
    for cell in version("_instructor").cells:
        if cell.cell_type == "code" and "set-up" not in tags(cell):
            assert max(map(len, cell.source.splitlines())) <= 110, cell.source


# ---- as it runs


@needs_triton
def test_the_students_version_runs_with_nothing_filled_in(monkeypatch):
    done = run(version(""), monkeypatch, "rehearse")
    found = verdicts(done)
    assert len(found) == len(wrong.CHECKS)
    assert all(text.startswith("○") and NOT_FILLED_IN in text for text in found)
    assert pictures(done) == expected_pictures()
    assert printed(done, "stderr") == ""
    assert_claims(printed(done))


@needs_triton
def test_the_instructors_version_runs_and_every_solution_passes(monkeypatch):
    done = run(version("_instructor"), monkeypatch, "rehearse")
    found = verdicts(done)
    assert len(found) == len(wrong.CHECKS)
    assert all(text.startswith("✔") for text in found)
    mistakes = [text for text in texts(done) if text.startswith("a usual mistake")]
    assert sum(len(text.splitlines()) - 1 for text in mistakes) == len(wrong.MISTAKES)
    assert pictures(done) == expected_pictures()
    assert_claims(printed(done))


def assert_claims(text: str) -> None:
    """What a reader is told in numbers is computed, and so is right wherever the course runs."""
    assert "13,002 parameters, 52,008 bytes" in text
    assert "sm_75 with 40 multiprocessors: 25 slices of 32 inputs, 27 programs" in text
    assert "rounding to TF32 changes 0 of 78,400 pixels" in text
    shares = {
        way: float(share) for way, share in re.findall(r"^(\S.*?) +worst in .*: +(\S+) of what", text, re.M)
    }
    assert shares["TF32"] > 1 > shares["float32"]
    assert shares["TF32, split in three"] < 1
    asked = re.findall(r"(\d+) torch operators", text)
    assert not asked or asked[0] > asked[1]


@pytest.mark.slow
@needs_triton
@pytest.mark.parametrize("ending", ["", "_instructor"])
def test_it_runs_at_its_usual_size(ending, monkeypatch):
    done = run(version(ending), monkeypatch, "quick")
    assert pictures(done) == expected_pictures()
    tables = [text for text in texts(done) if "Times of" in text]
    assert len(tables) == 5
    assert "left out" not in "\n".join(tables)


@pytest.mark.slow
def test_without_triton_it_says_so_and_runs_on(monkeypatch, tmp_path):
    """As on macOS: an import of triton fails."""
    fake = tmp_path / "triton"
    fake.mkdir()
    (fake / "__init__.py").write_text("raise ImportError('not for this system')\n")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    done = run(version(""), monkeypatch, "rehearse")
    assert "no kernel can run here (triton is not installed (not for this system))" in printed(done)
    found = verdicts(done)
    assert sum("cannot be checked here" in text for text in found) == len(wrong.CHECKS) - 2
    assert pictures(done) == expected_pictures() - 2


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_without_a_checkout_it_clones_the_projects_address(tmp_path, repository):
    """Where the address is set: here it is that of a repository made for the purpose."""
    published, elsewhere = tmp_path / "published", tmp_path / "elsewhere"
    elsewhere.mkdir()
    junk = shutil.ignore_patterns("__pycache__", "results")
    for folder in ("breaknet", "kernels", "benchmarks", "notebooks/course"):
        shutil.copytree(repository / folder, published / folder, symlinks=True, ignore=junk)
    author = ["-c", "user.name=nobody", "-c", "user.email=nobody@example.org"]
    for words in (["init", "--quiet"], ["add", "."], [*author, "commit", "--quiet", "-m", "all"]):
        subprocess.run(["git", "-C", str(published), *words], check=True)
    notebook = built(SOURCE, published.as_uri())["gpu_performance.ipynb"]
    first, second = [cell.source for cell in notebook.cells if cell.cell_type == "code"][:2]
    assert f'ADDRESS = "{published.as_uri()}"' in first
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    command = [sys.executable, "-c", f"{first}\n{second}\nprint(here.__file__)"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=elsewhere, env=environment)
    assert done.returncode == 0, done.stderr
    clone = elsewhere / "published" / "notebooks" / "course" / "here.py"
    assert done.stdout.splitlines()[-1] == str(clone)


@pytest.mark.slow
def test_without_a_checkout_it_says_what_to_do(monkeypatch, tmp_path):
    with pytest.raises(CellExecutionError, match="Clone the project, or upload its whole folder"):
        run(version(""), monkeypatch, "rehearse", tmp_path)
