"""The one-shot GPU script keeps what it has: seconds, rows and facts, whatever hangs, fails or is installed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest
import torch

from benchmarks import gpu, gpu_part, launches
from benchmarks.gpu import environment_for
from benchmarks.gpu_report import store
from benchmarks.measure import Contender, Context, Missing, Ready, Session, measure
from benchmarks.microbenchmarks import ceilings
from benchmarks.problem import size_of
from benchmarks.suites import SUITES
from breaknet.kernels._triton import HAVE_TRITON


def test_the_end_of_every_preparation_is_told_however_it_ended():
    def raises(error: Exception) -> Ready:
        raise error

    prepares = {
        "good": lambda: Ready(lambda: time.sleep(1e-6), 1),
        "fails": lambda: raises(RuntimeError("no")),
        "wrong": lambda: raises(AssertionError("no")),
        "missing": lambda: raises(Missing("no")),
    }
    contenders = [
        Contender(f"step/cpu/{name}", "ladder", name, "one step", name, prepare)
        for name, prepare in prepares.items()
    ]
    contenders.append(
        Contender("step/cpu/absent", "ladder", "x", "one step", "absent", prepares["good"], ("nix",))
    )
    heard = []
    session = Session(
        started=lambda one: heard.append(("started", one.name)),
        prepared=lambda one: heard.append(("prepared", one.name)),
    )
    measure(contenders, Context("cpu", size_of("rehearse")), survive=True, session=session)
    assert heard == [(event, one.name) for one in contenders for event in ("started", "prepared")]


def test_a_machine_whose_ceilings_fail_is_known_all_the_same(tmp_path, monkeypatch):
    monkeypatch.setenv("BREAKNET_BENCH_SIZE", "rehearse")

    def failing(*_: object) -> dict[str, float]:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(ceilings, "measured", failing)
    with pytest.raises(RuntimeError, match="out of memory"):
        gpu_part.machine(tmp_path)
    facts = json.loads((tmp_path / "machine.json").read_text())
    assert facts["versions"]["torch"] == torch.__version__
    assert facts["ceilings"] == {}
    assert gpu_part.context_of(tmp_path).given_ceilings is None, "those who need ceilings measure them"


def test_a_loop_that_does_not_compile_takes_no_other_ceiling_along(monkeypatch, caplog):
    pytest.importorskip("numba")

    def failing(small: bool) -> None:
        raise RuntimeError("Failed to find C compiler")

    monkeypatch.setattr(ceilings, "numba_loop", failing)
    found = ceilings.measured.__wrapped__("cpu", True)
    assert set(found) == {"bytes_per_s", "flop_per_s"}
    assert "Failed to find C compiler" in caplog.text


def test_rows_without_a_machine_are_not_stored(tmp_path):
    content = {"rehearsal": False, "machine": None, "rows": [], "failed": {}, "missing": {}}
    (tmp_path / "rows.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match="nothing on the machine"):
        store(tmp_path / "rows.json")


def test_nothing_in_the_environment_rounds_products_or_interprets_kernels(monkeypatch):
    for name in ("NVIDIA_TF32_OVERRIDE", "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE", "TRITON_INTERPRET"):
        monkeypatch.setenv(name, "1")
        assert name not in environment_for(None, rehearse=False)


def test_a_profiler_that_shows_no_kernel_counts_none(monkeypatch):
    """Not as a count of zero, which no work on a GPU has."""

    class Blind:
        def __init__(self, **_: object) -> None: ...
        def __enter__(self) -> Blind:
            return self

        def __exit__(self, *_: object) -> None: ...
        def events(self) -> list[SimpleNamespace]:
            return [SimpleNamespace(name="cudaLaunchKernel", device_type=torch.autograd.DeviceType.CPU)]

    monkeypatch.setattr(launches, "profile", Blind)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: None)
    assert launches.of_torch(lambda: None, 1, torch.device("cuda")) == {}


@pytest.mark.skipif(not HAVE_TRITON, reason="as the tests that are chosen")
def test_the_chosen_tests_are_collected_with_hypothesis_or_without_and_property_tests_skipped(repository):
    """The fake hides the real one, whose plugin would fail."""
    (part,) = [part for part in gpu.parts(False) if part.name == "kernel tests"]
    command = [*part.command, "-n", "0", *gpu.TESTS, "-k", "any_shape or any_size"]
    if "xdist" not in part.command:
        command = [word for word in command if word not in ("-n", "0")]
    done = subprocess.run(
        command, cwd=repository, env=environment_for(None, rehearse=True), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "4 skipped" in done.stdout


def test_tests_run_side_by_side_where_they_can(monkeypatch):
    monkeypatch.setattr(gpu, "find_spec", lambda name: object())
    assert gpu.side_by_side(16)[2:4] == ("--numprocesses", "12")
    assert gpu.side_by_side(2) == ()
    monkeypatch.setattr(gpu, "find_spec", lambda name: None)
    assert gpu.side_by_side(16) == ()


@pytest.mark.parametrize("installed", [True, False])
def test_the_lesson_without_figures_is_left_to_machines_that_cannot_draw(installed, monkeypatch, tmp_path):
    monkeypatch.setattr(gpu, "find_spec", lambda name: object() if installed else None)
    (part,) = [part for part in gpu.parts(False) if part.name == "lesson"]
    left_out = {"lesson/cuda/bare-warm", "lesson/cuda/bare-cold"} & set(gpu._arguments(part, tmp_path, set()))
    assert bool(left_out) is installed
    assert left_out <= {one.name for one in SUITES["lesson"](Context("cuda", size_of("full")))}


def test_jax_without_a_gpu_is_missing_there_and_not_timed_on_the_cpu():
    jax = pytest.importorskip("jax")
    from benchmarks.contenders import jax_scan

    if jax.default_backend() == "gpu":
        pytest.skip("JAX has a GPU")
    with pytest.raises(Missing, match="JAX cannot use cuda"):
        jax_scan.place_of(torch.device("cuda"))


def test_jax_is_told_to_keep_float32_in_every_product():
    jax = pytest.importorskip("jax")
    from benchmarks.contenders import jax_scan

    sizes = ((784, 16), (16,), (16, 16), (16,), (16, 10), (10,))
    parameters = tuple(jax.ShapeDtypeStruct(size, "float32") for size in sizes)
    data = [jax.ShapeDtypeStruct(size, "float32") for size in ((2, 5, 784), (2, 5, 10))]
    text = str(jax.make_jaxpr(jax_scan._train_epoch)(parameters, *data, 0.1))
    assert text.count("dot_general[") == 8  # forward, weights' gradients, two of the layers' inputs
    assert text.count("precision=(Precision.HIGHEST, Precision.HIGHEST)") == 8


def test_no_installed_package_of_a_common_name_comes_before_ours(repository, tmp_path):
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "benchmarks" / "__init__.py").write_text("raise ImportError('the wrong one')")
    done = subprocess.run(
        [sys.executable, "-P", "-c", "import benchmarks.rows; print(benchmarks.rows.__file__)"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(repository), str(tmp_path)])},
        cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert done.stdout.strip() == str(repository / "benchmarks" / "rows.py"), done.stderr
