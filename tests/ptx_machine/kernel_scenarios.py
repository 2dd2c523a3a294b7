"""The kernels as Triton compiles them, on fake GPUs; `test_on_fake_gpus.py` runs these tests.

BREAKNET_TEST_TARGET=sm_75 python -m pytest tests/ptx_machine/kernel_scenarios.py [-m ""]
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import evaluation_cases
import numpy as np
import pytest
import torch
import triton
from checks import assert_run, random_labels, sparse_images
from fake_gpus import largest, train
from test_fused_network import check_kernels as check_network
from test_linear_sigmoid import check_kernels as check_layer
from test_summed_mse import check_kernel as check_cost
from trainer_cases import Problem
from trainer_cases import train as train_kernel

import breaknet
from benchmarks import t4_gate
from benchmarks.kernel_counts import counted
from benchmarks.t4_model import T4
from breaknet import Digits, Job, Split
from breaknet.backends import check
from breaknet.backends.triton_gpu import rounds
from breaknet.backends.triton_gpu.kept_images import KEPT
from breaknet.cli.doctor import examine
from breaknet.data.splits import just_loaded
from breaknet.kernels import fused_network_kernels
from breaknet.kernels.host.tiles import PACKED, TENSOR, PackedConfig, cooperative_tiles, split_tiles
from breaknet.kernels.host.trainers import CooperativeTrainer, SplitTrainer
from breaknet.kernels.jobs import Shape
from tools.ptx_machine import Fault, Traffic
from tools.ptx_machine.fake_gpu import FakeGpus

TARGET = os.environ["BREAKNET_TEST_TARGET"]
CUDA = torch.device("cuda")
IMAGES, LABELS = sparse_images(25), random_labels(25)
OTHERS = random_labels(25, seed=7)
#: Two jobs of other labels, learning rates and ends; the first has a partial batch and another set to be evaluated on.
JOBS = [
    Job((IMAGES, LABELS), valid=(IMAGES[:9], OTHERS[:9]), epochs=2, batch_size=17),
    Job((IMAGES[:20], OTHERS[:20]), epochs=1, batch_size=17, learning_rate=0.5, seed=3),
]
#: The most memory transactions that the lesson's kernels may take on sm_75: of shared memory with bank conflicts, and
#: lines of global memory. Lines are half as many again where a tensor does not begin at one, which a GPU's do. Packed
#: training takes 181,792 of shared memory with Triton 3.7 and 182,816 with 3.5 and 3.6.
LIMITS = {
    "evaluation": (203_000, 29_000), "evaluation-float16": (64_500, 48_000), "cooperative": (226_000, 66_000),
    "packed": (183_000, 36_000),
}  # fmt: skip


@pytest.mark.parametrize("plan", ["cooperative", "packed", "split"])
def test_training(plan: str) -> None:
    gpus = largest(TARGET)
    runs = train(gpus, JOBS, steps=1, plan=plan)
    assert [(run.plan, run.device) for run in runs] == [(plan, "cuda")] * len(JOBS)
    for run, job in zip(runs, JOBS, strict=True):
        assert_run(run, job)
    assert gpus.host_waits == 0, gpus.host_waits


def slow(case: object) -> Any:
    """A case for `make test-all`."""
    return pytest.param(case, marks=pytest.mark.slow)


def train_small(edit: Callable[[str], str] = str, seed: int = 0) -> None:
    """Two jobs of a small network in one cooperative launch, last batches partial, held against float64."""
    gpus = largest(TARGET)
    gpus.seed, gpus.edit = seed, edit
    with gpus:
        problem = Problem(Shape(50, 5, 18, 3), 11, device=CUDA)
        config = cooperative_tiles(problem.shape, 7, gpus.capability, gpus.processors)
        assert not isinstance(config, str), config
        jobs = [problem.job(7, 2), problem.job(4, 1, 0.5, row=3, live_row=1, checkpoint_row=2)]
        checkpoints = train_kernel(problem, config, jobs, kind=CooperativeTrainer).cpu()
    for job in jobs:
        problem.assert_trained(job, checkpoints)


@pytest.mark.parametrize("seed", range(4))
def test_blocks_take_turns_in_any_order(seed: int) -> None:
    train_small(seed=seed)


@pytest.mark.parametrize(
    ("where", "old", "new"),
    [
        ("", "global.gpu.release", "global.gpu.relaxed"),
        ("", "ld.acquire.gpu", "ld.relaxed.gpu"),
        (r"{before}(.*\n)+?.*global.gpu.release", r"\n\s*bar\.sync.*", ""),
        (r"{after}(.*\n)+?.*bar.sync.*", r"\n\s*bar\.sync.*", ""),
    ],
    ids=["release", "acquire", "bar.sync before", "bar.sync after"],
)
def test_all_that_orders_blocks_is_needed(where: str, old: str, new: str, repository: Path) -> None:
    """`new` for `old` in the PTX, or in that of a tl.debug_barrier() of grid_barrier.py up to an instruction."""
    source = (repository / "kernels" / "grid_barrier.py").read_text().splitlines()
    lines = [number for number, text in enumerate(source, 1) if text.strip() == "tl.debug_barrier()"]
    before, after = (rf"// grid_barrier\.py:{line}:" for line in lines)
    span = re.compile(where.format(before=before, after=after) or r"(?s)^.*$")

    def edit(ptx: str) -> str:
        edited = span.sub(lambda found: re.sub(old, new, found[0]), ptx)
        assert edited != ptx
        return edited

    with pytest.raises(Fault, match=r"race: place \d+ of global memory"):
        train_small(edit)


def test_products_are_rounded_before_threads_add_them_up() -> None:
    """Else copies of a sum differ, and several threads store theirs to one place: the compiler's FMAs put back."""

    def edit(ptx: str) -> str:
        products = dict(re.findall(r"mul\.rn\.f32 (%r\d+), (%r\d+, %r\d+);", ptx))

        def contracted(sum_: re.Match[str]) -> str:
            total, own, others = sum_.groups()
            return f"fma.rn.f32 {total}, {products[own]}, {others};" if own in products else sum_[0]

        edited = re.sub(r"add\.f32\s+(%r\d+), (%r\d+), (%r\d+);", contracted, ptx)
        assert edited != ptx
        return edited

    with pytest.raises(
        Fault, match=r"threads store to a place what another stores otherwise.* of training_step\.py"
    ):
        train_small(edit)


