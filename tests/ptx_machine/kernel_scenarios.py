"""Scenarios of `test_on_fake_gpus.py`, for a process without the interpreter: the kernels as Triton compiles them.

    python kernel_scenarios.py sm_75 [scenario_... ...]

Prints a JSON object: by scenario what went wrong, or an empty text.
"""

from __future__ import annotations

import re
import sys
import warnings
from collections.abc import Callable
from unittest.mock import patch

from scenarios import HERE, assert_as_torch, prepare, run_scenarios, train

prepare()

import evaluation_cases  # noqa: E402
import numpy as np  # noqa: E402
import pytest  # noqa: E402
import torch  # noqa: E402
import triton  # noqa: E402
from checks import random_labels, sparse_images  # noqa: E402
from fake_gpus import largest  # noqa: E402
from trainer_cases import Problem, train_cooperatively, train_packed  # noqa: E402

import breaknet  # noqa: E402
from benchmarks import t4_gate  # noqa: E402
from benchmarks.kernel_counts import counted  # noqa: E402
from benchmarks.t4_model import T4  # noqa: E402
from breaknet import Job  # noqa: E402
from breaknet.kernels import linear_sigmoid, summed_mse  # noqa: E402
from breaknet.kernels.host.tiles import PACKED, PackedConfig, cooperative_tiles  # noqa: E402
from breaknet.kernels.jobs import Shape  # noqa: E402
from tools.ptx_machine import Fault  # noqa: E402
from tools.ptx_machine.fake_gpu import FakeGpus  # noqa: E402

TARGET = sys.argv[1]
IMAGES, LABELS = sparse_images(25), random_labels(25)
OTHERS = random_labels(25, seed=7)
#: Two jobs of other labels, learning rates and ends; the first has a partial batch and another set to be evaluated on.
JOBS = [
    Job((IMAGES, LABELS), valid=(IMAGES[:9], OTHERS[:9]), epochs=2, batch_size=17),
    Job((IMAGES[:20], OTHERS[:20]), epochs=1, batch_size=17, learning_rate=0.5, seed=3),
]
#: The most memory transactions that the lesson's kernels may take on sm_75: of shared memory with bank conflicts, and
#: lines of global memory. Lines are half as many again where a tensor does not begin at one, which a GPU's do.
LIMITS = {"evaluation": (203_000, 29_000), "cooperative": (226_000, 66_000), "packed": (182_000, 36_000)}


def trains_as_torch_does(plan: str) -> None:
    gpus = largest(TARGET)
    runs = train(gpus, JOBS, steps=1, plan=plan)
    assert [(run.plan, run.device) for run in runs] == [(plan, "cuda")] * len(JOBS)
    assert_as_torch(runs, JOBS)
    assert gpus.host_waits == 0, gpus.host_waits


def scenario_cooperative_training() -> None:
    trains_as_torch_does("cooperative")


def scenario_packed_training() -> None:
    trains_as_torch_does("packed")


def scenario_split_training() -> None:
    trains_as_torch_does("split")


def train_small(edit: Callable[[str], str] | None = None, seed: int = 0) -> None:
    """Two jobs of a small network in one cooperative launch, last batches partial, held against float64."""
    gpus = largest(TARGET)
    gpus.seed = seed
    if edit is not None:
        gpus.edit = edit
    with gpus:
        problem = Problem(Shape(50, 5, 18, 3), 11, device=torch.device("cuda"))
        config = cooperative_tiles(problem.shape, 7, gpus.capability, gpus.processors)
        assert not isinstance(config, str), config
        jobs = [problem.job(7, 2), problem.job(4, 1, 0.5, row=3, live_row=1, checkpoint_row=2)]
        checkpoints = train_cooperatively(problem, config, jobs).cpu()
    for job in jobs:
        problem.assert_trained(job, checkpoints)


def scenario_blocks_take_turns_in_any_order() -> None:
    for seed in range(4):
        train_small(seed=seed)


