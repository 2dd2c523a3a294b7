"""Notebooks that carry breaknet: one file is enough, and the same commit gives the same bytes."""

import base64
import io
import lzma
import re
import sys
import tarfile
import zipfile
from hashlib import sha256
from pathlib import Path

import nbformat
import pytest
from environments import new_environment, run

from scripts import pack_notebooks
from scripts.build_notebooks import NOTEBOOKS, built, tags
from scripts.pack_notebooks import COURSE, archive, contents, packed, tracked

MADE = "breaknet-0.1.0-py3-none-any.whl", b"a wheel"


@pytest.fixture(scope="module")
def wheel() -> tuple[str, bytes]:
    return pack_notebooks.wheel()


@pytest.fixture(scope="module")
def bare(tmp_path_factory) -> Path:
    return new_environment(tmp_path_factory.mktemp("bare") / "environment")


def with_wheel(name: str, made: tuple[str, bytes], ending: str = "") -> nbformat.NotebookNode:
    return packed(built(NOTEBOOKS / f"{name}.py", "")[f"{name}{ending}.ipynb"], made)


def unpacked(text: str) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(lzma.decompress(base64.b64decode(text)))) as tar:
        return {entry.name: tar.extractfile(entry).read() for entry in tar}


def set_up_of(notebook: nbformat.NotebookNode) -> str:
    """Both cells that unpack and install, as one program."""
    place = next(place for place, cell in enumerate(notebook.cells) if "packed" in tags(cell))
    return "\n".join(cell.source for cell in notebook.cells[place : place + 2])


def test_a_zip_is_plain_whatever_made_it(tmp_path):
    files = {"b/RECORD": b"last", "b/z.py": b"z", "a.py": b"a" * 1000}
    for number, (order, compression) in enumerate(
        (([*files], zipfile.ZIP_STORED), ([*files][::-1], zipfile.ZIP_DEFLATED))
    ):
        with zipfile.ZipFile(tmp_path / f"{number}.whl", "w", compression) as made:
            for name in order:
                entry = zipfile.ZipInfo(name, (2001 + number, 1, 1, 0, 0, 0))
                entry.external_attr = (0o600 + number) << 16
                made.writestr(entry, files[name])
    first, second = (pack_notebooks._plain(tmp_path / f"{number}.whl") for number in range(2))
    assert first == second
    with zipfile.ZipFile(io.BytesIO(first)) as plain:
        assert plain.namelist() == ["a.py", "b/z.py", "b/RECORD"]
        assert {name: plain.read(name) for name in plain.namelist()} == files


def test_an_archive_depends_on_names_contents_and_the_commit_alone(monkeypatch):
    files = {"b": b"2", "a": b"1"}
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    text = archive(files)
    assert text == archive(dict(reversed(files.items())))
    assert unpacked(text) == files
    assert max(map(len, text.splitlines())) <= pack_notebooks.LINE
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000002")
    assert archive(files) != text


