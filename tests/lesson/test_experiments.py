"""The lesson as a whole: its folder, every number of its results, Ctrl-C, and folders that are not a lesson's."""

import errno
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from lesson_results import DRAWN
from tiny import tiny_digits

import breaknet
from breaknet import DataError
from breaknet.lesson.experiments import CURVES, EXPERIMENTS, PHASES, Lesson, Settings
from breaknet.lesson.output_folder import LessonFolder
from breaknet.lesson.report_questions import SECTIONS, place_of
from breaknet.views import confidently_wrong

QUICK = Settings(epochs_scale=0.25, backend="torch", device="cpu", learning_rate=0.05)


def files_of(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A whole quick lesson: its folder and its results."""
    folder = LessonFolder(tmp_path_factory.mktemp("lesson") / "out")
    results = folder.run(Lesson(tiny_digits(), QUICK), {"imports": 0.5, "data": 0.25})
    return folder, results


def test_the_folder_holds_what_the_design_lists(made):
    folder, _ = made
    expected = {"report.html", "results.json"}
    expected |= {f"{place_of(name)}/{name}.{kind}" for name in DRAWN for kind in ("png", "svg")}
    expected |= {f"pictures/{name}.png" for section in SECTIONS for name, _ in section.pictures}
    expected |= {f"checkpoints/{experiment.name}.safetensors" for experiment in EXPERIMENTS}
    assert files_of(folder.folder) == expected
    assert not folder.unfinished.exists()


def test_results_hold_every_number(made):
    folder, results = made
    stored = json.loads((folder.folder / "results.json").read_text())
    assert stored == json.loads(json.dumps(results))
    expected = "schema data_source settings versions backend plan device seconds experiments label_noise labels files"
    assert set(stored) == set(expected.split())
    assert stored["schema"] == 1
    assert set(stored["files"]) == files_of(folder.folder) - {"results.json"}
    assert stored["data_source"] == "local: tiny"
    assert stored["settings"]["epochs"] == {"clean": 25, "shuffled": 25, "hundred": 250}
    assert (stored["backend"], stored["plan"], stored["device"]) == ("torch", "autograd", "cpu")
    assert set(stored["seconds"]) == {*PHASES} - {"capacity"}, "which was not asked for"
    assert stored["seconds"]["total"] > stored["seconds"]["imports"] + stored["seconds"]["training"] > 0.5
    assert "torch" in stored["versions"]
    for name, experiment in stored["experiments"].items():
        assert set(experiment) == {*CURVES, "diverged_at", "stuck_at", "fits", "confusion", "mistakes"}
        for curve in CURVES:
            assert len(experiment[curve]) == stored["settings"]["epochs"][name]
    assert set(stored["experiments"]["clean"]["fits"]) == {"train_cost_line", "valid_cost_line"}
    clean = stored["experiments"]["clean"]
    slope = np.polyfit(np.arange(20, 25), clean["train_cost"][20:], 1)[0]
    assert clean["fits"]["train_cost_line"]["slope"] == pytest.approx(slope, rel=1e-6)


def test_experiments_are_what_the_design_says(made):
    _, results = made
    digits = tiny_digits()
    bad = breaknet.shuffle_labels(digits.train, seed=0)
    data = Lesson(digits, QUICK).training_data()
    assert (data["clean"].labels == digits.train.labels).all()
    assert (data["shuffled"].labels == bad.labels).all()
    assert np.shares_memory(data["clean"].images, data["shuffled"].images)
    assert len(data["hundred"]) == 100
    assert (data["hundred"].labels == bad.labels[:100]).all()
    alone = breaknet.train(bad[:100], valid=digits.valid, epochs=250, backend="torch", device="cpu")
    assert results["experiments"]["hundred"]["train_cost"] == alone.train_cost.tolist()
    other = Lesson(digits, Settings(seed=1)).training_data()
    assert (other["shuffled"].labels != bad.labels).any()


def test_what_the_pictures_show_is_that_of_the_last_network(made):
    folder, results = made
    valid = tiny_digits().valid
    for name, experiment in results["experiments"].items():
        run = breaknet.Checkpoints.load(folder.folder / "checkpoints" / f"{name}.safetensors")
        found = breaknet.evaluate(run[-1], valid, confusion=True, backend="torch", device="cpu")
        assert experiment["confusion"] == found.confusion[0].tolist()
        assert experiment["mistakes"] == [vars(one) for one in confidently_wrong(run, valid)]
    page = (folder.folder / "report.html").read_text(encoding="utf-8")
    assert page.count("data:image/png;base64,") == 1 + 6, "sample digits, and six pictures"
    assert "The most frequent mistake" in page


def test_checkpoints_are_those_of_the_curves(made):
    folder, results = made
    loaded = breaknet.Checkpoints.load(folder.folder / "checkpoints" / "shuffled.safetensors")
    found = breaknet.evaluate(loaded, tiny_digits().valid, backend="torch", device="cpu")
    np.testing.assert_allclose(found.cost, results["experiments"]["shuffled"]["valid_cost"], rtol=1e-6)


def test_an_older_lesson_is_replaced_once_the_new_one_is_whole(tmp_path, monkeypatch):
    out = tmp_path / "out"
    first, second = (
        Lesson(tiny_digits(), Settings(seed=seed, epochs_scale=0.01, backend="torch", learning_rate=0.05))
        for seed in (0, 1)
    )
    LessonFolder(out).run(first)
    old = (out / "results.json").read_bytes()
    again = LessonFolder(out)

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("breaknet.lesson.report.write_report", full)
    with pytest.raises(DataError, match=r"out: cannot be written \(No space left on device\)"):
        again.run(second)
    assert (out / "results.json").read_bytes() == old
    assert again.finished == ["clean", "shuffled", "hundred"]
    monkeypatch.undo()
    LessonFolder(out).run(second)
    assert (out / "results.json").read_bytes() != old
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize(
    ("backend", "interrupted", "finished"),
    [("torch", 250, ["clean", "shuffled"]), ("numba", 250, ["clean", "shuffled"]), ("torch", 25, [])],
)
def test_ctrl_c_keeps_finished_experiments(tmp_path, backend, interrupted, finished):
    folder = LessonFolder(tmp_path / "out")

    def interrupt(epoch, epochs, cost):
        if epochs == interrupted and epoch == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        folder.run(Lesson(tiny_digits(), Settings(0, 0.25, backend, "cpu"), progress=interrupt))
    folder.abandon()
    assert folder.finished == finished
    assert list(tmp_path.iterdir()) == [folder.unfinished] * bool(finished)
    if finished:
        kept = {"results.json", *(f"checkpoints/{name}.safetensors" for name in finished)}
        assert files_of(folder.unfinished) == kept
        stored = json.loads((folder.unfinished / "results.json").read_text())
        assert list(stored["experiments"]) == finished


def test_folders_that_are_not_a_lesson_are_never_replaced(tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter1.txt").write_text("years of work")
    with pytest.raises(DataError, match="thesis: holds other things than a lesson"):
        LessonFolder(tmp_path / "thesis")
    with pytest.raises(DataError, match=r"chapter1\.txt: a file stands there"):
        LessonFolder(tmp_path / "thesis" / "chapter1.txt")
    with pytest.raises(DataError, match="cannot be written"):
        LessonFolder(tmp_path / "thesis" / "chapter1.txt" / "out")
    assert files_of(tmp_path) == {"thesis/chapter1.txt"}


def test_a_diverged_run_does_not_end_the_lesson(tmp_path):
    with pytest.warns(RuntimeWarning, match="diverged"):
        results = LessonFolder(tmp_path / "out").run(
            Lesson(tiny_digits(), replace(QUICK, learning_rate=1e38))
        )
    assert results["experiments"]["clean"]["diverged_at"] == 0
    assert results["experiments"]["hundred"]["fits"] == {"train_accuracy_logistic": None}
    assert (tmp_path / "out" / "report.html").exists()


@pytest.mark.parametrize(
    ("scale", "epochs"), [(1, (100, 1000)), (0.001, (1, 1)), (0.126, (13, 126)), (2.5, (250, 2500))]
)
def test_epochs_scale(scale, epochs):
    settings = Settings(epochs_scale=scale)
    assert (settings.epochs(EXPERIMENTS[0]), settings.epochs(EXPERIMENTS[2])) == epochs


def test_epochs_are_those_of_the_runs_on_all_examples():
    settings = Settings(epochs_all=20)
    assert [settings.epochs(one) for one in EXPERIMENTS] == [20, 20, 1000]


def test_every_setting_reaches_every_run(tmp_path):
    settings = Settings(
        0,
        0.01,
        "torch",
        "cpu",
        shuffle_seed=3,
        batch_size=50,
        learning_rate=0.01,
        hidden=(4, 5),
        capacity=True,
    )
    digits = tiny_digits()
    results = LessonFolder(tmp_path / "out").run(Lesson(digits, settings))
    chosen = {"shuffle_seed": 3, "batch_size": 50, "learning_rate": 0.01, "hidden": [4, 5]}
    assert results["settings"].items() >= chosen.items()
    shuffled = breaknet.Checkpoints.load(tmp_path / "out" / "checkpoints" / "shuffled.safetensors")
    bad = breaknet.shuffle_labels(digits.train, seed=3)
    again = breaknet.train(bad, epochs=1, batch_size=50, learning_rate=0.01, hidden=(4, 5), backend="torch")
    for name, tensor in again.checkpoints.stacked.items():
        assert tensor.equal(shuffled.stacked[name])
    assert results["label_noise"]["train_accuracy"][-1] == again.train_accuracy[-1]
    assert results["capacity"]["examples"] == [100, 300]
    assert results["capacity"]["epochs"] == [15, 5], "30 steps of 50"
    drawn = {path.name for path in (tmp_path / "out" / "pictures").iterdir()}
    assert {"capacity.svg", "capacity_widths.png"} <= drawn


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"shuffle_seed": -1}, "shuffle_seed: 0 to"),
        ({"epochs_all": 0}, "epochs: 1 or more"),
        ({"batch_size": 0}, "batch_size: 1 or more"),
        ({"learning_rate": 0.0}, "learning_rate: finite and over 0"),
        ({"hidden": (16, 0)}, "hidden: widths of 1 or more"),
    ],
)
def test_wrong_settings(wrong, message):
    with pytest.raises(ValueError, match=message):
        Settings(**wrong)


@pytest.mark.parametrize("scale", [0, -1, float("nan"), float("inf")])
def test_wrong_epochs_scale(scale):
    with pytest.raises(ValueError, match="epochs_scale: finite and over 0"):
        Settings(epochs_scale=scale)


# The range of correct runs (seed 0, real MNIST), and how far outside another correct run may end: float32 runs of
# 50,000 steps diverge chaotically, so another processor's order of sums gives another sample.
SEEN = {
    ("clean", "train_cost"): (0.041, 0.047, 0.003),
    ("clean", "valid_cost"): (0.085, 0.094, 0.003),
    ("clean", "train_accuracy"): (0.972, 0.976, 0.002),
    ("clean", "valid_accuracy"): (0.946, 0.951, 0.003),
    ("hundred", "train_accuracy"): (0.99, 0.99, 0.005),
    ("hundred", "valid_accuracy"): (0.08, 0.13, 0.01),
}


def assert_truth(results):
    experiments = results["experiments"]
    for (name, curve), (low, high, beyond) in SEEN.items():
        last = experiments[name][curve][-1]
        assert low - beyond <= last <= high + beyond, (name, curve, last)
    fits = {name: experiment["fits"] for name, experiment in experiments.items()}
    assert -3.5e-4 <= fits["clean"]["train_cost_line"]["slope"] <= -2e-4
    assert -6e-5 <= fits["clean"]["valid_cost_line"]["slope"] <= 1.2e-4
    assert 15 <= int(np.argmin(experiments["clean"]["valid_cost"])) <= 70
    assert 13.5 <= fits["shuffled"]["train_accuracy_logistic"]["capacity_percent"] <= 15.5
    assert 97 <= fits["hundred"]["train_accuracy_logistic"]["capacity_percent"] <= 100.5
    assert experiments["shuffled"]["valid_accuracy"][-1] < 0.1 < experiments["shuffled"]["train_accuracy"][-1]


@pytest.mark.mnist
@pytest.mark.parametrize("backend", [pytest.param("torch", marks=pytest.mark.slow), "auto"])
def test_the_whole_lesson_tells_the_truth_on_mnist(mnist, tmp_path, backend):
    results = LessonFolder(tmp_path / "out").run(Lesson(mnist, Settings(backend=backend)))
    assert results["data_source"] == "MNIST"
    assert_truth(results)
    noise = results["label_noise"]
    seen = (0.935, 0.935, 0.92, 0.89, 0.73, 0.106)
    assert noise["valid_accuracy"] == pytest.approx(seen, abs=0.02)
    assert noise["labels_right"] == pytest.approx([1, 0.775, 0.55, 0.325, 0.19, 0.1], abs=0.01)
