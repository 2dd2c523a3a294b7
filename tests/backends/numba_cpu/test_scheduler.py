"""The running of the CPU backend: threads, reports, Ctrl-C, and what it refuses."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch
from checks import python_path, start_of

pytest.importorskip("numba")
from numba_jobs import CPU, examples, job, mixed_jobs, train

from breaknet.backends.numba_cpu import backend


def test_reports_come_in_order_in_the_calling_thread():
    calls = []

    def report(index, epoch, cost):
        assert threading.current_thread() is threading.main_thread()
        calls.append((index, epoch, cost))

    results = train(*mixed_jobs(), report=report)
    for index, result in enumerate(results):
        mine = [(epoch, cost) for which, epoch, cost in calls if which == index]
        assert mine == list(enumerate(result.train_cost))


def test_an_exception_in_report_ends_training_quickly():
    train(job(examples(200)))
    began = time.perf_counter()

    def report(index, epoch, cost):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(job(examples(2000), examples(2000), epochs=10_000), report=report)
    assert time.perf_counter() - began < 10
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("breaknet")]


_ENDLESS = """
import numba_jobs as here
few, many = here.examples(20), here.examples(3000)
(trained,) = here.train(here.job(few, few, epochs=1))
print("ready", flush=True)
"""

_TRAINING = "here.train(*3 * [here.job(many, many, epochs=2000, batch_size=1)])"

_EVALUATION = """
models = {name: value.expand(1000, *value.shape[1:]) for name, value in trained.parameters.items()}
while True:
    here.backend.evaluate(models, many, here.CPU, True)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="signals are sent otherwise on Windows")
@pytest.mark.parametrize("work", [_TRAINING, _EVALUATION], ids=["training", "evaluation"])
def test_ctrl_c_ends_it_at_once(work):
    process = subprocess.Popen(
        [sys.executable, "-c", _ENDLESS + work], env=dict(os.environ, PYTHONPATH=python_path(Path(__file__))),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert process.stdout.readline() == "ready\n"
        time.sleep(0.7)
        process.send_signal(signal.SIGINT)
        began = time.perf_counter()
        _, errors = process.communicate(timeout=30)
    finally:
        process.kill()
    assert "KeyboardInterrupt" in errors
    assert time.perf_counter() - began < 5  # half a second where the processors are free


def test_thread_count(monkeypatch):
    monkeypatch.delenv("BREAKNET_THREADS", raising=False)
    assert backend.thread_count() >= 1
    monkeypatch.setenv("BREAKNET_THREADS", "3")
    assert backend.thread_count() == 3
    for wrong in ("0", "-1", "two", "1.5"):
        monkeypatch.setenv("BREAKNET_THREADS", wrong)
        with pytest.raises(ValueError, match=r"BREAKNET_THREADS: .* not"):
            backend.thread_count()


def test_what_it_cannot_take():
    assert backend.unavailable(CPU) is None
    assert "cuda" in backend.unavailable(torch.device("cuda"))
    assert backend.unsupported_hidden((128, 1)) is None
    assert "129" in backend.unsupported_hidden((16, 129))
    assert "129" in backend.unsupported(job(examples(3), start=start_of(0, (129, 2))))
