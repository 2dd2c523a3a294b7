"""What `test_triton_on_stand_in.py` runs in a process without the interpreter: one function for each scenario.

Prints a JSON object: by scenario what went wrong, or an empty text.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import traceback
import warnings
from pathlib import Path
from unittest.mock import patch

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent), str(HERE.parents[1])]
os.environ.pop("TRITON_INTERPRET", None)

import numpy as np  # noqa: E402
import pytest  # noqa: E402
import torch  # noqa: E402
from checks import random_labels, sparse_images  # noqa: E402

import breaknet  # noqa: E402
from breaknet import Job  # noqa: E402
from breaknet.backends.triton_gpu import rounds as triton_rounds  # noqa: E402
from breaknet.kernels import evaluation, linear_sigmoid, ordered_sum, summed_mse  # noqa: E402
from breaknet.kernels.host import packed_trainer  # noqa: E402
from breaknet.kernels.host import trainers as training_launch  # noqa: E402
from breaknet.kernels.host.targets import CompileCase  # noqa: E402
from breaknet.kernels.host.tiles import cooperative_plan  # noqa: E402
from breaknet.kernels.jobs import JobRow, Shape  # noqa: E402
from tools.ptx_machine.host import Gpus, Launch  # noqa: E402

IMAGES, LABELS = sparse_images(60), random_labels(60)
OTHERS = random_labels(60, seed=7)
VALID = (IMAGES[:20], LABELS[:20])
JOBS = [
    Job((IMAGES, LABELS), valid=VALID, epochs=7, batch_size=25),
    Job((IMAGES, OTHERS), epochs=4, batch_size=25, learning_rate=0.5, seed=3),
    Job((IMAGES[:25], LABELS[:25]), valid=VALID, epochs=9, batch_size=30),
]
T4, H100 = (75, 40), (90, 132)


class Notices(logging.Handler):
    """What the logger "breaknet" warned of."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(record.getMessage())

    def __enter__(self) -> Notices:
        logging.getLogger("breaknet").addHandler(self)
        return self

    def __exit__(self, *_: object) -> None:
        logging.getLogger("breaknet").removeHandler(self)


def train(gpus: Gpus, jobs: list[Job], **options: object) -> list[breaknet.Run]:
    """On the GPUs, in rounds of few steps."""
    rounds = patch.dict(triton_rounds.FIRST_STEPS, cuda=4), patch.object(triton_rounds, "ROUND_SECONDS", 0.01)
    with gpus, rounds[0], rounds[1]:
        return breaknet.train_many(jobs, **{"backend": "triton", "device": "cuda", **options})


def assert_as_torch(runs: list[breaknet.Run], jobs: list[Job]) -> None:
    for run, exact in zip(runs, breaknet.train_many(jobs, backend="torch", device="cpu"), strict=True):
        for name in ("train_cost", "valid_cost", "train_accuracy", "valid_accuracy"):
            found, wanted = getattr(run, name), getattr(exact, name)
            assert (found is None) == (wanted is None), name
            if found is not None:
                np.testing.assert_allclose(found, wanted, rtol=1e-5, err_msg=name)
        for name, tensor in exact.checkpoints.stacked.items():
            torch.testing.assert_close(run.checkpoints.stacked[name], tensor, rtol=1e-4, atol=1e-6)


def trainers(gpus: Gpus) -> list[Launch]:
    return [launch for launch in gpus.launches if "training" in launch.kernel or "packed" in launch.kernel]


def scenario_each_plan_trains_and_judges_as_torch_does_and_never_waits_between_rounds() -> None:
    for plan in ("cooperative", "packed", "split"):
        for kind in (T4, H100):
            gpus = Gpus(*kind)
            runs = train(gpus, JOBS, plan=plan)
            assert [(run.plan, run.device) for run in runs] == [(plan, "cuda")] * 3
            assert_as_torch(runs, JOBS)
            assert gpus.host_waits == 0, gpus.host_waits
            assert len([launch for launch in trainers(gpus) if not launch.captured]) > 3


