"""Run notebooks from top to bottom: python scripts/run_notebooks.py [--out DIR] [--set NAME=VALUE ...] [FILE ...]

Without FILE all of notebooks/*.ipynb are run, at full size. --set changes a setting of their cell tagged
`parameters`; VALUE is a Python literal. The executed copies are written to DIR (default: executed-notebooks),
whose notebooks can be opened with Jupyter. The exit status is 1 if a cell of some notebook failed.
"""

import argparse
import ast
import re
import sys
from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from time import perf_counter
from typing import Any

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbformat import NotebookNode

ROOT = Path(__file__).resolve().parents[1]


def with_parameters(notebook: NotebookNode, parameters: Mapping[str, Any]) -> NotebookNode:
    """A copy with a cell after the one tagged `parameters` that sets some of its names.

    Raises:
        ValueError: where there is no such cell, or it does not set one of the names itself.
    """
    changed = deepcopy(notebook)
    if not parameters:
        return changed
    places = [
        place for place, cell in enumerate(changed.cells) if "parameters" in cell.metadata.get("tags", [])
    ]
    if len(places) != 1:
        raise ValueError(f"notebook: exactly one cell tagged parameters, not {len(places)}")
    there = re.findall(r"^(\w+) = ", changed.cells[places[0]].source, re.MULTILINE)
    if unknown := parameters.keys() - set(there):
        raise ValueError(f"parameters: {', '.join(sorted(there))}, not {', '.join(sorted(unknown))}")
    lines = "\n".join(f"{name} = {value!r}" for name, value in parameters.items())
    cell = nbformat.v4.new_code_cell(lines, metadata={"tags": ["injected-parameters"]})
    changed.cells.insert(places[0] + 1, cell)
    return changed


def executed(
    notebook: NotebookNode,
    folder: Path | str,
    parameters: Mapping[str, Any] | None = None,
    timeout: int = 600,
) -> NotebookNode:
    """A copy of the notebook with its outputs, run in a fresh kernel of this Python.

    Args:
        notebook: left unchanged.
        folder: the kernel's working folder.
        parameters: settings to change, by name.
        timeout: seconds that a cell may take.

    Raises:
        CellExecutionError: where a cell fails; `notebook` says which.
    """
    client = NotebookClient(
        with_parameters(notebook, parameters or {}),
        timeout=timeout,
        kernel_name="python3",
        extra_arguments=["--log-level=ERROR"],
        resources={"metadata": {"path": str(folder)}},
    )
    return client.execute()


def main(arguments: list[str]) -> int:
    """Run what the command line names; the exit status."""
    parser = argparse.ArgumentParser(description="Run notebooks from top to bottom.")
    parser.add_argument("--out", type=Path, default=ROOT / "executed-notebooks")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", dest="settings")
    parser.add_argument("files", nargs="*", type=Path)
    given = parser.parse_args(arguments)
    settings = (setting.partition("=") for setting in given.settings)
    parameters = {name: ast.literal_eval(value) for name, _, value in settings}
    given.out.mkdir(parents=True, exist_ok=True)
    failed = 0
    for file in given.files or sorted((ROOT / "notebooks").glob("*.ipynb")):
        notebook = nbformat.read(file, as_version=4)
        began = perf_counter()
        try:
            done = executed(notebook, file.resolve().parent, parameters)
        except CellExecutionError as error:
            print(f"{file.name}: failed\n{error}", file=sys.stderr)
            failed += 1
            continue
        nbformat.write(done, given.out / file.name)
        print(f"{file.name}: {perf_counter() - began:.1f} s, written to {given.out}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
