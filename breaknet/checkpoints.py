"""The parameters after every epoch of a run: stacked in memory, one safetensors file on disk."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, overload

import numpy as np
import torch
from torch import Tensor

from . import html
from .errors import DataError
from .files import cannot_be, open_plain, real_path, written_whole
from .model import MLP, PARAMETER_NAMES, all_finite, hidden_widths, parameter_shapes, torch_settings

#: Written into the file's header; a safetensors file without it was not written by breaknet.
_FORMAT = "breaknet-checkpoints-1"
_LONGEST_HEADER = 2**20

_ROWS_AT_ONCE = 64  # of checkpoints that are written: what is not contiguous is copied for it


class Checkpoints:
    """C sets of parameters of one network, in the order of their epochs.

    Args:
        stacked: torch's parameter names to float32 CPU tensors [C, ...].
        metadata: text to text, kept in the file beside the parameters.

    `len()` is C; an index gives an `MLP` of its own, a slice gives Checkpoints that share the memory (one with a
    negative step a copy).

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
            rows: slice | list[int] = index
            if index.step is not None and index.step < 0:  # which torch does not take
                rows = list(range(len(self))[index])
            return Checkpoints({name: tensor[rows] for name, tensor in self.stacked.items()}, self.metadata)
        position = range(len(self))[index]  # negative ones too, and an IndexError past the ends
        with torch_settings():
            return MLP.of_parameters(
                {name: tensor[position].clone() for name, tensor in self.stacked.items()}
            )

    def __iter__(self) -> Iterator[MLP]:
        return (self[position] for position in range(len(self)))

    def __repr__(self) -> str:
        first, second = self.hidden
        return f"Checkpoints({len(self)} of 784-{first}-{second}-10)"

    def _repr_html_(self) -> str:
        first, second = self.hidden
        return html.page(
            f"{len(self)} checkpoints of a 784-{first}-{second}-10 network", html.facts(self.metadata)
        )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write one safetensors file, whole or not at all.

        Raises:
            DataError: where the file cannot be written; a file that was there before stays as it was.
        """
        target = real_path(path, "path")
        header: dict[str, Any] = {"__metadata__": {**self.metadata, "format": _FORMAT}}
        end = 0
        for name, tensor in self.stacked.items():
            begin, end = end, end + 4 * tensor.numel()
            header[name] = {"dtype": "F32", "shape": list(tensor.shape), "data_offsets": [begin, end]}
        # written here, since the safetensors library puts the metadata in another order each time, and holds it all
        text = json.dumps(header, sort_keys=True, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)
        with written_whole(target) as unfinished, open(unfinished, "wb") as file:
            file.write(len(text).to_bytes(8, "little") + text)
            for tensor in self.stacked.values():
                for some in tensor.detach().split(_ROWS_AT_ONCE):
                    file.write(np.ascontiguousarray(some.numpy(), "<f4").data)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Checkpoints:
        """Read what `save` wrote.

        Raises:
            DataError: for a file that is missing, broken or not breaknet's.
        """
        from safetensors import SafetensorError, safe_open

        path = real_path(path, "path")
        try:
            open_plain(path).close()
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
            raise cannot_be("read", path, error) from error
        try:
            found = cls(stacked, metadata)
        except ValueError as error:
            raise DataError(f"{path}: not the parameters of this network ({error})") from error
        if not all_finite(found.stacked):
            raise DataError(f"{path}: some parameters are NaN or infinite, which no run of breaknet leaves")
        return found


def is_checkpoint_file(path: Path) -> bool:
    """Whether `Checkpoints.save` wrote a file, by its header."""
    try:
        with open_plain(path) as file:
            length = int.from_bytes(file.read(8), "little")
            if length > _LONGEST_HEADER:
                return False
            header = json.loads(file.read(length))
        return header["__metadata__"]["format"] == _FORMAT
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return False


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
    if 0 in (stacked[f"{layer}.bias"].shape[-1:].numel() for layer in ("hidden1", "hidden2")):
        raise ValueError("stacked: hidden widths of 1 or more, not 0")
    count = stacked["output.bias"].shape[:1]
    biases = stacked["hidden1.bias"], stacked["hidden2.bias"]
    first, second = (bias.shape[-1] if bias.ndim else 0 for bias in biases)
    for name, shape in parameter_shapes((first, second)).items():
        if stacked[name].shape != (*count, *shape):
            raise ValueError(f"stacked[{name!r}]: shape {[*count, *shape]}, not {list(stacked[name].shape)}")