def test_only_tracked_files_are_carried(monkeypatch, tmp_path):
    for name in ("part/kept.py", "part/left_over.py", "part/__pycache__/kept.pyc", "other.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    with monkeypatch.context() as patch:
        patch.setattr(pack_notebooks, "ROOT", tmp_path)
        assert [path.name for path in tracked(("part",))] == ["kept.py", "left_over.py"]
        for words in (["init", "--quiet"], ["add", "part/kept.py"]):
            run(["git", *words], tmp_path)
        assert [path.name for path in tracked(("part",))] == ["kept.py"]
        assert tracked(()) == []


def test_the_course_carries_what_its_cells_import():
    files = unpacked(contents(COURSE, MADE))
    assert {
        "notebooks/course/here.py",
        "notebooks/gpu_5_precision.py",
        "benchmarks/results/counts.json",
        MADE[0],
    } <= files.keys()
    assert not [name for name in files if "__pycache__" in name or name.startswith(("breaknet/", "tests/"))]
    assert unpacked(contents((), MADE)).keys() == {MADE[0]}


@pytest.mark.parametrize("ending", ["", "_instructor"])
@pytest.mark.parametrize("name", [path.stem for path in sorted(NOTEBOOKS.glob("*.py"))])
def test_every_notebook_can_be_packed_and_asks_for_no_other_file(name, ending):
    notebook = with_wheel(name, MADE, ending)
    plain = nbformat.read(NOTEBOOKS / f"{name}{ending}.ipynb", as_version=4)
    assert len(notebook.cells) == len(plain.cells) + 1
    (carries,) = (cell for cell in notebook.cells if "packed" in tags(cell))
    assert carries.metadata.jupyter.source_hidden
    assert carries.source.startswith("#@title")
    for cell in notebook.cells:
        assert not re.search(r"[Uu]pload (breaknet|its)|[Cc]lone the|from a checkout", cell.source), (
            cell.source
        )
    assert len({cell.id for cell in notebook.cells}) == len(notebook.cells)


def test_a_notebook_without_set_up_is_refused():
    with pytest.raises(
        ValueError, match="exactly one cell tagged set-up, course-set-up or gpu-set-up, not 0"
    ):
        packed(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1 + 1")]), MADE)


@pytest.mark.parametrize("name", ["breaking_a_neural_network", "gpu_1_launches"])
def test_one_file_is_enough(name, wheel, bare, tmp_path):
    """In an empty folder, with nothing to download and no breaknet."""
    notebook = with_wheel(name, wheel)
    program = f"{set_up_of(notebook)}\nimport breaknet\nprint(breaknet.__file__, FOLDER)"
    (tmp_path / "program.py").write_text(program)
    printed = run([str(bare), "program.py"], tmp_path, PIP_NO_INDEX="1").split()
    installed, folder = printed[-2:]
    assert Path(installed).is_relative_to(bare.parents[1])
    assert (Path(folder) / "notebooks" / "course" / "here.py").exists() == name.startswith("gpu_")
    if name.startswith("gpu_"):
        assert printed[0] == "torch"  # the first word of the course's introduction
    size = len(nbformat.writes(notebook)) / 2**20
    # the README says so of the lesson
    assert size < (0.75 if name.startswith("gpu_") else 0.5), f"{size:.2f} MiB"


def test_what_pip_says_is_shown_where_it_fails(bare, tmp_path):
    program = set_up_of(with_wheel("breaking_a_neural_network", ("breaknet-9-py3-none-any.whl", b"no wheel")))
    checked = f"{program.replace('if not any(', 'if True or any(')}"
    (tmp_path / "program.py").write_text(
        f"try:\n    exec({checked!r})\nexcept RuntimeError as error:\n    print(error)"
    )
    assert "pip could not install breaknet:" in run([str(bare), "program.py"], tmp_path, PIP_NO_INDEX="1")


@pytest.mark.slow
def test_packed_notebooks_run_from_top_to_bottom(wheel, bare, repository, tmp_path):
    """Each in an empty folder, by the environment's own kernel."""
    settings = {
        "breaking_a_neural_network": ('data="synthetic"', "epochs_all=24", "epochs_few=30"),
        "breaking_it_further": (
            'data="synthetic"', "epochs=3", "steps=20", "width_epochs=2", "memorising_epochs=5",
        ),
    }  # fmt: skip
    for path in sorted(NOTEBOOKS.glob("*.py")):
        nbformat.write(with_wheel(path.stem, wheel), tmp_path / f"{path.stem}.ipynb")
        some = [word for setting in settings.get(path.stem, ()) for word in ("--set", setting)]
        command = [
            str(bare),
            str(repository / "scripts" / "run_notebooks.py"),
            "--out",
            str(tmp_path / "done"),
            *some,
        ]
        run([*command, f"{path.stem}.ipynb"], tmp_path, PIP_NO_INDEX="1", BREAKNET_COURSE="rehearse")


@pytest.mark.slow
def test_the_same_commit_gives_the_same_bytes_elsewhere(repository, tmp_path):
    for place in ("one", "another/place"):
        run(["git", "clone", "--quiet", str(repository), str(tmp_path / place)], tmp_path)

    command = [sys.executable, "scripts/pack_notebooks.py", "--out", "dist"]
    digests = []
    for place in ("one", "another/place"):
        run(command, tmp_path / place)
        made = sorted((tmp_path / place / "dist").glob("*.ipynb"))
        digests.append([(path.name, sha256(path.read_bytes()).hexdigest()) for path in made])
    assert len(digests[0]) >= 14
    assert digests[0] == digests[1]
