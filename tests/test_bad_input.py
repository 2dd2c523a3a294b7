"""Wrong calls, each with one clear line, before any work starts."""

import numpy as np
import pytest
import torch
from checks import random_labels, sparse_images

import breaknet
from breaknet import BackendError, Job, Split
from breaknet.backends import torch_backend

IMAGES, LABELS = sparse_images(20), random_labels(20)
GOOD = (IMAGES, LABELS)
FLOATS = IMAGES.astype(np.float32)
NAN = FLOATS.copy()
NAN[3, 5] = np.nan
MODEL = breaknet.MLP.seeded(0)
BROKEN = breaknet.MLP.seeded(0)
with torch.no_grad():
    BROKEN.output.bias[2] = float("nan")


def with_label(value: int, dtype: type = np.int64) -> np.ndarray:
    labels = LABELS.astype(dtype)
    labels[4] = value
    return labels


# what is called with: (data, further arguments), the error, and what its one line must say
TRAIN = {
    "no data": ((None, {}), TypeError, "data: a Split or a pair"),
    "images alone": ((IMAGES, {}), TypeError, "data: a Split or a pair (images, labels), not a ndarray"),
    "a triple": (((IMAGES, LABELS, LABELS), {}), TypeError, "not a tuple of 3"),
    "a list of lists": ((([[1, 2]], LABELS), {}), TypeError, "data images: a numpy array or a torch tensor"),
    "too few columns": (((IMAGES[:, :783], LABELS), {}), ValueError, "data images: shape [N, 784]"),
    "one image": (((IMAGES[0], LABELS), {}), ValueError, "data images: shape [N, 784] or [N, 28, 28], not [784]"),
    "28 x 27": (((IMAGES[:, :756].reshape(-1, 28, 27), LABELS), {}), ValueError, "not [20, 28, 27]"),
    "int32 images": (((IMAGES.astype(np.int32), LABELS), {}), ValueError, "uint8 or floating, not int32"),
    "bool images": (((IMAGES > 0, LABELS), {}), ValueError, "uint8 or floating, not bool"),
    "complex images": (((IMAGES.astype(np.complex64), LABELS), {}), ValueError, "numbers, not dtype complex64"),
    "NaN images": (((NAN, LABELS), {}), ValueError, "data images: finite float32 values only"),
    "too large for float32": (((FLOATS.astype(np.float64) + 1e300, LABELS), {}), ValueError, "finite float32"),
    "labels too short": (((IMAGES, LABELS[:-1]), {}), ValueError, "differ in length: 20 and 19"),
    "one-hot labels": (((IMAGES, np.eye(10)[LABELS]), {}), ValueError, "data labels: shape [N], not [20, 10]"),
    "floating labels": (((IMAGES, LABELS.astype(float)), {}), ValueError, "data labels: whole numbers, not float64"),
    "bool labels": (((IMAGES, LABELS > 4), {}), ValueError, "data labels: whole numbers, not bool"),
    "label 10": (((IMAGES, with_label(10)), {}), ValueError, "data labels: 0 to 9, not 10"),
    "label -1": (((IMAGES, with_label(-1)), {}), ValueError, "data labels: 0 to 9, not -1"),
    "no examples": (((IMAGES[:0], LABELS[:0]), {}), ValueError, "data: at least one example"),
    "wrong valid": ((GOOD, {"valid": (IMAGES, with_label(11))}), ValueError, "valid labels: 0 to 9, not 11"),
    "NaN valid": ((GOOD, {"valid": (NAN, LABELS)}), ValueError, "valid images: finite"),
    "no epochs": ((GOOD, {"epochs": 0}), ValueError, "epochs: 1 or more, not 0"),
    "negative epochs": ((GOOD, {"epochs": -3}), ValueError, "epochs: 1 or more, not -3"),
    "half an epoch": ((GOOD, {"epochs": 1.5}), TypeError, "epochs: a whole number, not 1.5"),
    "true epochs": ((GOOD, {"epochs": True}), TypeError, "epochs: a whole number, not True"),
    "no batch": ((GOOD, {"batch_size": 0}), ValueError, "batch_size: 1 or more, not 0"),
    "an array of epochs": ((GOOD, {"epochs": FLOATS}), TypeError, "epochs: a whole number, not a ndarray"),
    "an array of rates": ((GOOD, {"learning_rate": FLOATS}), TypeError, "learning_rate: a number, not a ndarray"),
    "an array of widths": ((GOOD, {"hidden": FLOATS}), ValueError, "not 20: a tuple"),
    "an array as seed": ((GOOD, {"seed": FLOATS}), TypeError, "seed: a whole number, not a ndarray"),
    "an array as device": ((GOOD, {"device": FLOATS}), TypeError, "or its name, not a ndarray"),
    "an array as progress": ((GOOD, {"progress": FLOATS}), TypeError, "not a ndarray"),
    "text batch": ((GOOD, {"batch_size": "100"}), TypeError, "batch_size: a whole number, not '100'"),
    "no learning": ((GOOD, {"learning_rate": 0}), ValueError, "learning_rate: finite and over 0, not 0"),
    "negative rate": ((GOOD, {"learning_rate": -0.1}), ValueError, "learning_rate: finite and over 0"),
    "NaN rate": ((GOOD, {"learning_rate": float("nan")}), ValueError, "learning_rate: finite and over 0, not nan"),
    "infinite rate": ((GOOD, {"learning_rate": float("inf")}), ValueError, "learning_rate: finite"),
    "text rate": ((GOOD, {"learning_rate": "fast"}), TypeError, "learning_rate: a number, not 'fast'"),
    "a bare width": ((GOOD, {"hidden": 16}), TypeError, "hidden: two whole numbers"),
    "negative seed": ((GOOD, {"seed": -1}), ValueError, "seed: 0 to 2^63 - 1, not -1"),
    "large seed": ((GOOD, {"seed": 2**63}), ValueError, "seed: 0 to 2^63 - 1"),
    "half a seed": ((GOOD, {"seed": 0.5}), TypeError, "seed: a whole number, not 0.5"),
    "init of another kind": ((GOOD, {"init": torch.nn.Linear(784, 10)}), TypeError, "init: a breaknet.MLP"),
    "init not finite": ((GOOD, {"init": BROKEN}), ValueError, "init: finite parameters only"),
    "hidden against init": ((GOOD, {"init": MODEL, "hidden": (8, 8)}), ValueError, "hidden: (8, 8) differs"),
    "unknown backend": ((GOOD, {"backend": "jax"}), ValueError, "one of auto, triton, numba, torch, not 'jax'"),
    "backend of another kind": ((GOOD, {"backend": None}), TypeError, "backend: one of auto"),
    "unknown device": ((GOOD, {"device": "gpu0"}), ValueError, 'device: "auto", "cpu", "cuda"'),
    "device of another kind": ((GOOD, {"device": 0}), TypeError, 'device: "auto", a torch device'),
    "progress of another kind": ((GOOD, {"progress": "yes"}), TypeError, "progress: True, False or a callable"),
}  # fmt: skip


