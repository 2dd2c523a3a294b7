"""Views of a network: its first weights as images, its outputs, its surest mistakes; and a digit centred.

Pictures, reports and drawing boards share them: arrays here, drawn elsewhere.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from .checkpoints import Checkpoints
from .data.splits import Split
from .inputs import ExamplesReader, check_count, read_images
from .model import INPUTS, torch_settings
from .run import Run

SIDE = 28
#: A digit's longer side in its 28 x 28 pixels, as MNIST has it.
DIGIT_SIDE = 20
#: Where MNIST's digits have their centres of mass, from the edge of the first pixel: in the middle of pixel 14.
CENTRE = 14.5
#: What is darker than this share of a picture's brightest pixel is taken for paper where a digit is cropped.
PAPER = 0.05

#: Images that are computed at once: their float32 pixels take 30 MiB.
_AT_ONCE = 10_000


@dataclass(frozen=True)
class Wrong:
    """An image that a network gets wrong."""

    index: int  #: its row in the split
    label: int
    predicted: int
    output: float  #: the largest of the ten outputs, that of `predicted`


def last_model(model: Any) -> nn.Module:
    """The model itself, or the last one of a Run or of Checkpoints.

    Raises:
        TypeError: for something else.
        ValueError: for a run or checkpoints without any epoch.
    """
    if isinstance(model, Run):
        model = model.checkpoints
    if isinstance(model, Checkpoints):
        if not len(model):
            raise ValueError("model: at least one checkpoint, not 0")
        return model[-1]
    if not isinstance(model, nn.Module):
        raise TypeError(f"model: an MLP, a Run or Checkpoints, not a {type(model).__name__}")
    return model


def weight_images(model: Any) -> NDArray[np.float32]:
    """The first layer's weights as images, as they are: float32 [H1, 28, 28], one for each unit.

    Args:
        model: an MLP; a Run or Checkpoints stand for their last model.
    """
    weights = last_model(model).get_parameter("hidden1.weight").detach().cpu().numpy()
    return np.array(weights, np.float32).reshape(-1, SIDE, SIDE)


def outputs(model: Any, images: Any) -> NDArray[np.float32]:
    """The values of the ten output units, float32 [N, 10], each in 0..1.

    Args:
        model: an MLP; a Run or Checkpoints stand for their last model.
        images: uint8 (meaning byte / 256) or floating (used as they are), [N, 784] or [N, 28, 28], or one
            image [28, 28].

    Raises:
        TypeError, ValueError: for a model or images of another kind or shape.
    """
    network = last_model(model)
    pixels = read_images(images, "images")
    if pixels.shape == (SIDE, SIDE):
        pixels = pixels[None]
    if pixels.shape[1:] not in ((INPUTS,), (SIDE, SIDE)):
        raise ValueError(f"images: shape [N, 784], [N, 28, 28] or [28, 28], not {list(pixels.shape)}")
    pixels = pixels.reshape(-1, INPUTS)
    scale = 256 if pixels.dtype == torch.uint8 else 1
    place = next((one.device for one in network.parameters()), torch.device("cpu"))
    parts = [np.empty((0, 10), np.float32)]
    with torch_settings(), torch.no_grad():
        for part in pixels.split(_AT_ONCE):
            found = network(part.to(place, torch.float32) / scale)
            parts.append(found.float().cpu().numpy())
    return np.concatenate(parts)


def confidently_wrong(model: Any, split: Any, count: int = 12) -> list[Wrong]:
    """The images that the model gets wrong, at most `count`, the strongest wrong output first.

    Args:
        model: an MLP; a Run or Checkpoints stand for their last model.
        split: a Split, or a pair (images, labels) as for `breaknet.train`.
        count: 1 or more.

    Raises:
        TypeError, ValueError: for arguments of another kind or value.
    """
    check_count(count, "count")
    examples = split if isinstance(split, Split) else ExamplesReader().read(split, "split")
    labels = np.asarray(torch.as_tensor(examples.labels).cpu())
    found = outputs(model, examples._images if isinstance(examples, Split) else examples.images)
    predicted = found.argmax(1)
    strength = np.where(predicted == labels, -np.inf, found.max(1))
    order = np.argsort(-strength, kind="stable")[:count]
    return [
        Wrong(int(row), int(labels[row]), int(predicted[row]), float(strength[row]))
        for row in order
        if predicted[row] != labels[row]
    ]


def centre_digit(grey: Any) -> NDArray[np.uint8]:
    """A digit as MNIST has it, uint8 [28, 28]: cropped, scaled to 20 x 20 keeping its shape, centred by mass.

    Args:
        grey: a grey picture of any size, [height, width], whole or floating numbers of 0 or more, ink bright on
            black. The brightest pixel becomes 255; a picture without any ink stays black.

    Raises:
        ValueError: for another shape, no pixels, or values that are negative or not finite.
    """
    picture = np.asarray(grey)
    if picture.ndim != 2 or not picture.size or picture.dtype.kind not in "buif":
        raise ValueError(f"grey: numbers [height, width], not {picture.dtype} {list(picture.shape)}")
    picture = picture.astype(np.float32)
    brightest = float(picture.max())
    if not (np.isfinite(picture).all() and picture.min() >= 0):
        raise ValueError("grey: finite values of 0 or more, but some are not")
    centred = np.zeros((SIDE, SIDE), np.uint8)
    if brightest == 0:
        return centred
    ink = picture > PAPER * brightest
    rows, columns = np.flatnonzero(ink.any(1)), np.flatnonzero(ink.any(0))
    cropped = picture[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    longer = max(cropped.shape)
    height, width = (max(1, round(DIGIT_SIDE * side / longer)) for side in cropped.shape)
    with torch_settings():
        scaled = nn.functional.interpolate(
            torch.from_numpy(np.ascontiguousarray(cropped))[None, None], (height, width),
            mode="bilinear", antialias=True, align_corners=False,
        )[0, 0].numpy()  # fmt: skip
    scaled = scaled * (255 / scaled.max())
    top, left = (
        min(max(round(CENTRE - _centre(scaled.sum(1 - axis))), 0), SIDE - scaled.shape[axis])
        for axis in (0, 1)
    )
    centred[top : top + height, left : left + width] = np.rint(scaled)
    return centred


def _centre(mass: NDArray[np.float32]) -> float:
    """The centre of mass along one axis, from the edge of the first pixel."""
    return float((mass @ (np.arange(len(mass)) + 0.5)) / mass.sum())
