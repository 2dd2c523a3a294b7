"""The results of training and of evaluation: `Run` and `Evaluation`."""

import csv
import io
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from . import html
from .checkpoints import Checkpoints
from .data.splits import Split
from .files import check_output_file, open_plain, written_whole
from .inputs import checked_images
from .model import MLP, torch_settings
from .quantities import number_of

CURVES = ("train_cost", "valid_cost", "train_accuracy", "valid_accuracy")

_IMAGES_AT_ONCE = 8192


@dataclass(frozen=True, eq=False)
class Run:
    """One training run: its curves, a checkpoint of every epoch, and how it was made.

    Entry e of a curve was taken after epoch e (the first is epoch 0). A run that diverged holds the epochs
    before `diverged_at`, the epoch at whose end some parameter was no longer finite.

    From the end of epoch `stuck_at` on the network learns nothing any more: the outputs, or a whole hidden layer, are
    saturated for nearly every image, so that gradients vanish, and the cost is no better than the best constant
    answer's. None if it recovers, and for a run that diverged.
    """

    train_cost: NDArray[np.float64]  #: [epochs], mean over examples of the summed squared error
    valid_cost: NDArray[np.float64] | None  #: the same on the validation examples; None without any
    train_accuracy: NDArray[np.float64]  #: [epochs], share of examples predicted correctly, 0..1
    valid_accuracy: NDArray[np.float64] | None
    checkpoints: Checkpoints  #: one for each epoch
    backend: str  #: "torch", "numba" or "triton"
    plan: str  #: how the backend ran it, one of its PLANS
    device: str  #: a torch device, such as "cpu" or "cuda:0"
    seconds: dict[str, float] = field(default_factory=dict)  #: compile, transfer, training, evaluation, total
    diverged_at: int | None = None
    stuck_at: int | None = None

    def __repr__(self) -> str:
        end = "finished"
        if self.diverged_at is not None:
            end = f"diverged at epoch {self.diverged_at}"
        elif self.stuck_at is not None:
            end = f"stuck from epoch {self.stuck_at} on"
        cost = f", train cost {self.train_cost[-1]:.4f}" if len(self.train_cost) else ""
        epochs = number_of(len(self.train_cost), "epoch")
        return f"Run({epochs}{cost}, {end}, {self.backend} on {self.device})"

    @property
    def epoch_numbers(self) -> NDArray[np.int64]:
        """The epochs, from 0, after which the curves' entries were taken; all of them unless the job had an `every`."""
        every = int(self.checkpoints.metadata.get("every", 1))
        return (np.arange(len(self.train_cost), dtype=np.int64) + 1) * every - 1

    @property
    def model(self) -> MLP:
        """The network after the last epoch that was kept, a copy.

        Raises:
            ValueError: for a run that diverged in its first epoch.
        """
        if not len(self.checkpoints):
            raise ValueError("model: none was kept, since the run diverged in its first epoch")
        return self.checkpoints[-1]

    def predict(self, images: Any) -> Any:
        """The digits that `model` takes images for: labels int64 [N], or one number for one image.

        Args:
            images: a Split, or images as for `breaknet.train`, [N, 784] or [N, 28, 28]; one image is [784] or [28, 28].

        Raises:
            TypeError, ValueError: for images of another kind, and for a run without a model.
        """
        images = images._images if isinstance(images, Split) else images
        single = tuple(getattr(images, "shape", ())) in ((784,), (28, 28))
        checked = checked_images(images[None] if single else images, "images").cpu()
        model = self.model
        with torch_settings(), torch.no_grad():
            parts = [model(part).argmax(1) for part in checked.split(_IMAGES_AT_ONCE)]
            labels = torch.cat(parts).numpy() if len(checked) else np.empty(0, np.int64)
        return labels[0] if single else labels

    def plot(self) -> Any:
        """Cost and accuracy against epochs, a matplotlib Figure; `breaknet.plot` draws several runs in one."""
        from .curves import plot

        return plot(self)

    def to_dict(self) -> dict[str, Any]:
        """Everything but the parameters, in types that JSON knows: curves as lists, settings, what happened."""
        curves = {name: getattr(self, name) for name in CURVES}
        return {
            "epoch": self.epoch_numbers.tolist(),
            **{name: None if curve is None else curve.tolist() for name, curve in curves.items()},
            "diverged_at": self.diverged_at,
            "stuck_at": self.stuck_at,
            "backend": self.backend,
            "plan": self.plan,
            "device": self.device,
            "seconds": dict(self.seconds),
            "settings": dict(self.checkpoints.metadata),
        }

    def to_csv(self, path: str | os.PathLike[str]) -> None:
        """Write the curves as CSV, one row an epoch, whole or not at all; empty cells without validation data.

        Raises:
            DataError: where the file cannot be written, or one is there that holds other things than such curves.
        """
        target, _ = check_output_file(path, _is_table_of_curves, name="path", force=None)
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(_HEADER)
        missing = [None] * len(self.train_cost)
        curves = [getattr(self, name) for name in CURVES]
        columns = [missing if curve is None else curve.tolist() for curve in curves]
        writer.writerows(zip(self.epoch_numbers.tolist(), *columns, strict=True))
        with written_whole(target) as unfinished:
            unfinished.write_text(text.getvalue(), encoding="utf-8")

    def _repr_html_(self) -> str:
        last = {
            name.replace("_", " "): float(curve[-1])
            for name in CURVES
            if (curve := getattr(self, name)) is not None and len(curve)
        }
        parts = [
            html.facts(
                {
                    name: f"{100 * value:.1f} %" if "accuracy" in name else f"{value:.4f}"
                    for name, value in last.items()
                }
            )
        ]
        if self.diverged_at is not None:
            parts.append(html.warning(f"diverged at epoch {self.diverged_at}"))
        elif self.stuck_at is not None:
            parts.append(
                html.warning(f"learned nothing from epoch {self.stuck_at} on: its sigmoids are saturated")
            )
        if len(self.train_cost):
            epochs = self.epoch_numbers
            parts.append(html.curves(epochs, self.train_cost, self.valid_cost, "cost"))
            parts.append(
                html.curves(epochs, self.train_accuracy, self.valid_accuracy, "accuracy", percent=True)
            )
        settings = self.checkpoints.metadata
        known = ("hidden", "learning_rate", "batch_size", "breakage")
        parts.append(html.facts({name.replace("_", " "): settings.get(name, "") for name in known}))
        return html.page(f"{len(self.train_cost)} epochs, {self.backend} on {self.device}", *parts)