QUICK = [
    next(form for form in PACKED if form.form == kind and form.width > 16) for kind in ("fused", "looped")
]


#: More rows are the same code, and slow here.
FORMS = [form for form in PACKED if form.form == "looped" or form.rows <= 64]


@pytest.mark.parametrize("form", [form if form in QUICK else slow(form) for form in FORMS], ids=str)
def test_networks_of_every_packed_form(form: PackedConfig) -> None:
    batch = form.rows - 1 if form.form == "fused" else 19
    shape = Shape(18, form.width, max(1, form.width - 5), 10)
    with largest(TARGET):
        problem = Problem(shape, batch + 5, not form.byte_images, device=CUDA)
        job = problem.job(batch, epochs=1, rate=min(0.5, 8 / batch))
        problem.assert_trained(job, train_kernel(problem, form, [job]).cpu())


WITH_TENSOR_CORES = pytest.mark.skipif(
    TARGET in ("sm_75", "sm_100"), reason="the machine knows no tensor cores of that target"
)


def train_together(form: PackedConfig, edit: Callable[[str], str] = str, batch: int = 50) -> None:
    """More networks than share a program, for two epochs, last batches partial; and one of them without company."""
    gpus = largest(TARGET)
    gpus.edit = edit
    with gpus:
        problem = Problem(Shape(50, 7, 16, 10), batch + 5, device=CUDA)
        job = problem.job(batch, epochs=2)
        jobs = [
            replace(
                job, label=1100 + row, live_row=row, checkpoint_row=2 * row, learning_rate=0.05 / (1 + row)
            )
            for row in range(form.networks + 1)
        ]
        found = train_kernel(problem, form, jobs).cpu()
        alone = train_kernel(problem, form, [replace(jobs[1], live_row=0, checkpoint_row=0)]).cpu()
    for job in jobs:
        problem.assert_trained(job, found)
    assert torch.equal(alone, found[2:4])


SHARING = TENSOR[90]


@WITH_TENSOR_CORES
@pytest.mark.parametrize("form", [*SHARING, *map(slow, TENSOR[86])], ids=str)
def test_networks_that_share_a_program(form: PackedConfig) -> None:
    train_together(form)


