"""The course from top to bottom: both versions as a rehearsal here, at their usual size among the slow tests."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from executed_notebooks import pictures, printed, run_in_one_kernel, shown
from nbclient.exceptions import CellExecutionError

from breaknet.kernels._triton import HAVE_TRITON
from notebooks.course import checks, checks_in_python, solutions
from notebooks.course.checking import NOT_FILLED_IN
from notebooks.course.comparisons import stored_comparisons
from scripts.build_notebooks import NOTEBOOKS, built, tags

#: Pictures of every notebook of the course; the last has one more where comparisons of machines are stored.
PICTURES = {
    "gpu_1_launches": 4,
    "gpu_2_fused_layers": 3,
    "gpu_3_persistent_kernels": 1,
    "gpu_4_many_networks": 4,
    "gpu_5_precision": 2,
    "gpu_6_occupancy_and_roofline": 4 + bool(stored_comparisons()),
}
SECTIONS = 11
EXERCISES = {**checks.KERNELS, **checks_in_python.FUNCTIONS}

needs_triton = pytest.mark.skipif(not HAVE_TRITON, reason="needs Triton")


def version(name: str, ending: str = "") -> nbformat.NotebookNode:
    return built(NOTEBOOKS / f"{name}.py", "")[f"{name}{ending}.ipynb"]


def course(ending: str = "") -> list[nbformat.NotebookNode]:
    return [version(name, ending) for name in PICTURES]


def run(
    notebooks: list[nbformat.NotebookNode], monkeypatch, size: str = "rehearse", folder: Path = NOTEBOOKS
) -> list[nbformat.NotebookNode]:
    monkeypatch.setenv("BREAKNET_COURSE", size)
    monkeypatch.setenv("BREAKNET_COURSE_FILE", "")
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)  # the course settles that by itself
    return run_in_one_kernel(notebooks, folder)


def verdicts(notebooks: list[nbformat.NotebookNode]) -> list[str]:
    texts = [text for notebook in notebooks for text in shown(notebook, "text/plain")]
    return [text for text in texts if re.match("[✔○✘] exercise", text)]


# ---- as they are written


def test_all_notebooks_of_the_course_are_known():
    assert [path.stem for path in sorted(NOTEBOOKS.glob("gpu_*.py"))] == list(PICTURES)


def test_every_section_has_code_and_ends_with_a_question():
    found: dict[int, list[nbformat.NotebookNode]] = {}
    for notebook in course():
        number = 0
        for cell in notebook.cells:
            heading = re.match(r"## (\d+ )?", cell.source) if cell.cell_type == "markdown" else None
            if heading:
                number = int(heading[1] or 0)
            if number:
                found.setdefault(number, []).append(cell)
    assert list(found) == list(range(1, SECTIONS + 1))
    for number, cells in found.items():
        assert any(cell.cell_type == "code" for cell in cells)
        assert cells[-1].cell_type == "markdown"
        assert f"**Question {number}.**" in cells[-1].source, number


def test_every_question_has_an_answer_for_instructors_alone():
    students = [cell for notebook in course() for cell in notebook.cells]
    assert all("instructor" not in tags(cell) for cell in students)
    assert not any("**Answer.**" in cell.source for cell in students)
    answers = [cell for notebook in course("_instructor") for cell in notebook.cells]
    assert sum(cell.source.startswith("> **Answer.**") for cell in answers) == SECTIONS


@pytest.mark.parametrize("ending", ["", "_instructor"])
def test_every_exercise_shows_its_spec_and_is_checked(ending):
    source = "\n".join(cell.source for notebook in course(ending) for cell in notebook.cells)
    for name in EXERCISES:
        assert re.search(rf"checks(_in_python)?\.{name}\(\w+\)", source), name
    # the last one's spec is the report's own column
    assert source.count("shown(specs.") == len(EXERCISES) - 1


def test_solutions_are_missing_from_the_students_notebooks():
    source = "\n".join(cell.source for notebook in course() for cell in notebook.cells)
    assert "SOLUTION" not in source
    for name in EXERCISES:
        assert solutions.source(name, "student").strip() in source
        assert solutions.source(name).strip() not in source


def test_code_fits_a_notebooks_width():
    for notebook in course("_instructor"):
        for cell in notebook.cells:
            if cell.cell_type == "code":
                assert max(map(len, cell.source.splitlines())) <= 110, cell.source


# ---- as they run


@needs_triton
def test_both_versions_run(monkeypatch):
    """One test, so that imports, the resource report and the comparisons are paid for once."""
    done = run(course() + course("_instructor"), monkeypatch)
    students, instructors = done[: len(PICTURES)], done[len(PICTURES) :]
    assert len(verdicts(students)) == len(verdicts(instructors)) == len(EXERCISES)
    assert all(text.startswith("○") and NOT_FILLED_IN in text for text in verdicts(students))
    assert all(text.startswith("✔") for text in verdicts(instructors))
    mistakes = [text for notebook in instructors for text in shown(notebook) if "usual mistake" in text]
    assert sum(len(text.splitlines()) - 2 for text in mistakes) == sum(
        len(one.mistakes) for one in EXERCISES.values()
    )
    for notebooks in (students, instructors):
        assert list(map(pictures, notebooks)) == list(PICTURES.values())
        assert [printed(notebook, "stderr") for notebook in notebooks] == [""] * len(PICTURES)
        assert_claims("\n".join(map(printed, notebooks)))


def assert_claims(text: str) -> None:
    """The numbers that a reader sees are computed, and so are right wherever the course runs."""
    assert "13,002 parameters, 52,008 bytes" in text
    assert "sm_75 with 40 SMs: 25 slices of 32 inputs, 27 programs" in text
    assert "rounding to TF32 changes 0 of 78,400 pixels" in text
    found = re.findall(r"^(\S.*?) +worst in .*: +(\S+) of the allowed", text, re.M)
    shares = {product: float(share) for product, share in found}
    assert shares["TF32"] > 1 > shares["float32"]
    assert shares["TF32, split in three"] < 1
    operators = re.findall(r"(\d+) torch operators", text)
    assert not operators or operators[0] > operators[1]


@pytest.mark.slow
@needs_triton
@pytest.mark.parametrize("name", PICTURES)
def test_each_runs_alone_at_its_usual_size(name, monkeypatch):
    (done,) = run([version(name, "_instructor")], monkeypatch, "quick")
    assert pictures(done) == PICTURES[name]
    assert "left out" not in "\n".join(shown(done))


@pytest.mark.slow
def test_without_triton_they_say_so_and_run_on(monkeypatch, tmp_path):
    """As on macOS: an import of triton fails."""
    fake = tmp_path / "triton"
    fake.mkdir()
    (fake / "__init__.py").write_text("raise ImportError('not for this system')\n")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    done = run(course(), monkeypatch)
    assert "no kernel can run here (triton is not installed (not for this system))" in printed(done[0])
    assert sum("cannot be checked here" in text for text in verdicts(done)) == len(EXERCISES) - 2
    assert sum(map(pictures, done)) == sum(PICTURES.values()) - 2


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_without_a_checkout_it_clones_the_projects_address(tmp_path, repository):
    """With an address, here that of a repository made for the purpose."""
    published, elsewhere = tmp_path / "published", tmp_path / "elsewhere"
    elsewhere.mkdir()
    junk = shutil.ignore_patterns("__pycache__", "results")
    for folder in ("breaknet", "kernels", "benchmarks", "notebooks/course"):
        shutil.copytree(repository / folder, published / folder, symlinks=True, ignore=junk)
    author = ["-c", "user.name=nobody", "-c", "user.email=nobody@example.org"]
    for words in (["init", "--quiet"], ["add", "."], [*author, "commit", "--quiet", "-m", "all"]):
        subprocess.run(["git", "-C", str(published), *words], check=True)
    notebook = built(NOTEBOOKS / "gpu_1_launches.py", published.as_uri())["gpu_1_launches.ipynb"]
    set_up = next(cell.source for cell in notebook.cells if cell.cell_type == "code")
    assert set_up.count(f'ADDRESS = "{published.as_uri()}"') == 2
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    command = [sys.executable, "-c", f"{set_up}\nprint(here.__file__)"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=elsewhere, env=environment)
    assert done.returncode == 0, done.stderr
    clone = elsewhere / "published" / "notebooks" / "course" / "here.py"
    assert done.stdout.splitlines()[-1] == str(clone)


@pytest.mark.slow
def test_without_a_checkout_it_says_what_to_do(monkeypatch, tmp_path):
    with pytest.raises(CellExecutionError, match="Clone the project, or upload its whole folder"):
        run([version("gpu_1_launches")], monkeypatch, folder=tmp_path)