def scenario_all_that_orders_blocks_is_needed() -> None:
    def edited(old: str, new: str) -> Callable[[str], str]:
        def edit(ptx: str) -> str:
            assert old in ptx, old
            return ptx.replace(old, new)

        return edit

    def without(line: int, end: str) -> Callable[[str], str]:
        """Without the bar.sync from a line of `grid_barrier` up to an instruction."""
        span = re.compile(rf"// grid_barrier\.py:{line}:(.*\n)+?.*{end}")

        def edit(ptx: str) -> str:
            assert span.search(ptx), line
            return span.sub(lambda found: re.sub(r"\n\s*bar\.sync.*", "", found[0]), ptx)

        return edit

    source = (HERE.parents[1] / "kernels" / "grid_barrier.py").read_text().splitlines()
    before, after = (number for number, text in enumerate(source, 1) if text.strip() == "tl.debug_barrier()")
    for edit in (
        edited("global.gpu.release", "global.gpu.relaxed"),
        edited("ld.acquire.gpu", "ld.relaxed.gpu"),
        without(before, end="global.gpu.release"),
        without(after, end="bar.sync.*"),
    ):
        with pytest.raises(Fault, match=r"race: place \d+ of global memory"):
            train_small(edit)


def train_form(form: PackedConfig) -> None:
    """A packed network that needs the form, held against float64."""
    batch = form.rows - 1 if form.form == "fused" else 19
    shape = Shape(18, form.width, max(1, form.width - 5), 10)
    with largest(TARGET):
        problem = Problem(shape, batch + 5, not form.byte_images, device=torch.device("cuda"))
        job = problem.job(batch, epochs=1, rate=min(0.5, 8 / batch))
        checkpoints = train_packed(problem, form, [job]).cpu()
        problem.assert_trained(job, checkpoints)


def scenario_networks_of_a_fused_and_a_looped_packed_form() -> None:
    for kind in ("fused", "looped"):
        train_form(next(form for form in PACKED if form.form == kind and form.width > 16))


def slow_scenario_networks_of_every_packed_form() -> None:
    for form in PACKED:
        if form.form == "looped" or form.rows <= 64:  # more rows are the same code, and slow here
            train_form(form)


def scenario_the_fused_layer_and_cost() -> None:
    for size in ((33, 50, 10), (7, 20, 40)):
        run_operators(*size, strided=False)


def slow_scenario_the_fused_layer_and_cost_take_any_size_and_strides() -> None:
    for size in ((700, 33, 7), (1, 1, 1), (33, 1, 5), (5, 50, 1)):
        for strided in (False, True):
            run_operators(*size, strided=strided)


def run_operators(batch: int, inputs: int, outputs: int, strided: bool) -> None:
    """Cost and gradients of a layer by the operators' launches, held against float64."""
    random = torch.Generator().manual_seed(0)
    sizes = (batch, inputs), (outputs, inputs), (outputs,)
    x, weight, bias = host = [torch.randn(size, generator=random) for size in sizes]
    labels = torch.randint(0, outputs, (batch,), generator=random)
    target = torch.nn.functional.one_hot(labels, outputs).float()
    leaves = [one.double().requires_grad_() for one in host]
    cost = ((torch.sigmoid(leaves[0] @ leaves[1].T + leaves[2]) - target) ** 2).sum()
    cost.backward()
    exact = [cost.detach(), *(leaf.grad for leaf in leaves), cost.detach()]
    with largest(TARGET):
        x, weight, bias = (one.to("cuda") for one in host)
        if strided:
            x, weight = x.T.contiguous().T, weight.T.contiguous().T
        y = linear_sigmoid.launch_forward(x, weight, bias)
        by_label, gradient = summed_mse.launch_forward(y, labels.to("cuda"), True)
        by_value, _ = summed_mse.launch_forward(y, target.T.contiguous().T.to("cuda"), True)
        if strided:
            gradient = gradient.T.contiguous().T
        dx = linear_sigmoid.launch_backward_input(gradient, y, weight)
        dweight, dbias = linear_sigmoid.launch_backward_parameters(gradient, y, x)
        found = [one.cpu() for one in (by_label, dx, dweight, dbias, by_value)]
    for one, wanted in zip(found, exact, strict=True):
        torch.testing.assert_close(one.double(), wanted, rtol=1e-4, atol=1e-5)


