"""The trainer's checks are worth something: each sabotaged kernel must fail them.

A sabotage edits the kernels' source in a copy under another name and runs the usual check, phase-split: a small network
whose widths are no powers of two, last batch partial, scratch full of NaN, neighbours in memory that must not be read.

Doubly protected, so that no test on results can notice one of the two missing: the label -1 of rows past the batch
(their deltas are not stored either), pixels of such rows (their d1 is zero), inputs past K and outputs past O (their
weights load as zero and are not stored). Units past H1 of W1 are stored back unchanged before their owners store,
where programs run one after another; on a GPU that would be a race. The order of memory operations, which the
interpreter does not model, is checked in the compiled code (`test_cooperative_barrier`).
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from trainer_cases import Problem, train_split

from breaknet.kernels.host.tiles import tile_config
from breaknet.kernels.jobs import Shape

SHAPE = Shape(37, 5, 18, 3)

SABOTAGES = {
    "gradient sign": ("split_training", "w1 -= rate", "w1 += rate"),
    "delta sign": ("training_step", "(a3 - target)", "(target - a3)"),
    "factor two": ("training_step", "2.0 * (a3", "1.0 * (a3"),
    "derivative of layer 1": ("training_step", "* sigmoid_derivative(a1)", "* a1"),
    "derivative of layer 2": ("training_step", "* sigmoid_derivative(a2)", "* a2"),
    "derivative of layer 3": ("training_step", "* sigmoid_derivative(a3)", "* a3"),
    "partial batch": ("split_training", "rows = tl.minimum(batch, examples - done)", "rows = batch"),
    "epoch's end": ("split_training", "done + batch >= examples", "done + batch > examples + batch"),
    "step within the epoch": ("split_training", "(step - epoch * steps) * batch", "0"),
    "labels of the first batch": (
        "split_training",
        "+ tl.load(table + LABEL) + done",
        "+ tl.load(table + LABEL)",
    ),
    "stale scratch rows": ("training_step", "mask=(row < rows)[:, None], other=0.0", "mask=None"),
    "slices past the last": ("training_step", "mask=(part < SLICES)[:, None, None] & ", "mask="),
    "mask of W2 and W3": (
        "training_step",
        "mask = (row < HEIGHT)[:, None] & (column < WIDTH)[None, :]",
        "mask = (row < 128)[:, None] & (column < 128)[None, :]",
    ),
    "bias as an input": ("training_step", "tl.where((column == INPUTS)[None, :], 1.0, x)", "x"),
    "pixel scale": ("training_step", "1.0 / 256", "1.0 / 255"),
    "b2 not updated": ("split_training", "b2 -= rate * for_b2", "b2 -= 0.0 * for_b2"),
    "b3 not updated": ("split_training", "b3 -= rate * for_b3", "b3 -= 0.0 * for_b3"),
    "stale W2": ("split_training", "store_matrix(live + W2, w2,", "store_matrix(live + W2, w2 + rate,"),
    "half of W2 on the way back": ("training_step", "tl.trans(w2))", "tl.trans(w2 * 0.5))"),
    "clock of phase 3": ("split_training", "1 if PHASE == 3 else 0", "1"),
}

#: Run by default, one for each kind of mistake; the others are slow.
QUICK = {
    "gradient sign",
    "derivative of layer 2",
    "partial batch",
    "epoch's end",
    "stale scratch rows",
    "slices past the last",
    "mask of W2 and W3",
    "bias as an input",
    "stale W2",
}

copies = 0


def sabotaged(folder: Path, repository: Path, module: str, old: str, new: str) -> ModuleType:
    """`host.trainers` of a copy of the kernels in which `old` reads `new` everywhere in one module."""
    global copies
    copies += 1
    name = f"sabotaged_kernels_{copies}"
    package = folder / name
    package.mkdir()
    for path in (repository / "kernels").rglob("*.py"):
        source = path.read_text(encoding="utf-8").replace("breaknet.kernels", name)
        if path.stem == module:
            assert old in source, f"nothing to sabotage: {module} has no {old!r}"
            source = source.replace(old, new)
        copy = package / path.relative_to(repository / "kernels")
        copy.parent.mkdir(exist_ok=True)
        copy.write_text(source, encoding="utf-8")
    return importlib.import_module(f"{name}.host.trainers")


def check(launch: ModuleType, device: torch.device) -> None:
    """Two epochs of two steps, the second of each on a partial batch."""
    config = tile_config(SHAPE, 16, 16)
    assert config.slices(SHAPE) == 3
    problem = Problem(SHAPE, 26, device=device)
    job = problem.job(batch=16, epochs=2, rate=0.5)
    problem.assert_trained(job, train_split(problem, config, [job], launch))


@pytest.fixture
def copy_folder(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for name in [name for name in sys.modules if name.startswith("sabotaged_kernels_")]:
        del sys.modules[name]


def test_the_unharmed_copy_passes(copy_folder, repository, device):
    check(sabotaged(copy_folder, repository, "split_training", "w1 -= rate", "w1 -= rate"), device)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in SABOTAGES]
)
def test_sabotage_is_noticed(name, copy_folder, repository, device):
    launch = sabotaged(copy_folder, repository, *SABOTAGES[name])
    with pytest.raises(AssertionError):
        check(launch, device)
