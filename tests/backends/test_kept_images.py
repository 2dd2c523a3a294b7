"""Images stay on the device between calls of `evaluate` where nobody can have changed them, and nowhere else."""

import copy
import gc
import pickle
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from checks import random_labels, sparse_images
from tiny import idx_bytes

import breaknet
from breaknet import Digits, Split
from breaknet.backends.interface import Examples
from breaknet.backends.triton_gpu import backend, kept_images
from breaknet.backends.triton_gpu.kept_images import KEPT
from breaknet.data.idx import NAMES
from breaknet.data.splits import Unseen, just_loaded
from breaknet.inputs import ExamplesReader

MODELS = [breaknet.MLP.seeded(seed, (5, 7)) for seed in range(2)]
ROWS = 20  # of each part


def arrays(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    return sparse_images(ROWS, seed), random_labels(ROWS, seed).astype(np.uint8)


def fresh(seed: int = 0) -> Digits:
    parts = (Split(*arrays(seed + number)) for number in range(3))
    return just_loaded(Digits(*parts, "made up"))


@pytest.fixture
def copied(monkeypatch) -> list[int]:
    """The number of images in each copy to the device."""
    counts = []

    def counted(sets, device):
        counts.extend(len(examples) for examples in sets)
        return original(sets, device)

    original = kept_images.upload
    monkeypatch.setattr(kept_images, "upload", counted)
    return counts


@pytest.fixture(autouse=True)
def _nothing_kept() -> Iterator[None]:
    KEPT.clear()
    yield
    KEPT.clear()


@pytest.fixture
def evaluate(device) -> Callable[..., breaknet.Evaluation]:
    def evaluated(data: Any, labels: Any = None) -> breaknet.Evaluation:
        return breaknet.evaluate(
            MODELS, data, labels, backend="triton", device=device, confusion=True, progress=False
        )

    return evaluated


def assert_same(found: breaknet.Evaluation, expected: breaknet.Evaluation) -> None:
    assert np.array_equal(found.cost, expected.cost)
    assert np.array_equal(found.accuracy, expected.accuracy)
    assert np.array_equal(found.confusion, expected.confusion)


def test_what_was_loaded_is_copied_once(evaluate, copied, tmp_path):
    for name, array in zip(NAMES, [*arrays(), *arrays(1)], strict=True):
        (tmp_path / name).write_bytes(idx_bytes(array))
    digits = breaknet.load_mnist(tmp_path)
    html = digits._repr_html_(), digits.test._repr_html_()
    assert all("<img" in page for page in html)
    first, again = evaluate(digits.test), evaluate(digits.test)
    assert copied == [ROWS]
    assert_same(again, first)
    assert_same(again, evaluate(arrays(1)))
    digits.test.labels[:4] = 9 - digits.test.labels[:4]
    assert_same(evaluate(digits.test), evaluate(arrays(1)[0], digits.test.labels))
    assert copied == [ROWS] * 3, "labels are copied each time, the images not"
    part = digits.test[3:9]
    assert_same(evaluate(part), evaluate(arrays(1)[0][3:9], part.labels))
    assert_same(evaluate(digits.test[::-1]), evaluate(arrays(1)[0][::-1], digits.test.labels[::-1]))
    assert digits.test.images.flags.writeable


@pytest.mark.parametrize(
    "handed_out",
    [
        lambda split: split.images,
        lambda split: split[2:].images[-ROWS:],
        lambda split: next(iter(split)),
        lambda split: replace(split, breakage="none").images,
        lambda split: copy.copy(split).images,
    ],
    ids=["images", "a slice's", "unpacked", "replaced", "copied"],
)
def test_who_was_given_the_array_may_write_to_it(handed_out, evaluate, copied):
    split = fresh().test
    before = evaluate(split)
    assert len(KEPT) == 1
    images = handed_out(split)
    assert len(KEPT) == 0, "the device's memory is free at once"
    for row in (3, 4):
        images[row, 400] = 255 - images[row, 400]
        found = evaluate(split)
        expected = breaknet.evaluate(MODELS, split, backend="torch", device="cpu")
        assert found.cost == pytest.approx(expected.cost, rel=1e-6)
        assert (found.cost != before.cost).all()
    assert copied == [ROWS] * 3
    assert len(KEPT) == 0


def _read_only(images: np.ndarray) -> np.ndarray:
    shown = images.view()
    shown.flags.writeable = False
    return shown


@pytest.mark.parametrize(
    "given",
    [lambda images: images, _read_only, torch.from_numpy, lambda images: torch.from_numpy(images) / 256],
    ids=["array", "read-only view", "tensor", "float tensor"],
)
def test_one_changed_byte_of_the_callers_is_seen(given, evaluate, copied):
    images, labels = arrays()
    for change in range(3):
        images[5, 300 + change] ^= 0x80
        found = evaluate(given(images), labels)
        expected = breaknet.evaluate(MODELS, given(images), labels, backend="torch", device="cpu")
        assert found.cost == pytest.approx(expected.cost, rel=1e-6)
    assert copied == [ROWS] * 3
    assert len(KEPT) == 0


def test_splits_of_the_callers_and_broken_ones_are_copied_each_time(evaluate, copied):
    own, loaded = Split(*arrays()), fresh()
    broken = breaknet.break_data(loaded.test, "invert"), breaknet.break_data(loaded.train, "shuffle_labels")
    for split in (own, own[:], *broken, loaded.test[np.arange(ROWS)]):
        evaluate(split)
        evaluate(split)
    assert copied == [ROWS] * 10
    assert len(KEPT) == 0
    evaluate(loaded.train)  # with the shuffled labels go the images themselves
    assert len(KEPT) == 0
    evaluate(loaded.test)  # the inverted images are others
    assert len(KEPT) == 1


def test_parts_that_share_memory_are_not_kept():
    images, labels = arrays()
    whole = Split(images, labels)
    digits = just_loaded(Digits(whole[:10], whole[10:], whole[5:15], ""))
    assert not any(ExamplesReader().read(split, "data").unseen for split in (digits.train, digits.test))


def test_rows_that_are_read_as_a_copy_are_not_kept():
    """The next copy may lie at the same address."""
    test = fresh().test
    whole, part, reversed_ = (ExamplesReader().read(one, "data") for one in (test, test[4:], test[::-1]))
    assert whole.unseen is part.unseen is not None
    assert reversed_.unseen is None


def test_it_goes_with_the_digits_and_an_address_used_again_is_not_it(evaluate, copied):
    images, labels = arrays()
    buffer = [Split(images, labels), *(Split(*arrays(seed)) for seed in (1, 2))]
    digits = just_loaded(Digits(*buffer, "first"))
    evaluate(digits.train)
    (kept,) = KEPT.values()
    gone = weakref.ref(kept.prepared)
    del digits, kept, buffer
    gc.collect()
    assert len(KEPT) == 0
    assert gone() is None
    images[:] = 255 - images
    other = just_loaded(Digits(Split(images, labels), *(Split(*arrays(seed)) for seed in (1, 2)), "next"))
    assert_same(evaluate(other.train), evaluate(images, labels))
    assert copied == [ROWS] * 3


def test_a_copy_of_a_split_stands_for_itself(evaluate):
    split = fresh().test
    first = evaluate(split)
    for other in (pickle.loads(pickle.dumps(split)), copy.deepcopy(split)):
        other.images[:] = 255
        assert not np.array_equal(evaluate(other).cost, first.cost)
        assert_same(evaluate(split), first)


def test_room(evaluate, copied, monkeypatch):
    digits = fresh()
    evaluate(digits.train)
    (kept,) = KEPT.values()
    monkeypatch.setattr(kept_images, "KEPT_BYTES", kept.prepared.nbytes)
    evaluate(digits.test)
    assert len(KEPT) == 1, "the oldest made room"
    evaluate(digits.test)
    assert copied == [ROWS] * 2
    monkeypatch.setattr(kept_images, "KEPT_BYTES", kept.prepared.nbytes - 1)
    evaluate(digits.valid)
    evaluate(digits.valid)
    assert copied == [ROWS] * 4
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (1600, 80_000))
    assert kept_images._room(torch.device("cuda:0")) == 100


