"""Scenarios of `test_on_fake_gpus.py`, for a process without the interpreter: the Triton backend's host side.

    python host_scenarios.py [scenario_... ...]

Launches are recorded and checked, and compute nothing. Prints a JSON object: by scenario what went wrong, or an empty
text.
"""

from __future__ import annotations

import logging
import sys
from functools import partial
from unittest.mock import patch

from scenarios import prepare, run_scenarios, train

prepare()

import numpy as np  # noqa: E402
import pytest  # noqa: E402
import torch  # noqa: E402
from checks import random_labels, sparse_images  # noqa: E402

import breaknet  # noqa: E402
from breaknet import Job  # noqa: E402
from breaknet.kernels import linear_sigmoid, summed_mse  # noqa: E402
from breaknet.kernels.host import trainers as training_launch  # noqa: E402
from breaknet.kernels.host.supported_configurations import supported_configurations  # noqa: E402
from breaknet.kernels.host.targets import CompileCase  # noqa: E402
from breaknet.kernels.host.tiles import cooperative_tiles  # noqa: E402
from breaknet.kernels.jobs import JobRow, Shape  # noqa: E402
from tools.ptx_machine.cuda_objects import Launch  # noqa: E402
from tools.ptx_machine.fake_gpu import FakeGpus  # noqa: E402

Gpus = partial(FakeGpus, computes=False)
IMAGES, LABELS = sparse_images(60), random_labels(60)
OTHERS = random_labels(60, seed=7)
VALID = (IMAGES[:20], LABELS[:20])
JOBS = [
    Job((IMAGES, LABELS), valid=VALID, epochs=7, batch_size=25),
    Job((IMAGES, OTHERS), epochs=4, batch_size=25, learning_rate=0.5, seed=3),
    Job((IMAGES[:25], LABELS[:25]), valid=VALID, epochs=9, batch_size=30),
]
PLANS = ("cooperative", "packed", "split")
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


def trainers(gpus: FakeGpus) -> list[Launch]:
    return [launch for launch in gpus.launches if "training" in launch.kernel or "packed" in launch.kernel]


def scenario_the_host_never_waits_between_rounds() -> None:
    for plan in PLANS:
        for kind in (T4, H100):
            gpus = Gpus(*kind)
            runs = train(gpus, JOBS, plan=plan)
            assert [(run.plan, run.device) for run in runs] == [(plan, "cuda")] * 3
            assert [len(run.checkpoints) for run in runs] == [7, 4, 9]
            assert gpus.host_waits == 0, gpus.host_waits
            assert len([launch for launch in trainers(gpus) if not launch.captured]) > 3


def scenario_nothing_is_compiled_once_training_has_begun() -> None:
    for plan in PLANS:
        gpus = Gpus(*H100)
        train(gpus, JOBS, plan=plan)
        evaluated = {launch.arguments["images"] for launch in gpus.launches if "evaluation" in launch.kernel}
        assert evaluated == {17, 20, 25, 60}, evaluated
        begun = next(number for number, launch in enumerate(gpus.launches) if launch in trainers(gpus))
        late = [kernel for kernel, _, before in gpus.compiled if before > begun]
        assert not late, (plan, late)


def scenario_images_of_another_dtype_to_be_evaluated_are_foreseen() -> None:
    gpus = Gpus(*H100)
    job = Job((IMAGES, LABELS), valid=(IMAGES.astype(np.float32) / 256, OTHERS), epochs=3, batch_size=30)
    train(gpus, [job], plan="cooperative")
    begun = next(number for number, launch in enumerate(gpus.launches) if launch in trainers(gpus))
    assert not [kernel for kernel, _, before in gpus.compiled if before > begun]


def scenario_no_more_packed_jobs_are_at_work_than_the_gpu_has_room_for() -> None:
    jobs = [Job((IMAGES, LABELS), epochs=1 + number % 4, batch_size=40, seed=number) for number in range(7)]
    gpus = Gpus(75, 3)
    train(gpus, jobs, plan="packed")
    epochs = [launch.arguments["jobs_ptr"][:, 4] for launch in trainers(gpus)]
    assert max(int((column > 0).sum()) for column in epochs) == 3
    forms = {launch.constants["TILES"].rows for launch in trainers(gpus)}
    assert forms == {64}, "what is compiled beforehand is what is launched"