@WITH_TENSOR_CORES
@pytest.mark.parametrize("number", range(2))
def test_a_networks_turn_begins_and_ends_with_a_barrier(number: int, repository: Path) -> None:
    """Without it z is read before it is there, or d1."""
    source = (repository / "kernels" / "packed_training_tensor.py").read_text().splitlines()
    lines = [line for line, text in enumerate(source, 1) if text.strip() == "tl.debug_barrier()"]
    assert len(lines) == 2
    place = f"// packed_training_tensor.py:{lines[number]}:"

    def edit(ptx: str) -> str:
        before, found, after = ptx.partition(place)
        assert found
        return before + found + re.sub(r"\n\s*bar\.sync.*", "", after, count=1)

    with pytest.raises(Fault, match=r"race: place \d+ of global memory"):
        train_together(SHARING[0], edit)


@pytest.mark.parametrize(
    "size", [(33, 10, 50), (7, 40, 20), *map(slow, [(700, 7, 33), (1, 1, 1), (33, 5, 1), (5, 1, 50)])]
)
@pytest.mark.parametrize("layout", ["contiguous", slow("transposed")])
def test_the_fused_layer_and_cost(size: tuple[int, int, int], layout: str) -> None:
    """`size` is batch, outputs, inputs."""
    with largest(TARGET):
        check_layer(CUDA, size, layout)
        for labels in (True, False):
            check_cost(CUDA, *size[:2], labels, transposed=layout == "transposed")


#: Sizes and batch: four programs that add up one cost and two splits; and wide layers, whose parts come from memory.
NETWORKS = [
    ((18, 16, 16, 10), 37),
    ((5, 40, 33, 3), 18),
    slow(((70, 20, 20, 16), 70)),
    slow(((9, 128, 100, 4), 9)),
]


