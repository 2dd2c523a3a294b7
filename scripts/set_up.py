"""Make the project's environment: python scripts/set_up.py FOLDER [EXTRA ...]

On Linux without an NVIDIA GPU, torch comes from PyTorch's index of CPU builds where that can be reached: the
build that PyPI offers brings several GB of CUDA libraries. TORCH_INDEX names another index, or is "default" to
use pip's settings alone.
"""

import os
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
import venv
from pathlib import Path

OLDEST = (3, 11)
CPU_INDEX = "https://download.pytorch.org/whl/cpu"
SECONDS_TO_ANSWER = 5

#: What the environment takes on disk with torch's CPU build, in GB, as measured on Linux.
SIZE, SIZE_FOR_TESTS = 1.5, 2.5


def torch_index() -> str | None:
    """The package index to add for torch; None for pip's own settings."""
    chosen = os.environ.get("TORCH_INDEX")
    if chosen:
        return None if chosen == "default" else chosen
    if sys.platform != "linux" or shutil.which("nvidia-smi"):
        return None
    try:
        urllib.request.urlopen(f"{CPU_INDEX}/torch/", timeout=SECONDS_TO_ANSWER).close()
    except (urllib.error.URLError, OSError):
        return None
    return CPU_INDEX


def main(folder: Path, extras: list[str]) -> None:
    root = Path(__file__).resolve().parents[1]
    python = folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    if not python.exists():
        print(f"Making {folder} ...", flush=True)
        venv.create(folder, with_pip=True)
    index = torch_index()
    what = f"{root}[{','.join(extras)}]" if extras else str(root)
    size = SIZE_FOR_TESTS if "dev" in extras else SIZE
    print(
        f"Installing breaknet and what it needs: about {size} GB on disk, a few minutes the first time.",
        flush=True,
    )
    if sys.platform == "linux" and index is None:
        print("PyTorch may come with CUDA libraries, which take several GB more.", flush=True)
    command = [str(python), "-m", "pip", "install", "--disable-pip-version-check"]
    command += ["--constraint", str(root / "constraints.txt"), "--editable", what]
    if index:
        # a local version such as 2.13.0+cpu outranks the plain one, so adding the index is enough
        command += ["--extra-index-url", index]
    subprocess.run(command, check=True)


if __name__ == "__main__":
    if sys.version_info < OLDEST:
        oldest = ".".join(map(str, OLDEST))
        sys.exit(f"breaknet needs Python {oldest} or newer, this is {sys.version.split()[0]}: "
                 f"name another with `make PYTHON=python{oldest} lesson`")  # fmt: skip
    try:
        main(Path(sys.argv[1]), sys.argv[2:])
    except subprocess.CalledProcessError as error:
        sys.exit(f"pip could not install breaknet (exit status {error.returncode}); its message is above")
