"""Checkpoints: models by index, slices, files that come back bit for bit or are refused by name."""

import errno
import os

import numpy as np
import pytest
import torch
from checks import assert_same_parameters
from safetensors.torch import save_file

from breaknet import MLP, Checkpoints, DataError
from breaknet.model import PARAMETER_NAMES


@pytest.fixture
def checkpoints() -> Checkpoints:
    states = [MLP.seeded(seed, (5, 3)).state_dict() for seed in range(4)]
    stacked = {name: torch.stack([state[name] for state in states]) for name in PARAMETER_NAMES}
    return Checkpoints(stacked, {"backend": "torch"})


def test_an_index_gives_a_model_of_its_own(checkpoints):
    assert len(checkpoints) == 4
    assert checkpoints.hidden == (5, 3)
    model = checkpoints[-1]
    assert torch.equal(model.hidden2.weight, MLP.seeded(3, (5, 3)).hidden2.weight)
    assert all(parameter.requires_grad for parameter in model.parameters())
    with torch.no_grad():
        model.hidden2.weight.zero_()
    assert torch.equal(checkpoints[3].hidden2.weight, MLP.seeded(3, (5, 3)).hidden2.weight)
    assert [type(one) for one in checkpoints] == [MLP] * 4
    with pytest.raises(IndexError):
        checkpoints[4]


def test_a_slice_gives_checkpoints(checkpoints):
    some = checkpoints[1:3]
    assert len(some) == 2
    assert some.metadata == {"backend": "torch"}
    assert torch.equal(some[0].output.bias, checkpoints[1].output.bias)


@pytest.mark.parametrize("count", [4, 0])
def test_saved_and_loaded_bit_for_bit(checkpoints, tmp_path, count):
    path = tmp_path / "new folder" / "run.safetensors"
    checkpoints[:count].save(path)
    loaded = Checkpoints.load(path)
    assert len(loaded) == count
    assert loaded.metadata == {"backend": "torch"}
    assert_same_parameters(loaded.stacked, checkpoints[:count].stacked)
    assert [entry.name for entry in path.parent.iterdir()] == ["run.safetensors"]


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_a_write_that_breaks_off_leaves_the_old_file(checkpoints, tmp_path, monkeypatch, error):
    path = tmp_path / "run.safetensors"
    checkpoints.save(path)
    before = path.read_bytes()

    tensors = []

    def break_off(array: np.ndarray, dtype: str) -> np.ndarray:
        tensors.append(array)
        if len(tensors) == 3:
            raise error
        return array

    monkeypatch.setattr(np, "ascontiguousarray", break_off)
    expected = DataError if isinstance(error, OSError) else KeyboardInterrupt
    with pytest.raises(expected) as raised:
        checkpoints[:2].save(path)
    monkeypatch.undo()
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["run.safetensors"]
    if expected is DataError:
        assert str(raised.value) == f"{path}: cannot be written (No space left on device)"


@pytest.mark.parametrize(
    "content", [lambda whole: whole[: len(whole) // 2], lambda _: b"", lambda _: b"no safetensors"]
)
def test_broken_files_are_named(checkpoints, tmp_path, content):
    path = tmp_path / "run.safetensors"
    checkpoints.save(path)
    path.write_bytes(content(path.read_bytes()))
    with pytest.raises(DataError, match=r"run\.safetensors: not a whole safetensors file") as raised:
        Checkpoints.load(path)
    assert "\n" not in str(raised.value)


def test_missing_and_foreign_files_are_named(tmp_path):
    with pytest.raises(DataError, match=r"missing\.safetensors: cannot be read \(No such file"):
        Checkpoints.load(tmp_path / "missing.safetensors")
    with pytest.raises(DataError, match="cannot be read"):
        Checkpoints.load(tmp_path)
    path, foreign = tmp_path / "foreign.safetensors", {"weights": torch.zeros(3)}
    save_file(foreign, path)
    with pytest.raises(DataError, match="not checkpoints written by breaknet"):
        Checkpoints.load(path)
    save_file(foreign, path, {"format": "breaknet-checkpoints-1"})
    with pytest.raises(DataError, match="not the parameters of this network"):
        Checkpoints.load(path)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("output.bias", None, r"output\.bias"),
        ("output.bias", torch.Tensor.double, "float32 tensor on the CPU"),
        ("hidden1.weight", lambda weight: weight[:, :, :-1], r"hidden1\.weight.*shape \[4, 5, 784\]"),
    ],
)
def test_wrong_parameters_are_refused(checkpoints, name, change, message):
    stacked = dict(checkpoints.stacked)
    value = stacked.pop(name)
    with pytest.raises(ValueError, match=message):
        Checkpoints(stacked if change is None else {**stacked, name: change(value)})


def test_the_same_checkpoints_are_the_same_bytes(checkpoints, tmp_path):
    metadata = {name: name.upper() for name in "qwertzuiop"}
    contents = set()
    for order in (metadata, dict(reversed(metadata.items()))):
        Checkpoints(checkpoints.stacked, order).save(tmp_path / "run.safetensors")
        contents.add((tmp_path / "run.safetensors").read_bytes())
    assert len(contents) == 1


def test_what_no_run_leaves_is_refused(checkpoints, tmp_path):
    stacked = {name: tensor.clone() for name, tensor in checkpoints.stacked.items()}
    stacked["hidden2.bias"][0, 0] = float("nan")
    Checkpoints(stacked).save(tmp_path / "nan.safetensors")
    with pytest.raises(DataError, match="some parameters are NaN or infinite"):
        Checkpoints.load(tmp_path / "nan.safetensors")
    empty = {
        name: tensor[:, :0] if name.startswith("hidden1") else tensor for name, tensor in stacked.items()
    }
    with pytest.raises(ValueError, match="hidden widths of 1 or more, not 0"):
        Checkpoints({**empty, "hidden2.weight": stacked["hidden2.weight"][:, :, :0]})


def test_slices_may_run_backwards(checkpoints):
    backwards = checkpoints[::-1]
    assert torch.equal(backwards[0].hidden1.weight, checkpoints[-1].hidden1.weight)
    assert len(checkpoints[3:0:-2]) == 2


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_in_a_files_place_is_refused_at_once(checkpoints, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DataError, match="not a plain file"):
        Checkpoints.load(tmp_path / "pipe")
    with pytest.raises(DataError, match="a pipe, not a file"):
        checkpoints.save(tmp_path / "pipe")


def test_a_link_stays_and_a_mode_is_kept(checkpoints, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    target = tmp_path / "real.safetensors"
    checkpoints.save(target)
    target.chmod(0o640)
    (tmp_path / "link.safetensors").symlink_to(target)
    checkpoints[:1].save("~/link.safetensors")
    assert (tmp_path / "link.safetensors").is_symlink()
    assert len(Checkpoints.load("~/real.safetensors")) == 1
    assert target.stat().st_mode & 0o777 == 0o640
