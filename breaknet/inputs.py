"""Checks of what a caller hands to `train` and `evaluate`; data of every form becomes `Examples`."""

import inspect
import logging
import math
import warnings
from collections.abc import Callable
from difflib import get_close_matches
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import numpy as np
import torch
from torch import Tensor

from .backends.interface import Examples
from .data.splits import Digits, Split
from .errors import shown
from .model import INPUTS, OUTPUTS

#: Floats that reach this are hardly pixels of about 0 to 1, whatever their mean and deviation were made.
_LIKE_BYTES = 100

_log = logging.getLogger("breaknet")

_NUMPY_TYPES = {torch.float32: np.float32, torch.int64: np.int64}

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")

#: What other libraries call arguments, by the names that they have here; of several, the one that a function takes.
_OTHER_NAMES = {
    "learning_rate": "lr rate eta alpha step_size stepsize learningrate learning_rate_init",
    "batch_size": "batch batchsize bs minibatch mini_batch mini_batch_size minibatch_size batch_len",
    "epochs": "epoch n_epochs nepochs num_epochs nb_epoch max_epochs iterations iters n_iter max_iter steps passes",
    "hidden": "hidden_size hidden_sizes hidden_layers hidden_layer_sizes hidden_units layers layer_sizes widths units",
    "seed": "random_state random_seed rng shuffle_seed manual_seed",
    "valid": "val validation validation_data valid_data val_data validation_set valid_set eval_set test",
    "init": "model net network start weights initial",
    "device": "gpu cuda use_gpu accelerator",
    "backend": "framework engine implementation",
    "progress": "verbose verbosity callback callbacks bar progress_bar show_progress",
    "models": "model checkpoints run runs net network",
    "data": "x X x_train X_train images data_train train_data training_data dataset split digits inputs examples",
    "labels": "y y_train Y targets target label label_train classes",
    "fraction": "ratio share amount proportion p frac noise",
}


def knows_other_names(function: Callable[_Arguments, _Result]) -> Callable[_Arguments, _Result]:
    """`function`, with a TypeError for an argument that it does not have which names the one that was meant."""
    taken = inspect.signature(function).parameters

    @wraps(function)
    def checked(*args: _Arguments.args, **kwargs: _Arguments.kwargs) -> _Result:
        for name in kwargs:
            if name not in taken:
                raise TypeError(f"{name}: no argument of {function.__qualname__.removesuffix('.__init__')}; "
                                f"{_meant(name, list(taken))}")  # fmt: skip
        return function(*args, **kwargs)

    return checked


def _meant(name: str, taken: list[str]) -> str:
    here = name_here(name, taken)
    return f"it is called {here}" if here else f"it takes {', '.join(one for one in taken if one != 'self')}"


def name_here(name: str, taken: list[str]) -> str | None:
    """The one of the arguments `taken` that other libraries call `name`, or that is spelt like it; None if none is."""
    meant = [ours for ours, others in _OTHER_NAMES.items() if name in others.split() and ours in taken]
    return next(iter(meant or get_close_matches(name.lower(), taken, 1)), None)


class ExamplesReader:
    """Turns data into `Examples`; arrays given more than once are read once and stay one tensor."""

    def __init__(self) -> None:
        self._images: dict[tuple[Any, ...], Tensor] = {}
        self._given: list[Any] = []  # kept alive: an address names an array only as long as the array lives

    def read(self, data: Any, name: str) -> Examples:
        """`data` (a Split or a pair of images and labels) as Examples; `name` is the argument's name.

        Raises:
            TypeError: for something else than a Split or a pair of arrays.
            ValueError: for wrong shapes, dtypes, lengths or values.
        """
        if isinstance(data, Split):
            images, labels, unseen = data._images, data.labels, next(iter(data._unseen), None)
        elif isinstance(data, (tuple, list)) and len(data) == 2:
            (images, labels), unseen = data, None
        else:
            raise TypeError(f"{name}: a Split or a pair (images, labels), not {_kind_of_data(data)}")
        images_tensor = self._read_images(images, f"{name} images")
        labels_tensor = read_labels(labels, f"{name} labels")
        if len(images_tensor) != len(labels_tensor):
            raise ValueError(
                f"{name}: images and labels differ in length: {len(images_tensor)} and {len(labels_tensor)}"
            )
        if len(images_tensor) == 0:
            raise ValueError(f"{name}: at least one example, not 0")
        if unseen is not None and images_tensor.data_ptr() != images.ctypes.data:
            unseen = None  # a copy, at an address that another may have next
        return Examples(images_tensor, labels_tensor, unseen)

    def _read_images(self, images: Any, name: str) -> Tensor:
        """Images as `Examples` have them: uint8 or float32, [N, 784]."""
        tensor = _as_tensor(images, name)
        key = (tensor.device, tensor.data_ptr(), tensor.dtype, tensor.shape, tensor.stride())
        if key not in self._images:
            self._images[key] = _checked(tensor, name)
            self._given.append(images)
        return self._images[key]


