"""The Triton backend through breaknet's public functions: on a GPU, or on the CPU under Triton's interpreter."""

from itertools import product

import numpy as np
import pytest
import torch
from checks import assert_run, random_labels, run_python, sparse_images

import breaknet
from breaknet.backends.interface import Examples
from breaknet.backends.triton_gpu import backend, grouping, rounds
from breaknet.kernels import _triton
from breaknet.kernels.host import trainers
from breaknet.kernels.jobs import Shape

IMAGES, LABELS = sparse_images(60), random_labels(60)
OTHER_LABELS = random_labels(60, seed=7)


@pytest.fixture
def where(device) -> dict[str, str]:
    return {"backend": "triton", "device": str(device)}


JOBS = [  # the first three are of one kind; on a CPU two of them train side by side
    breaknet.Job((IMAGES, LABELS), valid=(IMAGES[:20], LABELS[:20]), epochs=2, batch_size=25),
    breaknet.Job((IMAGES, OTHER_LABELS), epochs=1, batch_size=30, learning_rate=0.5, seed=3),
    breaknet.Job((IMAGES[:20], LABELS[:20]), valid=(IMAGES, LABELS), epochs=3, batch_size=100),
    breaknet.Job((IMAGES.astype(np.float32) / 256, LABELS), epochs=1, batch_size=60, hidden=(7, 33)),
]


@pytest.mark.parametrize("plan", backend.PLANS)
def test_jobs_of_many_kinds_are_right_in_every_plan(plan, where):
    runs = breaknet.train_many(JOBS, **where, plan=plan)
    for run, job in zip(runs, JOBS, strict=True):
        assert (run.backend, run.plan, run.device) == ("triton", plan, where["device"])
        assert set(run.seconds) >= {"compile", "transfer", "training", "evaluation", "total"}
        assert run.seconds["training"] > 0
        assert_run(run, job)


@pytest.mark.parametrize(
    "plan", ["cooperative", *(pytest.param(p, marks=pytest.mark.slow) for p in ("packed", "split"))]
)
def test_neighbours_and_rounds_change_no_bit(plan, where, monkeypatch):
    jobs = JOBS[:2] if plan == "packed" else JOBS[:3]
    together = breaknet.train_many(jobs, **where, plan=plan)
    monkeypatch.setitem(rounds.FIRST_STEPS, torch.device(where["device"]).type, 1)
    monkeypatch.setattr(rounds, "ROUND_SECONDS", 0.0)
    for run, job in zip(together, jobs, strict=True):
        alone = breaknet.train_many([job], **where, plan=plan)[0]
        for name, tensor in run.checkpoints.stacked.items():
            assert torch.equal(tensor, alone.checkpoints.stacked[name])
        assert np.array_equal(run.train_cost, alone.train_cost)


def test_a_round_may_end_before_its_first_checkpoint(where, monkeypatch):
    job = breaknet.Job((IMAGES[:20], LABELS[:20]), epochs=2, every=2, batch_size=20, hidden=(3, 4))
    (whole,) = breaknet.train_many([job], **where)
    launched = []
    launch = rounds._launch
    monkeypatch.setattr(rounds, "_launch", lambda *given: launched.append(launch(*given)) or launched[-1])
    monkeypatch.setitem(rounds.FIRST_STEPS, torch.device(where["device"]).type, 1)
    (cut,) = breaknet.train_many([job], **where)
    assert [len(one.checkpoints) for one in launched] == [0, 1]
    assert np.array_equal(cut.train_cost, whole.train_cost)
    for name, tensor in whole.checkpoints.stacked.items():
        assert torch.equal(cut.checkpoints.stacked[name], tensor)


def test_progress_is_reported_each_epoch_in_order_and_one_round_late(where, monkeypatch):
    monkeypatch.setitem(rounds.FIRST_STEPS, torch.device(where["device"]).type, 3)
    monkeypatch.setattr(rounds, "ROUND_SECONDS", 0.0)
    seen, launches = [], []
    original = trainers.SplitTrainer.launch  # what a CPU runs for "cooperative" and "split"

    def counted(self, checkpoints, jobs):
        launches.append([job.epochs for job in jobs])
        original(self, checkpoints, jobs)

    def progress(epoch, epochs, cost):
        seen.append((epoch, epochs, cost, len(launches)))

    monkeypatch.setattr(trainers.SplitTrainer, "launch", counted)
    run = breaknet.train((IMAGES, LABELS), epochs=4, batch_size=30, progress=progress, **where)
    assert [entry[0] for entry in seen] == [0, 1, 2, 3]
    assert [entry[2] for entry in seen] == pytest.approx(run.train_cost)
    if where["device"] == "cpu":
        assert launches == [[1], [1], [1], [1]]
        assert [entry[3] for entry in seen] == [2, 3, 4, 4], "the next round starts before the last is read"


