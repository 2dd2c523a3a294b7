# This finds the project's folder, or clones it where ADDRESS names it.
import subprocess
import sys
from pathlib import Path

ADDRESS = ""


def checkout():
    """The project's folder: this one, one above it, or one within it."""
    for place in (Path.cwd(), *Path.cwd().parents, *Path.cwd().glob("*/")):
        if (place / "notebooks" / "course").is_dir() and (place / "kernels").is_dir():
            return place


if checkout() is None and ADDRESS:
    subprocess.run(["git", "clone", "--quiet", "--depth", "1", ADDRESS], check=True)
if checkout() is None:
    raise FileNotFoundError(
        "Clone the project, or upload its whole folder beside this notebook, then run this again."
    )
sys.path.insert(0, str(checkout()))

# before all other imports: it settles whether kernels are compiled or interpreted
from notebooks.course import here

print(here.introduction())
