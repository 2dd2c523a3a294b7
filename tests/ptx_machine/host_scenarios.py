"""The Triton backend's host side on fake GPUs that check and record launches; `test_on_fake_gpus.py` runs these tests.

BREAKNET_TEST_TARGET=sm_75 python -m pytest tests/ptx_machine/host_scenarios.py
"""

import time
from functools import partial
from unittest.mock import patch

import numpy as np
import pytest
import torch
import triton
from checks import random_labels, sparse_images
from fake_gpus import forget_gpus, train

import breaknet
from breaknet import Job
from breaknet.backends.select import choices
from breaknet.kernels import fused_network_kernels, linear_sigmoid, summed_mse
from breaknet.kernels._triton import capability_of, reading
from breaknet.kernels.host import trainers as training_launch
from breaknet.kernels.host.supported_configurations import supported_configurations
from breaknet.kernels.host.targets import CompileCase
from breaknet.kernels.host.tiles import cooperative_tiles
from breaknet.kernels.jobs import JobRow, Shape
from tools.ptx_machine.fake_gpu import FakeGpus, Launch

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


@pytest.fixture(autouse=True)
def _another_gpu() -> None:
    """A process has one kind of GPU, and remembers it."""
    capability_of.cache_clear()


def trainers(gpus: FakeGpus) -> list[Launch]:
    return [launch for launch in gpus.launches if "training" in launch.kernel or "packed" in launch.kernel]


def late_compilations(gpus: FakeGpus) -> list[str]:
    """Kernels that were compiled once training had begun."""
    begun = next(number for number, launch in enumerate(gpus.launches) if launch in trainers(gpus))
    return [kernel for kernel, _, before in gpus.compiled if before > begun]


@pytest.mark.parametrize("kind", [T4, H100])
@pytest.mark.parametrize("plan", PLANS)
def test_the_host_neither_waits_between_rounds_nor_compiles(plan: str, kind: tuple[int, int]) -> None:
    gpus = Gpus(*kind)
    runs = train(gpus, JOBS, plan=plan)
    assert [(run.plan, run.device) for run in runs] == [(plan, "cuda")] * 3
    assert [len(run.checkpoints) for run in runs] == [7, 4, 9]
    assert gpus.host_waits == 0, gpus.host_waits
    assert len([launch for launch in trainers(gpus) if not launch.captured]) > 3
    evaluated = {launch.arguments["images"] for launch in gpus.launches if "evaluation" in launch.kernel}
    assert evaluated == {17, 20, 25, 60}, evaluated
    assert not late_compilations(gpus)


def test_triton_reads_itself_once_before_threads_compile(monkeypatch: pytest.MonkeyPatch) -> None:
    """It begins where a GPU is found to be usable, and no thread reads again what another is reading."""
    began, ended = [], []

    def read() -> None:
        began.append(len(gpus.compiled))
        time.sleep(0.2)
        ended.append(len(gpus.compiled))

    monkeypatch.setattr(triton.runtime.cache, "triton_key", read)
    reading.cache_clear()
    gpus = Gpus(*H100)
    with gpus:
        assert choices("auto", "auto")[0].name == "triton"
    assert began == [0]
    train(gpus, JOBS, plan="cooperative")
    assert began == ended == [0], "nothing is compiled until it is read"
    assert gpus.compiled
    reading.cache_clear()


def test_images_of_another_dtype_to_be_evaluated_are_foreseen() -> None:
    gpus = Gpus(*H100)
    job = Job((IMAGES, LABELS), valid=(IMAGES.astype(np.float32) / 256, OTHERS), epochs=3, batch_size=30)
    train(gpus, [job], plan="cooperative")
    assert not late_compilations(gpus)


def test_no_more_packed_jobs_are_at_work_than_the_gpu_has_room_for() -> None:
    jobs = [Job((IMAGES, LABELS), epochs=1 + number % 4, batch_size=40, seed=number) for number in range(7)]
    gpus = Gpus(75, 3)
    train(gpus, jobs, plan="packed")
    epochs = [launch.arguments["jobs_ptr"][:, 4] for launch in trainers(gpus)]
    assert max(int((column > 0).sum()) for column in epochs) == 3
    forms = {launch.constants["TILES"].rows for launch in trainers(gpus)}
    assert forms == {64}, "what is compiled beforehand is what is launched"


