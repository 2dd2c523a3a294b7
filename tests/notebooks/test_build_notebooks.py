"""From `notebooks/*.py` to `notebooks/*.ipynb`: the same every time, nothing left out, nothing installed at home."""

import subprocess
import sys
from importlib import metadata
from pathlib import Path
from types import ModuleType, SimpleNamespace

import nbformat
import pytest

from breaknet.lesson.report_questions import SECTIONS
from scripts import build_notebooks
from scripts.build_notebooks import NOTEBOOKS, built, set_up, sources, tags, text_of

ADDRESS = "https://github.com/somebody/breaknet"

SOURCE = """\
# %% [markdown]
# # Title
#
# <!-- lesson: hundred before -->

# %% tags=["set-up"]
# written by the build

# %% [markdown] tags=["student"]
# write here

# %% tags=["instructor"]
mistake = 1

# %%
def double(x):
    # times two
    ### BEGIN SOLUTION
    solution = 2 * x
    ### END SOLUTION
    y = x
    ### BEGIN SOLUTION
    return solution + y - y
    ### END SOLUTION

# %%
print("both")

# %%
print("both")
"""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "example.py"
    path.write_text(SOURCE)
    return path


def test_committed_notebooks_are_what_their_sources_give():
    assert sources()
    assert build_notebooks.main(check=True) == 0, "run `make notebooks`"


def test_the_same_source_gives_the_same_bytes_and_other_ids_only_where_cells_differ(source):
    first, second = built(source, ""), built(source, "")
    assert [text_of(notebook) for notebook in first.values()] == [text_of(one) for one in second.values()]
    before = [cell.id for cell in first["example.ipynb"].cells]
    assert len(set(before)) == len(before)
    source.write_text(SOURCE.replace("# # Title", "# # Another title"))
    after = [cell.id for cell in built(source, "")["example.ipynb"].cells]
    assert after[0] != before[0]
    assert after[1:] == before[1:]


def test_students_get_no_solution_and_instructors_no_blank(source):
    student, instructor = built(source, "").values()
    assert list(built(source, "")) == ["example.ipynb", "example_instructor.ipynb"]
    assert "write here" in text_of(student)
    assert "mistake" not in text_of(student)
    assert "mistake = 1" in text_of(instructor)
    assert "write here" not in text_of(instructor)
    blank, solved = (notebook.cells[3].source for notebook in (student, instructor))
    assert blank == "def double(x):\n    # times two\n    y = x"
    assert solved.splitlines()[2:] == ["    solution = 2 * x", "    y = x", "    return solution + y - y"]
    assert len(student.cells) == len(instructor.cells) == 6


def test_a_cell_for_both_is_refused(source):
    source.write_text(SOURCE.replace('tags=["instructor"]', 'tags=["instructor", "student"]'))
    with pytest.raises(ValueError, match="tagged instructor and student"):
        built(source, "")


def test_questions_come_from_the_lesson(source):
    text = built(source, "")["example.ipynb"].cells[0].source
    hundred = next(section for section in SECTIONS if section.name == "hundred")
    assert text == "# Title\n\n1. " + "\n2. ".join(hundred.before)
    source.write_text(SOURCE.replace("hundred before", "shuffled after 2-3"))
    first, answers = built(source, "")["example.ipynb"].cells[:2]
    text = first.source
    assert answers.source == build_notebooks.ANSWERS
    assert build_notebooks.ANSWERS not in text_of(built(source, "")["example_instructor.ipynb"])
    shuffled = next(section for section in SECTIONS if section.name == "shuffled")
    assert text == f"# Title\n\n2. {shuffled.after[1]}\n3. {shuffled.after[2]}"
    for wrong in ("nothing before", "hundred before 1-9"):
        source.write_text(SOURCE.replace("hundred before", wrong))
        with pytest.raises(ValueError, match="lesson"):
            built(source, "")


