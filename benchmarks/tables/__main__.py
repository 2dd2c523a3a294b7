"""`python -m benchmarks.tables`: write every measured figure of the documents anew, from stored rows only."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from functools import partial

from benchmarks.tables import plots
from benchmarks.tables.contents import CONTENTS, Sources
from benchmarks.tables.documents import ROOT, documents, rendered
from breaknet.errors import DataError


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns 1, with a line for each document that differs, where only to check; else 0."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tables", description=__doc__)
    parser.add_argument("--check", action="store_true", help="only say which documents differ from the rows")
    only_check = parser.parse_args(arguments).check
    try:
        sources = Sources.stored()
        write = {name: partial(content, sources) for name, content in CONTENTS.items()}
        new = {path: rendered(path.read_text(encoding="utf-8"), write) for path in documents()}
    except (DataError, ValueError) as error:
        print(f"tables: {error}", file=sys.stderr)
        return 1
    different = [path for path, text in new.items() if path.read_text(encoding="utf-8") != text]
    names = [str(path.relative_to(ROOT)) for path in different]
    names += [f"docs/images/{name}.svg" for name in plots.different(sources.evidence)]
    if only_check:
        for name in names:
            print(f"{name}: not what the rows give; run python -m benchmarks.tables", file=sys.stderr)
        return 1 if names else 0
    for path in different:
        path.write_text(new[path], encoding="utf-8")
    plots.write(sources.evidence)
    for name in names:
        print(f"{name}: written anew")
    return 0


if __name__ == "__main__":
    sys.exit(main())
