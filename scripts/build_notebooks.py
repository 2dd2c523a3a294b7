"""Write `notebooks/*.ipynb` from the sources `notebooks/*.py`: python scripts/build_notebooks.py [--check]

A source is a notebook in jupytext's py:percent form. It gives two notebooks without outputs:

    NAME.ipynb              for students: without cells tagged `instructor`, and without what stands in a cell
                            between lines `### BEGIN SOLUTION` and `### END SOLUTION`
    NAME_instructor.ipynb   for instructors: without cells tagged `student`, and without those lines

What the build fills in, so that it is written down once:

* a code cell tagged `set-up` becomes scripts/notebook_set_up.py with the project's address, one tagged
  `course-set-up` that and scripts/course_set_up.py, under a text that says what it needs;
* a line `<!-- lesson: EXPERIMENT PART -->` in a text cell becomes what the lesson's report says there, from
  breaknet/lesson/report_questions.py; PART is `setup` (paragraphs), or `before` or `after` (numbered questions), with
  a range such as `after 2-4` or `after 3-3` for some of them; below `after`, students find a cell for their answers;
* where the address is on GitHub, the first cell is a badge that opens the notebook on Colab.

The address is the setting `address` under [tool.breaknet] in pyproject.toml. The same source always gives the same
bytes; with --check nothing is written and the exit status says whether the notebooks match their sources.
"""

import hashlib
import re
import sys
from copy import deepcopy
from pathlib import Path

import jupytext
import nbformat
from nbformat import NotebookNode

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from breaknet.lesson.report_questions import SECTIONS  # noqa: E402
from notebooks.course.blanks import blank, solved  # noqa: E402
from scripts.render_colab import address  # noqa: E402

NOTEBOOKS = ROOT / "notebooks"
BRANCH = "main"

#: Tag of a cell -> the scripts that it is filled with.
FILLED = {"set-up": ("notebook_set_up",), "course-set-up": ("notebook_set_up", "course_set_up")}
COURSE_SET_UP = """\
## Set-up

This notebook runs from a checkout of the project. On Colab, clone the project or upload its whole folder beside this
notebook; the next cell then installs breaknet from it."""
ANSWERS = "*Double-click here and write down your answers.*"
#: What every notebook says of itself.
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}

#: What the file name ends in -> the tag of the cells that this version is without.
VERSIONS = {"": "instructor", "_instructor": "student"}

_LESSON = re.compile(r"^<!-- lesson: (\w+) (setup|before|after)(?: (\d+)-(\d+))? -->$", re.MULTILINE)


def sources() -> list[Path]:
    """The notebooks' sources, in the order of their names."""
    return sorted(NOTEBOOKS.glob("*.py"))


def built(source: Path, published: str) -> dict[str, NotebookNode]:
    """Both notebooks of `source` by file name; `published` is the project's address, or empty.

    Raises:
        ValueError: for a cell that is tagged for both versions, or a part of the lesson that does not exist.
    """
    whole = jupytext.read(source, fmt="py:percent")
    for cell in whole.cells:
        if set(VERSIONS.values()) <= set(tags(cell)):
            raise ValueError(f"{source.name}: a cell is tagged instructor and student:\n{cell.source}")
    return {
        f"{source.stem}{ending}.ipynb": _version(whole, f"{source.stem}{ending}.ipynb", left_out, published)
        for ending, left_out in VERSIONS.items()
    }


def tags(cell: NotebookNode) -> list[str]:
    """The cell's tags, empty if it has none."""
    return cell.metadata.get("tags", [])


def text_of(notebook: NotebookNode) -> str:
    """The notebook as the text of its .ipynb file."""
    return nbformat.writes(notebook) + "\n"


