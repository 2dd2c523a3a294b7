"""The commands: what they print, what they write, and wrong calls, each with one line."""

import json
import os
import signal
import subprocess
import sys
import time
import warnings

import pytest
from tiny import write_tiny_idx

from breaknet import Checkpoints
from breaknet.breakage import BREAKAGES
from breaknet.cli.commands import main


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> str:
    return str(write_tiny_idx(tmp_path_factory.mktemp("data") / "tiny"))


@pytest.fixture(autouse=True)
def surroundings(tmp_path, monkeypatch):
    """Commands run in a new folder, without the caller's own data; what they set up for a whole process ends."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("BREAKNET_DATA", raising=False)
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)


def test_lesson(data, tmp_path, capsys):
    status = main(["lesson", "--data", data, "--epochs-scale", "0.25", "--backend", "torch"])
    shown = capsys.readouterr()
    assert status == 0, shown.err
    assert (tmp_path / "breaknet-lesson" / "report.html").exists()
    assert "carrying capacity" in shown.out
    assert "epoch" in shown.err
    assert "torch on cpu" in shown.out


def test_quiet_is_silent_but_for_results(data, capsys):
    assert main(["lesson", "--data", data, "--epochs-scale", "0.01", "--backend", "torch", "-q"]) == 0
    shown = capsys.readouterr()
    assert shown.err == ""
    assert "breaknet-lesson" in shown.out


def test_train_then_evaluate(data, tmp_path, capsys):
    arguments = "--epochs 4 --hidden 8,9 --shuffle 0.5 --examples 200 --backend torch --out a/run.safetensors"
    assert main(["train", "--data", data, *arguments.split()]) == 0
    assert "valid: cost" in capsys.readouterr().out
    loaded = Checkpoints.load(tmp_path / "a" / "run.safetensors")
    assert (len(loaded), loaded.hidden, loaded.metadata["data_source"]) == (4, (8, 9), "local: tiny")
    evaluate = ["evaluate", "a/run.safetensors", "--data", data, "--confusion"]
    assert main([*evaluate, "--split", "valid", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert len(found["cost"]) == 4
    assert sum(map(sum, found["confusion"][0])) == found["images"] == 120
    assert main(evaluate) == 0
    assert "lowest cost" in capsys.readouterr().out


def test_train_draws_its_curves_and_replaces_only_what_is_breaknets(data, tmp_path, capsys):
    command = ["train", "--data", data, "--epochs", "2", "--examples", "50", "--backend", "torch"]
    for name, start in (("a.png", b"\x89PNG"), ("b.SVG", b"<?xml")):
        for _ in range(2):  # the second time over its own picture
            assert main([*command, "--plot", f"new/{name}"]) == 0
        assert f"curves: new/{name}" in capsys.readouterr().out
        assert (tmp_path / "new" / name).read_bytes().startswith(start)
    (tmp_path / "mine.svg").write_text("<?xml version='1.0'?><svg>years of work</svg>")
    assert main([*command, "--plot", "mine.svg"]) == 1
    assert "mine.svg: another file than breaknet writes" in capsys.readouterr().err
    assert "years" in (tmp_path / "mine.svg").read_text()
    assert main([*command, "--plot", "mine.svg", "-f"]) == 0
    assert main([*command, "--plot", "a.jpg"]) == 1
    assert "plot: a file that ends in .png or .svg, not 'a.jpg'" in capsys.readouterr().err
    assert main([*command, "--plot", "run.png", "--out", "run.png"]) == 1
    assert "plot: another file than that of the checkpoints" in capsys.readouterr().err


def test_two_seeds(data, tmp_path):
    command = ["train", "--data", data, "--epochs", "1", "--examples", "50", "--backend", "torch", "-q"]
    command += ["--shuffle", "1", "--break", "flip_labels(0.5)"]
    found = {}
    for seeds in ((0, 0), (1, 0), (0, 1)):
        seed, shuffle_seed = map(str, seeds)
        assert main([*command, "--seed", seed, "--shuffle-seed", shuffle_seed]) == 0
        found[seeds] = Checkpoints.load(tmp_path / "run.safetensors").metadata
    tell = {seeds: metadata["breakage"] for seeds, metadata in found.items()}
    assert tell[0, 0] == tell[1, 0] == "shuffle_labels(1) + flip_labels(0.5)"
    assert tell[0, 1] == "shuffle_labels(1, seed=1) + flip_labels(0.5, seed=1)"


def test_version(capsys):
    from breaknet import __version__

    assert main(["--version"]) == 0
    assert capsys.readouterr() == (f"breaknet {__version__}\n", "")


def test_a_stuck_run_is_told_in_one_line(data, capsys):
    command = ["train", "--data", data, "--epochs", "2", "--learning-rate", "100", "--backend", "torch"]
    assert main(command) == 0
    shown = capsys.readouterr()
    [line] = [line for line in shown.err.splitlines() if line.startswith("Warning: ")]
    assert "learned nothing from epoch 0 on" in line
    assert "smaller learning_rate helps, such as 0.05" in line
    assert "stuck from epoch 0 on" in shown.out
    assert main([*command, "-q"]) == 0
    assert capsys.readouterr().err == ""


def test_data(data, capsys):
    assert main(["data", "--data", data]) == 0
    shown = capsys.readouterr().out
    assert "local: tiny" in shown
    assert "\nsplit  images   0" in shown
    assert "\ntrain     600  " in shown
    assert main(["data", "--data", data, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [found["splits"][name]["images"] for name in ("train", "valid", "test")] == [600, 120, 60]


def test_doctor(capsys):
    assert main(["doctor"]) == 0
    shown = capsys.readouterr().out
    assert "auto picks: " in shown
    assert "backend torch: works here" in shown
    assert "FAILED" not in shown
    assert main(["doctor", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["backends"]["torch"]["usable"]
    assert found["auto"]["backend"] in ("triton", "numba", "torch")


@pytest.mark.parametrize("command", ["lesson", "train", "evaluate", "data", "class", "doctor", "kernels", ""])
def test_help_is_text_for_people(command, capsys):
    assert main([*command.split(), "--help"]) == 0
    shown = capsys.readouterr().out
    assert "Usage: " in shown
    assert "╭" not in shown


WRONG = {
    "unknown command": (["lessen"], 2, "lessen"),
    "unknown option": (["lesson", "--epoch-scale", "1"], 2, "--epoch-scale"),
    "seed of text": (["lesson", "--seed", "one"], 2, "--seed"),
    "no argument": (["evaluate"], 2, "checkpoints"),
    "unknown backend": (["lesson", "--backend", "jax"], 1, "backend: one of auto, triton, numba, torch"),
    "unknown device": (["lesson", "--device", "gpu"], 1, "device: "),
    "negative seed": (["lesson", "--seed", "-1"], 1, "seed: 0 to 2^63 - 1, not -1"),
    "scale of nothing": (["lesson", "--epochs-scale", "0"], 1, "epochs_scale: finite and over 0"),
    "missing data": (["lesson", "--data", "nowhere"], 1, "nowhere"),
    "missing file": (["evaluate", "nowhere.safetensors"], 1, "nowhere.safetensors: cannot be read"),
    # what is wrong is said before data are looked for
    "no epochs": (["train", "--epochs", "0", "--data", "nowhere"], 1, "epochs: 1 or more, not 0"),
    "no examples": (["train", "--examples", "0", "--data", "nowhere"], 1, "examples: 1 or more, not 0"),
    "negative rate": (
        ["train", "--learning-rate", "-1", "--data", "nowhere"], 1, "learning_rate: finite and over 0, not -1",
    ),
    "unknown breakage": (["data", "--break", "blur", "--data", "nowhere"], 1, "breakage: one of pixel_noise, "),
    "unknown part": (
        ["train", "--break", "leak:3", "--data", "nowhere"], 1, "not 'leak' before the ':' in 'leak:3'",
    ),
    "negative seed of a training": (["train", "--seed", "-1", "--data", "nowhere"], 1, "seed: 0 to 2^63 - 1, not -1"),
    "negative seed of a breakage": (
        ["data", "--break", "leak", "--seed", "-1", "--data", "nowhere"], 1, "seed: 0 to 2^63 - 1, not -1",
    ),
    "unknown engine": (["atlas", "--engine", "slurm", "--data", "nowhere"], 2, "engine: local or ray, not"),
    "unknown backend of an atlas": (["atlas", "--backend", "jax", "--data", "nowhere"], 2, "backend: one of auto"),
    "wrong hidden": (["train", "--hidden", "16", "--data", "DATA"], 1, "hidden: exactly two widths"),
    "hidden of text": (["train", "--hidden", "a,b", "--data", "DATA"], 1, "hidden: two whole numbers"),
    "too many examples": (["train", "--examples", "601", "--data", "DATA"], 1, "examples: 1 to 600, not 601"),
    "too much shuffling": (["train", "--shuffle", "2", "--data", "DATA"], 1, "shuffle: 0 to 1, not 2"),
    "a folder to write": (["train", "--out", ".", "--data", "DATA"], 1, "out: a file, but . is a folder"),
    "nowhere to write": (["lesson", "--out", "/dev/null/x", "--data", "DATA"], 1, "/dev/null/x: cannot be"),
    "nowhere to train": (["train", "--out", "/dev/null/x", "--data", "DATA"], 1, "cannot be written"),
    "unknown split": (["evaluate", "x", "--split", "all"], 1, "split: train, valid or test, not 'all'"),
    "wrong shuffle seed": (
        ["train", "--shuffle-seed", "-1", "--data", "DATA"], 1, "shuffle_seed: 0 to 2^63 - 1, not -1",
    ),
    "unknown target": (["kernels", "--target", "sm_12"], 1, "sm_12"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_errors_are_one_line(name, data, tmp_path, capsys):
    arguments, status, line = WRONG[name]
    assert main([data if argument == "DATA" else argument for argument in arguments]) == status
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("breaknet: ")
    assert shown.err.count("\n") == 1, shown.err
    assert line in shown.err
    assert list(tmp_path.iterdir()) == [], "something half-written"


def test_without_pyarrow_a_sweep_ends_before_data_are_looked_for(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    assert main(["atlas", "--data", "nowhere", "--address", "x"]) == 1
    shown = capsys.readouterr().err
    assert shown.startswith("breaknet: sweeps need pyarrow: pip install 'breaknet[sweep]'")
    assert shown.count("\n") == 1


def test_verbose_shows_the_traceback(capsys):
    assert main(["evaluate", "nowhere.safetensors", "-v"]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_without_network_the_lesson_falls_back_loudly(data, capsys, monkeypatch):
    import breaknet.data.mnist as mnist

    real = mnist.load_mnist

    def offline(source=None, **more):
        if source is None:
            raise mnist.DataError("no mirror answered")
        assert source == "synthetic"
        return real(data)

    monkeypatch.setattr(mnist, "load_mnist", offline)
    assert main(["data", "--quiet"]) == 0
    shown = capsys.readouterr()
    assert "SYNTHETIC DIGITS ARE USED INSTEAD" in shown.err
    assert "no mirror answered" in shown.err
    assert shown.err.count("!" * 80) >= 2


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_ctrl_c_says_where_finished_work_is(data, tmp_path):
    command = [sys.executable, "-m", "breaknet.cli", "lesson", "--data", data, "--backend", "torch"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [*command, "--epochs-scale", "2"], cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True
    )
    finished = tmp_path / "breaknet-lesson.unfinished" / "checkpoints" / "clean.safetensors"
    deadline = time.monotonic() + 120
    while not finished.exists() and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.1)
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    _, shown = process.communicate(timeout=60)
    assert process.returncode == 130, shown
    assert "Finished experiments (clean" in shown
    assert "breaknet: interrupted" in shown
    assert "Traceback" not in shown
    assert finished.exists()
    assert not (tmp_path / "breaknet-lesson").exists()


def test_train_on_broken_data(data, tmp_path, capsys):
    command = ["train", "--data", data, "--epochs", "1", "--backend", "torch", "--out", "run.safetensors"]
    assert main([*command, "--break", "missing_class(7) + shift(3)", "--seed", "3"]) == 0
    metadata = Checkpoints.load(tmp_path / "run.safetensors").metadata
    assert (metadata["breakage"], metadata["valid_breakage"]) == ("missing_class(7)", "shift(3, 0)")
    capsys.readouterr()
    assert main([*command, "--break", "mising_class(7)"]) == 1
    shown = capsys.readouterr().err
    assert shown.startswith("breaknet: breakage: one of ")
    assert "did you mean missing_class?" in shown


@pytest.mark.parametrize("name", ["flip_labels", "missing_class", "duplicates", "rotate"])
def test_pictures_of_broken_data(data, name, tmp_path, capsys):
    from PIL import Image

    call = ["data", "--data", data, "--break", name, "--out", "new/a.png", "--json"]
    assert main(call) == 0
    counts = json.loads(capsys.readouterr().out)["splits"]
    assert (counts["train"]["digits"][7] == 0) == (name == "missing_class")
    with Image.open(tmp_path / "new" / "a.png") as picture:
        assert picture.size == (1056, 550)
        assert len(set(picture.convert("L").tobytes())) > 50
        picture.convert("L").save(tmp_path / "new" / "grey.png")  # somebody's own now
    assert main(call) == 0
    (tmp_path / "new" / "grey.png").rename(tmp_path / "new" / "a.png")
    assert main(call) == 1
    assert "new/a.png: another file than breaknet writes" in capsys.readouterr().err
    assert main([*call, "-f"]) == 0


def test_list_of_breakages(capsys):
    assert main(["data", "--breakages"]) == 0
    assert "missing_class(7)   [train]" in capsys.readouterr().out
    assert main(["data", "--breakages", "--json"]) == 0
    assert [one["name"] for one in json.loads(capsys.readouterr().out)] == list(BREAKAGES)
    assert main(["data", "--out", "a.png"]) == 1
    assert capsys.readouterr().err == "breaknet: out: only with --break\n"


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("lesson --lr 0.1", "--lr; did you mean --learning-rate?"),
        ("train --bacth-size 3", "--bacth-size; did you mean --batch-size?"),
        ("evaluate --model x", "--model (try"),
    ],
)
def test_an_option_of_other_libraries_names_ours(command, said, capsys):
    assert main(command.split()) == 2
    assert capsys.readouterr().err.startswith(f"breaknet: No such option: {said}")
