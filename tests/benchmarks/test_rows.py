"""Stored rows come back as they were, and what is not a row is refused in one line."""

import json
from dataclasses import asdict, replace
from functools import reduce
from operator import getitem
from pathlib import Path

import pytest
from made_up_rows import machine, row

from benchmarks import rows as rows_module
from benchmarks.rows import load, save, stored
from breaknet import DataError

HERE = machine()
GONE = object()
STEP, SCORE, MANY = (
    row("step/cpu/sliced", 2e-3),
    row("accuracy/cpu/vectorised", 0.5),
    row("models/cpu/ours/4", 1e-4),
)


def test_rows_come_back_as_they_were_one_file_a_group_and_device(tmp_path):
    gpu_row = row("step/cuda/sliced", 1e-4)
    paths = save(HERE, [STEP, MANY, SCORE], tmp_path) + save(machine("cuda"), [gpu_row], tmp_path)
    assert [path.relative_to(tmp_path).as_posix() for path in paths] == [
        "made-up-cpu/ladder-cpu.json", "made-up-cpu/models-cpu.json", "made-up-gpu/ladder-cuda.json",
    ]  # fmt: skip
    assert stored(tmp_path) == [(HERE, [STEP, SCORE]), (HERE, [MANY]), (machine("cuda"), [gpu_row])]


def test_a_group_is_replaced_whole_and_the_others_stay(tmp_path):
    save(HERE, [STEP, SCORE, MANY], tmp_path)
    later = replace(HERE, date="2026-02-03")
    save(later, [STEP], tmp_path)
    assert stored(tmp_path) == [(later, [STEP]), (HERE, [MANY])]


def test_old_names_are_read_as_present_ones_and_replaced_by_a_new_measurement(tmp_path):
    one = replace(row("comparison/cuda/one/breaknet", 1e-4), name="rivals/cuda/one/breaknet")
    (path,) = save(machine("cuda"), [one], tmp_path)
    former = path.with_name("rivals-cuda.json")
    former.write_text(path.read_text().replace('"group": "comparison"', '"group": "rivals"'))
    path.unlink()
    before = former.read_bytes()
    ((_, (found,)),) = stored(tmp_path)
    assert (found.name, found.group) == ("comparison/cuda/one/breaknet", "comparison")
    assert former.read_bytes() == before
    save(machine("cuda"), [found], tmp_path)
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_what_cannot_be_written_whole_leaves_the_old_file(tmp_path, monkeypatch):
    (path,) = save(HERE, [STEP], tmp_path)
    before = path.read_bytes()

    def fail(self, text):
        self.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", fail)
    with pytest.raises(DataError, match="No space left"):
        save(HERE, [SCORE], tmp_path)
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize(
    ("owner", "field", "value", "message"),
    [
        (STEP, "name", "", "name: some text"),
        (STEP, "group", "ladders", "group: one of ladder,"),
        (STEP, "device", "tpu", "device: one of cpu, cuda"),
        (STEP, "median", float("nan"), "median: seconds, finite and over 0"),
        (STEP, "median", 0.0, "median: seconds"),
        (STEP, "low", True, "low: seconds"),
        (STEP, "low", 1.0, "low <= median <= high"),
        (STEP, "repeats", 0, "repeats: 1 or more"),
        (STEP, "launches", {"kernels": -1.0}, "launches: numbers of 0 or more by name"),
        (STEP, "floor", {"bytes": 1.0}, "floor: bytes, operations and seconds"),
        (STEP, "conditions", {"size": float("inf")}, "conditions: what JSON gives back unchanged"),
        (STEP, "conditions", {1: "one"}, "conditions: what JSON gives back unchanged"),
        (STEP, "conditions", {"tile": (1, 2)}, "conditions: what JSON gives back unchanged"),
        (HERE, "name", "NVIDIA H200", "name: small letters"),
        (HERE, "name", "../elsewhere", "name: small letters"),
        (HERE, "cpu", "", "cpu: some text"),
        (HERE, "cores", 0, "cores: 1 or more"),
        (HERE, "gpu", 1, "gpu: some text or None"),
        (HERE, "power_limit_w", -700.0, "power_limit_w: watts or None"),
        (HERE, "date", "yesterday", "date: YYYY-MM-DD"),
        (HERE, "versions", {"torch": 2}, "versions: text by package"),
        (HERE, "ceilings", {"bytes_per_s": 0.0}, "ceilings: numbers over 0 by name"),
    ],
)
def test_other_values_are_refused_in_one_line(owner, field, value, message):
    called = "machine" if owner is HERE else "row '.*'"
    with pytest.raises(ValueError, match=f"^{called}: {message}") as caught:
        replace(owner, **{field: value})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "at least one"),
        ([STEP, STEP], "each name once, but step/cpu/sliced"),
        ([STEP, replace(SCORE, conditions={"size": "rehearse"})], "not those of a rehearsal"),
    ],
)
def test_no_rows_twins_and_rehearsals_are_not_saved(rows, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        save(HERE, rows, tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("keys", "value", "message"),
    [
        (["schema"], GONE, "schema 1 is wanted, not None"),
        (["schema"], 2, "schema 1 is wanted, not 2"),
        (["rows"], [], "rows: a list of at least one"),
        (["rows", 0, "mean"], 1.0, r"rows\[0\]: exactly the fields of a Row, but for \['mean'\]"),
        (["machine", "commit"], GONE, r"machine: exactly the fields of a Machine, but for \['commit'\]"),
        (["machine"], [], "machine: exactly the fields of a Machine, but for list"),
        (["rows", 0, "name"], 1, "name: some text, not 1"),
        (["rows", 0, "median"], "fast", "median: seconds, finite and over 0, not 'fast'"),
        (["rows", 0, "launches"], [], r"launches: numbers of 0 or more by name, not \[\]"),
        (["rows"], 2 * [asdict(STEP)], "each name once"),
        (["machine", "name"], "elsewhere", "machine 'elsewhere' in the folder of 'made-up-cpu'"),
    ],
)
def test_a_broken_file_is_refused_in_one_line_that_names_it(keys, value, message, tmp_path):
    (path,) = save(HERE, [STEP], tmp_path)
    content = json.loads(path.read_text())
    *outer, last = keys
    inner = reduce(getitem, outer, content)
    inner[last] = value
    if value is GONE:
        del inner[last]
    path.write_text(json.dumps(content))
    with pytest.raises(DataError, match=message) as caught:
        stored(tmp_path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"schema": 1}', "\udcff"])
def test_what_is_no_json_of_ours_is_refused(text, tmp_path):
    path = tmp_path / "made-up-cpu" / "ladder-cpu.json"
    path.parent.mkdir()
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(DataError, match="not stored rows"):
        load(path)


def test_what_the_repository_stores_is_whole():
    for where, some in stored():
        assert (rows_module.RESULTS / where.name).is_dir()
        assert all(one.conditions["size"] in ("quick", "full") for one in some)
