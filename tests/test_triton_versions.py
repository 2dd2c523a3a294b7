"""The environments of other Tritons are kept, but borrow from whatever environment runs the script now."""

import sys
import sysconfig
from pathlib import Path

import pytest

from scripts import triton_versions


@pytest.fixture
def made(monkeypatch) -> list[str]:
    """The commands of installation, none of which is run."""
    installed: list[str] = []
    place = Path(sysconfig.get_path("purelib", vars={"base": ""}))

    def create(home: Path, with_pip: bool, clear: bool) -> None:
        (home / place.relative_to(place.anchor)).mkdir(parents=True, exist_ok=True)

    def install(command: list[str], check: bool) -> None:
        installed.append(command[-1])

    monkeypatch.setattr(triton_versions.venv, "create", create)
    monkeypatch.setattr(triton_versions.subprocess, "run", install)
    return installed


def borrowed(folder: Path) -> str:
    (path,) = folder.rglob("borrowed.pth")
    return path.read_text().strip()


def test_an_environment_is_made_once_and_borrows_from_the_present_one(tmp_path: Path, made: list[str]):
    python = triton_versions.environment("3.6.0", tmp_path)
    assert python == tmp_path / "triton-3.6.0" / "bin" / "python"
    assert borrowed(tmp_path) == sysconfig.get_path("purelib")
    (path,) = tmp_path.rglob("borrowed.pth")
    path.write_text("/an/environment/that/is/gone\n")
    triton_versions.environment("3.6.0", tmp_path)
    assert borrowed(tmp_path) == sysconfig.get_path("purelib")
    assert made == ["triton==3.6.0"]


def test_an_environment_of_another_python_is_made_again(tmp_path: Path, made: list[str], monkeypatch):
    triton_versions.environment("3.6.0", tmp_path)
    monkeypatch.setattr(sys, "version", "3.99")
    triton_versions.environment("3.6.0", tmp_path)
    assert made == ["triton==3.6.0"] * 2


def test_one_that_was_not_finished_is_made_again(tmp_path: Path, made: list[str], monkeypatch):
    def fail(command: list[str], check: bool) -> None:
        raise OSError("no network")

    with monkeypatch.context() as broken:
        broken.setattr(triton_versions.subprocess, "run", fail)
        with pytest.raises(OSError, match="no network"):
            triton_versions.environment("3.6.0", tmp_path)
    triton_versions.environment("3.6.0", tmp_path)
    assert made == ["triton==3.6.0"]
