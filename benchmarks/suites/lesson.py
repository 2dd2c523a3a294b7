"""The whole lesson: its computing, the notebook's from a part of its work, and a fresh process, cold and warm."""

import copy
import json
import os
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks.contenders import notebook
from benchmarks.contenders.agreement import check_evaluator, checked_trainer
from benchmarks.measure import Contender, Context, Ready
from benchmarks.problem import digits, single
from benchmarks.processes import run_python
from breaknet import Job, shuffle_labels, train_many
from breaknet.data import cache
from breaknet.data.mnist import KEPT_AS
from breaknet.lesson.experiments import BATCH_SIZE, EXPERIMENTS

#: The part of the lesson's epochs that is run.
SCALE = {"rehearse": 0.001, "quick": 0.02, "full": 1.0}

#: The notebook's work: steps and costs of clean and shuffled (100 epochs each) and of hundred (1,000), accuracies of
#: the last two. Images are those whose outputs are computed, samples those that the Python loop looks at.
NOTEBOOK = {
    "steps": 2 * 100 * 500,
    "short_epochs": 1_000,  # of one step, with a DataLoader's start and end
    "cost_images": 2 * 100 * 60_000 + 1_000 * 10_100,
    "samples": 100 * 60_000 + 1_000 * 10_100,
    "copies": 1_200,
}
#: A thousandth of it is whole numbers of all but the copies, which are the least of it.
NOTEBOOK_PART = {"rehearse": 1e-5, "quick": 1e-3, "full": 1e-3}

#: Where compilers and others keep what they made: a cold process has these folders empty.
CACHES = ("NUMBA_CACHE_DIR", "TRITON_CACHE_DIR", "TORCHINDUCTOR_CACHE_DIR", "MPLCONFIGDIR", "XDG_CACHE_HOME")


#: Whole processes: their titles and ends, the sizes at which they are measured (the command line takes no prototypes,
#: and a cold process compiles everything, however few the epochs), and repeats at full size.
PROCESSES: dict[str, tuple[str, str, tuple[str, ...], int]] = {
    "process-warm": ("breaknet lesson, again", "figure", ("quick", "full"), 3),
    "process-cold": ("breaknet lesson, first", "figure", ("full",), 1),
    "bare-warm": ("no figures, again", "fit", ("quick", "full"), 2),
    "bare-cold": ("no figures, first", "fit", ("rehearse", "full"), 1),
}


def contenders(context: Context) -> list[Contender]:
    device, size, backend = context.device, context.size.name, context.backend
    scale = SCALE[size]
    part = "" if scale == 1 else f", {scale:g} of its epochs"
    computing = "the lesson's three runs and all their evaluations"

    def one(
        name: str, title: str, work: str, repeats: int, prepare: Callable[[], Ready], *needs: str
    ) -> Contender:
        return Contender(
            f"lesson/{device}/{name}", "lesson", title, work, f"lesson/{name}", prepare, needs, repeats
        )

    found = [
        one("compute", "breaknet", computing + part, 3, partial(_compute_ready, context, scale), backend),
        one("notebook", "the notebook's code, extrapolated", computing, 5, partial(_notebook_ready, context)),
    ]
    for name, (title, end, sizes, repeats) in PROCESSES.items():
        drawn, cold = name.startswith("process"), name.endswith("cold")
        if size in sizes and (drawn or context.gpu):  # machines with GPUs often lack what figures need
            work = f"the lesson from process start to the last {end}{part}"
            prepare = partial(_process_ready, context, scale, cold, drawn)
            needs = (*(("typer", "matplotlib", "jinja2") if drawn else ()), "scipy", backend)
            found.append(one(name, title, work, repeats if size == "full" else 1, prepare, *needs))
    return found


def _compute_ready(context: Context, scale: float) -> Ready:
    """The lesson's jobs as one call of `train_many`; at full size its results lie in the lesson's ranges."""
    data, backend = context.data, context.backend
    bad = shuffle_labels(data.train, seed=0)
    jobs = [
        Job(
            (bad if experiment.shuffled else data.train)[: experiment.examples],
            valid=data.valid,
            epochs=max(1, round(scale * experiment.epochs)),
            batch_size=BATCH_SIZE,
        )
        for experiment in EXPERIMENTS
    ]
    conditions: dict[str, Any] = {"batch": BATCH_SIZE, "scale": scale}

    def run() -> None:
        runs = train_many(jobs, backend=backend, device=context.place)
        conditions["phases"] = {key: max(one.seconds[key] for one in runs) for key in runs[0].seconds}
        if scale == 1 and data.source == "MNIST":
            assert 0.03 < runs[0].train_cost[-1] < 0.06, f"clean cost {runs[0].train_cost[-1]:.3f}"
            assert runs[2].train_accuracy[-1] > 0.9, f"hundred accuracy {runs[2].train_accuracy[-1]:.2f}"

    context.warm_up(run)
    parts = "moving and compressing data, training, costs and accuracies after each epoch, checkpoints"
    out = "imports, compiling, loading data from disk, fits, figures, report"
    return Ready(run, conditions=conditions, timed=(parts, out))