def with_labels(data: Any, labels: Any) -> Any:
    """`data` where it has labels of its own (None given), else the pair of both.

    Raises:
        TypeError: for labels beside data that have some, or for data in the place of labels.
    """
    if labels is None:
        return data
    if isinstance(data, (Split, tuple, list)):
        raise TypeError(
            f"labels: only beside images, but data is {_kind(data)} with labels of its own (to validate on other data: "
            "valid=)"
        )
    if isinstance(labels, (Split, Digits, tuple)):
        raise TypeError(f"labels: whole numbers 0 to {OUTPUTS - 1}, not {_kind(labels)}")
    return data, labels


def as_split(data: Any, name: str) -> Split:
    """A Split, or a pair of images and labels as one; floating images are taken where they are bytes / 256.

    Raises:
        TypeError, ValueError: as `ExamplesReader.read` does, and for floating images of other values.
    """
    if isinstance(data, Split):
        return data
    if not (isinstance(data, (tuple, list)) and len(data) == 2):
        raise TypeError(
            f"{name}: a Split such as digits.train or a pair (images, labels), not {_kind_of_data(data)}"
        )
    examples = ExamplesReader().read(data, name)
    images, labels = examples.images.cpu().numpy(), examples.labels.cpu().numpy().astype(np.uint8)
    if images.dtype != np.uint8:
        scaled = images * 256
        if not ((scaled >= 0) & (scaled <= 255) & (scaled == np.round(scaled))).all():
            raise ValueError(
                f"{name} images: uint8, or floating that are whole bytes / 256, not other values"
            )
        images = scaled.astype(np.uint8)
    return Split(images, labels)


def _as_tensor(array: Any, name: str) -> Tensor:
    if isinstance(array, Tensor):
        return _plain_tensor(array, name)
    if not isinstance(array, np.ndarray):
        raise TypeError(f"{name}: a numpy array or a torch tensor, not {_kind(array)}")
    if isinstance(array, np.ma.MaskedArray):
        raise TypeError(f"{name}: a numpy array without a mask, not a {type(array).__name__}")
    if array.dtype.kind not in "biuf" or array.dtype.itemsize > 8:
        raise ValueError(f"{name}: numbers, not dtype {array.dtype}")
    # torch takes strides of whole elements only, and none that run backwards
    if not array.dtype.isnative or any(stride < 0 or stride % array.itemsize for stride in array.strides):
        array = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("="))
    with warnings.catch_warnings():  # a read-only array is fine: nothing here writes to it
        warnings.filterwarnings("ignore", message="The given NumPy array is not writ")
        return torch.from_numpy(array)


def _plain_tensor(tensor: Tensor, name: str) -> Tensor:
    """`tensor` without its history, as numbers that stand in memory one by one."""
    if tensor.is_nested:
        raise ValueError(f"{name}: a plain tensor, not a nested one")
    if tensor.layout != torch.strided:
        raise ValueError(
            f"{name}: a dense tensor, not one of layout {str(tensor.layout).removeprefix('torch.')}"
        )
    if tensor.is_meta:
        raise ValueError(f"{name}: a tensor with values, not one on the meta device")
    if tensor.is_quantized:
        raise ValueError(f"{name}: plain numbers, not quantized ones")
    if tensor.is_inference():  # autograd could not keep it for the backward pass
        tensor = tensor.clone()
    return tensor.detach().resolve_conj().resolve_neg()


def read_images(images: Any, name: str) -> Tensor:
    """Images of any shape [N, ...] for a model of the caller's own: uint8, or floating and finite."""
    tensor = _as_tensor(np.asarray(images) if isinstance(images, (list, tuple)) else images, name)
    if tensor.ndim < 2:
        raise ValueError(f"{name}: shape [N, 784], not {list(tensor.shape)}")
    if tensor.dtype != torch.uint8 and not tensor.dtype.is_floating_point:
        raise ValueError(f"{name}: uint8 or floating, not {_dtype(tensor)}")
    if tensor.dtype != torch.uint8 and not _all_finite(tensor):
        raise ValueError(f"{name}: finite values only, but some are NaN or infinite")
    return tensor


def checked_images(images: Any, name: str) -> Tensor:
    """Images in any of the forms that `breaknet.train` takes, as uint8 or float32 [N, 784], on their device.

    Raises:
        TypeError, ValueError: for something else.
    """
    return _checked(_as_tensor(images, name), name)


