"""Write notebooks that need no other file into dist/: python scripts/pack_notebooks.py [--out DIR]

Each is a notebook of notebooks/*.ipynb, or benchmarks/measure_this_gpu.py as one, whose set-up carries breaknet: the
wheel, and what else its cells import, as a tar file, compressed and in base64. On Colab or in any Jupyter it is the
only file to upload. The same commit always gives the same bytes: names are sorted, and dates are the commit's (or
SOURCE_DATE_EPOCH).
"""

import argparse
import base64
import io
import lzma
import os
import subprocess
import sys
import tarfile
import tempfile
import textwrap
import zipfile
from copy import deepcopy
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import nbformat
from nbformat import NotebookNode

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from scripts.build_notebooks import (  # noqa: E402
    built,
    name_cells,
    sources,
    tags,
    text_of,
)

WHEEL = ("LICENSE", "README.md", "pyproject.toml", "breaknet", "kernels")
#: What the course's cells import beside the wheel, and the rows that they show.
COURSE = ("benchmarks", "notebooks/course", "notebooks/gpu_*.py")
#: The cells that install breaknet, by tag: the scripts in their place, and what is packed beside the wheel.
SET_UPS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "set-up": (("packed_set_up",), ()),
    "course-set-up": (("packed_set_up", "packed_course_set_up"), COURSE),
    "gpu-set-up": (("packed_set_up",), ("benchmarks",)),
}
#: A notebook that exists in packed form only.
MEASURE = ROOT / "benchmarks" / "measure_this_gpu.py"
ABOUT = """\
## Set-up

This notebook carries breaknet: the next two cells install it where it is missing, and leave PyTorch as it is."""
TITLE = "#@title The files of breaknet, packed. Run this cell and go on."
#: Jupyter and Colab show such a cell closed.
CLOSED = {"cellView": "form", "jupyter": {"source_hidden": True}, "tags": ["packed"]}
LINE = 120


def commit_time() -> int:
    """Seconds since 1970 of SOURCE_DATE_EPOCH, else of the commit, else of 1980, the first that a zip file knows."""
    told = os.environ.get("SOURCE_DATE_EPOCH") or _git("log", "-1", "--format=%ct")
    return max(int(told or 0), 315_532_800)


def tracked(places: tuple[str, ...]) -> list[Path]:
    """The project's files at these places, sorted: those that git knows, or all sources where there is no git."""
    known = _git("ls-files", "-z", "--", *places) if places else ""
    if known is None:
        roots = [path for place in places for path in ROOT.glob(place)]
        found = [path for root in roots for path in ([root] if root.is_file() else root.rglob("*"))]
    else:
        found = [ROOT / name for name in known.split("\0") if name]
    return sorted({path for path in found if path.is_file() and "__pycache__" not in path.parts})


def wheel() -> tuple[str, bytes]:
    """The wheel's name and content, built from tracked files alone; not compressed, since the whole is."""
    with tempfile.TemporaryDirectory() as folder:
        for path in tracked(WHEEL):
            copy = Path(folder) / path.relative_to(ROOT)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(path.read_bytes())
        build = [
            sys.executable,
            "-m",
            "build",
            "--wheel",
            "--no-isolation",
            "--outdir",
            f"{folder}/dist",
            folder,
        ]
        done = subprocess.run(build, capture_output=True, text=True)
        if done.returncode != 0:
            raise RuntimeError(f"the wheel could not be built:\n{done.stdout}{done.stderr}")
        (path,) = Path(folder, "dist").glob("*.whl")
        return path.name, _plain(path)


def _plain(path: Path) -> bytes:
    """A zip file with sorted names and one date, whatever made it; a wheel's RECORD stays last."""
    date = datetime.fromtimestamp(commit_time(), UTC).timetuple()[:6]
    content = io.BytesIO()
    with zipfile.ZipFile(path) as made, zipfile.ZipFile(content, "w", zipfile.ZIP_STORED) as plain:
        for name in sorted(made.namelist(), key=lambda name: (name.endswith("/RECORD"), name)):
            entry = zipfile.ZipInfo(name, date)
            entry.external_attr = 0o644 << 16
            plain.writestr(entry, made.read(name))
    return content.getvalue()


def archive(files: dict[str, bytes]) -> str:
    """These files, by name, as the lines of base64 that `packed_set_up` unpacks."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name in sorted(files):
            entry = tarfile.TarInfo(name)
            entry.size, entry.mtime = len(files[name]), commit_time()
            tar.addfile(entry, io.BytesIO(files[name]))
    pressed = lzma.compress(content.getvalue(), preset=9)
    return "\n".join(textwrap.wrap(base64.b64encode(pressed).decode(), LINE))


@cache
def contents(places: tuple[str, ...], made: tuple[str, bytes]) -> str:
    """The archive of the wheel and of all files at these places; with them COMMIT, which `benchmarks.machine` reads."""
    files = {path.relative_to(ROOT).as_posix(): path.read_bytes() for path in tracked(places)}
    head = _git("rev-parse", "--short=7", "HEAD")
    if head is not None and places:
        changes = "+changes" if _git("status", "--porcelain", "--untracked-files=no") else ""
        files["COMMIT"] = f"{head}{changes}".encode()
    return archive(files | dict([made]))


def packed(notebook: NotebookNode, made: tuple[str, bytes]) -> NotebookNode:
    """A copy of a built notebook that carries `made`, the wheel.

    Raises:
        ValueError: a notebook without exactly one set-up cell.
    """
    copy = deepcopy(notebook)
    places = [place for place, cell in enumerate(copy.cells) if SET_UPS.keys() & set(tags(cell))]
    if len(places) != 1:
        *some, last = SET_UPS
        wanted = f"{', '.join(some)} or {last}"
        raise ValueError(f"notebook: exactly one cell tagged {wanted}, not {len(places)}")
    (place,) = places
    cell, about = copy.cells[place], copy.cells[place - 1]
    ((scripts, beside),) = [SET_UPS[tag] for tag in SET_UPS.keys() & set(tags(cell))]
    if not about.source.startswith("## Set-up"):
        raise ValueError(f"notebook: a text '## Set-up' above the cell, not {about.source[:40]!r}")
    about.source = ABOUT
    cell.source = "\n\n".join((ROOT / f"scripts/{name}.py").read_text("utf-8").strip() for name in scripts)
    carried = f'{TITLE}\nPACKED = """\n{contents(beside, made)}\n"""'
    copy.cells.insert(place, nbformat.v4.new_code_cell(carried, metadata=CLOSED))
    name_cells(copy.cells)
    nbformat.validate(copy)
    return copy


def _git(*words: str) -> str | None:
    """Git's answer about this checkout; None where there is no git, or this is no checkout."""
    if not (ROOT / ".git").exists():
        return None
    try:
        done = subprocess.run(["git", "-C", str(ROOT), *words], capture_output=True, text=True, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip("\n")


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=ROOT / "dist")
    out: Path = parser.parse_args(arguments).out
    out.mkdir(parents=True, exist_ok=True)
    made = wheel()
    for source in [*sources(), MEASURE]:
        for name, notebook in built(source, "").items():
            if source == MEASURE and name != f"{source.stem}.ipynb":
                continue
            text = text_of(packed(notebook, made))
            (out / name).write_text(text, encoding="utf-8")
            print(f"{out / name}: {len(text) / 2**20:.2f} MiB")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