def scenario_nothing_is_compiled_once_training_has_begun() -> None:
    for plan in ("cooperative", "packed", "split"):
        gpus = Gpus(*H100)
        train(gpus, JOBS, plan=plan)
        judged = {launch.arguments["images"] for launch in gpus.launches if "evaluation" in launch.kernel}
        assert judged == {17, 20, 25, 60}, judged
        begun = next(
            number
            for number, launch in enumerate(gpus.launches)
            if launch in trainers(gpus) and not (plan == "packed" and number == 0)
        )
        late = [kernel for kernel, _, before in gpus.compiled if before > begun + (plan == "packed")]
        assert not late, (plan, late)


def scenario_more_packed_jobs_than_the_gpu_has_room_for() -> None:
    jobs = [Job((IMAGES, LABELS), epochs=1 + number % 4, batch_size=40, seed=number) for number in range(7)]
    gpus = Gpus(75, 3)
    runs = train(gpus, jobs, plan="packed")
    assert_as_torch(runs, jobs)
    busy = [int((launch.arguments["jobs_ptr"][:, 4] > 0).sum()) for launch in trainers(gpus)]
    assert max(busy) == 3, busy
    forms = {launch.constants["BLOCK_B"] for launch in trainers(gpus)}
    assert forms == {64}, "what is compiled beforehand is what is launched"


def scenario_many_jobs_are_packed_by_themselves() -> None:
    jobs = [Job((IMAGES, LABELS), epochs=1 + number % 2, batch_size=60, seed=number) for number in range(12)]
    runs = train(Gpus(*T4), jobs, backend="auto", device="auto")
    assert {(run.backend, run.plan) for run in runs} == {("triton", "packed")}
    assert_as_torch(runs, jobs)


def scenario_byte_and_float_images_side_by_side() -> None:
    floats = IMAGES.astype(np.float32) / 256
    jobs = [
        Job((IMAGES, LABELS), valid=(floats, OTHERS), epochs=3, batch_size=30),
        Job((IMAGES, OTHERS), valid=VALID, epochs=3, batch_size=30),
        Job((floats, LABELS), valid=(IMAGES, OTHERS), epochs=3, batch_size=30),
    ]
    for plan in ("cooperative", "packed", "split"):
        assert_as_torch(train(Gpus(*H100), jobs, plan=plan), jobs)
    gpus = Gpus(*H100)
    train(gpus, jobs[:1], plan="cooperative")
    begun = next(number for number, launch in enumerate(gpus.launches) if launch in trainers(gpus))
    late = [kernel for kernel, _, before in gpus.compiled if before > begun]
    assert not late, "images of the other kind to be judged are foreseen"


def scenario_what_is_launched_is_what_is_cross_compiled() -> None:
    images, labels = sparse_images(250), random_labels(250)
    data = (images, labels)
    jobs = [Job(data, valid=data, epochs=2), Job((images[:100], labels[:100]), epochs=3)]
    modules = (training_launch, packed_trainer, evaluation, ordered_sum)
    for kind in (T4, H100):
        cases = [case for module in modules for case in module.compile_cases(kind[0])]
        for plan in ("cooperative", "packed", "split"):
            gpus = Gpus(*kind)
            train(gpus, jobs, plan=plan)
            assert len({launch.kernel for launch in gpus.launches}) == 3
            for launch in gpus.launches:
                assert any(_same(launch, case) for case in cases), (plan, launch)


def _same(launch: Launch, case: CompileCase) -> bool:
    pointers = {name for name, kind in case.signature.items() if kind.startswith("*")}
    free = (
        {"checkpoint_ptr", "label_ptr"} if "evaluation" in launch.kernel else set()
    )  # the same code either way
    return (
        case.kernel.__name__ == launch.kernel
        and case.constexprs == launch.constants
        and case.signature == launch.types
        and {*pointers, *case.divisible} - free == launch.divisible - free
        and _same_options(launch, case)
    )


def _same_options(launch: Launch, case: CompileCase) -> bool:
    return all(launch.options[name] == value for name, value in case.options().items())