def assert_refused(call, error: type[Exception], line: str) -> None:
    with pytest.raises(error) as raised:
        call()
    assert line in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("name", TRAIN)
def test_wrong_calls_of_train(name, monkeypatch):
    (data, arguments), error, line = TRAIN[name]
    monkeypatch.setattr(torch_backend, "train", lambda *_: pytest.fail("work had started"))
    assert_refused(lambda: breaknet.train(data, **{"backend": "torch", **arguments}), error, line)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA GPU")
@pytest.mark.parametrize("backend", ["auto", "torch", "triton"])
def test_a_gpu_that_is_not_there(backend):
    with pytest.raises(BackendError, match=r"(?i)^[^\n]*cuda[^\n]*$"):
        breaknet.train(GOOD, backend=backend, device="cuda")


def test_numba_runs_on_no_gpu():
    with pytest.raises(BackendError, match="backend 'numba' on cuda cannot be used"):
        breaknet.train(GOOD, backend="numba", device="cuda")


MANY = {
    "one job alone": (lambda: breaknet.train_many(Job(GOOD)), TypeError, "jobs: a list of Job, not a Job"),
    "data as a job": (lambda: breaknet.train_many([GOOD]), TypeError, "jobs: a list of Job, but number 0 is a tuple"),
    "second job wrong": (
        lambda: breaknet.train_many([Job(GOOD), Job(GOOD, epochs=0)]), ValueError, "job 1: epochs: 1 or more, not 0",
    ),
    "unknown plan": (
        lambda: breaknet.train_many([Job(GOOD)], backend="torch", plan="packed"),
        ValueError, "plan: autograd with the torch backend, not 'packed'",
    ),
    "plan of another kind": (
        lambda: breaknet.train_many([Job(GOOD)], backend="torch", plan=1), TypeError, "plan: a name or None, not 1",
    ),
    "no models": (lambda: breaknet.evaluate([], GOOD), ValueError, "models: at least one, not 0"),
    "another module": (lambda: breaknet.evaluate(torch.nn.Linear(784, 10), GOOD), TypeError, "models: Checkpoints"),
    "models of two widths": (
        lambda: breaknet.evaluate([MODEL, breaknet.MLP((3, 3))], GOOD), ValueError, "models: all of the same hidden",
    ),
    "wrong data": (lambda: breaknet.evaluate(MODEL, (IMAGES, LABELS[:3])), ValueError, "differ in length: 20 and 3"),
    "wrong confusion": (
        lambda: breaknet.evaluate(MODEL, GOOD, confusion=1), TypeError, "confusion: True or False, not 1",
    ),
    "split of int images": (lambda: Split(IMAGES.astype(int), LABELS), ValueError, "images: uint8 [N, 784], not int64"),
    "split of other length": (lambda: Split(IMAGES, LABELS[:5]), ValueError, "differ in length: 20 and 5"),
    "split with label 10": (lambda: Split(IMAGES, with_label(10, np.uint8)), ValueError, "labels: 0 to 9, not 10"),
    "split of floating labels": (lambda: Split(IMAGES, LABELS.astype(float)), ValueError, "labels: uint8 [N]"),
    "split index": (lambda: Split(IMAGES, LABELS)["first"], TypeError, "index: a slice, a boolean mask"),
    "shuffle of images": (lambda: breaknet.shuffle_labels(IMAGES), TypeError, "split: a Split such as digits.train"),
    "shuffle too much": (
        lambda: breaknet.shuffle_labels(Split(IMAGES, LABELS), fraction=1.5), ValueError, "fraction: ",
    ),
    "shuffle seed": (lambda: breaknet.shuffle_labels(Split(IMAGES, LABELS), seed=-1), ValueError, "seed: "),
}  # fmt: skip


@pytest.mark.parametrize("name", MANY)
def test_other_wrong_calls(name):
    assert_refused(*MANY[name])
