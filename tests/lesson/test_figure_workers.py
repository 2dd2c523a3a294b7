"""Figures drawn in processes of their own: the same files, whatever happens to the processes."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from lesson_results import made_results

from breaknet.errors import DataError
from breaknet.lesson.figure_workers import Illustrator
from breaknet.lesson.figures import draw_figure, png_bytes, sample_digits

IMAGES = np.arange(3 * 784).reshape(3, 784) % 256
LABELS = np.array([1, 2, 3])


@pytest.mark.parametrize("processes", [0, 1])
def test_the_same_files_as_drawn_here(processes: int, tmp_path: Path):
    draw_figure(made_results(), "clean_cost", tmp_path / "here")
    with Illustrator(processes) as illustrator:
        drawn = illustrator.figure(made_results(), "clean_cost", tmp_path / "there")
        samples = illustrator.samples(IMAGES, LABELS, LABELS)
        drawn()
        assert samples() == png_bytes(sample_digits(IMAGES, LABELS, LABELS))
    for name in ("clean_cost.png", "clean_cost.svg"):
        assert (tmp_path / "there" / name).read_bytes() == (tmp_path / "here" / name).read_bytes()


def test_a_killed_process_loses_no_figure(tmp_path: Path):
    with Illustrator(1) as illustrator:
        assert illustrator._pool is not None
        illustrator.samples(IMAGES, LABELS, LABELS)()
        for process in illustrator._pool._processes.values():
            os.kill(process.pid, signal.SIGKILL)
        illustrator.figure(made_results(), "clean_cost", tmp_path)()
        illustrator.figure(made_results(), "hundred_cost", tmp_path)()
    assert len(list(tmp_path.iterdir())) == 4


@pytest.mark.parametrize("processes", [0, 1])
def test_a_folder_that_cannot_be_written(processes: int, tmp_path: Path):
    (tmp_path / "file").touch()
    with Illustrator(processes) as illustrator:
        wait = illustrator.figure(made_results(), "clean_cost", tmp_path / "file" / "figures")
        with pytest.raises(DataError, match="cannot be written"):
            wait()


def test_without_semaphores_all_is_drawn_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def refuse(*_: object, **__: object) -> None:
        raise ImportError("This platform lacks a functioning sem_open implementation")

    monkeypatch.setattr("breaknet.lesson.figure_workers.ProcessPoolExecutor", refuse)
    with Illustrator(2) as illustrator:
        illustrator.figure(made_results(), "clean_cost", tmp_path)()
    assert len(list(tmp_path.iterdir())) == 2


ORPHANS = """
import time
from breaknet.lesson.figure_workers import Illustrator
if __name__ == "__main__":
    illustrator = Illustrator(2)
    illustrator.samples([[0] * 784], [1], [2])()
    print(*illustrator._pool._processes, flush=True)
    time.sleep(60)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="kills by signal")
def test_no_process_outlives_its_parent(tmp_path: Path):
    script = tmp_path / "parent.py"
    script.write_text(ORPHANS)
    parent = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    children = [int(word) for word in parent.stdout.readline().split()]
    assert children
    parent.kill()
    parent.wait()
    late = time.monotonic() + 20
    while any(_alive(child) for child in children):
        assert time.monotonic() < late, "a drawing process is still there"
        time.sleep(0.05)


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{process}/stat")  # a process that nobody waits for stays as a zombie
    return not (state.exists() and state.read_text().rpartition(")")[2].split()[0] == "Z")


SCRIPT = """
import multiprocessing, pathlib, sys
from breaknet.lesson.figure_workers import Illustrator
from lesson_results import made_results

def draw(folder):
    with Illustrator(1) as illustrator:
        illustrator.figure(made_results(), "clean_cost", pathlib.Path(folder))()

if __name__ == "__main__":
    if sys.argv[2] == "daemonic":
        process = multiprocessing.get_context("spawn").Process(target=draw, args=(sys.argv[1],), daemon=True)
        process.start()
        process.join()
        sys.exit(process.exitcode)
    draw(sys.argv[1])
"""


@pytest.mark.parametrize("parent", ["daemonic", "plain"])
def test_whatever_starts_it_figures_are_drawn_and_no_file_of_the_current_folder_is_run(
    parent: str, tmp_path: Path
):
    here = tmp_path / "here"
    here.mkdir()
    for name in ("select.py", "socket.py", "sitecustomize.py", "matplotlib.py"):
        (here / name).write_text("print('a file of the current folder was run', flush=True)\n")
    (tmp_path / "script.py").write_text(SCRIPT)
    environment = {
        **os.environ,
        "PYTHONPATH": str(Path(__file__).parent),
        "MPLBACKEND": "module://of_a_notebook.that_is_not_here",
    }
    command = [sys.executable, str(tmp_path / "script.py"), str(tmp_path / "figures"), parent]
    if parent == "daemonic":  # its own processes are Python's to start
        environment["PYTHONSAFEPATH"] = "1"
        environment["MPLBACKEND"] = "agg"  # and what it draws itself it draws in its own surroundings
    done = subprocess.run(command, cwd=here, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "was run" not in done.stdout
    assert len(list((tmp_path / "figures").iterdir())) == 2


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_an_early_ctrl_c_shows_no_traceback_of_a_process(tmp_path: Path):
    script = (
        "import os, signal, time\nfrom breaknet.lesson.figure_workers import Illustrator\n"
        "with Illustrator(2):\n    os.killpg(0, signal.SIGINT)\n    time.sleep(5)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, start_new_session=True, cwd=tmp_path
    )
    assert done.stderr.count("Traceback") == 1
    assert "spawn" not in done.stderr