def test_packed_jobs_of_the_same_images_share_programs() -> None:
    """Four a program on tensor cores, wherever in the list they stand; on FMAs each has one of its own."""
    sets = (IMAGES, LABELS), (IMAGES[::-1].copy(), OTHERS)
    jobs = [Job(sets[number % 2], epochs=2, batch_size=40, seed=number) for number in range(10)]
    for kind, used in (((90, 2), [1, 3, 4]), ((75, 8), [1] * 8)):
        gpus = Gpus(*kind)
        train(gpus, jobs, plan="packed")
        for launch in trainers(gpus):
            table = launch.arguments["jobs_ptr"]
            programs = table.unflatten(0, (-1, launch.constants["TILES"].networks))
            assert launch.grid[0] == len(programs)
            for program in programs:
                (image_row,) = {row[0].item() for row in program if row[2] > 0}
                assert all(row[0] == image_row or not row.any() for row in program)
        first = trainers(gpus)[0].arguments["jobs_ptr"]
        slots = first.unflatten(0, (-1, trainers(gpus)[0].constants["TILES"].networks))
        assert sorted((slots[:, :, 2] > 0).sum(1).tolist()) == used


def test_many_jobs_are_packed_by_themselves() -> None:
    jobs = [Job((IMAGES, LABELS), epochs=1 + number % 2, batch_size=60, seed=number) for number in range(17)]
    runs = train(Gpus(*T4), jobs, backend="auto", device="auto")
    assert {(run.backend, run.plan) for run in runs} == {("triton", "packed")}


@pytest.mark.parametrize("kind", [T4, H100])
@pytest.mark.parametrize("plan", PLANS)
def test_what_is_launched_is_what_is_cross_compiled(plan: str, kind: tuple[int, int]) -> None:
    images, labels = data = sparse_images(250), random_labels(250)
    gpus = Gpus(*kind)
    train(gpus, [Job(data, valid=data, epochs=2), Job((images[:100], labels[:100]), epochs=3)], plan=plan)
    cases = supported_configurations(kind[0])
    # the trainer, evaluation, its sum, and its weights in parts for tensor cores
    assert len({launch.kernel for launch in gpus.launches}) == 4
    for launch in gpus.launches:
        assert any(_same(launch, case) for case in cases), launch


def _same(launch: Launch, case: CompileCase) -> bool:
    pointers = {name for name, kind in case.signature.items() if kind.startswith("*")}
    # with or without them the code is the same
    free = {"checkpoint_ptr", "label_ptr"} if "evaluation" in launch.kernel else set()
    return (
        case.kernel.__name__ == launch.kernel
        and case.constexprs == launch.constants
        and case.signature == launch.types
        and {*pointers, *case.divisible} - free == launch.divisible - free
        and _same_options(launch, case)
    )


def _same_options(launch: Launch, case: CompileCase) -> bool:
    return all(launch.options[name] == value for name, value in case.options.items())


@pytest.mark.parametrize("refused_by", ["driver", "registers", "kernel"])
def test_a_cooperative_launch_that_is_refused_becomes_a_split_one(
    refused_by: str, caplog: pytest.LogCaptureFixture
) -> None:
    gpus = Gpus(*T4, registers=300 if refused_by == "registers" else 255)
    gpus.cooperative = refused_by != "driver"
    if refused_by == "kernel":
        gpus.broken = lambda kernel: kernel.options["launch_cooperative_grid"]
    runs = train(gpus, JOBS, backend="auto")
    assert {(run.backend, run.plan) for run in runs} == {("triton", "split")}, caplog.messages
    assert len(caplog.messages) == 1, caplog.messages
    with pytest.raises(breaknet.BackendError, match="'cooperative' cannot be used here"):
        train(gpus, JOBS, plan="cooperative")


def test_a_kernel_that_does_not_load_leaves_the_work_to_the_next_backend(
    caplog: pytest.LogCaptureFixture,
) -> None:
    gpus = Gpus(*T4)
    gpus.broken = lambda kernel: kernel.src.fn.__name__ == "evaluation_forward_kernel"
    runs = train(gpus, JOBS[:1], backend="auto", device="auto")
    with gpus:
        found = breaknet.evaluate(runs[0].checkpoints, VALID)
    assert runs[0].backend != "triton"
    assert found.backend == runs[0].backend
    assert ["out of resource" in text for text in caplog.messages] == [True, True], caplog.messages