def test_a_badge_appears_with_an_address_on_github(source):
    assert "colab-badge" not in text_of(built(source, "")["example.ipynb"])
    assert "colab-badge" not in text_of(built(source, "https://example.org/breaknet")["example.ipynb"])
    first = built(source, ADDRESS + ".git")["example_instructor.ipynb"].cells[0].source
    page = "colab.research.google.com/github/somebody/breaknet/blob/main/notebooks/example_instructor.ipynb"
    assert page in first


@pytest.mark.parametrize("path", sorted(NOTEBOOKS.glob("*.ipynb")), ids=lambda path: path.name)
def test_committed_notebooks_hold_no_outputs(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert cell.outputs == []
            assert cell.execution_count is None
    assert "widgets" not in notebook.metadata


def test_every_part_of_the_lesson_is_asked():
    """A question that the report gains must not be missing here."""
    for ending in ("", "_instructor"):
        notebooks = [
            nbformat.read(NOTEBOOKS / f"{name}{ending}.ipynb", as_version=4)
            for name in ("breaking_a_neural_network", "breaking_it_further")
        ]
        text = "\n".join(cell.source for notebook in notebooks for cell in notebook.cells)
        for section in SECTIONS:
            for question in section.before + section.after:
                assert question in text
        assert "<!--" not in text


def test_answers_stand_in_the_instructors_notebook_alone():
    student, instructor = (
        nbformat.read(NOTEBOOKS / f"breaking_a_neural_network{ending}.ipynb", as_version=4)
        for ending in ("", "_instructor")
    )
    answers = [cell for cell in instructor.cells if "instructor" in tags(cell)]
    assert (
        sum("show.noticed" in cell.source for cell in answers) == len(SECTIONS) - 1
    )  # capacity is in another
    assert not [cell for cell in student.cells if "instructor" in tags(cell) or "noticed" in cell.source]


class TestSetUp:
    """The cell that installs breaknet, run as Colab and as any other place would run it."""

    @pytest.fixture
    def commands(self, monkeypatch, tmp_path) -> list[list[str]]:
        """The commands that the cell would have run; breaknet counts as not installed, the folder is empty."""
        found: list[list[str]] = []

        def noted(command: list[str], **_: object) -> SimpleNamespace:
            found.append(command)
            return SimpleNamespace(returncode=0, stderr="")

        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(subprocess, "run", noted)
        monkeypatch.setattr(metadata, "distributions", lambda name: iter(()))
        return found

    def test_nothing_is_installed_elsewhere(self, commands):
        assert "google.colab" not in sys.modules
        exec(set_up("notebook_set_up", ADDRESS), {})
        assert commands == []

    @pytest.mark.parametrize(
        ("file", "address", "installed"),
        [
            ("breaknet-0.1.0-py3-none-any.whl", "", "breaknet-0.1.0-py3-none-any.whl"),
            ("cloned/breaknet/__init__.py", "", "cloned"),
            ("unused", ADDRESS, f"git+{ADDRESS}"),
        ],
    )
    def test_colab_installs_a_wheel_a_clone_or_the_address_and_keeps_its_torch(
        self, commands, on_colab, tmp_path, file, address, installed
    ):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).touch()
        exec(set_up("notebook_set_up", address), {})
        [[*_, what, torch]] = commands
        assert what == (installed if address else str(tmp_path / installed))
        assert torch == f"torch=={metadata.version('torch')}"

    def test_colab_says_what_to_upload(self, commands, on_colab):
        with pytest.raises(FileNotFoundError, match=r"Upload breaknet-\*\.whl"):
            exec(set_up("notebook_set_up", ""), {})
        assert commands == []

    def test_colab_shows_why_pip_failed(self, commands, on_colab, monkeypatch):
        monkeypatch.setattr(
            subprocess, "run", lambda *_, **__: SimpleNamespace(returncode=1, stderr="no room")
        )
        with pytest.raises(RuntimeError, match="no room"):
            exec(set_up("notebook_set_up", ADDRESS), {})

    def test_colab_installs_once(self, commands, on_colab, monkeypatch):
        monkeypatch.setattr(metadata, "distributions", lambda name: iter([name]))
        exec(set_up("notebook_set_up", ADDRESS), {})
        assert commands == []


@pytest.fixture
def on_colab(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "google.colab", ModuleType("google.colab"))
