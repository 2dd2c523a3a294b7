"""The lesson as a classroom notebook in plain PyTorch, and the same notebook with breaknet's drop-in names.

done = run(drop_in(), data_file, epochs_all=100, epochs_few=1000)
done.lists["cost_train"], done.seconds

`notebook.py` is its source. Its functions can be taken out where nothing that runs notebooks is installed.
"""

from __future__ import annotations

import ast
import gzip
import json
import pickle
import tempfile
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np

from breaknet import Digits, Split

if TYPE_CHECKING:
    from nbformat import NotebookNode

SOURCE = Path(__file__).parent / "notebook.py"

#: The classroom notebook's own names that breaknet.notebook takes over.
NAMES = (
    "NN_Model", "accuracy", "activation_func", "cost_func", "get_digit", "get_target", "train_model",
)  # fmt: skip

#: The lists that the notebook comes to: costs [epochs], and accuracies [epochs] in 0..1.
LISTS = (
    "cost_valid", "cost_train", "cost_valid_bad", "cost_train_bad", "cost_valid_few", "cost_train_few",
    "accuracy_train_bad", "accuracy_valid_bad", "accuracy_train_few", "accuracy_valid_few",
)  # fmt: skip


@dataclass(frozen=True)
class Done:
    """A notebook that has been run."""

    notebook: NotebookNode  # with its outputs
    lists: dict[str, list[float]]  # by LISTS
    seconds: float  # from the kernel's start to its end


def original() -> NotebookNode:
    """The notebook as a teacher would have written it."""
    import jupytext

    return jupytext.read(SOURCE, fmt="py:percent")


def drop_in() -> NotebookNode:
    """The same, with the cells that define `NAMES` deleted and a line added to its imports; no other change."""
    notebook = original()
    notebook.cells = [cell for cell in notebook.cells if not _defines(cell) & set(NAMES)]
    imports = next(cell for cell in notebook.cells if cell.cell_type == "code")
    imports.source += f"\n\nfrom breaknet.notebook import {', '.join(NAMES)}"
    return notebook


def _defines(cell: NotebookNode) -> set[str]:
    """The names of the classes and functions of a cell that holds nothing else."""
    statements = ast.parse(cell.source).body if cell.cell_type == "code" else []
    names = {
        statement.name for statement in statements if isinstance(statement, (ast.ClassDef, ast.FunctionDef))
    }
    return names if len(names) == len(statements) else set()


def run(notebook: NotebookNode, data_file: Path, timeout: int = 3600, **parameters: Any) -> Done:
    """Run the notebook in a kernel of its own.

    Args:
        notebook: `original()` or `drop_in()`.
        data_file: what `write_pickle` wrote.
        timeout: seconds that a cell may take.
        parameters: epochs_all, epochs_few, learning_rate.

    Raises:
        CellExecutionError: where a cell fails.
    """
    import nbformat

    from scripts.run_notebooks import executed

    ready = deepcopy(notebook)
    lists = ", ".join(f"{name!r}: {name}" for name in LISTS)
    ready.cells.append(nbformat.v4.new_code_cell(f"import json\n\nprint(json.dumps({{{lists}}}))"))
    with tempfile.TemporaryDirectory() as folder:
        began = perf_counter()
        done = executed(ready, folder, {"data_file": str(data_file), **parameters}, timeout)
        seconds = perf_counter() - began
    found = json.loads(done.cells.pop().outputs[0].text)
    return Done(done, found, seconds)


def names_of(version: str) -> dict[str, Any]:
    """The names that the imports, classes and functions of the "original" or of the "drop-in" define.

    An import that is not installed is left out: training and accuracy use torch alone.
    """
    space: dict[str, Any] = {}
    for statement in ast.parse(SOURCE.read_text(encoding="utf-8")).body:
        names = {
            one.id
            for target in getattr(statement, "targets", ())
            for one in ast.walk(target)
            if isinstance(one, ast.Name)
        }
        if not isinstance(
            statement, (ast.Import, ast.ImportFrom, ast.ClassDef, ast.FunctionDef)
        ) and names != {"device"}:
            continue
        if version == "drop-in" and getattr(statement, "name", None) in NAMES:
            continue
        with suppress(ImportError):
            exec(compile(ast.Module([statement], []), str(SOURCE), "exec"), space)
    if version == "drop-in":
        exec(f"from breaknet.notebook import {', '.join(NAMES)}", space)
    return space


def as_float(split: Split) -> tuple[np.ndarray, np.ndarray]:
    """Images float32 [N, 784] and labels int64 [N], as the notebook has them."""
    return split.images.astype(np.float32) / 256, split.labels.astype(np.int64)


def write_pickle(digits: Digits, path: Path) -> Path:
    """Write the digits as an mnist.pkl.gz, the file that the notebook reads; returns `path`."""
    parts = tuple(as_float(split) for split in (digits.train, digits.valid, digits.test))
    with gzip.open(path, "wb", compresslevel=1) as file:
        pickle.dump(parts, file, protocol=4)
    return path
