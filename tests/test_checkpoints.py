import errno
from pathlib import Path

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
