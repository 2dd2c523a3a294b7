"""Notebooks run for tests: several in one kernel, and what their cells put out."""

from copy import deepcopy
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from scripts.run_notebooks import executed


def run_in_one_kernel(notebooks: list[NotebookNode], folder: Path) -> list[NotebookNode]:
    """Executed copies, run one after another in one kernel, each with an empty namespace.

    A kernel's imports take longer than most notebooks; what a notebook forgets to import or define is still missed.
    """
    cells = []
    for notebook in notebooks:
        cells += [nbformat.v4.new_code_cell("%reset_selective -f ."), *deepcopy(notebook.cells)]
    for number, cell in enumerate(cells):
        cell.id = f"cell-{number}"
    done = executed(nbformat.v4.new_notebook(cells=cells), folder).cells
    found = []
    for notebook in notebooks:
        found.append(nbformat.v4.new_notebook(cells=done[1 : 1 + len(notebook.cells)]))
        done = done[1 + len(notebook.cells) :]
        assert not [one for one in outputs(found[-1]) if one.output_type == "error"]
    return found


def outputs(notebook: NotebookNode) -> list[NotebookNode]:
    return [output for cell in notebook.cells for output in cell.get("outputs", [])]


def pictures(notebook: NotebookNode) -> int:
    return sum("image/png" in output.get("data", {}) for output in outputs(notebook))


def printed(notebook: NotebookNode, stream: str = "stdout") -> str:
    return "".join(output.text for output in outputs(notebook) if output.get("name") == stream)


def shown(notebook: NotebookNode, kind: str = "text/markdown") -> list[str]:
    """The results of cells, in one of their forms."""
    return [output.data[kind] for output in outputs(notebook) if kind in output.get("data", {})]