_HEADER = ("epoch", *CURVES)


def _is_table_of_curves(path: Path) -> bool:
    with open_plain(path) as file:
        return file.readline(1000).decode(errors="replace").rstrip() == ",".join(_HEADER)


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Cost and accuracy of C models on one set of examples."""

    cost: NDArray[np.float64]  #: [C], mean over examples of the summed squared error
    accuracy: NDArray[np.float64]  #: [C], in 0..1; of equal largest outputs the first counts
    confusion: NDArray[np.int64] | None = None  #: [C, 10, 10]: examples by true and by predicted label
    backend: str = ""
    device: str = ""

    def __repr__(self) -> str:
        count = len(self.cost)
        if not count:
            return "Evaluation(no models)"
        last = f"cost {self.cost[-1]:.4f}, accuracy {100 * self.accuracy[-1]:.2f} %"
        best = int(self.cost.argmin())
        if count == 1:
            return f"Evaluation(1 model: {last})"
        return f"Evaluation({count} models, the last: {last}; lowest cost {self.cost[best]:.4f} at {best})"

    def _repr_html_(self) -> str:
        parts = []
        if len(self.cost) > 1:
            places = np.arange(len(self.cost))
            parts.append(html.curves(places, self.cost, None, "cost by model"))
            parts.append(html.curves(places, self.accuracy, None, "accuracy by model", percent=True))
        if self.confusion is not None and len(self.confusion):
            rows = [(str(label), *map(str, row)) for label, row in enumerate(self.confusion[-1].tolist())]
            parts.append("<div>last model, rows: true labels, columns: answers</div>")
            parts.append(html.table(("", *map(str, range(10))), rows))
        return html.page(
            repr(self)[len("Evaluation(") : -1],
            *parts,
            html.facts({"backend": self.backend, "device": self.device}),
        )
