"""`breaknet play`: what it prints, what it refuses, what it says is missing."""

import sys

import pytest

from breaknet.cli import live
from breaknet.cli.commands import main
from breaknet.live import server


@pytest.fixture
def served(monkeypatch):
    """The arguments of the server, which ends at once."""
    calls = []

    def serve(listening, loading, host, on_ready, backend, device):
        listening.close()
        calls.append((host, backend, device))
        on_ready()

    def ended(status):
        raise SystemExit(status)

    monkeypatch.setattr(server, "serve", serve)
    monkeypatch.setattr(live.os, "_exit", ended)
    return calls


def test_this_machine_only_without_a_warning(served, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["play", "--no-browser", "--backend", "torch"])
    assert ended.value.code == 130
    out, err = capsys.readouterr()
    assert out.startswith("Open http://127.0.0.1:")
    assert "Warning" not in err
    assert served == [("127.0.0.1", "torch", "auto")]


def test_others_only_by_host_and_with_a_warning(served, capsys):
    with pytest.raises(SystemExit):
        main(["play", "--no-browser", "--host", "0.0.0.0"])
    out, err = capsys.readouterr()
    assert "Warning: everybody who can reach 0.0.0.0 can use this page" in err
    assert out.startswith("Open http://127.0.0.1:")


def test_a_port_that_is_taken_is_one_line(served, capsys):
    with server.bind("127.0.0.1", None) as taken:
        assert main(["play", "--no-browser", "--port", str(taken.getsockname()[1])]) == 1
    assert "cannot be had" in capsys.readouterr().err
    assert not served


@pytest.mark.parametrize("missing", ["starlette.applications", "uvicorn", "websockets"])
def test_a_missing_extra_is_named(missing, monkeypatch, capsys):
    monkeypatch.delitem(sys.modules, "breaknet.live.server")
    monkeypatch.delattr("breaknet.live.server")
    monkeypatch.setitem(sys.modules, missing, None)
    assert main(["play"]) == 1
    assert capsys.readouterr().err.startswith("breaknet: breaknet play needs ")
