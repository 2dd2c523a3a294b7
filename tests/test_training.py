"""`train`, `train_many` and `evaluate`: against float64, alike from all forms of data, with no side effects."""

import inspect

import numpy as np
import pytest
import torch
from checks import (
    assert_run,
    assert_same_parameters,
    assert_scores,
    random_labels,
    run_python,
    sparse_images,
    start_of,
)

import breaknet
from breaknet import Job, reference
from breaknet.backends import torch_backend

IMAGES, LABELS = sparse_images(250), random_labels(250)
DATA = (IMAGES, LABELS)
VALID = (sparse_images(120, seed=1), random_labels(120, seed=1))


def test_the_signature_is_the_published_one():
    defaults = {name: p.default for name, p in inspect.signature(breaknet.train).parameters.items()}
    assert defaults == {
        "data": inspect.Parameter.empty, "labels": None, "valid": None, "epochs": 100, "batch_size": 100,
        "learning_rate": 0.05, "hidden": (16, 16), "seed": 0, "init": None, "backend": "auto", "device": "auto",
        "progress": None,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("hidden", "batch_size"), [((16, 16), 100), ((7, 33), 64), ((1, 1), 1000), ((20, 3), 1)]
)
def test_the_torch_backend_follows_float64(hidden, batch_size):
    data = (IMAGES[:60], LABELS[:60]) if batch_size == 1 else DATA
    job = Job(data, valid=VALID, epochs=2, batch_size=batch_size, hidden=hidden, seed=3)
    assert_run(breaknet.train_many([job], backend="torch")[0], job)


