"""The wheel holds `breaknet` and nothing else, leaves a package named `kernels` alone, and takes any torch."""

import shutil
import sys
import zipfile
from pathlib import Path

import pytest
from environments import new_environment, run
from tiny import write_tiny_idx


@pytest.fixture(scope="module")
def checkout(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what the repository holds, so that building leaves nothing in it."""
    copy = tmp_path_factory.mktemp("checkout") / "breaknet-repository"
    leave = shutil.ignore_patterns(
        ".git", ".venv", "build", "dist", "*.egg-info", "__pycache__", ".*_cache", "results"
    )
    shutil.copytree(repository, copy, symlinks=True, ignore=leave)
    return copy


@pytest.fixture(scope="module")
def wheel(checkout: Path) -> Path:
    run([sys.executable, "-m", "build", "--wheel", "--no-isolation", "."], checkout)
    return next((checkout / "dist").glob("*.whl"))


LOOK = """
import kernels
assert kernels.mine == "somebody else wrote this", kernels.__file__
import breaknet.kernels.device_functions, breaknet.kernels.linear_sigmoid
from breaknet.kernels.summed_mse import summed_mse
import breaknet, breaknet.cli.commands
print(breaknet.__file__)
"""


def test_the_wheel_holds_all_of_breaknet_and_nothing_else(wheel, checkout):
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {name.split("/")[0].partition("-")[0] for name in names} == {"breaknet"}
    sources = [*(checkout / "breaknet").rglob("*.py"), *(checkout / "breaknet/lesson/templates").iterdir()]
    sources += (checkout / "breaknet/live/page").iterdir()
    expected = {path.relative_to(checkout).as_posix() for path in sources}
    expected |= {f"breaknet/{path.relative_to(checkout)}" for path in (checkout / "kernels").rglob("*.py")}
    assert expected | {"breaknet/py.typed", "breaknet/lesson/templates/report.html.j2"} <= names


@pytest.mark.parametrize("how", ["plain", pytest.param("editable", marks=pytest.mark.slow)])
def test_installs_beside_a_package_named_kernels(how, checkout, wheel, tmp_path):
    python = new_environment(tmp_path / "environment")
    what = [str(wheel)] if how == "plain" else ["--editable", str(checkout)]
    pip = [str(python), "-m", "pip", "install", "--no-deps", "--no-index", "--no-build-isolation", "--quiet"]
    run([*pip, *what], tmp_path)
    (tmp_path / "empty").mkdir()
    for folder in (checkout, tmp_path / "empty"):
        where = run([str(python), "-c", LOOK], folder).strip()
        assert str(checkout) in where or str(tmp_path / "environment") in where
    run([str(python), "-m", "pip", "uninstall", "--yes", "--quiet", "breaknet"], tmp_path)
    found = run([str(python), "-c", "import kernels; print(kernels.mine)"], tmp_path)
    assert found.strip() == "somebody else wrote this"


def test_an_install_keeps_the_torch_that_is_there(checkout, tmp_path):
    """Pip's plan, without carrying it out: everything is satisfied, torch first of all."""
    command = [sys.executable, "-m", "pip", "install", "--dry-run", "--no-build-isolation", "--no-index", "."]
    planned = run(command, checkout)
    assert "Requirement already satisfied: torch>=2.6" in planned
    changes = [line for line in planned.splitlines() if line.startswith("Would install")]
    assert all("torch" not in line and "triton" not in line for line in changes), changes


OPTIONAL = [
    "triton", "numba", "llvmlite", "matplotlib", "PIL", "scipy", "rich", "tqdm", "pooch", "typer", "jinja2",
    "platformdirs", "requests", "starlette", "uvicorn", "websockets", "anywidget", "traitlets",
]  # fmt: skip


@pytest.mark.parametrize(
    ("imported", "heavy"),
    [
        ("breaknet.training", OPTIONAL),
        ("breaknet.lesson.fits", ["scipy"]),
        ("breaknet.lesson.figures", ["matplotlib.pyplot", "torch"]),
        ("breaknet.lesson.figure_workers", ["torch", "matplotlib"]),
        ("breaknet.lesson.report", ["jinja2", "matplotlib", "scipy"]),
    ],
)
def test_imports_are_light(imported, heavy, repository):
    """Compilers, plots and downloads are imported where they are used, and no torch where figures are drawn."""
    code = f"""
import sys
import numpy
if "torch" not in {heavy}:
    import safetensors.torch, torch  # whatever these import is not counted
before = set(sys.modules)
import {imported}
found = set({heavy}) & (set(sys.modules) - before)
assert not found, found
"""
    run([sys.executable, "-c", code], repository)


def test_training_needs_only_torch_numpy_and_safetensors(repository, tmp_path):
    """With every other dependency hidden, the torch backend trains from a local folder's data."""
    code = """
import pathlib, sys
folder, *hidden = sys.argv[1:]
for name in hidden:
    sys.modules[name] = None  # imports fail as if it were not installed
import breaknet
folder = pathlib.Path(folder)
digits = breaknet.load_mnist(folder)
run = breaknet.train(digits.train, valid=digits.valid, epochs=2)
result = breaknet.evaluate(run.checkpoints, digits.test)
run.checkpoints.save(folder / "run.safetensors")
print(run.backend, len(result.cost))
"""
    folder = str(write_tiny_idx(tmp_path))
    assert run([sys.executable, "-c", code, folder, *OPTIONAL], repository).split() == ["torch", "2"]
