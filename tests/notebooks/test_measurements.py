"""Measurements, counts and pictures of the course: precision, counts beside the profiler, tables."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from checks import random_labels, sparse_images, start_of
from made_up_rows import machine, row

from benchmarks import t4_gate
from benchmarks.floors import training_step
from benchmarks.rows import Row, save, stored
from breaknet import reference
from breaknet.data.splits import Split
from breaknet.kernels._triton import HAVE_TRITON
from notebooks.course import busy, comparisons, elsewhere, measure, plots, precision, resources, specs
from notebooks.course.here import DEVICE

PNG = b"\x89PNG"


@pytest.fixture(scope="module")
def batch() -> tuple[torch.Tensor, torch.Tensor]:
    images = torch.from_numpy(sparse_images(100)).float() / 256
    return images, torch.from_numpy(random_labels(100)).long()


# ---- precision


def test_tf32_keeps_ten_bits_and_rounds_to_nearest():
    x = torch.randn(10_000, generator=torch.Generator().manual_seed(0)) * 10
    rounded = precision.to_tf32(x)
    assert bool((rounded.view(torch.int32) & 0x1FFF == 0).all())
    assert float(((rounded - x).abs() / x.abs()).max()) <= 2**-11
    # no other number of 10 bits is nearer
    step = 2.0 ** (torch.floor(torch.log2(x.abs())) - 10)
    assert bool(((rounded - x).abs() <= step / 2).all())
    assert torch.equal(precision.to_tf32(rounded), rounded)
    assert torch.equal(
        precision.to_tf32(torch.tensor([1 + 2**-11, -1 - 2**-11])),
        torch.tensor([1 + 2**-10] * 2) * torch.tensor([1.0, -1.0]),
    )


def test_bytes_over_256_are_exact_in_tf32():
    pixels = torch.arange(256) / 256
    assert torch.equal(precision.to_tf32(pixels), pixels)


def test_every_product_of_two_matrices_is_replaced(batch):
    """Three forward, three for the weights' gradients, two or three for the layers below."""
    shapes = []

    def noted(a, b):
        shapes.append((*a.shape, b.shape[1]))
        return a @ b

    with precision.UsingProduct(noted):
        found = reference.step(start_of(), *batch, 0.05)
    assert len(shapes) in (8, 9)
    assert {(100, 784, 16), (16, 100, 784), (10, 100, 16), (100, 10, 16)} <= set(shapes)
    exact = reference.step(start_of(), *batch, 0.05)
    assert all(torch.equal(found[name], exact[name]) for name in exact)


def test_tf32_breaks_the_contract_and_three_products_keep_it(batch):
    """The claim of section 9, for every parameter, by a margin."""
    shares = precision.step_errors(start_of(), *batch)
    assert min(shares["TF32"].values()) > 2
    assert max(shares["float32"].values()) < 0.5
    assert max(shares["TF32, split in three"].values()) < 0.5
    off = precision.cost_errors(start_of(), *batch)
    assert off["TF32"] > 10 * off["TF32, split in three"]


# ---- counts and times


def test_a_profile_counts_what_torch_is_asked_for(batch):
    split = Split((batch[0] * 256).to(torch.uint8).numpy(), batch[1].numpy().astype(np.uint8))
    profile = measure.profile_step(split, steps=3)
    assert profile.calls == pytest.approx(
        float(measure.counted(measure.module_step(split)).split()[0]), abs=1
    )
    assert sum(profile.shares.values()) == pytest.approx(1)
    assert {"matrix products", "sigmoids", "cost", measure.BOOKKEEPING} <= set(profile.shares)
    called = {name: calls for name, calls, _ in profile.operators}
    if DEVICE == "cpu":
        assert called["aten::addmm"] == 3  # forward
        assert called["aten::mm"] == 5  # three for the weights, two for the layers below
        assert called["aten::sigmoid"] == 3
    assert f"{profile.calls:.0f} operations" in str(profile)
    fused = float(measure.counted(measure.fused_step(split)).split()[0])
    assert fused < profile.calls
    assert plots.where_time_goes(profile)._repr_png_().startswith(PNG)


def test_a_call_costs_something_whatever_it_does():
    calls = measure.overhead()
    assert calls.call > 0
    assert len(calls.sizes) == len(calls.seconds)
    assert plots.overhead_curve(calls)._repr_png_().startswith(PNG)


def test_the_order_of_a_float32_sum_matters():
    different, spread = measure.order_matters()
    assert different > 10
    assert 0 < spread < 1e-3


def test_one_call_for_many_networks_is_cheaper():
    batched = measure.many_small_layers()
    assert batched.together[-1] < batched.alone[-1]
    assert plots.networks_curve(batched)._repr_png_().startswith(PNG)


# ---- comparisons, here and stored


