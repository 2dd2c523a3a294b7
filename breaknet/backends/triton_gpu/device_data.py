"""Images and labels of all jobs on the device, each once: jobs that share a tensor share its upload."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..interface import Examples


@dataclass(frozen=True, eq=False)  # two are never equal: comparing them would compare their tensors
class DeviceData:
    """Where one set of examples lies: rows of `images` and entries of `labels` in the uploads of its dtype."""

    images: Tensor  # uint8 or float32 [M, K], the upload that all sets of this dtype share
    labels: Tensor  # int32 [L], likewise
    image_row: int
    label: int
    examples: int
    #: `columns` of all sets of this dtype, by image_row and examples.
    transposed: dict[tuple[int, int], Tensor] = field(default_factory=dict)

    def own(self) -> tuple[Tensor, Tensor]:
        """Views of this set's images [N, K] and labels [N]."""
        rows = slice(self.image_row, self.image_row + self.examples)
        return self.images[rows], self.labels[self.label : self.label + self.examples]

    def columns(self) -> Tensor:
        """This set's images as evaluation reads them, made once for all sets that share them."""
        from ...kernels.evaluation import image_columns

        key = self.image_row, self.examples
        if key not in self.transposed:
            self.transposed[key] = image_columns(self.own()[0])
        return self.transposed[key]


def upload(sets: Iterable[Examples], device: torch.device) -> dict[int, DeviceData]:
    """Copy every set to `device`; the result is by `id` of the set.

    One tensor of images for each dtype and one of labels, which hold each distinct tensor of the caller's once.
    """
    distinct = {id(examples): examples for examples in sets}
    uploaded: dict[int, DeviceData] = {}
    for dtype in (torch.uint8, torch.float32):
        chosen = {key: examples for key, examples in distinct.items() if examples.images.dtype == dtype}
        if not chosen:
            continue
        images, image_rows = _joined([examples.images for examples in chosen.values()], dtype, device)
        labels, label_starts = _joined([examples.labels for examples in chosen.values()], torch.int32, device)
        transposed: dict[tuple[int, int], Tensor] = {}
        for key, examples in chosen.items():
            row, start = image_rows[id(examples.images)], label_starts[id(examples.labels)]
            uploaded[key] = DeviceData(images, labels, row, start, len(examples.images), transposed)
    return uploaded


def _joined(tensors: list[Tensor], dtype: torch.dtype, device: torch.device) -> tuple[Tensor, dict[int, int]]:
    """The distinct tensors one below the other, contiguous, and the first row of each by its `id`."""
    distinct = {id(tensor): tensor for tensor in tensors}
    starts, rows = {}, 0
    for key, tensor in distinct.items():
        starts[key] = rows
        rows += len(tensor)
    only = next(iter(distinct.values()))
    if len(distinct) == 1 and only.device == device and only.dtype == dtype and only.is_contiguous():
        return only, starts  # already there: the kernels only read
    joined = torch.empty(rows, *only.shape[1:], dtype=dtype, device=device)
    for key, tensor in distinct.items():
        joined[starts[key] : starts[key] + len(tensor)].copy_(tensor, non_blocking=True)
    return joined, starts