def scenario_a_cooperative_launch_that_is_refused_becomes_a_phase_split_one() -> None:
    for refuse in ("driver", "registers", "kernel"):
        gpus = Gpus(*T4, registers=300 if refuse == "registers" else 255)
        gpus.cooperative = refuse != "driver"
        gpus.broken = "cooperative_training_kernel" if refuse == "kernel" else None
        with Notices() as notices:
            runs = train(gpus, JOBS, backend="auto")
        assert {(run.backend, run.plan) for run in runs} == {("triton", "split")}, notices.texts
        assert len(notices.texts) == 1, notices.texts
        assert_as_torch(runs, JOBS)
        with pytest.raises(breaknet.BackendError, match="'cooperative' cannot be used here"):
            train(gpus, JOBS, plan="cooperative")


def scenario_a_kernel_that_does_not_load_leaves_the_work_to_the_next_backend() -> None:
    gpus = Gpus(*T4)
    gpus.broken = "evaluation_forward_kernel"
    with Notices() as notices:
        runs = train(gpus, JOBS[:1], backend="auto", device="auto")
        with gpus:
            found = breaknet.evaluate(runs[0].checkpoints, VALID)
    assert runs[0].backend != "triton"
    assert found.backend == runs[0].backend
    assert ["out of resource" in text for text in notices.texts] == [True, True], notices.texts


def scenario_divergence_ends_one_job_and_no_other() -> None:
    jobs = [
        Job((IMAGES, LABELS), epochs=9, batch_size=30, learning_rate=3e38),
        Job((IMAGES, LABELS), epochs=9, batch_size=30),
    ]
    for plan in ("cooperative", "packed", "split"):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            diverged, fine = train(Gpus(*H100), jobs, plan=plan)
        assert [issubclass(one.category, RuntimeWarning) for one in caught].count(True) == 1
        assert diverged.diverged_at == len(diverged.checkpoints) == len(diverged.train_cost)
        assert_as_torch([fine], jobs[1:])


def scenario_the_callers_gpu_is_the_one_that_is_used() -> None:
    asked = (
        ("cuda", 1, "cooperative"),
        ("cuda:1", 0, "packed"),
        ("auto", 1, "split"),
        ("cuda:1", 0, "split"),
    )
    for device, current, plan in asked:
        gpus = Gpus(*T4, count=2)
        gpus.set_current(current)
        runs = train(gpus, JOBS, device=device, plan=plan)
        assert runs[0].device == ("cuda" if device == "auto" else device)
        assert_as_torch(runs, JOBS)
        with gpus:
            breaknet.evaluate(runs[0].checkpoints, VALID, backend="triton", device=device)
        assert {launch.gpu for launch in gpus.launches} == {gpu for _, gpu, _ in gpus.compiled} == {1}


def scenario_doctor_finds_all_well() -> None:
    from breaknet.cli.doctor import examine

    for kind in (T4, H100):
        gpus = Gpus(*kind)
        with gpus:
            found = examine()
        assert found["auto"]["backend"] == "triton", found["backends"]["triton"]
        checks = found["backends"]["triton"]["checks"]
        assert len(checks) == 5
        assert all(check["ok"] for check in checks), checks
        assert any(launch.captured for launch in gpus.launches)


def scenario_doctor_picks_a_gpu_that_is_too_small_for_one_plan() -> None:
    from breaknet.cli.doctor import examine

    small, refusing = Gpus(75, 8), Gpus(*T4)
    refusing.cooperative = False
    for gpus, reason in ((small, "this GPU (sm_75) has 8"), (refusing, "cannot be used here")):
        with gpus:
            found = examine()
        assert found["auto"]["backend"] == "triton", found["backends"]["triton"]
        checks = {check["name"]: check for check in found["backends"]["triton"]["checks"]}
        assert all(check["ok"] for check in checks.values()), checks
        assert "split takes its place" in checks["plan cooperative"]["detail"]
        assert reason in checks["plan cooperative"]["detail"]
        assert {run.plan for run in train(gpus, JOBS, backend="auto", device="auto")} == {"split"}


