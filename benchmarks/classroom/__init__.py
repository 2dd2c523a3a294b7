"""The lesson as a classroom notebook in plain PyTorch, and the same notebook with breaknet's drop-in names.

done = run(drop_in(), data_file, epochs_all=100, epochs_few=1000)
done.lists["cost_train"], done.seconds
"""

import ast
import gzip
import json
import pickle
import tempfile
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import jupytext
import nbformat
import numpy as np
from nbformat import NotebookNode

from breaknet import Digits, Split
from scripts.run_notebooks import executed

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
    ready = deepcopy(notebook)
    lists = ", ".join(f"{name!r}: {name}" for name in LISTS)
    ready.cells.append(nbformat.v4.new_code_cell(f"import json\n\nprint(json.dumps({{{lists}}}))"))
    with tempfile.TemporaryDirectory() as folder:
        began = perf_counter()
        done = executed(ready, folder, {"data_file": str(data_file), **parameters}, timeout)
        seconds = perf_counter() - began
    found = json.loads(done.cells.pop().outputs[0].text)
    return Done(done, found, seconds)


def names_of(notebook: NotebookNode) -> dict[str, Any]:
    """What the notebook's imports, classes and functions give, by name: its cells up to the data are run here."""
    space: dict[str, Any] = {}
    for cell in notebook.cells:
        if cell.source.startswith(("import ", "device =")) or _defines(cell):
            exec(compile(cell.source, str(SOURCE), "exec"), space)
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
