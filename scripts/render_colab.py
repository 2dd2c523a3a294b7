"""Write the README's Colab lines from the one setting that holds the project's address.

The setting is `address` under [tool.breaknet] in pyproject.toml. Run `python scripts/render_colab.py` after
changing it, and `make notebooks`, which puts a badge into the notebooks; tests fail while they say something else.
"""

import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BEGIN, END = "<!-- colab: rendered by scripts/render_colab.py -->", "<!-- /colab -->"

ONE_FILE = """\
**On Colab** (GPU or CPU runtime) one file is enough: `make notebooks` writes `dist/breaking_a_neural_network.ipynb`,
which carries breaknet (under half a MiB). On [colab.research.google.com](https://colab.research.google.com) choose
File > Upload notebook, then Runtime > Run all. The notebooks of the GPU course are made alike."""

WITH_ADDRESS = """\
**On Colab** (GPU or CPU runtime) click the badge of a notebook, or run in a cell

```
!pip install -q git+{address} && breaknet lesson
```"""


def colab_lines(address: str) -> str:
    """The README's lines about Colab: how to install from `address`, or the notebook to upload if it is empty."""
    return WITH_ADDRESS.format(address=address) if address else ONE_FILE


def rendered(readme: str, address: str) -> str:
    """`readme` with the part between the two markers replaced."""
    before, rest = readme.split(BEGIN)
    after = rest.split(END)[1]
    return f"{before}{BEGIN}\n{colab_lines(address)}\n{END}{after}"


def address() -> str:
    """The project's public address, empty if it has none yet."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    return settings["tool"]["breaknet"]["address"]


if __name__ == "__main__":
    path = ROOT / "README.md"
    path.write_text(rendered(path.read_text(encoding="utf-8"), address()), encoding="utf-8")
