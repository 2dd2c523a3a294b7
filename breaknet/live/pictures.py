"""The page's view of one network and its data, as JSON; images are base64 of bytes."""

from __future__ import annotations

import base64
import binascii
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import views
from ..data.splits import Split
from ..evaluation import evaluate
from ..model import MLP

#: Hidden units whose weights are shown, wrong digits, and training examples.
UNITS = 16
WRONG = 12
EXAMPLES = 20

#: The side of the drawing that the page sends, in pixels.
DRAWN_SIDE = 56


def of_network(model: MLP, valid: Split, backend: str = "auto", device: str = "auto") -> dict[str, Any]:
    """Pictures of a network: `confusion` [10][10] (true, predicted), `weights` of the first units, `wrong` digits.

    Weights are bytes: 0 the most negative, 128 zero, 255 the most positive of all that are shown, which is `largest`.
    """
    confusion = evaluate(model, valid, backend=backend, device=device, confusion=True).confusion
    assert confusion is not None
    weights = np.asarray(views.weight_images(model))[:UNITS]
    largest = float(np.abs(weights).max()) or 1.0
    wrong = views.confidently_wrong(model, valid, WRONG)
    return {
        "confusion": confusion[0].tolist(),
        "weights": {
            "images": [_text(np.rint(128 + 127 * one / largest)) for one in weights],
            "largest": largest,
        },
        "wrong": [
            {
                "image": _text(valid.images[one.index]),
                "label": int(one.label),
                "predicted": int(one.predicted),
                "output": round(float(one.output), 4),
            }
            for one in wrong
        ],
    }


def of_examples(train: Split, original: Split) -> list[dict[str, Any]]:
    """The first training examples, with the labels they were given; `true` is None where it cannot be told."""
    aligned = len(train) == len(original) and train.images is original.images
    return [
        {
            "image": _text(train.images[row]),
            "label": int(train.labels[row]),
            "true": int(original.labels[row]) if aligned else _label_of(train.images[row], original),
        }
        for row in range(min(EXAMPLES, len(train)))
    ]


def _label_of(image: NDArray[np.uint8], original: Split) -> int | None:
    """The label of the row of `original` that is this image; None for none, where the image itself was changed."""
    rows = np.flatnonzero(
        (original.images[:, 350:434] == image[350:434]).all(1)
    )  # three rows in the middle first
    rows = rows[(original.images[rows] == image).all(1)]
    return int(original.labels[rows[0]]) if len(rows) else None


def read_drawing(text: str) -> NDArray[np.uint8] | None:
    """The drawing in a page's message, centred as MNIST's digits are, uint8 [28, 28]; None for an empty one.

    Raises:
        TypeError, ValueError: for anything else than base64 of DRAWN_SIDE^2 bytes.
    """
    if not isinstance(text, str):
        raise TypeError(f"drawing: base64 text, not {text!r:.100}")
    if not text:
        return None
    try:
        grey = np.frombuffer(base64.b64decode(text, validate=True), np.uint8)
    except (binascii.Error, ValueError) as error:
        raise ValueError(f"drawing: base64 text, not {text!r:.100}") from error
    if len(grey) != DRAWN_SIDE**2:
        raise ValueError(f"drawing: {DRAWN_SIDE} x {DRAWN_SIDE} bytes, not {len(grey):,}")
    if not grey.any():
        return None
    return np.asarray(views.centre_digit(grey.reshape(DRAWN_SIDE, DRAWN_SIDE)), np.uint8)


def of_drawing(digit: NDArray[np.uint8], models: list[MLP | None]) -> dict[str, Any]:
    """The centred drawing and what each network's ten outputs say of it, None where there is no network."""
    outputs = [
        None if model is None else np.asarray(views.outputs(model, digit.reshape(1, -1)))[0].round(4).tolist()
        for model in models
    ]
    return {"image": _text(digit), "outputs": outputs}


def _text(image: NDArray[Any]) -> str:
    return base64.b64encode(np.asarray(image).astype(np.uint8).tobytes()).decode("ascii")
