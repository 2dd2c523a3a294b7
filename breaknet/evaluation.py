"""`evaluate`: cost and accuracy of any number of models on one set of examples."""

from typing import Any

import torch

from .backends import select
from .backends.interface import Parameters, Scores
from .checkpoints import Checkpoints
from .inputs import ExamplesReader
from .model import MLP, PARAMETER_NAMES, hidden_widths, tensors_on_cpu
from .run import Evaluation


def evaluate(
    models: Any,
    data: Any,
    *,
    backend: str = "auto",
    device: str | torch.device = "auto",
    confusion: bool = False,
) -> Evaluation:
    """Cost, accuracy and, if asked, confusion counts of every model on `data`.

    Args:
        models: Checkpoints, one MLP, or a list of MLPs of the same widths.
        data: a Split or a pair (images, labels), as for `breaknet.train`.
        backend, device: as for `breaknet.train`.
        confusion: also count examples by true and predicted label.

    Returns:
        An Evaluation whose arrays have one entry for each model, in their order.

    Raises:
        TypeError, ValueError: for models or data of another kind or shape.
        BackendError: where a backend or device was named that cannot be used or cannot take these shapes.
    """
    with tensors_on_cpu():
        parameters = _parameters(models)
        if not isinstance(confusion, bool):
            raise TypeError(f"confusion: True or False, not {confusion!r}")
        usable = select.choices(backend, device)
        examples = ExamplesReader().read(data, "data")
        hidden = hidden_widths(parameters)
        obstacles = {choice.name: choice.backend.unsupported_hidden(hidden) for choice in usable}

        def evaluate_on(choice: select.Choice) -> Scores:
            scores: Scores = choice.backend.evaluate(parameters, examples, choice.device, confusion)
            return scores

        scores, used = select.run_on_first(usable, obstacles, backend != "auto", evaluate_on)
        return Evaluation(scores.cost, scores.accuracy, scores.confusion, used.name, str(used.device))


def _parameters(models: Any) -> Parameters:
    if isinstance(models, Checkpoints):
        return models.stacked
    if isinstance(models, MLP):
        models = [models]
    if not isinstance(models, (list, tuple)) or not all(isinstance(model, MLP) for model in models):
        raise TypeError(f"models: Checkpoints, an MLP or a list of MLPs, not a {type(models).__name__}")
    if not models:
        raise ValueError("models: at least one, not 0")
    widths = {model.hidden for model in models}
    if len(widths) > 1:
        raise ValueError(f"models: all of the same hidden widths, not {sorted(widths)}")
    states = [model.state_dict() for model in models]
    return {
        name: torch.stack([state[name].detach().to("cpu", torch.float32) for state in states])
        for name in PARAMETER_NAMES
    }