def scenario_models_are_judged_where_the_images_lie() -> None:
    models = [breaknet.MLP.seeded(seed, (5, 20)) for seed in range(5)]
    exact = breaknet.evaluate(models, (IMAGES, LABELS), backend="torch", device="cpu", confusion=True)
    with Gpus(*T4):
        images = torch.from_numpy(IMAGES).to("cuda")
        labels = torch.from_numpy(np.asarray(LABELS)).to("cuda")
        found = breaknet.evaluate(models, (images, labels), backend="triton", confusion=True)
    np.testing.assert_allclose(found.cost, exact.cost, rtol=1e-5)
    assert np.array_equal(found.accuracy, exact.accuracy)
    assert np.array_equal(found.confusion, exact.confusion)


def scenario_more_arrivals_than_a_barrier_counts_are_refused() -> None:
    shape = Shape(784, 16, 16, 10)
    config = cooperative_plan(shape, 1, *T4)
    with Gpus(*T4):
        images = torch.zeros(100, 784, dtype=torch.uint8, device="cuda")
        labels = torch.zeros(100, dtype=torch.int32, device="cuda")
        live = torch.zeros(1, shape.parameters, device="cuda")
        trainer = training_launch.CooperativeTrainer(shape, config, images, labels, live, 1)
        checkpoints = torch.zeros(1, shape.parameters, device="cuda").expand(10**6, -1)
        job = JobRow(0, 0, 100, 1, 400_000, 0, 0, 0.1)
        with (
            patch.object(training_launch, "_check_matrix"),
            pytest.raises(ValueError, match="steps a launch at most"),
        ):
            trainer.launch(checkpoints, [job])


def scenario_the_fused_layer_and_cost_take_any_strides() -> None:
    random = torch.Generator().manual_seed(0)
    cases = [
        case for module in (linear_sigmoid, summed_mse, ordered_sum) for case in module.compile_cases(75)
    ]
    for batch, inputs, outputs in ((700, 33, 7), (1, 1, 1), (33, 1, 5), (5, 50, 1)):
        for strided in (False, True):
            host = [
                torch.randn(size, generator=random)
                for size in ((batch, inputs), (outputs, inputs), (outputs,))
            ]
            labels = torch.randint(0, outputs, (batch,), generator=random)
            gpus = Gpus(*T4)
            with gpus:
                x, weight, bias = (one.to("cuda") for one in host)
                if strided:
                    x, weight = x.T.contiguous().T, weight.T.contiguous().T
                y = linear_sigmoid.launch_forward(x, weight, bias)
                cost, gradient = summed_mse.launch_forward(y, labels.to("cuda"), True)
                grad = gradient.T.contiguous().T if strided else gradient
                dx = linear_sigmoid.launch_backward_input(grad, y, weight)
                dweight, dbias = linear_sigmoid.launch_backward_parameters(grad, y, x)
                found = [one.cpu() for one in (cost, dx, dweight, dbias)]
            leaves = [one.double().requires_grad_() for one in host]
            out = torch.sigmoid(leaves[0] @ leaves[1].T + leaves[2])
            exact = ((out - torch.nn.functional.one_hot(labels, outputs)) ** 2).sum()
            exact.backward()
            for one, wanted in zip(found, [exact.detach(), *(leaf.grad for leaf in leaves)], strict=True):
                torch.testing.assert_close(one.double(), wanted, rtol=1e-4, atol=1e-5)
            for launch in gpus.launches:
                assert any(
                    launch.kernel == case.kernel.__name__ and _same_options(launch, case) for case in cases
                )


def run_scenarios(scenarios: dict[str, object], names: list[str]) -> None:
    """Run those of `scenarios` that are named, or all, and print a JSON object: by name what went wrong, or ""."""
    torch.set_num_threads(1)
    outcomes = {}
    for name in names or [name for name in scenarios if name.startswith("scenario_")]:
        try:
            scenarios[name]()  # type: ignore[operator]
        except (Exception, pytest.fail.Exception):
            outcomes[name] = traceback.format_exc()[-3000:]
        else:
            outcomes[name] = ""
    print(json.dumps(outcomes))


if __name__ == "__main__":
    run_scenarios(globals(), sys.argv[1:])
