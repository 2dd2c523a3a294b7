"""The parameters after every epoch of a run: stacked in memory, one safetensors file on disk."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import overload

import torch
from torch import Tensor

from .errors import DataError
from .files import written_whole
from .model import MLP, PARAMETER_NAMES, hidden_widths, parameter_shapes

#: Written into the file's header; a safetensors file without it was not written by breaknet.
_FORMAT = "breaknet-checkpoints-1"


class Checkpoints:
    """C sets of parameters of one network, in the order of their epochs.

    Args:
        stacked: torch's parameter names to float32 CPU tensors [C, ...].
        metadata: text to text, kept in the file beside the parameters.

    `len()` is C; an index gives an `MLP` of its own, a slice gives Checkpoints that share the memory.

    Raises:
        ValueError: for missing or further names, other shapes or dtypes.
    """

    def __init__(self, stacked: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
        _check_stacked(stacked)
        self.stacked = {name: stacked[name] for name in PARAMETER_NAMES}
        self.metadata = dict(metadata or {})

    @property
    def hidden(self) -> tuple[int, int]:
        """The widths of the two hidden layers."""
        return hidden_widths(self.stacked)

    def __len__(self) -> int:
        return self.stacked["output.bias"].shape[0]

    @overload
    def __getitem__(self, index: int) -> MLP: ...
    @overload
    def __getitem__(self, index: slice) -> Checkpoints: ...
    def __getitem__(self, index: int | slice) -> MLP | Checkpoints:
        if isinstance(index, slice):
            return Checkpoints({name: tensor[index] for name, tensor in self.stacked.items()}, self.metadata)
        position = range(len(self))[index]  # negative ones too, and an IndexError past the ends
        with torch.device("meta"):
            model = MLP(self.hidden)
        state = {name: tensor[position].clone() for name, tensor in self.stacked.items()}
        model.load_state_dict(state, assign=True)
        return model.requires_grad_(True)

    def __iter__(self) -> Iterator[MLP]:
        return (self[position] for position in range(len(self)))

    def __repr__(self) -> str:
        first, second = self.hidden
        return f"Checkpoints({len(self)} of 784-{first}-{second}-10)"

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write one safetensors file, whole or not at all.

        Raises:
            DataError: where the file cannot be written; a file that was there before stays as it was.
        """
        from safetensors.torch import save

        metadata = {**self.metadata, "format": _FORMAT}
        content = save({name: tensor.contiguous() for name, tensor in self.stacked.items()}, metadata)
        with written_whole(Path(path)) as unfinished:
            unfinished.write_bytes(content)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Checkpoints:
        """Read what `save` wrote.

        Raises:
            DataError: for a file that is missing, broken or not breaknet's.
        """
        from safetensors import SafetensorError, safe_open

        path = Path(path)
        try:
            with safe_open(path, framework="pt", device="cpu") as file:
                metadata = file.metadata() or {}
                if metadata.pop("format", None) != _FORMAT:
                    raise DataError(f"{path}: a safetensors file, but not checkpoints written by breaknet")
                stacked = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, not a dict
        except SafetensorError as error:
            raise DataError(f"{path}: not a whole safetensors file ({error})") from error
        except DataError:
            raise
        except OSError as error:
            raise DataError(f"{path}: cannot be read ({error.strerror or error})") from error
        try:
            return cls(stacked, metadata)
        except ValueError as error:
            raise DataError(f"{path}: not the parameters of this network ({error})") from error


def _check_stacked(stacked: Mapping[str, Tensor]) -> None:
    if set(stacked) != set(PARAMETER_NAMES):
        wrong = sorted(set(stacked) ^ set(PARAMETER_NAMES))
        raise ValueError(f"stacked: exactly the parameters of an MLP, missing or unknown: {', '.join(wrong)}")
    for name, tensor in stacked.items():
        if not isinstance(tensor, Tensor) or tensor.dtype != torch.float32 or tensor.device.type != "cpu":
            kind = (
                f"{tensor.dtype} on {tensor.device}" if isinstance(tensor, Tensor) else type(tensor).__name__
            )
            raise ValueError(f"stacked[{name!r}]: a float32 tensor on the CPU, not {kind}")
    count = stacked["output.bias"].shape[:1]
    biases = stacked["hidden1.bias"], stacked["hidden2.bias"]
    first, second = (bias.shape[-1] if bias.ndim else 0 for bias in biases)
    for name, shape in parameter_shapes((first, second)).items():
        if stacked[name].shape != (*count, *shape):
            raise ValueError(f"stacked[{name!r}]: shape {[*count, *shape]}, not {list(stacked[name].shape)}")
