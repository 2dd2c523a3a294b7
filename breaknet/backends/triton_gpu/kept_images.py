"""Images that `evaluate` leaves on the device for its next call: those that cannot have changed by then.

These are images that breaknet loaded and nobody was given (`Unseen`). All others are copied at every call: who has an
array can write to it, and who has a tensor can write to it past its version counter. Labels are always copied.
"""

from threading import Lock
from typing import NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from ...data.splits import Unseen
from ..interface import Examples
from .rounds import moved, upload

#: What is kept takes at most so many bytes, and at most this share of what is free on the GPU.
KEPT_BYTES = 256 * 2**20
KEPT_SHARE = 1 / 16


class Kept(NamedTuple):
    """Prepared images on the device, and which of the owner's they are."""

    place: tuple[object, ...]
    prepared: Tensor


#: One set of each owner, the oldest first. It goes with its owner.
KEPT: WeakKeyDictionary[Unseen, Kept] = WeakKeyDictionary()
KEEPING = Lock()  # for whoever changes it


def on_device(examples: Examples, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Images [N, K], the same as evaluation reads them, and labels [N], copied where they are not kept."""
    kept = KEPT.get(examples.unseen) if examples.unseen is not None else None
    if kept is None or kept.place != _place(examples, device):
        data = upload([examples], device)[id(examples)]
        images, labels = data.own()
        return images, data.prepared(), labels
    count, inputs = examples.images.shape
    # of images that are prepared only size and type are asked
    images = kept.prepared.flatten()[:1].expand(count, inputs)
    return images, kept.prepared, moved(examples.labels.to(torch.int32), device)


def keep(examples: Examples, prepared: Tensor) -> None:
    """Keep what `on_device` gave, if it may be and there is room; the device must have finished with it."""
    if examples.unseen is None:
        return
    with KEEPING:
        kept = KEPT.get(examples.unseen)
        if kept is not None and kept.prepared is prepared:
            return
        KEPT.pop(examples.unseen, None)
        room = _room(prepared.device)
        if prepared.nbytes <= room:
            while (oldest := next(iter(KEPT), None)) is not None and _taken() + prepared.nbytes > room:
                KEPT.pop(oldest, None)
            KEPT[examples.unseen] = Kept(_place(examples, prepared.device), prepared)


def _place(examples: Examples, device: torch.device) -> tuple[object, ...]:
    images = examples.images
    return device, images.data_ptr(), images.shape, images.stride()


def _taken() -> int:
    return sum(kept.prepared.nbytes for kept in KEPT.values())


def _room(device: torch.device) -> int:
    if device.type != "cuda":
        return KEPT_BYTES
    free, _ = torch.cuda.mem_get_info(device)
    return min(KEPT_BYTES, int(KEPT_SHARE * free))