def test_the_torch_backend_is_the_notebooks_loop_bit_for_bit():
    run = breaknet.train(DATA, epochs=2, batch_size=100, backend="torch", device="cpu")
    torch.manual_seed(0)
    model = torch.nn.Sequential(
        torch.nn.Linear(784, 16), torch.nn.Sigmoid(), torch.nn.Linear(16, 16), torch.nn.Sigmoid(),
        torch.nn.Linear(16, 10), torch.nn.Sigmoid(),
    )  # fmt: skip
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    images = torch.from_numpy(IMAGES).float() / 256
    targets = torch.nn.functional.one_hot(torch.from_numpy(LABELS).long(), 10).float()
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(images, targets), batch_size=100)
    for _ in range(2):
        for batch, target in loader:
            optimizer.zero_grad()
            torch.nn.MSELoss(reduction="sum")(model(batch), target).backward()
            optimizer.step()
    for ours, theirs in zip(run.checkpoints[1].parameters(), model.parameters(), strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize(
    "convert",
    [
        lambda images, labels: (images.reshape(-1, 28, 28), labels.astype(np.int64)),
        lambda images, labels: (torch.from_numpy(images), torch.from_numpy(labels)),
        lambda images, labels: (images.astype(np.float32) / 256, labels.astype(">i2")),
        lambda images, labels: (torch.from_numpy(images).double() / 256, labels),
        lambda images, labels: (np.asfortranarray(images), labels[::-1][::-1]),
        lambda images, labels: breaknet.Split(images, labels),
        lambda images, labels: [images, labels],
    ],
)
def test_every_form_of_data_gives_the_same_run(convert):
    expected = breaknet.train(DATA, epochs=1, backend="torch", device="cpu")
    found = breaknet.train(convert(*DATA), epochs=1, backend="torch", device="cpu")
    assert_same_parameters(found.checkpoints.stacked, expected.checkpoints.stacked)


@pytest.mark.parametrize("backend", ["torch", "numba"])
def test_nothing_of_the_callers_changes(backend):
    images, labels, init = IMAGES.copy(), LABELS.copy(), breaknet.MLP.seeded(4)
    floating = images[:30].astype(np.float32)
    torch.manual_seed(7)
    state = torch.random.get_rng_state()
    valid = (floating, labels[:30])
    breaknet.train((images, labels), valid=valid, epochs=2, init=init, backend=backend, device="cpu")
    assert (images == IMAGES).all()
    assert (floating == IMAGES[:30]).all()
    assert (labels == LABELS).all()
    assert torch.equal(torch.random.get_rng_state(), state)
    assert_same_parameters(init.state_dict(), start_of(4))


@pytest.mark.parametrize("backend", ["torch", "numba"])
def test_where_the_caller_has_new_tensors_does_not_matter(backend):
    expected = breaknet.train(DATA, valid=VALID, epochs=1, backend=backend, device="cpu")
    torch.set_default_device("meta")
    try:
        found = breaknet.train(DATA, valid=VALID, epochs=1, backend=backend, device="cpu")
        evaluation = breaknet.evaluate(found.checkpoints, VALID, backend=backend, device="cpu")
    finally:
        torch.set_default_device(None)
    assert_same_parameters(found.checkpoints.stacked, expected.checkpoints.stacked)
    assert evaluation.cost[-1] == pytest.approx(expected.valid_cost[-1])


def test_init_brings_its_widths():
    init = breaknet.MLP.seeded(9, (5, 6))
    run = breaknet.train(DATA, epochs=1, init=init, backend="torch", device="cpu")
    assert run.checkpoints.hidden == (5, 6)
    seeded = breaknet.train(DATA, epochs=1, seed=9, hidden=(5, 6), backend="torch", device="cpu")
    assert_same_parameters(run.checkpoints.stacked, seeded.checkpoints.stacked)
    with pytest.raises(ValueError, match=r"hidden: \(16, 16\) differs from the widths of init, \(5, 6\)"):
        breaknet.train(DATA, epochs=1, init=init, hidden=tuple([16, 16]))  # noqa: C409, an equal but other tuple


def test_many_jobs_are_the_same_as_one_at_a_time():
    jobs = [
        Job(DATA, valid=VALID, epochs=2),
        Job((IMAGES, LABELS[::-1].copy()), epochs=3, batch_size=64, learning_rate=0.02, seed=1),
        Job((IMAGES[:10], LABELS[:10]), epochs=1, hidden=(3, 20)),
    ]
    together = breaknet.train_many(jobs, backend="torch", device="cpu")
    assert [len(run.checkpoints) for run in together] == [2, 3, 1]
    assert together[1].valid_cost is None
    assert together[1].valid_accuracy is None
    for job, run in zip(jobs, together, strict=True):
        alone = breaknet.train_many([job], backend="torch", device="cpu")[0]
        assert (alone.train_cost == run.train_cost).all()
        assert_same_parameters(run.checkpoints.stacked, alone.checkpoints.stacked)
    assert breaknet.train_many([], backend="torch") == []


@pytest.mark.filterwarnings("error")
def test_run_says_how_it_was_made():
    run = breaknet.train(DATA, epochs=2, backend="torch", device="cpu")
    assert (run.backend, run.plan, run.device) == ("torch", "autograd", "cpu")
    assert set(run.seconds) == {"compile", "transfer", "training", "evaluation", "total"}
    assert run.seconds["total"] == pytest.approx(sum(run.seconds.values()) - run.seconds["total"])
    assert run.checkpoints.metadata["learning_rate"] == "0.05"
    assert "2 epochs" in repr(run)
    assert run.train_cost.dtype == run.train_accuracy.dtype == np.float64


@pytest.mark.parametrize("backend", ["torch", "numba"])
def test_divergence_ends_one_job_and_no_other(backend):
    jobs = [Job(DATA, VALID, epochs=5, learning_rate=1e38), Job(DATA, epochs=2)]
    with pytest.warns(RuntimeWarning, match="job 0 diverged.*epoch 0") as caught:
        bad, good = breaknet.train_many(jobs, backend=backend, device="cpu")
    assert len(caught) == 1
    assert bad.diverged_at == 0
    assert len(bad.train_cost) == len(bad.valid_cost) == len(bad.checkpoints) == 0
    assert bad.checkpoints.stacked["hidden1.weight"].shape == (0, 16, 784)
    assert good.diverged_at is None
    assert len(good.train_cost) == 2


def test_progress_reports_every_epoch(capsys):
    seen = []
    run = breaknet.train(DATA, epochs=3, backend="torch", progress=lambda *epoch: seen.append(epoch))
    assert seen == [(epoch, 3, float(cost)) for epoch, cost in enumerate(run.train_cost)]
    assert capsys.readouterr() == ("", "")
    breaknet.train(DATA, epochs=3, backend="torch", progress=True)
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "training, epoch 3 of 3 |" in shown.err
    assert f"cost {run.train_cost[-1]:.4f}" in shown.err


@pytest.mark.parametrize("error", [KeyboardInterrupt, ZeroDivisionError, RuntimeError])
@pytest.mark.parametrize("backend", ["torch", "auto"])
def test_what_a_callable_raises_reaches_the_caller(error, backend):
    def interrupt(epoch, epochs, cost):
        raise error

    with pytest.raises(error):
        breaknet.train(DATA, epochs=3, backend=backend, progress=interrupt)


def test_evaluate_agrees_with_float64_for_every_kind_of_models():
    run = breaknet.train(DATA, epochs=3, batch_size=10, backend="torch", device="cpu")
    data = sparse_images(1500, seed=5), random_labels(1500, seed=5)
    result = breaknet.evaluate(run.checkpoints, data, backend="torch", confusion=True)
    for epoch in range(3):
        state = run.checkpoints[epoch].state_dict()
        assert_scores(result.cost[epoch], result.accuracy[epoch], state, *data)
        assert (result.confusion[epoch] == reference.evaluation(state, *data).confusion.numpy()).all()
    listed = breaknet.evaluate(list(run.checkpoints), data, backend="torch")
    assert (listed.cost == result.cost).all()
    assert listed.confusion is None
    single = breaknet.evaluate(run.checkpoints[2], data, backend="torch")
    assert single.cost.shape == (1,)
    np.testing.assert_allclose(single.cost[0], result.cost[2], rtol=1e-6)


def test_evaluate_in_blocks_gives_the_same(monkeypatch):
    run = breaknet.train(DATA, epochs=5, backend="torch", device="cpu")
    whole = breaknet.evaluate(run.checkpoints, DATA, backend="torch", confusion=True)
    monkeypatch.setattr(torch_backend, "_IMAGES_AT_ONCE", 37)
    monkeypatch.setattr(torch_backend, "_BYTES_AT_ONCE", 2 * 37 * 16 * 4)
    blocks = breaknet.evaluate(run.checkpoints, DATA, backend="torch", confusion=True)
    np.testing.assert_allclose(blocks.cost, whole.cost, rtol=1e-6)
    assert (blocks.accuracy == whole.accuracy).all()
    assert (blocks.confusion == whole.confusion).all()


_PEAK = """
import resource, numpy as np, torch, breaknet
from checks import start_of
stacked = {name: value.repeat(1000, *[1] * value.ndim) for name, value in start_of().items()}
random = np.random.default_rng(0)
data = (random.integers(0, 256, (60000, 784), np.uint8), random.integers(0, 10, 60000))
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
before = peak()
breaknet.evaluate(breaknet.Checkpoints(stacked), data, backend="torch", device="cpu")
print(peak() - before)
"""


@pytest.mark.slow
def test_a_thousand_checkpoints_stay_within_two_gib():
    assert int(run_python("-c", _PEAK).stdout) < 2 * 2**20, "KiB above the inputs"
