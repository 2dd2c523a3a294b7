"""The choice of backend and device for a call: by name, or the fastest that can be used here."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from types import ModuleType
from typing import TypeVar

import torch

from ..errors import BackendError, shown

_log = logging.getLogger("breaknet")

_Result = TypeVar("_Result")

#: In the order in which "auto" prefers them; the last takes every shape.
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
    name, wanted = _check_backend(backend), _check_device(device)
    candidates = _candidates(name, wanted)
    usable = [choice for choice, reason in candidates if reason is None]
    if not usable:
        where = f" on {wanted}" if wanted is not None else ""
        choice, reason = candidates[-1]
        raise BackendError(f"backend {choice.name!r}{where} cannot be used: {reason}")
    return usable


def reasons(device: object = "auto") -> dict[str, str | None]:
    """For every backend why "auto" passes it over on `device`; None where it can be picked."""
    return {choice.name: reason for choice, reason in _candidates("auto", _check_device(device))}


def _candidates(name: str, wanted: torch.device | None) -> list[tuple[Choice, str | None]]:
    """The backends that `name` allows, best first, each with the reason why it cannot be used (None: it can)."""
    found: list[tuple[Choice, str | None]] = []
    for candidate in _MODULES if name == "auto" else (name,):
        choice = Choice(load(candidate), wanted or _usual_device(candidate))
        if name == "auto" and candidate == "triton" and choice.device.type != "cuda":
            # the interpreter is for tests, not for lessons
            reason = f"needs a CUDA GPU, not {choice.device.type}"
        else:
            reason = choice.backend.unavailable(choice.device)
        found.append((choice, reason))
    return found


def run_on_first(
    usable: list[Choice], obstacles: dict[str, str | None], named: bool, work: Callable[[Choice], _Result]
) -> tuple[_Result, Choice]:
    """The result of `work` on the first of `usable` that can take the shapes and does not fail, and which that is.

    `obstacles` says by backend why it cannot take them (None: it can). Each backend passed over is logged once.

    Raises:
        BackendError: where the backend was named and cannot take the shapes.
        Exception: whatever `work` raises on a named backend or on the last one.
    """
    reported = None
    for choice in usable:
        obstacle = obstacles[choice.name]
        if obstacle is not None:
            if named:
                raise BackendError(f"backend {choice.name!r} cannot take this: {obstacle}")
            if obstacle != reported:
                reported = obstacle
                _log.warning("The %s backend cannot take this (%s); using another.", choice.name, obstacle)
            continue
        try:
            return work(choice), choice
        except Exception as error:
            if named or choice is usable[-1]:
                raise
            _log.warning(
                "The %s backend failed on %s (%s); using the next one. `breaknet doctor` says more.",
                choice.name,
                choice.device,
                str(error).splitlines()[0] if str(error) else type(error).__name__,
            )
    raise AssertionError("the last backend takes every shape")  # pragma: no cover


def _check_backend(backend: object) -> str:
    if isinstance(backend, str) and backend in BACKENDS:
        return backend
    error = ValueError if isinstance(backend, str) else TypeError
    raise error(f"backend: one of {', '.join(BACKENDS)}, not {shown(backend)}")


def _check_device(device: object) -> torch.device | None:
    if isinstance(device, torch.device):
        return device
    if not isinstance(device, str):
        raise TypeError(f'device: "auto", a torch device or its name, not {shown(device)}')
    if device == "auto":
        return None
    try:
        return torch.device(device)
    except RuntimeError as error:
        raise ValueError(
            f'device: "auto", "cpu", "cuda", "cuda:1" or the like, not {shown(device)}'
        ) from error


def _usual_device(backend: str) -> torch.device:
    if backend == "triton" or (backend == "torch" and torch.cuda.is_available()):
        return torch.device("cuda")
    return torch.device("cpu")
