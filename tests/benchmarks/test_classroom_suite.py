"""The classroom notebook's functions, taken out of its source without anything that runs notebooks."""

import sys

import numpy as np
import torch

from benchmarks.classroom import NAMES, names_of
from benchmarks.measure import Context, measure
from benchmarks.problem import size_of
from benchmarks.suites import classroom


def test_functions_are_taken_out_where_only_torch_is_installed(monkeypatch):
    for name in ("jupytext", "nbformat", "nbclient", "matplotlib", "scipy"):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.delitem(sys.modules, "benchmarks.classroom")
    found = {version: names_of(version) for version in classroom.TITLES}
    for name in NAMES:
        plain, ours = (found[version][name] for version in classroom.TITLES)
        assert plain is not ours
        assert ours.__module__ in ("breaknet.notebook", "torch", None) or ours is torch.sigmoid
    assert "clean" not in found["original"]
    assert "model" not in found["original"], "no training cell was run"


def test_the_part_for_a_gpu_is_rehearsed_and_costs_agree():
    context = Context("cuda", size_of("rehearse"))
    some = [one for one in classroom.contenders(context) if "/whole/" not in one.name]
    rows = measure(some, context)
    assert [row.name for row in rows] == [
        f"classroom/cuda/{work}/{version}"
        for work in ("train_model", "accuracy")
        for version in classroom.TITLES
    ]
    assert all(np.isfinite(row.median) for row in rows)
    assert not any(one.needs for one in some)
