"""The choice of backend and device for a call: by name, or the fastest that can be used here."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from types import ModuleType

import torch

from ..errors import BackendError

_log = logging.getLogger("breaknet")

#: In the order in which "auto" prefers them.
_MODULES = {"triton": "triton_gpu.backend", "numba": "numba_cpu.backend", "torch": "torch_backend"}
BACKENDS = ("auto", *_MODULES)


@dataclass(frozen=True)
class Choice:
    """A backend's module and the device it is to use."""

    backend: ModuleType
    device: torch.device

    @property
    def name(self) -> str:
        return self.backend.NAME


def load(name: str) -> ModuleType:
    """The module of backend `name`; it imports its compiler only when it is used."""
    return import_module(f".{_MODULES[name]}", __package__)


def choices(backend: object, device: object) -> list[Choice]:
    """The usable backends for these arguments, best first; the last takes every shape if `backend` is "auto".

    Raises:
        TypeError, ValueError: for arguments that name no backend or device.
        BackendError: for a named backend or device that cannot be used here.
    """
    name = _check_backend(backend)
    wanted = _check_device(device)
    usable: list[Choice] = []
    reasons = {}
    for candidate in _MODULES if name == "auto" else (name,):
        module = load(candidate)
        target = wanted or _usual_device(candidate)
        reason = _automatic_obstacle(candidate, target) if name == "auto" else None
        reason = reason or module.unavailable(target)
        if reason is None:
            usable.append(Choice(module, target))
        reasons[candidate] = reason
    if not usable:
        where = f" on {wanted}" if wanted is not None else ""
        asked = name if name != "auto" else "torch"
        raise BackendError(f"backend {asked!r}{where} cannot be used: {reasons[asked]}")
    return usable


def reasons(device: object = "auto") -> dict[str, str | None]:
    """For every backend why "auto" passes it over on `device`; None where it can be picked."""
    wanted = _check_device(device)
    found: dict[str, str | None] = {}
    for candidate in _MODULES:
        target = wanted or _usual_device(candidate)
        found[candidate] = _automatic_obstacle(candidate, target) or load(candidate).unavailable(target)
    return found


def fitting(usable: list[Choice], obstacles: dict[str, str | None], named: bool) -> Iterator[Choice]:
    """Those of `usable` that can take the shapes; `obstacles` says by backend why not (None: it can).

    Raises:
        BackendError: where the backend was named and cannot take them.
    """
    for choice in usable:
        obstacle = obstacles[choice.name]
        if obstacle is None:
            yield choice
        elif named:
            raise BackendError(f"backend {choice.name!r} cannot take this: {obstacle}")
        else:
            _log.warning("The %s backend cannot take this (%s); using another.", choice.name, obstacle)


def step_down(failed: Choice, error: Exception) -> None:
    """Say once that a backend that "auto" had picked failed and that the next one is used."""
    _log.warning(
        "The %s backend failed on %s (%s); using the next one. `breaknet doctor` says more.",
        failed.name,
        failed.device,
        str(error).splitlines()[0] if str(error) else type(error).__name__,
    )


def _check_backend(backend: object) -> str:
    if not isinstance(backend, str):
        raise TypeError(f"backend: one of {', '.join(BACKENDS)}, not {backend!r}")
    if backend not in BACKENDS:
        raise ValueError(f"backend: one of {', '.join(BACKENDS)}, not {backend!r}")
    return backend


def _check_device(device: object) -> torch.device | None:
    if isinstance(device, torch.device):
        return device
    if not isinstance(device, str):
        raise TypeError(f'device: "auto", a torch device or its name, not {device!r}')
    if device == "auto":
        return None
    try:
        return torch.device(device)
    except RuntimeError as error:
        raise ValueError(f'device: "auto", "cpu", "cuda", "cuda:1" or the like, not {device!r}') from error


def _usual_device(backend: str) -> torch.device:
    if backend == "triton" or (backend == "torch" and torch.cuda.is_available()):
        return torch.device("cuda")
    return torch.device("cpu")


def _automatic_obstacle(backend: str, device: torch.device) -> str | None:
    """Why "auto" leaves alone what a name would allow: the interpreter is for tests, not for lessons."""
    if backend == "triton" and device.type != "cuda":
        return f"needs a CUDA GPU, not {device.type}"
    return None
