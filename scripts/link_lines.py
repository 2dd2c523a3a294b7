"""Renew the line numbers of links to definitions in the documents: python scripts/link_lines.py [--check]

A link such as [`Checkpoints.save`](../breaknet/checkpoints.py#L68) leads to the definition of its text in that file;
one whose text is the file's own name, such as [`tiles`](../kernels/host/tiles.py#L1), to its first line.
"""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LINK = re.compile(r"\[`([\w.]+)`\]\(([^)#]+\.py)#L\d+\)")


def line_of(name: str, path: Path) -> int:
    """The line of `path` that defines `name`, by its last part."""
    if name == path.stem:
        return 1
    last = name.rpartition(".")[2]
    definition = re.compile(rf"\s*(?:def|class) {last}\b|{last}\b\s*[:=]")
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if definition.match(line):
            return number
    sys.exit(f"link_lines: {path} defines no {name}")


def main(check: bool) -> int:
    stale = 0
    for page in [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("*/README.md")]:
        text = page.read_text(encoding="utf-8")
        renewed = LINK.sub(
            lambda link, page=page: f"[`{link[1]}`]({link[2]}#L{line_of(link[1], page.parent / link[2])})",
            text,
        )
        if renewed != text:
            stale += 1
            print(f"{page.relative_to(ROOT)}: {'stale lines' if check else 'renewed'}")
            if not check:
                page.write_text(renewed, encoding="utf-8")
    return int(check and stale > 0)


if __name__ == "__main__":
    sys.exit(main("--check" in sys.argv[1:]))