def test_an_error_in_the_callback_ends_training(where):
    def progress(epoch, epochs, cost):
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        breaknet.train((IMAGES[:5], LABELS[:5]), epochs=1, batch_size=5, progress=progress, **where)


@pytest.mark.filterwarnings("ignore:(overflow|invalid value) encountered")
def test_divergence_ends_one_job_and_no_other(where):
    jobs = [
        breaknet.Job((IMAGES, LABELS), epochs=3, batch_size=60, learning_rate=3e38),
        breaknet.Job((IMAGES, LABELS), epochs=3, batch_size=60),
    ]
    with pytest.warns(RuntimeWarning, match="job 0 diverged"):
        diverged, fine = breaknet.train_many(jobs, **where)
    assert diverged.diverged_at is not None
    assert len(diverged.checkpoints) == len(diverged.train_cost) == diverged.diverged_at
    assert fine.diverged_at is None
    assert_run(fine, jobs[1])


def test_evaluate_with_confusion(where, monkeypatch):
    models = [breaknet.MLP.seeded(seed, (5, 20)) for seed in range(5)]
    expected = breaknet.evaluate(models, (IMAGES, LABELS), backend="torch", device="cpu", confusion=True)
    monkeypatch.setattr(backend, "EVALUATION_BYTES", 2 * 4 * Shape(784, 5, 20, 10).parameters)
    found = breaknet.evaluate(models, (IMAGES, LABELS), **where, confusion=True)
    assert found.cost == pytest.approx(expected.cost, rel=1e-5)
    assert np.array_equal(found.accuracy, expected.accuracy)
    assert np.array_equal(found.confusion, expected.confusion)


@pytest.mark.parametrize("hidden", [(129, 16), (16, 200)])
def test_shapes_beyond_the_limits_are_named(hidden, where):
    with pytest.raises(breaknet.BackendError, match="128"):
        breaknet.train((IMAGES, LABELS), epochs=1, hidden=hidden, **where)
    with pytest.raises(breaknet.BackendError, match="128"):
        breaknet.evaluate(breaknet.MLP(hidden), (IMAGES, LABELS), **where)


def test_batches_beyond_the_limit_are_named_but_not_those_beyond_the_data(where):
    many = np.zeros((1100, 784), np.uint8), np.zeros(1100, np.int64)
    with pytest.raises(breaknet.BackendError, match="1024"):
        breaknet.train(many, epochs=1, batch_size=1025, **where)
    run = breaknet.train((IMAGES[:4], LABELS[:4]), epochs=1, batch_size=5000, **where)
    assert_run(run, breaknet.Job((IMAGES[:4], LABELS[:4]), epochs=1, batch_size=5000))


# ---- uploads and plans -----------------------------------------------------------------------------------------------


def test_shared_tensors_are_uploaded_once():
    images, more = torch.arange(12, dtype=torch.uint8).view(3, 4), torch.full((2, 4), 9, dtype=torch.uint8)
    labels, others, two = torch.tensor([1, 2, 3]), torch.tensor([3, 2, 1]), torch.tensor([5, 6])
    sets = [Examples(images, labels), Examples(images, others), Examples(more, two)]
    sets.append(Examples(images.float(), labels))
    uploaded = rounds.upload([*sets, sets[0]], torch.device("cpu"))
    assert len(uploaded[id(sets[0])].images) == 5
    assert len(uploaded[id(sets[0])].labels) == 8
    for examples in sets:
        own_images, own_labels = uploaded[id(examples)].own()
        assert own_images.dtype == examples.images.dtype
        assert torch.equal(own_images, examples.images)
        assert torch.equal(own_labels, examples.labels.int())


LESSON = Shape(784, 16, 16, 10)
T4, H200 = grouping.Gpu(75, 40), grouping.Gpu(90, 132)