def scenario_networks_are_evaluated_where_the_images_lie() -> None:
    networks = [breaknet.MLP.seeded(seed, (5, 20)) for seed in range(3)]
    exact = breaknet.evaluate(networks, (IMAGES, LABELS), backend="torch", device="cpu", confusion=True)
    with largest(TARGET):
        images, labels = (torch.from_numpy(np.asarray(part)).to("cuda") for part in (IMAGES, LABELS))
        found = breaknet.evaluate(networks, (images, labels), backend="triton", confusion=True)
    np.testing.assert_allclose(found.cost, exact.cost, rtol=1e-5)
    assert np.array_equal(found.accuracy, exact.accuracy)
    assert np.array_equal(found.confusion, exact.confusion)


def scenario_confusion_counts() -> None:
    with largest(TARGET):
        evaluation_cases.check(torch.device("cuda"), (3, 33, 50, (7, 16), 10, True), confusion=True)


def scenario_memory_transactions() -> None:
    stored = t4_gate.load()
    assert stored is not None
    for kernel, (shared, lines) in LIMITS.items() if TARGET == "sm_75" else ():
        counts, traffic = counted(kernel, T4)
        assert 0 < counts.shared <= shared, kernel
        assert 0 < traffic.total("global").transactions <= lines, kernel
        if stored.triton == triton.__version__:
            assert t4_gate.same(stored.present["T4"][kernel], counts), f"{kernel}: `make tables` counts again"


def host_scenario_more_packed_jobs_than_the_gpu_has_room_for() -> None:
    data = IMAGES[:20], LABELS[:20]
    jobs = [Job(data, epochs=1 + number % 3, batch_size=20, seed=number) for number in range(5)]
    runs = train(FakeGpus(largest(TARGET).capability, 2), jobs, steps=1, plan="packed")
    assert_as_torch(runs, jobs)


def host_scenario_divergence_ends_one_job_and_no_other() -> None:
    data = IMAGES[:17], LABELS[:17]
    jobs = [
        Job(data, epochs=3, batch_size=17, learning_rate=3e38),
        Job(data, epochs=3, batch_size=17),
    ]
    for plan in ("cooperative", "packed", "split"):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            diverged, fine = train(largest(TARGET), jobs, plan=plan)
        assert [issubclass(one.category, RuntimeWarning) for one in caught].count(True) == 1
        assert diverged.diverged_at == len(diverged.checkpoints) == len(diverged.train_cost)
        assert_as_torch([fine], jobs[1:])


def host_scenario_doctor_picks_the_gpu_even_where_one_plan_cannot_be() -> None:
    from breaknet.backends import check
    from breaknet.cli.doctor import examine

    fine, small, refusing = largest(TARGET), FakeGpus(largest(TARGET).capability, 8), largest(TARGET)
    refusing.cooperative = False
    job = check._job
    for gpus, reason in (
        (fine, ""),
        (small, f"this GPU ({TARGET}) has 8"),
        (refusing, "cannot be used here"),
    ):
        with gpus, patch.object(check, "_job", lambda examples: job(min(examples, 15))):
            found = examine()
        assert found["auto"]["backend"] == "triton", found["backends"]["triton"]
        checks = {check["name"]: check for check in found["backends"]["triton"]["checks"]}
        assert len(checks) == 5
        assert all(check["ok"] for check in checks.values()), checks
        detail = checks["plan cooperative"]["detail"]
        assert reason in detail
        assert ("split takes its place" in detail) == bool(reason)
        assert any(launch.captured for launch in gpus.launches)


if __name__ == "__main__":
    run_scenarios(globals(), sys.argv[2:])