def scenario_many_jobs_are_packed_by_themselves() -> None:
    jobs = [Job((IMAGES, LABELS), epochs=1 + number % 2, batch_size=60, seed=number) for number in range(12)]
    runs = train(Gpus(*T4), jobs, backend="auto", device="auto")
    assert {(run.backend, run.plan) for run in runs} == {("triton", "packed")}


def scenario_what_is_launched_is_what_is_cross_compiled() -> None:
    images, labels = sparse_images(250), random_labels(250)
    data = (images, labels)
    jobs = [Job(data, valid=data, epochs=2), Job((images[:100], labels[:100]), epochs=3)]
    for kind in (T4, H100):
        cases = supported_configurations(kind[0])
        for plan in PLANS:
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


def scenario_a_cooperative_launch_that_is_refused_becomes_a_split_one() -> None:
    for refuse in ("driver", "registers", "kernel"):
        gpus = Gpus(*T4, registers=300 if refuse == "registers" else 255)
        gpus.cooperative = refuse != "driver"
        if refuse == "kernel":
            gpus.broken = lambda kernel: kernel.options["launch_cooperative_grid"]
        with Notices() as notices:
            runs = train(gpus, JOBS, backend="auto")
        assert {(run.backend, run.plan) for run in runs} == {("triton", "split")}, notices.texts
        assert len(notices.texts) == 1, notices.texts
        with pytest.raises(breaknet.BackendError, match="'cooperative' cannot be used here"):
            train(gpus, JOBS, plan="cooperative")


def scenario_a_kernel_that_does_not_load_leaves_the_work_to_the_next_backend() -> None:
    gpus = Gpus(*T4)
    gpus.broken = lambda kernel: kernel.src.fn.__name__ == "evaluation_forward_kernel"
    with Notices() as notices:
        runs = train(gpus, JOBS[:1], backend="auto", device="auto")
        with gpus:
            found = breaknet.evaluate(runs[0].checkpoints, VALID)
    assert runs[0].backend != "triton"
    assert found.backend == runs[0].backend
    assert ["out of resource" in text for text in notices.texts] == [True, True], notices.texts


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
        with gpus, torch.cuda.device(0), torch.cuda.graph(torch.cuda.CUDAGraph()):
            pass  # torch's own capture stream is now of GPU 0
        runs = train(gpus, JOBS, device=device, plan=plan)
        assert runs[0].device == ("cuda" if device == "auto" else device)
        with gpus:
            breaknet.evaluate(runs[0].checkpoints, VALID, backend="triton", device=device)
        assert {launch.gpu for launch in gpus.launches} == {gpu for _, gpu, _ in gpus.compiled} == {1}


def scenario_more_arrivals_than_a_barrier_counts_are_refused() -> None:
    shape = Shape(784, 16, 16, 10)
    config = cooperative_tiles(shape, 1, *T4)
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


def scenario_the_operators_are_launched_with_the_options_that_are_cross_compiled() -> None:
    cases = supported_configurations(75)
    for batch, inputs, outputs in ((700, 33, 7), (1, 1, 1), (33, 1, 5), (5, 50, 1)):
        with Gpus(*T4) as gpus:
            x, weight, bias = (
                torch.zeros(size, device="cuda") for size in ((batch, inputs), (outputs, inputs), (outputs,))
            )
            y = linear_sigmoid.launch_forward(x, weight, bias)
            labels = torch.zeros(batch, dtype=torch.int64, device="cuda")
            _, gradient = summed_mse.launch_forward(y, labels, True)
            linear_sigmoid.launch_backward_input(gradient, y, weight)
            linear_sigmoid.launch_backward_parameters(gradient, y, x)
        for launch in gpus.launches:
            same = [case for case in cases if case.kernel.__name__ == launch.kernel]
            assert any(_same_options(launch, case) for case in same), launch


if __name__ == "__main__":
    run_scenarios(globals(), sys.argv[1:])