def _checked(images: Tensor, name: str) -> Tensor:
    shape = tuple(images.shape)
    if shape[1:] not in ((INPUTS,), (28, 28)):
        raise ValueError(f"{name}: shape [N, 784] or [N, 28, 28], not {list(shape)}")
    images = images.reshape(-1, INPUTS)
    if images.dtype == torch.uint8:
        return images
    if not images.dtype.is_floating_point:
        raise ValueError(f"{name}: uint8 or floating, not {_dtype(images)}")
    images = _converted(images, torch.float32)
    smallest, largest = _extremes(images) if images.numel() else (0.0, 0.0)
    if not (math.isfinite(smallest) and math.isfinite(largest)):
        raise ValueError(f"{name}: finite float32 values only, but some are NaN or infinite")
    if largest >= _LIKE_BYTES:
        _log.warning(
            "%s: values up to %g are used as they are; bytes as floats saturate the sigmoids, so divide by 256",
            name, largest,
        )  # fmt: skip
    return images


def read_labels(labels: Any, name: str) -> Tensor:
    """Labels int64 [N], each 0 to 9, of an array, a tensor or a list."""
    if isinstance(labels, (list, tuple)):
        labels = _listed(labels, name)
    tensor = _as_tensor(labels, name)
    if tensor.ndim != 1:
        raise ValueError(f"{name}: shape [N], not {list(tensor.shape)}")
    if tensor.dtype == torch.bool or tensor.dtype.is_floating_point or tensor.dtype.is_complex:
        raise ValueError(f"{name}: whole numbers, not {_dtype(tensor)}")
    tensor = _converted(tensor, torch.int64)
    if len(tensor):
        low, high = (int(value) for value in _extremes(tensor))
        if low < 0 or high >= OUTPUTS:
            raise ValueError(f"{name}: 0 to {OUTPUTS - 1}, not {low if low < 0 else high}")
    return tensor


def _listed(labels: Any, name: str) -> Any:
    try:
        array = np.asarray(labels)
    except ValueError as error:  # rows of several lengths
        raise ValueError(f"{name}: whole numbers in a list, not lists of several lengths") from error
    if array.dtype.kind in "OUSV":
        raise TypeError(f"{name}: whole numbers, not {_kind(next(iter(labels)))} as in the list")
    return array if array.size else array.astype(np.int64)


# On the CPU numpy does what follows: torch's OpenMP threads are gone in a forked child, which would wait for them.


def _converted(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    if tensor.device.type != "cpu" or tensor.dtype in (dtype, torch.bfloat16):
        return tensor.to(dtype)
    with np.errstate(over="ignore"):  # what is too large becomes infinite, which is looked for next
        return torch.from_numpy(tensor.numpy().astype(_NUMPY_TYPES[dtype]))


def _extremes(tensor: Tensor) -> tuple[Any, Any]:
    """The smallest and the largest value, both NaN where one is."""
    if tensor.device.type != "cpu" or tensor.dtype == torch.bfloat16:
        return tuple(torch.stack(tensor.aminmax()).tolist())
    with np.errstate(invalid="ignore"):
        return tensor.numpy().min(), tensor.numpy().max()


def _all_finite(tensor: Tensor) -> bool:
    return tensor.numel() == 0 or all(math.isfinite(value) for value in _extremes(tensor))


def check_count(value: Any, name: str) -> int:
    """`value` as a whole number of 1 or more."""
    number = _whole_number(value, name)
    if number < 1:
        raise ValueError(f"{name}: 1 or more, not {shown(value)}")
    return number


def check_learning_rate(value: Any) -> float:
    """`value` as a finite number over 0."""
    if isinstance(value, (bool, np.bool_, str)) or not hasattr(value, "__float__"):
        raise TypeError(f"learning_rate: a number, not {shown(value)}")
    try:
        learning_rate = float(value)
    except TypeError:
        raise TypeError(f"learning_rate: a number, not {shown(value)}") from None
    if not math.isfinite(learning_rate) or learning_rate <= 0:
        raise ValueError(f"learning_rate: finite and over 0, not {shown(value)}")
    return learning_rate


def check_seed(value: Any, name: str = "seed") -> int:
    """`value` as a whole number from 0 to 2^63 - 1."""
    number = _whole_number(value, name)
    if not 0 <= number < 2**63:
        raise ValueError(f"{name}: 0 to 2^63 - 1, not {shown(value)}")
    return number


def _whole_number(value: Any, name: str) -> int:
    if isinstance(value, (bool, np.bool_)) or not hasattr(value, "__index__"):
        raise TypeError(f"{name}: a whole number, not {shown(value)}")
    try:
        number: int = value.__index__()
    except TypeError:  # an array, though it has the method
        raise TypeError(f"{name}: a whole number, not {shown(value)}") from None
    return number


def _kind(value: Any) -> str:
    return f"a {type(value).__name__}" + (f" of {len(value)}" if isinstance(value, (tuple, list)) else "")


def _kind_of_data(value: Any) -> str:
    """A description of something that is no Split and no pair, with what may have been meant."""
    if isinstance(value, Digits):
        return "Digits; name a part of them, such as digits.train"
    return f"{_kind(value)} without labels" if hasattr(value, "dtype") else _kind(value)


def _dtype(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")