@pytest.mark.parametrize(
    ("device", "current", "plan"),
    [("cuda", 1, "cooperative"), ("cuda:1", 0, "packed"), ("auto", 1, "split"), ("cuda:1", 0, "split")],
)
def test_the_callers_gpu_is_the_one_that_is_used(device: str, current: int, plan: str) -> None:
    gpus = Gpus(*T4, count=2)
    gpus.set_current(current)
    with gpus, torch.cuda.device(0), torch.cuda.graph(torch.cuda.CUDAGraph()):
        pass  # torch's own capture stream is now of GPU 0
    runs = train(gpus, JOBS, device=device, plan=plan)
    assert runs[0].device == ("cuda" if device == "auto" else device)
    with gpus:
        breaknet.evaluate(runs[0].checkpoints, VALID, backend="triton", device=device)
    assert {launch.gpu for launch in gpus.launches} == {gpu for _, gpu, _ in gpus.compiled} == {1}


def test_more_arrivals_than_a_barrier_counts_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training_launch, "_check_matrix", lambda *_: None)
    shape = Shape(784, 16, 16, 10)
    config = cooperative_tiles(shape, 1, *T4)
    with Gpus(*T4):
        images = torch.zeros(100, 784, dtype=torch.uint8, device="cuda")
        labels = torch.zeros(100, dtype=torch.int32, device="cuda")
        live = torch.zeros(1, shape.parameters, device="cuda")
        trainer = training_launch.CooperativeTrainer(shape, config, images, labels, live, 1)
        checkpoints = torch.zeros(1, shape.parameters, device="cuda").expand(10**6, -1)
        job = JobRow(0, 0, 100, 1, 400_000, 0, 0, 0.1)
        with pytest.raises(ValueError, match="steps a launch at most"):
            trainer.launch(checkpoints, [job])


@pytest.mark.parametrize(("batch", "inputs", "outputs"), [(700, 33, 7), (1, 1, 1), (33, 1, 5), (5, 50, 1)])
def test_the_operators_are_launched_with_the_options_that_are_cross_compiled(
    batch: int, inputs: int, outputs: int
) -> None:
    cases = supported_configurations(75)
    with Gpus(*T4) as gpus:
        sizes = (batch, inputs), (outputs, inputs), (outputs,)
        x, weight, bias = (torch.zeros(size, device="cuda") for size in sizes)
        y = linear_sigmoid.launch_forward(x, weight, bias)
        labels = torch.zeros(batch, dtype=torch.int64, device="cuda")
        _, gradient = summed_mse.launch_forward(y, labels, True)
        linear_sigmoid.launch_backward(gradient, y, x, weight)
    for launch in gpus.launches:
        same = [case for case in cases if case.kernel.__name__ == launch.kernel]
        assert any(_same_options(launch, case) for case in same), launch


@pytest.mark.parametrize("width", [16, 30, 64, 128])
def test_the_fused_network_is_launched_as_it_is_cross_compiled(width: int) -> None:
    cases, shape = supported_configurations(75), Shape(784, width, width, 10)
    forget_gpus()
    with Gpus(*T4) as gpus:
        parameters = [torch.zeros(size, device="cuda") for size in shape.tensor_shapes()]
        x, labels = torch.zeros(100, 784, device="cuda"), torch.zeros(100, dtype=torch.int64, device="cuda")
        for _ in range(2):
            cost, saved = fused_network_kernels.launch_forward(x, labels, *parameters, True)
            fused_network_kernels.launch_backward(cost, x, saved, parameters[0], width, 10, False, True)
    assert len(gpus.launches) == 4, "one launch forward, one backward"
    tickets = {launch.arguments["ticket_ptr"].data_ptr() for launch in gpus.launches[::2]}
    assert len(tickets) == 1, "a stream's launches share a ticket"
    if width != 30:
        for launch in gpus.launches[:2]:
            assert any(_same(launch, case) for case in cases), launch


def test_captured_launches_have_tickets_of_their_own() -> None:
    forget_gpus()
    device = torch.device("cuda", 0)
    with Gpus(*T4):
        of_stream = fused_network_kernels._ticket(device)
        assert fused_network_kernels._ticket(device) is of_stream
        with patch.object(torch.cuda, "is_current_stream_capturing", lambda: True):
            captured = [fused_network_kernels._ticket(device) for _ in range(300)]
        assert len({ticket.data_ptr() for ticket in (of_stream, *captured)}) == 301
        assert all(ticket.cpu().tolist() == [0] * 4 for ticket in captured)
