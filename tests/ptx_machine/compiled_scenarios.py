"""What `test_compiled_kernels.py` runs in a process without the interpreter: the kernels as Triton compiles them.

    python compiled_scenarios.py sm_75 [scenario_... ...]

Prints a JSON object: by scenario what went wrong, or an empty text.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

HERE = Path(__file__).parent
TESTS = HERE.parent
sys.path[:0] = [str(TESTS / folder) for folder in ("backends", "kernels", "", "..")]
os.environ.pop("TRITON_INTERPRET", None)

import packed_cases  # noqa: E402
import pytest  # noqa: E402
import torch  # noqa: E402
from checks import random_labels, sparse_images  # noqa: E402
from gpu_scenarios import assert_as_torch, run_scenarios, train  # noqa: E402
from trainer_cases import Problem, train_cooperatively  # noqa: E402

from breaknet import Job  # noqa: E402
from breaknet.kernels import evaluation, linear_sigmoid, summed_mse  # noqa: E402
from breaknet.kernels.host import packed_trainer  # noqa: E402
from breaknet.kernels.host.packed_tiles import FORMS  # noqa: E402
from breaknet.kernels.host.targets import parse_target  # noqa: E402
from breaknet.kernels.host.tiles import cooperative_plan  # noqa: E402
from breaknet.kernels.jobs import Shape  # noqa: E402
from tools.ptx_machine.fake_gpu import PROCESSORS, CompiledGpus  # noqa: E402
from tools.ptx_machine.memory import Fault  # noqa: E402

CAPABILITY = parse_target(sys.argv[1]).capability
IMAGES, LABELS = sparse_images(25), random_labels(25)
#: Two jobs of other labels, rates and ends; the first has a partial batch and another set of images to be judged by.
JOBS = [
    Job((IMAGES, LABELS), valid=(IMAGES[:9], LABELS[:9]), epochs=2, batch_size=17),
    Job((IMAGES[:20], random_labels(20, seed=7)), epochs=1, batch_size=17, learning_rate=0.5, seed=3),
]


def gpus(seed: int = 0) -> CompiledGpus:
    found = CompiledGpus(CAPABILITY, PROCESSORS[CAPABILITY])
    found.seed = seed
    return found


def trains_as_torch_does(plan: str, jobs: list[Job] = JOBS) -> None:
    runs = train(gpus(), jobs, plan=plan)
    assert [(run.plan, run.device) for run in runs] == [(plan, "cuda")] * len(jobs)
    assert_as_torch(runs, jobs)


def scenario_cooperative_training() -> None:
    trains_as_torch_does("cooperative")


def scenario_packed_training() -> None:
    trains_as_torch_does("packed")


def scenario_split_training() -> None:
    trains_as_torch_does("split")


def train_small(edit: Callable[[str], str] | None = None, seed: int = 0) -> None:
    """Two jobs of a small network in one cooperative launch, last batches partial, judged by float64."""
    found = gpus(seed)
    if edit is not None:
        found.edit = edit
    with found:
        problem = Problem(Shape(50, 5, 18, 3), 11, device=torch.device("cuda"))
        config = cooperative_plan(problem.shape, 7, CAPABILITY, PROCESSORS[CAPABILITY])
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

    source = (TESTS.parent / "kernels" / "grid_barrier.py").read_text().splitlines()
    before, after = (number for number, text in enumerate(source, 1) if text.strip() == "tl.debug_barrier()")
    for edit in (
        edited("global.gpu.release", "global.gpu.relaxed"),
        edited("ld.acquire.gpu", "ld.relaxed.gpu"),
        without(before, end="global.gpu.release"),
        without(after, end="bar.sync.*"),
    ):
        with pytest.raises(Fault, match=r"race: place \d+ of global memory"):
            train_small(edit)


def scenario_networks_of_every_packed_form() -> None:
    for form in FORMS:
        if form.form == "fused" and form.rows > 64:
            continue  # the same code as of fewer rows, and slow here
        batch = form.rows - 1 if form.form == "fused" else 19
        hidden = (form.width, max(1, form.width - 5))
        shape = packed_cases.Shape(18, hidden, 10, batch, batch + 5, form.byte_images)
        images, job = packed_cases.make_images(shape), packed_cases.make_work(shape)
        with gpus(), patch.object(packed_trainer, "plan", lambda *_, form=form, **__: form):
            (checkpoints,), _, _ = packed_cases.launch(images, [job], shape, torch.device("cuda"))
        packed_cases.check(images, job, checkpoints, shape)


def scenario_operators() -> None:
    random = torch.Generator().manual_seed(0)
    for batch, inputs, outputs in ((33, 50, 10), (7, 20, 40)):
        x, weight, bias = (
            torch.randn(size, generator=random) for size in ((batch, inputs), (outputs, inputs), (outputs,))
        )
        labels = torch.randint(0, outputs, (batch,), generator=random)
        target = torch.nn.functional.one_hot(labels, outputs).float()
        with gpus():
            on_gpu = [one.to("cuda") for one in (x, weight, bias)]
            y = linear_sigmoid.launch_forward(*on_gpu)
            costs = [
                summed_mse.launch_forward(y, one.to("cuda"), True)
                for one in (labels, target.T.contiguous().T)
            ]
            gradient = costs[0][1]
            dx = linear_sigmoid.launch_backward_input(gradient, y, on_gpu[1])
            dweight, dbias = linear_sigmoid.launch_backward_parameters(gradient, y, on_gpu[0])
            found = [one.cpu() for one in (costs[0][0], dx, dweight, dbias, costs[1][0])]
        leaves = [one.double().requires_grad_() for one in (x, weight, bias)]
        cost = ((torch.sigmoid(leaves[0] @ leaves[1].T + leaves[2]) - target) ** 2).sum()
        cost.backward()
        exact = [cost.detach(), *(leaf.grad for leaf in leaves), cost.detach()]
        for one, wanted in zip(found, exact, strict=True):
            torch.testing.assert_close(one.double(), wanted, rtol=1e-4, atol=1e-5)


def scenario_confusion_counts() -> None:
    random = torch.Generator().manual_seed(0)
    count = evaluation.parameter_count(50, (7, 16), 10)
    rows = torch.randn(3, count, generator=random)
    images = torch.rand(33, 50, generator=random)
    labels = torch.randint(0, 10, (33,), generator=random)
    with gpus():
        on_gpu = [one.to("cuda") for one in (rows, images, labels)]
        found = evaluation.evaluate_checkpoints(*on_gpu, (7, 16), 10, confusion=True)
        cost, hits, counts = (one.cpu() for one in found)
    shapes = ((7, 50), (7,), (16, 7), (16,), (10, 16), (10,))
    for number, row in enumerate(rows.double()):
        sizes = [torch.Size(shape).numel() for shape in shapes]
        layers = [part.view(shape) for part, shape in zip(row.split(sizes), shapes, strict=True)]
        wanted = evaluation.evaluation_spec(layers, images, labels, 1.0)
        torch.testing.assert_close(cost[number], wanted[0], rtol=1e-6, atol=1e-6)
        assert int(hits[number]) == int(wanted[1])
        assert torch.equal(counts[number], wanted[2])


if __name__ == "__main__":
    run_scenarios(globals(), sys.argv[2:])
