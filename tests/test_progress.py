"""Who sees what while a training runs: nothing in scripts, a bar and the notices in notebooks."""

import logging
import os
import sys
from pathlib import Path
from threading import Thread
from types import SimpleNamespace

import pytest
from checks import random_labels, sparse_images
from tqdm import tqdm

import breaknet
from breaknet import Job, evaluation, progress, training
from breaknet.backends import torch_backend
from breaknet.progress import Progress, TimeLeft, notices

DATA = sparse_images(20), random_labels(20)
LOG = logging.getLogger("breaknet")


@pytest.fixture
def shown():
    """The displays of a notebook beside what its cells print."""
    return []


@pytest.fixture
def notebook(monkeypatch, shown):
    """As if a notebook's kernel ran this, without ipywidgets."""
    publisher = SimpleNamespace(publish=lambda data: shown.append(data["text/plain"]))
    shell = SimpleNamespace(kernel=object(), display_pub=publisher)
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    monkeypatch.setitem(sys.modules, "ipykernel", SimpleNamespace())
    monkeypatch.setattr(progress, "find_spec", lambda name: None)


def train(**more):
    return breaknet.train(DATA, epochs=3, batch_size=10, backend="torch", device="cpu", **more)


def test_scripts_see_nothing_and_make_nothing_for_it(capfd, monkeypatch):
    monkeypatch.setattr(training, "Progress", lambda *_: pytest.fail("made for nobody"))
    monkeypatch.delitem(sys.modules, "ipykernel", raising=False)
    for shown in ({}, {"progress": None}, {"progress": False}):
        train(**shown)
    assert capfd.readouterr() == ("", "")


def test_a_notebook_sees_a_bar_once_a_second_has_passed(notebook, capfd, monkeypatch):
    train()
    assert capfd.readouterr() == ("", "")
    monkeypatch.setattr(progress, "PATIENCE", 0)
    train(progress=False)
    assert capfd.readouterr() == ("", "")
    train()
    shown = capfd.readouterr()
    assert "training, epoch 3 of 3 |" in shown.out
    assert shown.err == "", "which a notebook shows in red"


def test_notices_are_printed_where_somebody_looks(notebook, shown, capsys, monkeypatch):
    kept = []
    handler = logging.Handler()
    handler.emit = kept.append
    logging.getLogger().addHandler(handler)
    try:
        for wanted, in_kernel, printed, displayed in [
            (None, False, "", []),
            (False, False, "", []),
            (True, False, "compiling\n", []),
            (None, True, "", ["compiling"]),
            (False, True, "", []),
            (print, True, "", ["compiling"]),
            (print, False, "", []),
        ]:
            monkeypatch.setattr(progress, "in_notebook", lambda here=in_kernel: here)
            with notices(wanted), notices(wanted):
                LOG.info("compiling")
            assert capsys.readouterr() == ("", printed), (wanted, in_kernel)
            assert shown == displayed
            shown.clear()
            assert (LOG.level, LOG.filters) == (logging.NOTSET, [])
            with notices(wanted):
                LOG.warning("slow")
        assert [record.getMessage() for record in kept] == ["slow"] * 7, (
            "what the log would have got without this"
        )
    finally:
        logging.getLogger().removeHandler(handler)


def test_a_backends_notice_reaches_a_notebook(notebook, shown, capsys, monkeypatch):
    real = torch_backend.train

    def compiling(*arguments):
        LOG.info("compiling the kernels")
        return real(*arguments)

    monkeypatch.setattr(torch_backend, "train", compiling)
    train()
    assert shown == ["compiling the kernels"]
    train(progress=False)
    assert len(shown) == 1
    assert capsys.readouterr() == ("", "")


@pytest.fixture
def clock(monkeypatch):
    clock = SimpleNamespace(now=100.0)
    monkeypatch.setattr(progress, "perf_counter", lambda: clock.now)
    return clock


def test_the_time_left_is_believed_after_a_second_and_leaves_out_what_came_before(clock):
    left = TimeLeft(1000)
    clock.now += 60  # compiling
    assert left.after(10) == ""  # the first epoch, of which nobody knows how long it took
    clock.now += 0.5
    assert left.after(20) == ""
    clock.now += 0.6
    assert left.after(32) == "48 s left"  # 22 in 1.1 s
    clock.now += 10
    assert left.after(1000) == ""
    burst = TimeLeft(1000)
    for done in (100, 200, 300):  # a round of a GPU, told at once
        assert burst.after(done) == ""
        clock.now += 0.001
    clock.now += 2
    assert burst.after(400) == "12 s left"


def job(name="", epochs=100, images=50):
    return SimpleNamespace(name=name, epochs=epochs, train=range(images), valid=None)


def stand(jobs, *reports):
    shown = Progress(False, jobs)
    shown._wants_bar = True
    for number, epoch in reports:
        shown.report(number, epoch, 0.5)
    return shown._stand()


