import errno
from pathlib import Path

import pytest
import torch
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


def test_saved_and_loaded_bit_for_bit(checkpoints, tmp_path):
    path = tmp_path / "new folder" / "run.safetensors"
    checkpoints.save(path)
    loaded = Checkpoints.load(path)
    assert loaded.metadata == {"backend": "torch"}
    for name in PARAMETER_NAMES:
        assert torch.equal(loaded.stacked[name], checkpoints.stacked[name])
    assert [entry.name for entry in path.parent.iterdir()] == ["run.safetensors"]


def test_no_checkpoints_can_be_saved_too(checkpoints, tmp_path):
    checkpoints[:0].save(tmp_path / "none.safetensors")
    assert len(Checkpoints.load(tmp_path / "none.safetensors")) == 0


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_a_write_that_breaks_off_leaves_the_old_file(checkpoints, tmp_path, monkeypatch, error):
    path = tmp_path / "run.safetensors"
    checkpoints.save(path)
    before = path.read_bytes()

    def break_off(self: Path, content: bytes) -> None:
        with open(self, "wb") as file:
            file.write(content[: len(content) // 2])
        raise error

    monkeypatch.setattr(Path, "write_bytes", break_off)
    expected = DataError if isinstance(error, OSError) else KeyboardInterrupt
    with pytest.raises(expected) as raised:
        checkpoints[:2].save(path)
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["run.safetensors"]
    if expected is DataError:
        assert str(raised.value) == f"{path}: cannot be written (No space left on device)"


def test_broken_and_foreign_files_are_told(checkpoints, tmp_path):
    whole = tmp_path / "whole.safetensors"
    checkpoints.save(whole)
    content = whole.read_bytes()
    files = {
        "cut.safetensors": content[: len(content) // 2],
        "empty.safetensors": b"",
        "text.safetensors": b"hello, this is no safetensors file at all",
    }
    for name, held in files.items():
        (tmp_path / name).write_bytes(held)
        with pytest.raises(DataError, match=f"{name}: not a whole safetensors file") as raised:
            Checkpoints.load(tmp_path / name)
        assert "\n" not in str(raised.value)
    with pytest.raises(DataError, match=r"missing\.safetensors: cannot be read \(No such file"):
        Checkpoints.load(tmp_path / "missing.safetensors")
    with pytest.raises(DataError, match="cannot be read"):
        Checkpoints.load(tmp_path)
    save_file({"weights": torch.zeros(3)}, tmp_path / "foreign.safetensors")
    with pytest.raises(DataError, match="not checkpoints written by breaknet"):
        Checkpoints.load(tmp_path / "foreign.safetensors")
    save_file(
        {"weights": torch.zeros(3)}, tmp_path / "other.safetensors", {"format": "breaknet-checkpoints-1"}
    )
    with pytest.raises(DataError, match="not the parameters of this network"):
        Checkpoints.load(tmp_path / "other.safetensors")


def test_wrong_parameters_are_refused(checkpoints):
    stacked = checkpoints.stacked
    without = {name: value for name, value in stacked.items() if name != "output.bias"}
    with pytest.raises(ValueError, match=r"output\.bias"):
        Checkpoints(without)
    with pytest.raises(ValueError, match="float32 tensor on the CPU"):
        Checkpoints({**stacked, "output.bias": stacked["output.bias"].double()})
    with pytest.raises(ValueError, match=r"hidden1\.weight.*shape \[4, 5, 784\]"):
        Checkpoints({**stacked, "hidden1.weight": stacked["hidden1.weight"][:, :, :-1]})