@pytest.mark.parametrize(
    ("shape", "batch", "alike", "gpu", "plan"),
    [
        (LESSON, 100, 3, T4, "cooperative"),
        (LESSON, 100, 3, H200, "cooperative"),
        (LESSON, 1, 1, T4, "cooperative"),
        (LESSON, 1024, 1, T4, "cooperative"),
        (LESSON, 100, 16, T4, "cooperative"),
        (LESSON, 100, 17, T4, "packed"),
        (LESSON, 100, 17, H200, "cooperative"),
        (LESSON, 100, 18, H200, "packed"),
        (LESSON, 10, 17, H200, "cooperative"),
        (LESSON, 10, 18, H200, "packed"),
        (Shape(784, 128, 128, 10), 100, 1, T4, "split"),
        (Shape(784, 128, 128, 10), 100, 40, T4, "packed"),
        (LESSON, 100, 1, grouping.Gpu(75, 10), "split"),
        (LESSON, 100, 1, None, "cooperative"),
    ],
)
def test_the_plan_without_a_name(shape, batch, alike, gpu, plan):
    assert grouping.choose(shape, torch.uint8, batch, alike, gpu, None)[0] == plan


def test_no_shape_within_the_limits_is_left_to_torch():
    gpus, plans = (T4, H200, None), (None, "split", "packed")
    widths = ((1, 1), (16, 128), (128, 7), (33, 33))
    for inputs, hidden, outputs, batch, gpu, plan in product(
        (1, 784, 1000), widths, (2, 16), (1, 10, 129, 1024), gpus, plans
    ):
        grouping.choose(Shape(inputs, *hidden, outputs), torch.uint8, batch, 1, gpu, plan)


def test_a_named_plan_that_cannot_be_is_an_error():
    with pytest.raises(breaknet.BackendError, match=r"cooperative.*15 programs"):
        grouping.choose(LESSON, torch.uint8, 100, 1, grouping.Gpu(75, 8), "cooperative")


def test_a_grid_that_does_not_fit_after_all_is_trained_phase_split(where, monkeypatch, caplog):
    original = grouping.Group.trainer

    def refused(self, jobs, data, device):
        if self.plan == "cooperative":
            raise trainers.NotResident("cooperative: no room")
        return original(self, jobs, data, device)

    monkeypatch.setattr(grouping.Group, "trainer", refused)
    job = breaknet.Job((IMAGES[:20], LABELS[:20]), epochs=1, batch_size=20)
    run = breaknet.train_many([job], **where)[0]
    assert run.plan == "split"
    assert "no room" in caplog.text
    assert_run(run, job)
    with pytest.raises(breaknet.BackendError, match="no room"):
        breaknet.train_many([job], **where, plan="cooperative")


def test_rounds_share_their_rows_fairly(monkeypatch):
    def job(number: int, examples: int, epochs: int) -> rounds.RunningJob:
        data = rounds.DeviceData(torch.empty(0), torch.empty(0), 0, 0, examples)
        return rounds.RunningJob(number, data, None, epochs, 10, 0.1, number, ())

    jobs = [job(0, 100, 50), job(1, 1000, 50), job(2, 10, 3)]
    assert rounds._epochs_of_round(jobs, 200, 1000) == {0: 20, 1: 2, 2: 3}
    assert rounds._epochs_of_round(jobs, 1, 1000) == {0: 1, 1: 1, 2: 1}
    assert rounds._epochs_of_round(jobs, 10_000, 10) == {0: 3, 1: 3, 2: 3}
    assert rounds._epochs_of_round(jobs, 10_000, 3) == {0: 1, 1: 1, 2: 1}


# ---- where it can be used --------------------------------------------------------------------------------------------


def test_why_it_is_unavailable(monkeypatch):
    if not torch.cuda.is_available():
        assert "no CUDA GPU" in backend.unavailable(torch.device("cuda"))
    assert "not mps" in backend.unavailable(torch.device("mps"))
    monkeypatch.setattr(_triton, "INTERPRETED", False)
    assert "TRITON_INTERPRET" in backend.unavailable(torch.device("cpu"))
    monkeypatch.setattr(_triton, "HAVE_TRITON", False)
    monkeypatch.setattr(_triton, "_reason", "triton 3.4.0 is too old, 3.5 or newer is needed")
    assert "3.4.0" in backend.unavailable(torch.device("cpu"))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (6, 1))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "GTX 1080")
    reason = backend.unavailable(torch.device("cuda"))
    assert "GTX 1080" in reason
    assert "7.5" in reason
    assert "no cuda:3" in backend.unavailable(torch.device("cuda:3"))


def test_asking_a_machine_without_gpu_imports_no_triton():
    code = (
        "import sys, torch; torch.cuda.is_available = lambda: False\n"
        "from breaknet.backends.triton_gpu import backend\n"
        "assert backend.unavailable(torch.device('cuda'))\n"
        "assert 'triton' not in sys.modules"
    )
    run_python("-c", code)
