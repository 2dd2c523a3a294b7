"""Renew what documents say of the source: python scripts/renew_documents.py [--check]

* Lines: a link such as [`Checkpoints.save`](../breaknet/checkpoints.py#L68) leads to the definition of its text in that
  file; one whose text is the file's own name, such as [`tiles`](../kernels/host/tiles.py#L1), to its first line.
* Lists: between `<!-- files: FOLDER -->` and `<!-- end -->` stands every Python file of the folder (from the document's
  on) with the first line of its docstring or comment, its job.
"""

import ast
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LINK = re.compile(r"\[`([\w.]+)`\]\(([^)#]+\.py)#L\d+\)")
FILES = re.compile(r"(<!-- files: (\S+) -->\n)(?:(?!<!--).)*(<!-- end -->)", re.DOTALL)


def line_of(name: str, path: Path) -> int:
    """The line of `path` that defines `name`, by its last part."""
    if name == path.stem:
        return 1
    last = name.rpartition(".")[2]
    definition = re.compile(rf"\s*(?:def|class) {last}\b|{last}\b\s*[:=]")
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if definition.match(line):
            return number
    sys.exit(f"renew_documents: {path} defines no {name}")


def job_of(path: Path) -> str:
    """The first line of a file's docstring, or of its comment where it is a cell of a notebook."""
    text = path.read_text(encoding="utf-8")
    said = ast.get_docstring(ast.parse(text))
    if said is None and not text.startswith("# "):
        sys.exit(f"renew_documents: {path} begins with neither docstring nor comment")
    return (said or text.removeprefix("# ")).partition("\n")[0]


def list_of(folder: Path, page: Path) -> str:
    """The files of a folder and their jobs, linked from `page`."""
    paths = [path for path in sorted(folder.glob("*.py")) if path.stem != "__init__"]
    if not paths:
        sys.exit(f"renew_documents: {page} lists {folder}, where no Python file is")
    return "".join(
        f"* [`{path.name}`]({path.relative_to(page.parent).as_posix()}): {job_of(path)}\n" for path in paths
    )


def renewed(page: Path) -> str:
    """The text of a document with present lines and lists."""
    text = LINK.sub(
        lambda link: f"[`{link[1]}`]({link[2]}#L{line_of(link[1], page.parent / link[2])})",
        page.read_text(encoding="utf-8"),
    )
    if text.count("<!-- files: ") != len(FILES.findall(text)):
        sys.exit(f"renew_documents: {page} has a list without an end")
    return FILES.sub(lambda place: place[1] + list_of(page.parent / place[2], page) + place[3], text)


def main(check: bool) -> int:
    stale = 0
    for page in [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("*/README.md")]:
        text = renewed(page)
        if text != page.read_text(encoding="utf-8"):
            stale += 1
            print(f"{page.relative_to(ROOT)}: {'stale' if check else 'renewed'}")
            if not check:
                page.write_text(text, encoding="utf-8")
    return int(check and stale > 0)


if __name__ == "__main__":
    sys.exit(main("--check" in sys.argv[1:]))