def timed(name: str, median: float, title: str = "an implementation", **conditions) -> Row:
    """The row of an implementation that takes four times its floor."""
    floor = {"bytes": 1e5, "operations": 5e6, "seconds": median / 4}
    return row(name, median, title=title, launches={"torch_operators": 49.0}, floor=floor, **conditions)


@pytest.fixture
def measured(monkeypatch):
    """Rows of this machine as if they had been measured."""
    rows = [
        timed(f"step/{DEVICE}/notebook", 1e-3, "the notebook's loop"),
        timed(f"step/{DEVICE}/sliced", 4e-4, "sliced tensors"),
        timed(f"accuracy/{DEVICE}/vectorised-accuracy", 1e-2, "vectorised accuracy", images=10_000),
    ]
    named = comparisons.by_name(rows)
    monkeypatch.setattr(
        comparisons, "measured", lambda names: {name: named[name] for name in names if name in named}
    )
    return list(named.values())


def cells(table: str) -> list[list[str]]:
    """The header and the rows of a table in Markdown, without its rule."""
    lines = [line.strip("|").split(" | ") for line in table.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line] for line in lines[:1] + lines[2:]]


@pytest.mark.skipif(DEVICE != "cpu", reason="what a machine without a GPU shows")
def test_without_stored_rows_this_machines_stand_alone(measured, monkeypatch):
    monkeypatch.setattr(comparisons, "stored_comparisons", list)
    monkeypatch.setattr(plots, "stored_comparisons", list)
    header, *rows = cells(comparisons.comparison("sliced", "fused", "hand-written"))
    assert header == ["", "here (cpu)", "launches here"]
    assert rows[0][1:] == ["400 us (360 us – 480 us)", "49 torch operators"]
    assert [row[1:] for row in rows[1:]] == [["not on a cpu", "–"], ["left out", "–"]]
    assert plots.stored_rooflines() is None


@pytest.mark.skipif(DEVICE != "cpu", reason="what a machine without a GPU shows")
def test_stored_rows_stand_beside_those_of_this_machine(measured, monkeypatch, tmp_path):
    save(machine("cuda"), [timed("step/cuda/sliced", 2e-4), timed("step/cuda/fused", 1e-4)], tmp_path)
    save(machine("cpu"), [timed("step/cpu/sliced", 3e-4)], tmp_path)
    monkeypatch.setattr(comparisons, "stored", lambda: stored(tmp_path))
    header, *lines = cells(comparisons.comparison("sliced", "fused", "compiled"))
    assert header[3:] == ["stored: NVIDIA H200", "stored: Made Up CPU"]
    assert [line[3:] for line in lines] == [["200 us", "300 us"], ["100 us", "–"], ["–", "–"]]
    figure = plots.stored_rooflines()
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert titles == ["NVIDIA H200, 2026-01-02", "Made Up CPU, 2026-01-02"]


def test_evaluations_are_given_for_a_thousand_images(measured):
    table = comparisons.comparison("vectorised-accuracy")
    assert cells(table)[1][1].startswith("1.00 ms")
    assert "1,000 images" in table.splitlines()[-1]


def test_implementations_are_drawn_with_their_floors(measured):
    figure = plots.times_and_floors(measured)
    texts = [text.get_text() for axes in figure.axes for text in axes.texts]
    assert texts == ["1.0 ×", "2.5 ×", "1.0 ×"]
    roof = plots.roofline(measured, {"bytes_per_s": 1e10, "flop_per_s": 1e11}, "a roof")
    labels = [text.get_text() for text in roof.axes[0].get_legend().get_texts()]
    assert labels[1] == "sliced tensors: 4.0 × its floor"
    for drawn in (figure, roof):
        assert drawn._repr_png_().startswith(PNG)


@pytest.mark.slow
def test_implementations_are_measured_on_this_machine(monkeypatch):
    monkeypatch.setattr(comparisons, "_measured", {})
    rows = {row.name.rpartition("/")[2]: row for row in comparisons.all_implementations()}
    assert {"sliced", "vectorised-accuracy"} <= set(rows)
    assert comparisons.measured(["sliced"])["sliced"] is rows["sliced"]  # not measured again
    assert rows["sliced"].device == DEVICE
    assert rows["sliced"].floor["operations"] == training_step(100).operations


# ---- resources


@pytest.mark.skipif(not HAVE_TRITON, reason="needs Triton's compiler")
def test_the_resource_report_of_the_course(monkeypatch):
    """A modest trainer spills, as section 10 shows; rows are those of `breaknet kernels`."""
    monkeypatch.setattr(resources, "REHEARSAL", True)
    resources._rows.cache_clear()
    layer, trainer = resources.report()
    assert (layer.kernel, trainer.kernel) == ("linear_sigmoid_forward", "cooperative_training")
    assert layer.problem() is None
    assert trainer.problem() is None
    free, capped = resources.register_caps()
    assert replace(free, config=trainer.config) == trainer
    assert free.spill_instructions == 0
    assert capped.registers <= 128 < free.registers
    assert capped.spill_instructions > 0
    assert capped.blocks_per_sm > free.blocks_per_sm
    assert "sm_75 (T4)" in resources.table([layer, capped])
    for figure in (plots.register_file([layer, trainer]), plots.spill_bars([free, capped])):
        assert figure._repr_png_().startswith(PNG)


