"""Python environments beside the one that runs the tests, without breaknet."""

import os
import subprocess
import venv
from pathlib import Path

import numpy


def run(command: list[str], folder: Path, **variables: str) -> str:
    """The output of a command that must succeed, in an environment without Python's variables and with these."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(command, cwd=folder, env=environment | variables, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def new_environment(folder: Path) -> Path:
    """The Python of an environment that sees this one's packages, breaknet excepted, and has a package `kernels`."""
    venv.create(folder, with_pip=False)
    python = folder / "bin" / "python"
    site = Path(run([str(python), "-c", "import site; print(site.getsitepackages()[0])"], folder).strip())
    # one by one, so that this environment's own editable breaknet stays out
    for entry in Path(numpy.__file__).parents[1].iterdir():
        if "breaknet" not in entry.name.lower():
            (site / entry.name).symlink_to(entry)
    (site / "kernels").mkdir()
    (site / "kernels" / "__init__.py").write_text("mine = 'somebody else wrote this'\n")
    return python