@pytest.mark.parametrize("network", NETWORKS)
def test_the_fused_network(
    network: tuple[tuple[int, int, int, int], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fused_network_kernels, "ROWS_PER_SPLIT", 30)
    with largest(TARGET):
        check_network(CUDA, *network)


@pytest.mark.parametrize("order", ["release", "acquire", "relaxed"])
def test_who_adds_up_the_cost_must_see_all_parts(order: str) -> None:
    """The counter's addition both releases and acquires; with less it is found that the parts race."""

    def edit(ptx: str) -> str:
        edited = ptx.replace("acq_rel.gpu.global.add", f"{order}.gpu.global.add")
        edited = edited.replace("global.gpu.acq_rel.add", f"global.gpu.{order}.add")
        return edited

    gpus = largest(TARGET)
    gpus.edit = edit
    with gpus, pytest.raises(Fault, match=r"race: place \d+ of global memory"):
        check_network(CUDA, *NETWORKS[0])


def test_networks_are_evaluated_where_the_images_lie() -> None:
    networks = [breaknet.MLP.seeded(seed, (5, 20)) for seed in range(3)]
    exact = breaknet.evaluate(networks, (IMAGES, LABELS), backend="torch", device="cpu", confusion=True)
    with largest(TARGET):
        images, labels = (torch.from_numpy(np.asarray(part)).to("cuda") for part in (IMAGES, LABELS))
        found = breaknet.evaluate(networks, (images, labels), backend="triton", confusion=True)
        split = Split(IMAGES.copy(), LABELS.astype(np.uint8))
        just_loaded(Digits(split, split[:0], split[:0], ""))
        kept = [breaknet.evaluate(networks, split, backend="triton", confusion=True) for _ in range(2)]
        assert len(KEPT) == 1
    np.testing.assert_allclose(found.cost, exact.cost, rtol=1e-5)
    for again in kept:
        assert np.array_equal(again.cost, found.cost)
    for one in (found, *kept):
        assert np.array_equal(one.accuracy, exact.accuracy)
        assert np.array_equal(one.confusion, exact.confusion)


def test_data_moved_in_pieces_is_moved_again_after_every_change(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is changed between two calls: a byte of an array, of a tensor behind its back, or a weight."""
    monkeypatch.setattr(rounds, "PIECE_BYTES", 3 * 784)
    images, networks = IMAGES.copy(), [breaknet.MLP.seeded(seed, (5, 20)) for seed in range(2)]
    shared = torch.from_numpy(images)
    for data, change in (
        ((images, LABELS), lambda: None),
        ((images, LABELS), lambda: images.__setitem__((3, 400), 255 - images[3, 400])),
        ((shared, torch.from_numpy(LABELS)), lambda: images.__setitem__((24, 401), 255 - images[24, 401])),
        ((shared, LABELS), lambda: networks[1].output.bias.data.add_(0.25)),
    ):
        change()
        exact = breaknet.evaluate(networks, data, backend="torch", device="cpu")
        with largest(TARGET):
            found = breaknet.evaluate(networks, data, backend="triton", device="cuda")
        np.testing.assert_allclose(found.cost, exact.cost, rtol=1e-6)


def test_confusion_counts() -> None:
    with largest(TARGET):
        evaluation_cases.check(CUDA, (3, 33, 50, (7, 16), 10, True), confusion=True)


@pytest.mark.skipif(TARGET != "sm_75", reason="the limits are those of sm_75")
@pytest.mark.parametrize("kernel", LIMITS)
def test_memory_transactions(kernel: str) -> None:
    stored, (shared, lines) = t4_gate.load(), LIMITS[kernel]
    counts, traffic = counted(kernel, T4)
    assert 0 < counts.shared <= shared
    assert 0 < traffic.total("global").transactions <= lines
    assert stored is not None
    if stored.triton == triton.__version__:
        assert t4_gate.same(stored.present["T4"][kernel], counts), "`make tables` counts again"


@pytest.mark.slow
def test_more_packed_jobs_than_the_gpu_has_room_for() -> None:
    data = IMAGES[:20], LABELS[:20]
    jobs = [Job(data, epochs=1 + number % 3, batch_size=17, seed=number) for number in range(5)]
    runs = train(FakeGpus(largest(TARGET).capability, 2), jobs, steps=1, plan="packed")
    for run, job in zip(runs, jobs, strict=True):
        assert_run(run, job)


@pytest.mark.slow
def test_a_split_job_that_is_done_is_left_alone() -> None:
    """Steps that a graph replays past a job's last one touch none of its parameters, pixels and scratch."""
    with largest(TARGET) as gpus:
        problem = Problem(Shape(50, 5, 18, 3), 11, device=CUDA)
        config = split_tiles(problem.shape, 7)
        live = problem.start[None].to(CUDA)
        checkpoints = torch.empty_like(live)
        trainer = SplitTrainer(problem.shape, config, problem.images, problem.labels, live, capacity=1)
        trainer.launch(checkpoints, [problem.job(7, 1)])
        gpus.traffic = Traffic()
        trainer._step(checkpoints, 1)
    touched = {source for _, source, _ in gpus.traffic.counts}
    assert any("cooperative_training.py" in source for source in touched)  # the job table and the counters
    assert not [source for source in touched if "training_step.py" in source]


@pytest.mark.slow
@pytest.mark.parametrize("plan", ["cooperative", "packed", "split"])
def test_divergence_ends_one_job_and_no_other(plan: str) -> None:
    data = IMAGES[:17], LABELS[:17]
    jobs = [Job(data, epochs=3, batch_size=17, learning_rate=rate) for rate in (3e38, 0.05)]
    with pytest.warns(RuntimeWarning) as caught:
        diverged, fine = train(largest(TARGET), jobs, plan=plan)
    assert [one.category for one in caught].count(RuntimeWarning) == 1
    assert diverged.diverged_at == len(diverged.checkpoints) == len(diverged.train_cost)
    assert_run(fine, jobs[1])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sms", "cooperative", "reason"),
    [(None, True, ""), (8, True, f"this GPU ({TARGET}) has 8"), (None, False, "cannot be used here")],
)
def test_doctor_picks_the_gpu_even_where_one_plan_cannot_be(
    sms: int | None, cooperative: bool, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = check._job
    monkeypatch.setattr(check, "_job", lambda examples: job(min(examples, 15)))
    gpus = largest(TARGET)
    gpus.processors, gpus.cooperative = sms or gpus.processors, cooperative
    with gpus:
        found = examine()
    assert found["auto"]["backend"] == "triton", found["backends"]["triton"]
    checks = {one["name"]: one for one in found["backends"]["triton"]["checks"]}
    assert len(checks) == 5
    assert all(one["ok"] for one in checks.values()), checks
    detail = checks["plan cooperative"]["detail"]
    assert reason in detail
    assert ("split takes its place" in detail) == bool(reason)
    assert any(launch.captured for launch in gpus.launches)
