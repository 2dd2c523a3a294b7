"""`evaluate`: cost and accuracy of any number of models on one set of examples."""

import math
from collections.abc import Callable
from time import perf_counter
from typing import Any

import numpy as np
import torch
from torch import nn

from .backends import select
from .backends.interface import Parameters, Scores
from .backends.torch_backend import evaluate_modules, models_at_once
from .checkpoints import Checkpoints
from .errors import shown
from .fast_paths import difference_in_outputs
from .inputs import ExamplesReader, knows_other_names, with_labels
from .model import MLP, PARAMETER_NAMES, hidden_widths, torch_settings
from .progress import PATIENCE, TimeLeft, in_notebook, notices, open_bar
from .resources import evaluation_seconds
from .run import Evaluation, Run

#: Under a bar the models are evaluated in so many parts; below so many estimated seconds that is not worth its while.
_PARTS = 20
_WORTH_A_BAR = 2.0


@knows_other_names
def evaluate(
    models: Any,
    data: Any,
    labels: Any = None,
    *,
    backend: str = "auto",
    device: str | torch.device = "auto",
    confusion: bool = False,
    progress: bool | None = None,
) -> Evaluation:
    """Cost, accuracy and, if asked, confusion counts of every model on `data`.

    Images are copied to a GPU at every call, but for those of `load_mnist`: they stay there until somebody reads
    `images` of their Split, and with it gets an array to write to.

    Args:
        models: a Run or Checkpoints, one MLP, or a list of MLPs of the same widths. Models that may compute something
            else than an MLP does are called as they are, with one notice that names the reason.
        data: a Split or a pair (images, labels), as for `breaknet.train`.
        labels: the labels, where `data` is images alone.
        backend, device: as for `breaknet.train`.
        confusion: also count examples by true and predicted label.
        progress: None for a bar in a notebook where it takes seconds, and nothing elsewhere; True for a bar, False for
            silence.

    Returns:
        An Evaluation whose arrays have one entry for each model, in their order.

    Raises:
        TypeError, ValueError: for models or data of another kind or shape.
        BackendError: where a backend or device was named that cannot be used or cannot take these shapes.
    """
    with torch_settings():
        parameters, own, reason = _read_models(models)
        if not isinstance(confusion, bool):
            raise TypeError(f"confusion: True or False, not {shown(confusion)}")
        if progress is not None and not isinstance(progress, bool):
            raise TypeError(f"progress: None, True or False, not {shown(progress)}")
        usable = select.choices(backend, device)
        examples = ExamplesReader().read(with_labels(data, labels), "data")
        obstacles = {
            choice.name: choice.backend.unsupported_hidden(hidden_widths(parameters))
            if parameters is not None
            else (None if choice.name == "torch" else reason)
            for choice in usable
        }

        def evaluate_on(choice: select.Choice) -> Scores:
            def some(rows: slice) -> Scores:
                if parameters is None:
                    return evaluate_modules(own[rows], examples, choice.device, confusion)
                chosen = {name: tensor[rows] for name, tensor in parameters.items()}
                scores: Scores = choice.backend.evaluate(chosen, examples, choice.device, confusion)
                return scores

            count, block, seconds = len(own), 1, math.inf
            if parameters is not None:
                count, hidden = len(parameters["output.bias"]), hidden_widths(parameters)
                seconds = evaluation_seconds(choice.name, count, hidden, len(examples))
                block = models_at_once(hidden, len(examples)) if choice.name == "torch" else 1
            watched = progress or (progress is None and in_notebook() and seconds >= _WORTH_A_BAR)
            if watched and count:
                return _under_a_bar(some, count, block, asked=bool(progress))
            return some(slice(None))

        with notices(progress):
            scores, used = select.run_on_first(usable, obstacles, backend != "auto", evaluate_on)
        return Evaluation(scores.cost, scores.accuracy, scores.confusion, used.name, str(used.device))


def _under_a_bar(evaluate_some: Callable[[slice], Scores], count: int, block: int, asked: bool) -> Scores:
    """The scores of all models, some blocks at a time, under a bar: at once if asked for, else after a second."""
    began = perf_counter()
    parts: list[Scores] = []
    left = TimeLeft(count)
    bar = open_bar(count) if asked else None
    at_once = block * -(-count // (block * _PARTS))
    try:
        for low in range(0, count, at_once):
            parts.append(evaluate_some(slice(low, low + at_once)))
            done = min(count, low + at_once)
            if bar is None and perf_counter() - began >= PATIENCE:
                bar = open_bar(count, leave=False)
            if bar is not None:
                bar.show(f"evaluation, model {done:,} of {count:,}", done, left.after(done))
    finally:
        if bar is not None:
            bar.close()
    confusions = [part.confusion for part in parts if part.confusion is not None]
    return Scores(
        np.concatenate([part.cost for part in parts]),
        np.concatenate([part.accuracy for part in parts]),
        np.concatenate(confusions) if confusions else None,
    )


def _read_models(models: Any) -> tuple[Parameters | None, list[nn.Module], str | None]:
    """The parameters of all models, [C, ...]; or, where a model is not the lesson's, the modules and the reason."""
    if isinstance(models, Run):
        models = models.checkpoints
    if isinstance(models, Checkpoints):
        return models.stacked, [], None
    if isinstance(models, MLP):
        models = [models]
    known = isinstance(models, (list, tuple)) and all(isinstance(model, nn.Module) for model in models)
    if not known:
        raise TypeError(
            f"models: Checkpoints, a Run, an MLP or a list of MLPs, not a {type(models).__name__}"
        )
    if not models:
        raise ValueError("models: at least one, not 0")
    reason = next((found for found in map(difference_in_outputs, models) if found is not None), None)
    if reason is not None:
        return None, list(models), reason
    states = [dict(model.named_parameters(remove_duplicate=False)) for model in models]
    widths = {(len(state["hidden1.bias"]), len(state["hidden2.bias"])) for state in states}
    if len(widths) > 1:
        raise ValueError(f"models: all of the same hidden widths, not {sorted(widths)}")
    stacked = {
        name: torch.stack([state[name].detach().cpu() for state in states]) for name in PARAMETER_NAMES
    }
    return stacked, [], None
