"""Renew the line numbers of links to definitions in docs: python scripts/link_lines.py [--check]

A link such as [`Trainer.launch`](../kernels/host/trainers.py#L79) leads to the definition of its text in that file; one
whose text is the file's own name, such as [`tiles`](../kernels/host/tiles.py#L1), to its first line.
"""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LINK = re.compile(r"\[`([\w.]+)`\]\(([^)#]+\.py)#L\d+\)")


def definitions(path: Path) -> dict[str, int]:
    """The line of every function, class, method and module-level name of a file; of decorated ones, that of `def`."""
    found: dict[str, int] = {path.stem: 1, path.parent.name if path.stem == "__init__" else path.stem: 1}

    def visit(body: list[ast.stmt], prefix: str) -> None:
        for node in body:
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
                found[prefix + node.name] = node.lineno
                if isinstance(node, ast.ClassDef):
                    visit(node.body, f"{prefix}{node.name}.")
            elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                found[prefix + node.targets[0].id] = node.lineno
            elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                found[prefix + node.target.id] = node.lineno

    visit(ast.parse(path.read_text(encoding="utf-8")).body, "")
    return found


def renewed(page: Path) -> str:
    """The page with the lines as they are.

    Raises:
        ValueError: for a link to something that is not there.
    """

    def link(match: re.Match[str]) -> str:
        name, target = match.groups()
        path = (page.parent / target).resolve()
        lines = definitions(path) if path.exists() else {}
        if name not in lines:
            raise ValueError(f"{page.name}: {target} defines no {name}")
        return f"[`{name}`]({target}#L{lines[name]})"

    return LINK.sub(link, page.read_text(encoding="utf-8"))


def main(check: bool) -> int:
    pages = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("*/README.md")]
    stale = [page for page in pages if renewed(page) != page.read_text(encoding="utf-8")]
    for page in stale:
        if not check:
            page.write_text(renewed(page), encoding="utf-8")
        print(f"{page.relative_to(ROOT)}: {'stale lines' if check else 'renewed'}")
    return int(check and bool(stale))


if __name__ == "__main__":
    try:
        sys.exit(main("--check" in sys.argv[1:]))
    except ValueError as error:
        sys.exit(f"link_lines: {error}")
