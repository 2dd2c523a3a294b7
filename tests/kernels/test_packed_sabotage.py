"""Packed training with a line of its kernel broken: the checks against float64 must notice."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest
from packed_cases import Shape, check, error, launch, make_images, make_work

from breaknet.kernels import packed_training, packed_training_general
from breaknet.kernels._triton import HAVE_TRITON
from breaknet.kernels.host import packed_trainer
from breaknet.kernels.host.packed_tiles import FORMS

pytestmark = pytest.mark.skipif(not HAVE_TRITON, reason="needs Triton")

# Masks that only keep a thread inside the memory (of the images' columns, of W1's rows and columns past the true sizes)
# are not here: what they let in meets zeros, so no number can tell.
SABOTAGE = {
    "fused": {
        "labels of missing rows": ("label = tl.where(valid, label, -1)", "label = label"),
        "rows past the batch taught": ("tl.where((label >= 0)[:, None], d3, 0.0)", "d3"),
        "short last batch": ("rows = tl.minimum(batch, examples - start)", "rows = batch"),
        "rows of the next batch": ("rows = tl.minimum(batch, examples - start)", "rows = examples - start"),
        "inputs of one group only": ("// BLOCK_B * LENGTH", "// BLOCK_B * 0"),
        "sign of an update": ("b2 - rate * tl.sum(d2, 0)", "b2 + rate * tl.sum(d2, 0)"),
        "bias left out": ("sigmoid(tl.sum(z, 0) + b1[None, :])", "sigmoid(tl.sum(z, 0))"),
        "stale first layer": (
            "            tl.store(w1_chunk + start_k * WIDTH, w1, mask=(start_k + k < inputs)[:, None])\n",
            "            tl.store(w1_chunk + start_k * WIDTH, w1, mask=(start_k + k < inputs)[:, None])\n"
            "            w1 += rate * grouped_dot(tl.trans(x_old), d1, BLOCK_K, BLOCK_B, WIDTH, W1_GROUPS)\n",
        ),
        "too new a second layer": ("tl.trans(w2),", "tl.trans(w2 - rate * tl.dot(tl.trans(y1), d2)),"),
        "update of the wrong batch": ("step - 1, 0) % batches", "step, 0) % batches"),
        "mask of the outputs": ("o < O", "o < 16"),
        "one rate for all": ("tl.load(rates_ptr + job)", "tl.load(rates_ptr)"),
        "one first layer for all": ("turned_ptr += job.to(tl.int64) * turned_rows * WIDTH", ""),
        "first layer left turned": (
            "h[None, :] * K + (start_k + k)[:, None]",
            "(start_k + k)[:, None] * H1 + h[None, :]",
        ),
    },
    "looped": {
        "labels of missing rows": ("label = tl.where(row < rows, label, -1)", "label = label"),
        "short last batch": ("rows = tl.minimum(batch, examples - first)", "rows = batch"),
        "sign of an update": ("w - rate * tl.sum(sums, 0)", "w + rate * tl.sum(sums, 0)"),
        "derivative left out": ("sums * sigmoid_derivative(tl.load(y_ptr + block))", "sums"),
        "bias of one tile only": ("total += tl.sum", "total = tl.sum"),
        "label of the next row": ("labels_ptr + first + row", "labels_ptr + first + row + 1"),
        "mask of the width": ("(start_k + k < inside)[:, None] &", "(k >= 0)[:, None] &"),
        "images stand still": ("x_ptr += batch.to(tl.int64) * pitch", "x_ptr += 0"),
        "one rate for all": ("tl.load(rates_ptr + job)", "tl.load(rates_ptr)"),
    },
}
KERNELS = {"fused": packed_training, "looped": packed_training_general}
SABOTAGE_SHAPES = {"fused": Shape(18, (7, 16), 14, 13, 31), "looped": Shape(18, (7, 33), 14, 19, 28)}


def sabotaged(form: str, old: str, new: str, folder: Path):
    """The kernel of `form` with `old` replaced by `new` everywhere in its file."""
    source = Path(KERNELS[form].__file__).read_text()
    assert old in source, f"{old!r} is not in the {form} kernel"
    name = f"sabotaged_packed_{form}"
    file = folder / f"{name}.py"
    file.write_text(source.replace(old, new))
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return getattr(module, f"packed_{form}_kernel")


@pytest.mark.parametrize("form", ["fused", "looped"])
def test_the_whole_kernel_passes_where_the_broken_ones_fail(form, device):
    shape = SABOTAGE_SHAPES[form]
    images, job = make_images(shape, spare=60), make_work(shape, seed=2, learning_rate=0.1)
    blocks, _, _ = launch(images, [make_work(shape, seed=1), job], shape, device)
    check(images, job, blocks[1], shape)


@pytest.mark.parametrize(
    ("form", "what"), [(form, what) for form, changes in SABOTAGE.items() for what in changes]
)
def test_a_broken_kernel_is_noticed(form, what, device, monkeypatch, tmp_path):
    shape = SABOTAGE_SHAPES[form]
    images = make_images(shape, spare=60)
    jobs = [make_work(shape, seed=1), make_work(shape, seed=2, learning_rate=0.1)]
    monkeypatch.setattr(
        packed_trainer, f"packed_{form}_kernel", sabotaged(form, *SABOTAGE[form][what], tmp_path)
    )
    # two tiles of rows in the looped form
    picked = next(one for one in FORMS if one.form == form and one.rows == 16)
    monkeypatch.setattr(packed_trainer, "plan", lambda *_, **__: picked)
    try:
        blocks, _, _ = launch(images, jobs, shape, device)
        found = max(error(images, job, block, shape) for job, block in zip(jobs, blocks, strict=True))
    except AssertionError:
        return
    assert found > 10, f"only {found:.3g} times the error allowed"
