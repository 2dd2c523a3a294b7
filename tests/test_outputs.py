"""The outputs that a command may write over, decided before it computes; and folders that survive kills and company."""

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from tiny import tiny_digits, write_tiny_idx

from breaknet import Checkpoints, DataError
from breaknet.checkpoints import is_checkpoint_file
from breaknet.cli.commands import main
from breaknet.files import Lock, check_output_file, put_back, replace_folder, written_whole
from breaknet.lesson.experiments import Lesson, Settings
from breaknet.lesson.output_folder import LessonFolder

QUICK = Settings(epochs_scale=0.01, backend="torch", learning_rate=0.05)


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> str:
    return str(write_tiny_idx(tmp_path_factory.mktemp("data") / "tiny"))


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("lesson") / "out"
    LessonFolder(folder).run(Lesson(tiny_digits(), QUICK))
    return folder


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")


def train(data: str, *more: str) -> int:
    return main(
        ["train", "--data", data, "--epochs", "1", "--examples", "50", "--backend", "torch", "-q", *more]
    )


def never(*_: object, **__: object) -> None:
    raise AssertionError("something was computed")


def foreign(path: Path) -> None:
    path.write_text("years of work")


def foreign_safetensors(path: Path) -> None:
    header = b'{"__metadata__":{"format":"pt"}}'
    path.write_bytes(len(header).to_bytes(8, "little") + header)


def folder(path: Path) -> None:
    path.mkdir()


def pipe(path: Path) -> None:
    os.mkfifo(path)


def link_to_a_foreign_file(path: Path) -> None:
    foreign(path.with_name("real"))
    path.symlink_to("real")


def circle(path: Path) -> None:
    path.symlink_to(path.name)


def link_to_a_device(path: Path) -> None:
    path.symlink_to("/dev/null")


REFUSED = [
    (foreign, "another file than breaknet writes; name another, or replace it with -f"),
    (foreign_safetensors, "-f"),
    (link_to_a_foreign_file, "-f"),
    (folder, "is a folder"),
    (pipe, "a pipe, which is never replaced"),
    (circle, "lead in a circle"),
    (link_to_a_device, "a device, which is never replaced"),
]


@pytest.mark.parametrize(("there", "message"), REFUSED)
def test_what_is_not_breaknets_is_refused_before_anything_is_computed(
    there, message, data, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr("breaknet.data.mnist.load_mnist", never)
    there(tmp_path / "out")
    before = os.lstat(tmp_path / "out")
    assert train(data, "--out", str(tmp_path / "out")) == 1
    shown = capsys.readouterr().err
    assert message in shown
    assert shown.count("\n") == 1
    after = os.lstat(tmp_path / "out")
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)
    assert sorted(path.name for path in tmp_path.iterdir() if path.name not in ("here", "real")) == ["out"]


def test_checkpoints_are_replaced_with_a_line_and_other_files_by_force(data, tmp_path, capsys):
    out = tmp_path / "out"
    assert train(data, "--out", str(out)) == 0
    out.chmod(0o604)
    assert (
        main(
            [
                "train",
                "--data",
                data,
                "--epochs",
                "2",
                "--examples",
                "50",
                "--backend",
                "torch",
                "--out",
                str(out),
            ]
        )
        == 0
    )
    assert "the checkpoints there will be replaced" in capsys.readouterr().err
    assert len(Checkpoints.load(out)) == 2
    assert stat.S_IMODE(out.stat().st_mode) == 0o604
    out.write_text("years of work")
    assert train(data, "--out", str(out), "-f") == 0
    assert is_checkpoint_file(out)


def test_a_dangling_link_and_a_home_folder_are_written_through(data, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "link").symlink_to(tmp_path / "disk" / "run.safetensors")
    assert train(data, "--out", str(tmp_path / "link")) == 0
    assert (tmp_path / "link").is_symlink()
    assert is_checkpoint_file(tmp_path / "disk" / "run.safetensors")
    assert train(data, "--out", "~/a/run.safetensors") == 0
    assert is_checkpoint_file(tmp_path / "home" / "a" / "run.safetensors")
    assert list(Path.cwd().iterdir()) == []


def test_a_refused_call_leaves_no_folders(data, tmp_path, capsys):
    for arguments in (
        ["train", "--epochs", "0"],
        ["lesson", "--epochs-scale", "1e308"],
        ["lesson", "--device", "meta"],
    ):
        assert main([*arguments, "--data", data, "--out", str(tmp_path / "a" / "b" / "out")]) == 1
    assert main(["lesson", "--data", "nowhere", "--out", str(tmp_path / "a" / "b" / "out")]) == 1
    assert capsys.readouterr().err.count("\n") == 4
    assert [path.name for path in tmp_path.iterdir()] == ["here"]


@pytest.mark.parametrize("out", [".", "..", "", "/", "sub/.."])
def test_the_current_folder_and_those_above_are_no_output(out, data, capsys):
    assert main(["lesson", "--data", data, "--out", out]) == 1
    assert capsys.readouterr().err.count("\n") == 1
    assert list(Path.cwd().iterdir()) == []


def add_notes(folder: Path) -> None:
    (folder / "notes.txt").write_text("what we saw")


def add_a_folder(folder: Path) -> None:
    (folder / "figures" / "ours").mkdir()


def annotate(folder: Path) -> None:
    with open(folder / "report.html", "a") as file:
        file.write("<!-- what we saw -->")