def test_without_triton_there_is_no_report(monkeypatch):
    from breaknet.kernels import _triton

    monkeypatch.setattr(_triton, "HAVE_TRITON", False)
    with pytest.raises(
        RuntimeError, match=r"cannot be compiled here: .*pip install triton.* about a minute a target"
    ):
        resources._compiled([(*resources.LAYER, 75, None)])
    assert len(resources.table([]).splitlines()) == 2


def test_specs_are_shown_as_code():
    text = specs.shown(specs.scale_bytes_spec)._repr_markdown_()
    assert text.startswith("```python\ndef scale_bytes_spec(pixels: U8[N]) -> F32[N]:")
    assert text.endswith("```")


# ---- how quiet the machine was


def test_a_busy_machine_is_told_beside_the_figure():
    quiet, spread, loaded = (
        busy.Conditions(1.03, 0.4, 2, 2),
        busy.Conditions(1.8, 0.4, 2, 2),
        busy.Conditions(1.03, 7.2, 1, 2),
    )
    assert str(quiet) == "measured with 2 threads on 2 cores, load 0.4; repeats agree within 3 %"
    assert str(spread).startswith(
        "measured on a busy machine (2 threads on 2 cores, load 0.4; repeats differ by 80 %)"
    )
    assert "1 thread on 2 cores, load 7.2" in str(loaded)
    assert [one.busy for one in (quiet, spread, loaded)] == [False, True, True]
    for conditions in (quiet, loaded):
        figure = plots.overhead_curve(measure.Overhead([1, 4, 16], [1e-6, 1e-6, 4e-6], conditions))
        said = figure._supxlabel
        assert said.get_text().replace("\n", " ") == str(conditions)
        assert (said.get_color() == plots.RED) == conditions.busy
        figure.canvas.draw()
        box = said.get_window_extent()
        assert box.x0 >= 0
        assert box.x1 <= figure.bbox.x1


def test_the_spread_of_repeats_is_that_of_what_was_timed(monkeypatch):
    monkeypatch.setattr(measure, "_spreads", [])
    means = iter([9.0, 1.0, 1.0, 4.0, 1.0, 9.0, 9.0])
    monkeypatch.setattr(measure.Timer, "timeit", lambda self, calls: SimpleNamespace(mean=next(means)))
    assert measure.least_seconds("pass") == 1.0
    assert measure._conditions().spread == 4.0
    assert measure._conditions().spread == 1.0  # nothing was timed since


def test_rows_tell_their_load_and_quartiles(measured):
    rows = [
        replace(one, conditions={"load": load}) for one, load in zip(measured, (0.5, 3.5, None), strict=True)
    ]
    found = busy.of_rows(rows)
    assert (found.load, found.spread) == (3.5, pytest.approx(1 / 0.9))
    assert busy.of_rows([]).load is None
    assert " Here measured " in comparisons.comparison("sliced")


# ---- what was learnt on other machines


def test_three_bfloat16_parts_lose_nothing(batch):
    weight = start_of()["hidden1.weight"]
    parts = precision.bf16_parts(weight, 3)
    assert all(torch.equal(part.bfloat16().float(), part) for part in parts)
    assert torch.equal(sum(part.double() for part in parts), weight.double())
    assert torch.equal(batch[0].bfloat16().float(), batch[0])  # bytes / 256 need one
    (_, one, bad), (_, two, better), (_, three, good) = precision.bf16_errors(weight, batch[0])
    assert one > 1e-3 > two > three == 0
    assert bad > 1000 > better > 2 > good


def test_prototypes_are_labelled_and_apart_from_rows():
    for topic in ("fusing", "evaluation"):
        header, *lines = cells(elsewhere.beside_prototypes(topic))
        assert header == [elsewhere.PROTOTYPES[topic]["work"], "time", "measured as"]
        labels = [line[2] for line in lines]
        made = len(elsewhere.PROTOTYPES[topic]["prototypes"])
        assert labels[-made:] == ["prototype, H200, 2026-11-29"] * made
        assert len(labels) > made
        assert all(label.startswith("row, H200, 20") for label in labels[:-made])


def test_the_model_stands_against_every_row_it_can_predict(monkeypatch):
    header, *lines = cells(elsewhere.model_against_rows())
    assert header == ["row", "GPU", "predicted", "measured", "ratio"]
    evidence = t4_gate.evidence(stored())
    assert [line[0] for line in lines] == [row.name for *_, row, _ in evidence]
    monkeypatch.setattr(t4_gate, "load", lambda: None)
    assert "older than the stored rows" in elsewhere.model_against_rows()