def _notebook_ready(context: Context) -> Ready:
    """A fixed part of the notebook's work of each kind, in its proportions."""
    fraction = NOTEBOOK_PART[context.size.name]
    part = {kind: max(1, round(count * fraction)) for kind, count in NOTEBOOK.items()}
    batch = context.size.batch_size
    steps = context.size.check_steps
    checked_trainer(single(notebook.trainer), [context.training(steps * batch)], steps)
    evaluated, one = context.evaluation(60_000), context.networks(1)
    check_evaluator(notebook.evaluator, one, evaluated, context.size.sampled_images)

    long = notebook.trainer(context.training(part["steps"] * batch), 1)
    short = notebook.trainer(context.training(batch), part["short_epochs"])
    sampled = notebook.evaluator(one, evaluated.first(part["samples"]))
    costs = evaluated.first(part["cost_images"])
    model = costs.model()

    def run() -> None:
        long.train()
        short.train()
        sampled()
        with torch.no_grad():
            float(notebook.cost_func(model(costs.floats), costs.one_hot))
        for _ in range(part["copies"]):
            copy.deepcopy(model)
        costs.wait()

    context.warm_up(run)
    conditions = {"batch": batch, "extrapolated": True, "timed_part": part, "whole": NOTEBOOK}
    parts = "a part of its steps, costs, accuracies sample by sample and copies of the model"
    return Ready(run, fraction, conditions=conditions, timed=(parts, "imports, loading data, fits, figures"))


def _process_ready(context: Context, scale: float, cold: bool, drawn: bool) -> Ready:
    """A fresh Python for every call; its own account of the seconds is kept in the conditions.

    The command line finds the data in breaknet's cache, as every start but the first does, unless it is cold.
    """
    cached = drawn and not cold
    conditions: dict[str, Any] = {"batch": BATCH_SIZE, "scale": scale, "cold": cold}
    source = "prototypes" if context.rehearsing else os.environ.get("BREAKNET_DATA") or "synthetic"
    kept = tempfile.TemporaryDirectory()

    def run() -> None:
        with tempfile.TemporaryDirectory() as folder:
            environment = dict(os.environ)
            if cold:
                environment |= {name: str(Path(folder, name)) for name in CACHES}
            if cached:
                environment["XDG_CACHE_HOME"] = kept.name
                environment.pop("BREAKNET_DATA", None)
            conditions["phases"] = run_lesson(
                Path(folder), context, scale, drawn, environment, None if cached else source
            )

    if cached:  # what a download would leave there
        cache.save(Path(kept.name, "breaknet", KEPT_AS), digits(source))
    if not cold:
        context.warm_up(run)  # fills the caches of others
    where = "breaknet's cache" if cached else "a local copy"
    parts = "everything from the start of Python to its end", f"downloads: the data is in {where}"
    return Ready(run, conditions=conditions, timed=parts)


def run_lesson(
    folder: Path, context: Context, scale: float, drawn: bool, environment: dict[str, str], source: str | None
) -> dict[str, float]:
    """Run the lesson in a process of its own and return its phases' seconds; the command line's where it is `drawn`.

    Then `last_figure` is the seconds from the start of the process until the last figure was written, and `source`
    may be None, for the data that is in the cache.
    """
    if drawn:
        command = ["-c", "import sys; from breaknet.cli.commands import run; sys.exit(run())", "lesson", "-q"]
        command += ["--out", str(folder / "lesson"), "--backend", context.backend]
        command += ["--device", context.place.type, "--epochs-scale", str(scale)]
        command += ["--data", source] if source else []
    else:
        command = ["-m", "benchmarks.processes", "lesson"]
        command += [str(source), context.backend, context.place.type, str(scale)]
    began = time.time()  # as files' dates
    printed = run_python("the lesson", command, environment, folder)
    if not drawn:
        return json.loads(printed)
    seconds = json.loads((folder / "lesson" / "results.json").read_text())["seconds"]
    figures = [file for file in (folder / "lesson").rglob("*") if file.suffix in {".png", ".svg"}]
    return seconds | {"last_figure": max(figure.stat().st_mtime for figure in figures) - began}
