"""The classroom notebook in plain PyTorch against the same with breaknet's drop-in names: whole, and by function.

The whole notebooks are run from top to bottom, their figures drawn. Of `train_model` the plain one is timed for a
few epochs and counted up to as many as the drop-in's, which has costs of starting that are shared by all epochs.
"""

import contextlib
import io
import tempfile
from collections.abc import Callable
from functools import cached_property, partial
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.measure import Contender, Context, Missing, Ready

#: Of whole notebooks; single functions need nothing.
NEEDS = ("jupytext", "nbclient", "ipykernel", "matplotlib", "scipy")

#: Epochs of the two long runs and of the run on 100 examples.
WHOLE = {"rehearse": (2, 3), "quick": (2, 20), "full": (100, 1000)}
#: Epochs that a call of train_model makes: the plain one, the drop-in.
TRAINED = {"rehearse": (1, 2), "quick": (1, 20), "full": (2, 100)}

TITLES = {"original": "the notebook as written", "drop-in": "the notebook with breaknet's names"}


def contenders(context: Context) -> list[Contender]:
    stage = Stage(context)
    long, few = WHOLE[context.size.name]
    whole = f"the classroom notebook from top to bottom ({long}, {long} and {few} epochs)"
    kinds: dict[str, tuple[str, Callable[[str], Ready], int | None]] = {
        "whole": (whole, stage.whole, 1),
        "train_model": ("one epoch of train_model, all training and validation images", stage.train_model, 3),
        "accuracy": ("accuracy of one model on all training images", stage.accuracy, None),
    }
    numba = () if context.gpu else ("numba",)
    return [
        Contender(
            f"classroom/{context.device}/{name}/{version}", "classroom", title, work, f"classroom/{name}",
            partial(prepare, version), (*(NEEDS if name == "whole" else ()), *numba), repeats,
        )
        for name, (work, prepare, repeats) in kinds.items()
        for version, title in TITLES.items()
    ]  # fmt: skip


class Stage:
    """Notebooks and data for all contenders, made when first asked for; the notebooks pick the device themselves."""

    def __init__(self, context: Context) -> None:
        self.context = context

    @cached_property
    def notebooks(self) -> dict[str, Any]:
        return {"original": classroom().original(), "drop-in": classroom().drop_in()}

    @cached_property
    def names(self) -> dict[str, dict[str, Any]]:
        """Each notebook's train_model, accuracy and so on."""
        with contextlib.redirect_stdout(io.StringIO()):
            found = {version: classroom().names_of(version) for version in TITLES}
        for space in found.values():
            if space["device"].type != self.context.place.type:
                raise Missing(f"the notebook would run on {space['device']}, not on {self.context.place}")
        return found

    @cached_property
    def arrays(self) -> tuple[np.ndarray, ...]:
        """Images and labels to train on, and to validate with."""
        splits = self.context.data.train, self.context.data.valid
        return tuple(array for split in splits for array in classroom().as_float(split))

    @cached_property
    def data_file(self) -> Path:
        self._folder = tempfile.TemporaryDirectory()  # is deleted with the stage
        return classroom().write_pickle(self.context.data, Path(self._folder.name) / "mnist.pkl.gz")

    @cached_property
    def agreed(self) -> bool:
        """Both train_model give the same costs. Raises AssertionError if they do not."""
        plain, ours = (self._train(version, 2, 1_000) for version in TITLES)
        for found, expected in zip(ours, plain, strict=True):
            np.testing.assert_allclose(found, expected, rtol=1e-4)
        return True

    def whole(self, version: str) -> Ready:
        assert self.agreed
        epochs_all, epochs_few = WHOLE[self.context.size.name]
        conditions = {
            "batch": 100,
            "epochs": [epochs_all, epochs_all, epochs_few],
            "images": len(self.arrays[1]),
        }
        file = self.data_file

        def once() -> None:
            done = classroom().run(
                self.notebooks[version], file, epochs_all=epochs_all, epochs_few=epochs_few
            )
            assert len(done.lists["accuracy_valid_few"]) == epochs_few
            assert all(np.isfinite(values).all() for values in done.lists.values())

        parts = "a kernel's start, imports, reading the data, all cells, figures", "downloads"
        return Ready(once, conditions=conditions, timed=parts)

    def train_model(self, version: str) -> Ready:
        assert self.agreed
        epochs = TRAINED[self.context.size.name][version == "drop-in"]
        run = partial(self._train, version, epochs)
        run()
        conditions = {"batch": 100, "epochs": epochs, "images": len(self.arrays[1])}
        conditions["extrapolated"] = version == "original"
        return Ready(
            run,
            epochs,
            conditions=conditions,
            timed=("train_model, its prints", "reading the data, compiling"),
        )

    def accuracy(self, version: str) -> Ready:
        names, (images, labels, *_) = self.names[version], self.arrays
        torch.manual_seed(0)
        model = names["NN_Model"]().to(names["device"])
        with torch.no_grad():
            prediction = model(torch.as_tensor(images).to(names["device"]))
        target = names["get_target"](labels)
        shares = {space["accuracy"](prediction, target) for space in self.names.values()}
        assert len(shares) == 1, f"accuracies {sorted(shares)}"
        conditions = {"batch": len(labels), "images": len(labels)}
        parts = "accuracy", "the model's outputs, the one-hot targets"
        return Ready(partial(names["accuracy"], prediction, target), conditions=conditions, timed=parts)

    def _train(self, version: str, epochs: int, images: int | None = None) -> tuple[list[float], list[float]]:
        names, (train, labels, valid, valid_labels) = self.names[version], self.arrays
        torch.manual_seed(0)
        model = names["NN_Model"]().to(names["device"])
        with contextlib.redirect_stdout(io.StringIO()):
            cost_valid, cost_train, _ = names["train_model"](
                epochs, 100, 0.05, train[:images], labels[:images], model, valid, valid_labels
            )
        return cost_valid, cost_train


def classroom() -> Any:
    """The notebooks' module, imported late: scripts are imported nowhere else here."""
    return import_module("benchmarks.classroom")