def link(folder: Path) -> None:
    (folder / "checkpoints" / "clean.safetensors").unlink()
    (folder / "checkpoints" / "clean.safetensors").symlink_to("/etc/passwd")


def other_results(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.mkdir()
    (folder / "results.json").write_text('{"schema": 3}')


def own_report(folder: Path) -> None:
    (folder / "results.json").unlink()


@pytest.mark.parametrize("change", [add_notes, add_a_folder, annotate, link, other_results, own_report])
@pytest.mark.parametrize("name", ["out", "out.unfinished"])
def test_a_folder_with_anybodys_work_is_refused(change, name, whole, tmp_path):
    shutil.copytree(whole, tmp_path / name)
    change(tmp_path / name)
    before = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*"))
    with pytest.raises(DataError, match=f"{name}: holds other things than a lesson"):
        LessonFolder(tmp_path / "out")
    assert sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*")) == before


def test_notes_that_came_while_the_lesson_ran_are_kept(whole, tmp_path):
    shutil.copytree(whole, tmp_path / "out")
    folder = LessonFolder(tmp_path / "out")
    add_notes(tmp_path / "out")
    with pytest.raises(DataError, match=r"holds other things than a lesson \('notes.txt'\)"):
        folder.run(Lesson(tiny_digits(), QUICK))
    assert (tmp_path / "out" / "notes.txt").exists()
    assert (folder.unfinished / "report.html").exists()


def test_what_an_earlier_lesson_left_stays_until_something_is_finished(whole, tmp_path):
    shutil.copytree(whole, tmp_path / "out.unfinished")
    folder = LessonFolder(tmp_path / "out")
    folder.abandon()
    assert (tmp_path / "out.unfinished" / "report.html").exists()

    def interrupt(epoch, epochs, cost):
        raise KeyboardInterrupt

    folder = LessonFolder(tmp_path / "out")
    with pytest.raises(KeyboardInterrupt):
        folder.run(Lesson(tiny_digits(), QUICK, progress=interrupt))
    folder.abandon()
    assert (tmp_path / "out.unfinished" / "report.html").exists()
    LessonFolder(tmp_path / "out").run(Lesson(tiny_digits(), QUICK))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["here", "out"]


def test_a_second_lesson_into_the_same_folder_is_refused_at_once(tmp_path):
    first = LessonFolder(tmp_path / "out")
    (tmp_path / "link").symlink_to("out")
    for name in ("out", "link", "here/../out"):
        with pytest.raises(DataError, match="another lesson is being written there"):
            LessonFolder(tmp_path / name)
    first.run(Lesson(tiny_digits(), QUICK))
    LessonFolder(tmp_path / "out").abandon()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["here", "link", "out"]


def test_a_lock_of_a_killed_process_is_free(tmp_path):
    held = f"from breaknet.files import Lock; Lock(Path({str(tmp_path / 'lock')!r}))"
    script = f"import os; from pathlib import Path; {held}; os._exit(9)"
    assert subprocess.run([sys.executable, "-c", script]).returncode == 9
    assert (tmp_path / "lock").exists()
    lock = Lock(tmp_path / "lock")
    with pytest.raises(BlockingIOError):
        Lock(tmp_path / "lock")
    lock.release()
    assert not (tmp_path / "lock").exists()


def test_a_kill_between_two_renames_loses_nothing(whole, tmp_path):
    shutil.copytree(whole, tmp_path / ".out.replaced")  # as the kill leaves it
    LessonFolder(tmp_path / "out").abandon()
    assert (tmp_path / "out" / "report.html").exists()
    assert not (tmp_path / ".out.replaced").exists()
    assert not put_back(tmp_path / "out", tmp_path / ".out.replaced")


def test_a_folder_that_cannot_be_put_in_place_leaves_the_old_one(tmp_path, monkeypatch):
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).touch()
    (tmp_path / "old").chmod(0o750)
    real = Path.rename

    def refuse(self, target):
        if self.name == "new":
            raise OSError("no")
        return real(self, target)

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(OSError, match="no"):
        replace_folder(tmp_path / "new", tmp_path / "old", tmp_path / "aside")
    assert (tmp_path / "old" / "old").exists()
    monkeypatch.undo()
    replace_folder(tmp_path / "new", tmp_path / "old", tmp_path / "aside")
    assert (tmp_path / "old" / "new").exists()
    assert stat.S_IMODE((tmp_path / "old").stat().st_mode) == 0o750


def test_results_tell_of_checkpoints_that_are_there(tmp_path, monkeypatch):
    seen = []

    def look(self, results):
        seen.append(
            [
                (self.unfinished / "checkpoints" / f"{name}.safetensors").exists()
                for name in results["experiments"]
            ]
        )
        return real(self, results)

    real = LessonFolder._write_results
    monkeypatch.setattr(LessonFolder, "_write_results", look)
    LessonFolder(tmp_path / "out").run(Lesson(tiny_digits(), QUICK))
    assert len(seen) > 1
    assert all(all(found) for found in seen)


def test_written_whole_takes_long_names_and_refuses_devices(tmp_path):
    path = tmp_path / ("a" * 250)
    with written_whole(path) as unfinished:
        unfinished.write_text("whole")
    assert path.read_text() == "whole"
    with pytest.raises(DataError, match="a device, not a file"), written_whole(Path("/dev/null")):
        never()
    with pytest.raises(ValueError, match="out: the name of a file or folder, not ''"):
        check_output_file("", is_checkpoint_file)