def _version(whole: NotebookNode, name: str, left_out: str, published: str) -> NotebookNode:
    cells = []
    for cell in deepcopy(whole.cells):
        if left_out in tags(cell):
            continue
        if "course-set-up" in tags(cell):
            cells.append(nbformat.v4.new_markdown_cell(COURSE_SET_UP))
        cells.append(cell)
        if left_out == "instructor" and re.search("^<!-- lesson: .* after", cell.source, re.MULTILINE):
            cells.append(nbformat.v4.new_markdown_cell(ANSWERS))
        for tag in FILLED.keys() & set(tags(cell)):
            cell.source = "\n\n".join(set_up(script, published) for script in FILLED[tag])
        if cell.cell_type == "markdown":
            cell.source = _LESSON.sub(lambda found: _from_the_lesson(*found.groups()), cell.source)
        else:
            cell.source = (solved if left_out == "student" else blank)(cell.source).strip()
    cells = _badge(name, published) + cells
    name_cells(cells)
    notebook = nbformat.v4.new_notebook(cells=cells, metadata=METADATA)
    nbformat.validate(notebook)
    return notebook


def set_up(script: str, published: str) -> str:
    """The text of scripts/SCRIPT.py, with the project's address in it."""
    text = (ROOT / "scripts" / f"{script}.py").read_text(encoding="utf-8").strip()
    before = 'ADDRESS = ""'
    if text.count(before) != 1:
        raise ValueError(f"{script}.py: exactly one line {before}")
    return text.replace(before, f'ADDRESS = "{published}"')


def _from_the_lesson(experiment: str, part: str, first: str | None, last: str | None) -> str:
    found = [section for section in SECTIONS if section.name == experiment]
    if not found:
        names = ", ".join(section.name for section in SECTIONS)
        raise ValueError(f"lesson: one of {names}, not {experiment!r}")
    texts = getattr(found[0], part)
    if part == "setup":
        return "\n\n".join(texts)
    numbers = range(int(first or 1), int(last or len(texts)) + 1)
    if not numbers or numbers[0] < 1 or numbers[-1] > len(texts):
        raise ValueError(f"lesson: questions 1 to {len(texts)} {part} {experiment}, not {first} to {last}")
    return "\n".join(f"{number}. {texts[number - 1]}" for number in numbers)


def _badge(name: str, published: str) -> list[NotebookNode]:
    """A cell that opens the notebook on Colab, which reads from GitHub; none for another address or none."""
    project = re.fullmatch(r"https://github\.com/([^/]+/[^/]+?)(?:\.git)?/?", published)
    if project is None:
        return []
    page = f"https://colab.research.google.com/github/{project[1]}/blob/{BRANCH}/notebooks/{name}"
    picture = "https://colab.research.google.com/assets/colab-badge.svg"
    return [nbformat.v4.new_markdown_cell(f"[![Open in Colab]({picture})]({page})")]


def name_cells(cells: list[NotebookNode]) -> None:
    """Give every cell an id that depends on its text alone, so that an edit changes no other cell's."""
    seen: dict[str, int] = {}
    for cell in cells:
        digest = hashlib.sha256(f"{cell.cell_type}\n{cell.source}".encode()).hexdigest()[:12]
        seen[digest] = seen.get(digest, 0) + 1
        cell.id = digest if seen[digest] == 1 else f"{digest}-{seen[digest]}"


def main(check: bool) -> int:
    """Write the notebooks, or with `check` only name those that differ; the exit status."""
    published = address()
    wanted = {
        name: text_of(notebook) for source in sources() for name, notebook in built(source, published).items()
    }
    differ = [
        name
        for name, text in wanted.items()
        if not (NOTEBOOKS / name).exists() or (NOTEBOOKS / name).read_text(encoding="utf-8") != text
    ]
    orphans = [path.name for path in sorted(NOTEBOOKS.glob("*.ipynb")) if path.name not in wanted]
    for name in differ:
        if not check:
            (NOTEBOOKS / name).write_text(wanted[name], encoding="utf-8")
        print(f"notebooks/{name}: {'differs from its source' if check else 'written'}")
    for name in orphans:
        print(f"notebooks/{name}: has no source")
    return 1 if orphans or (check and differ) else 0


if __name__ == "__main__":
    sys.exit(main("--check" in sys.argv[1:]))