def test_the_bar_names_its_runs():
    pair = [job("clean"), job("shuffled")]
    assert stand(pair) == "clean + shuffled, epoch 0 of 100"
    assert stand(pair, (0, 71), (1, 70)) == "clean + shuffled, epoch 71 of 100"
    assert stand(pair, (0, 70)) == "clean, epoch 71 of 100"  # one after the other
    assert stand(pair, (0, 99), (1, 4)) == "shuffled, epoch 5 of 100"
    assert stand(pair, (0, 99), (1, 99)) == "shuffled, epoch 100 of 100"
    assert stand([job()], (0, 0)) == "training, epoch 1 of 100"
    assert stand([job("clean"), job("few", 1000, 5)], (0, 49), (1, 499)) == "clean + few, 50 %"
    assert stand([job(), job()], (0, 0), (1, 0)) == "run 0 + run 1, epoch 1 of 100"
    assert (
        stand([job()] * 1200, *((number, 0) for number in range(1100)))
        == "1,100 of 1,200 runs, epoch 1 of 100"
    )


def test_a_sweep_shows_a_bar_where_a_training_does(notebook, capfd, monkeypatch, tmp_path):
    pytest.importorskip("pyarrow")
    from tiny import tiny_digits

    grid = {"epochs": 1, "examples": 50, "seed": [0, 1]}
    how = {"data": tiny_digits(), "backend": "torch", "device": "cpu"}
    breaknet.sweep(grid, out=tmp_path / "a", **how)
    assert "sweep, 2 of 2 jobs |" in capfd.readouterr().out
    breaknet.sweep(grid, out=tmp_path / "b", progress=False, **how)
    monkeypatch.delitem(sys.modules, "IPython")
    breaknet.sweep(grid, out=tmp_path / "c", **how)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("backend", ["torch", "numba"])
def test_a_long_evaluation_shows_a_bar_and_gives_the_same_bits(backend, notebook, capfd, monkeypatch):
    run = breaknet.train(DATA, epochs=50, batch_size=10, backend="numba", device="cpu")
    how = {"backend": backend, "device": "cpu", "confusion": True}
    monkeypatch.setattr(torch_backend, "_BYTES_AT_ONCE", 3 * 20 * 16 * 4)  # three models at a time
    plain = breaknet.evaluate(run, DATA, **how)
    assert capfd.readouterr().out == "", "short"
    monkeypatch.setattr(evaluation, "_WORTH_A_BAR", 0)
    monkeypatch.setattr(evaluation, "PATIENCE", 0)
    shown = breaknet.evaluate(run, DATA, **how)
    drawn = capfd.readouterr().out
    assert "evaluation, model 3 of 50 |" in drawn
    assert "evaluation, model 50 of 50 |" in drawn
    for name in ("cost", "accuracy", "confusion"):
        assert (getattr(shown, name) == getattr(plain, name)).all()
    breaknet.evaluate(run, DATA, progress=False, **how)
    assert capfd.readouterr() == ("", "")
    monkeypatch.delitem(sys.modules, "IPython")
    breaknet.evaluate(run, DATA, **how)
    assert capfd.readouterr() == ("", "")
    breaknet.evaluate(run.model, DATA, progress=True, **how)
    assert "evaluation, model 1 of 1 |" in capfd.readouterr().err


def test_a_bar_whose_stream_is_closed_ends_and_the_training_goes_on(monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)
    assert len(train(progress=True).train_cost) == 3
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full")
    full, closed = open("/dev/full", "w", buffering=1), open(os.devnull, "w")  # noqa: SIM115
    closed.close()
    for stream in (full, closed):
        monkeypatch.setattr(sys, "stderr", stream)
        assert len(train(progress=True).train_cost) == 3
    locks, free = tqdm.get_lock().locks, []  # of threads, and of processes

    def look() -> None:
        for lock in locks:
            free.append(lock.acquire(True, 10))
            lock.release()

    thread = Thread(target=look)
    thread.start()
    thread.join()
    assert free == [True] * len(locks), "bars of other threads would wait for ever"


def test_other_calls_check_progress():
    with pytest.raises(TypeError, match=r"^progress: None, True or False, not 'yes'$"):
        breaknet.evaluate(breaknet.MLP(), DATA, progress="yes")
    with pytest.raises(TypeError, match=r"^progress: True, False or a callable"):
        breaknet.train_many([Job(DATA)], progress="yes")


@pytest.mark.slow
@pytest.mark.parametrize("widgets", [False, True])
def test_a_real_notebook(widgets, tmp_path, monkeypatch):
    """A kernel with kernels of its own to compile: the notice, then a bar; with False nothing."""
    import nbformat
    from nbclient import NotebookClient

    if widgets:
        pytest.importorskip("ipywidgets")
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "cache"))
    hide = "import sys\n" + ("" if widgets else "sys.modules['ipywidgets'] = None\n")
    prepare = (
        "import numpy as np, breaknet\ndata = np.zeros((3000, 784), np.uint8) + 1, np.arange(3000) % 10\n"
    )
    cells = [
        hide + prepare,
        "a = breaknet.train(*data, epochs=400, backend='numba')",
        "b = breaknet.train(*data, epochs=400, progress=False)",
        "a",
    ]
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    NotebookClient(book, timeout=300, kernel_name="python3").execute()
    first, trained, silent, shown = (cell.outputs for cell in book.cells)
    assert first == silent == []
    displayed = [output.get("data", {}).get("text/plain", "") for output in trained]
    assert any("compiling the CPU kernels" in one for one in displayed)
    assert not [output for output in trained if output.get("name") == "stderr"]
    if widgets:
        assert any("application/vnd.jupyter.widget-view+json" in output.get("data", {}) for output in trained)
    else:
        assert "training, epoch" in "".join(output.get("text", "") for output in trained)
    assert "<svg" in shown[0]["data"]["text/html"]
