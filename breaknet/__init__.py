"""breaknet: what data does to a neural network, trained and broken in seconds.

import breaknet

digits = breaknet.load_mnist()
run = breaknet.train(digits.train, valid=digits.valid)
"""

from importlib.metadata import PackageNotFoundError, version

from .checkpoints import Checkpoints
from .data.breakage import shuffle_labels
from .data.mnist import load_mnist
from .data.splits import Digits, Split
from .errors import BackendError, DataError
from .evaluation import evaluate
from .model import MLP
from .run import Evaluation, Run
from .training import Job, train, train_many

try:
    __version__ = version("breaknet")
except PackageNotFoundError:  # a checkout that is not installed
    __version__ = "0+uninstalled"

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
    "evaluate",
    "load_mnist",
    "shuffle_labels",
    "train",
    "train_many",
]
