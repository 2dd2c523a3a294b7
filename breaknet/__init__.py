"""breaknet: what data does to a neural network, trained and broken in seconds.

    import breaknet

    digits = breaknet.load_mnist()
    run = breaknet.train(digits.train, valid=digits.valid)

The files:

* `training`, `evaluation`, `run`: `train` and `train_many`, `evaluate`, and what they return
* `model`, `checkpoints`, `reference`: the network; its parameters after every epoch; the exact step in any dtype
* `inputs`, `resources`, `errors`: checks of arguments; estimates of memory and time; errors of breaknet's own
* `fast_paths`, `failures`: whether a fast backend gives what PyTorch would; warnings of stuck and diverged runs
* `progress`, `quantities`: bars and notices; counts and times as text
* `versions`, `files`: packages that change a result; output files, whole or not at all
* `curves`, `html`, `views`: `plot`; data and runs in a notebook's cell; what a network sees, as arrays
* `notebook`: the names of the original classroom notebook
* `data/`, `breakage/`: labelled images; ways to break them
* `backends/`, `kernels/`: implementations of training and evaluation; Triton kernels
* `sweeps/`, `lesson/`, `live/`: grids of networks; the experiments and the report; the page of `breaknet play`
* `cli/`: the command line
"""

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .breakage import break_data, shuffle_labels
    from .checkpoints import Checkpoints
    from .curves import plot
    from .data.mnist import load_mnist
    from .data.photos import read_image
    from .data.splits import Digits, Split
    from .errors import BackendError, DataError
    from .evaluation import evaluate
    from .lesson.pictures import plot_confusion, plot_digit, plot_mistakes, plot_weights
    from .live.widget import play
    from .model import MLP
    from .run import Evaluation, Run
    from .sweeps.runner import SweepResult, sweep
    from .training import Job, train, train_many

try:
    __version__ = version("breaknet")
except PackageNotFoundError:  # a checkout that is not installed
    __version__ = "0+uninstalled"

# Imported when first asked for: most of these import torch, which takes seconds, and `breaknet --help` or the
# drawing of figures need none of it.
_HOMES = {
    "MLP": "model",
    "BackendError": "errors",
    "Checkpoints": "checkpoints",
    "DataError": "errors",
    "Digits": "data.splits",
    "Evaluation": "run",
    "Job": "training",
    "Run": "run",
    "Split": "data.splits",
    "SweepResult": "sweeps.runner",
    "break_data": "breakage",
    "evaluate": "evaluation",
    "load_mnist": "data.mnist",
    "play": "live.widget",
    "plot": "curves",
    "plot_confusion": "lesson.pictures",
    "plot_digit": "lesson.pictures",
    "plot_mistakes": "lesson.pictures",
    "plot_weights": "lesson.pictures",
    "read_image": "data.photos",
    "shuffle_labels": "breakage",
    "sweep": "sweeps.runner",
    "train": "training",
    "train_many": "training",
}

__all__ = [
    "MLP",
    "BackendError",
    "Checkpoints",
    "DataError",
    "Digits",
    "Evaluation",
    "Job",
    "Run",
    "Split",
    "SweepResult",
    "break_data",
    "evaluate",
    "load_mnist",
    "play",
    "plot",
    "plot_confusion",
    "plot_digit",
    "plot_mistakes",
    "plot_weights",
    "read_image",
    "shuffle_labels",
    "sweep",
    "train",
    "train_many",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(import_module(f".{_HOMES[name]}", __name__), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