def test_what_is_kept_is_let_go_where_memory_is_short(evaluate, copied, monkeypatch, device):
    from breaknet.kernels import evaluation

    original, split = evaluation.evaluate_checkpoints, fresh().test
    first = evaluate(split)

    def short(*args, **kwargs):
        if KEPT:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return original(*args, **kwargs)

    monkeypatch.setattr(evaluation, "evaluate_checkpoints", short)
    assert_same(evaluate(split), first)
    assert copied == [ROWS] * 2
    breaknet.train(split[:5], epochs=1, batch_size=5, backend="triton", device=device, progress=False)
    assert len(KEPT) == 0, "training may need all of it"

    def none(*args, **kwargs):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(evaluation, "evaluate_checkpoints", none)
    with pytest.raises(torch.OutOfMemoryError):
        evaluate(split)


def test_threads_get_their_own(monkeypatch, device):
    """Sets that come, go and are evicted in many threads: each gets what it asked for."""
    place = backend._numbered(torch.device(device))
    monkeypatch.setattr(kept_images, "KEPT_BYTES", 300_000)  # two sets
    shared = [
        Examples(torch.full((9, 784), n, dtype=torch.uint8), torch.zeros(9), Unseen()) for n in range(4)
    ]

    def work(number: int) -> None:
        for step in range(60):
            value = (number + step) % 5
            mine = torch.full((9, 784), value, dtype=torch.uint8)
            examples = shared[value] if value < 4 else Examples(mine, torch.zeros(9), Unseen())
            images, prepared, labels = kept_images.on_device(examples, place)
            assert images.shape == (9, 784)
            assert labels.shape == (9,)
            assert (images == value).all()
            assert int(prepared.sum()) == 9 * 784 * value
            kept_images.keep(examples, prepared)
            assert kept_images._taken() <= 300_000

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(8)))
