"""Downloads: whatever a mirror does, either MNIST or one clear error, in bounded time, and never a bad cache."""

from __future__ import annotations

import _thread
import gzip
import io
import os
import pickle
import socket
import subprocess
import sys
import tempfile
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest

from breaknet.data import cache, download, idx
from breaknet.data.mnist import load_mnist
from breaknet.errors import DataError

IMAGES = "train-images-idx3-ubyte.gz"


def same(first, second) -> bool:
    return first.source == second.source and all(
        np.array_equal(getattr(first, part).images, getattr(second, part).images)
        and np.array_equal(getattr(first, part).labels, getattr(second, part).labels)
        for part in ("train", "valid", "test")
    )


def pickled(made_up) -> bytes:
    """The made-up digits as an mnist.pkl.gz."""
    digits = made_up.digits()
    parts = [
        (part.images.astype(np.float32) / 256, part.labels.astype(np.int64))
        for part in (digits.train, digits.valid, digits.test)
    ]
    return gzip.compress(pickle.dumps(tuple(parts), protocol=2))


def one_line(error: pytest.ExceptionInfo[DataError]) -> str:
    message = str(error.value)
    assert "\n" not in message
    return message


def assert_nothing_kept(folder: Path) -> None:
    assert not folder.exists() or not list(folder.iterdir())


@pytest.fixture
def temporary(tmp_path, monkeypatch) -> Path:
    """Where temporary folders are made during the test."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def test_good_mirror_then_cache(server, published, tmp_path, temporary, capfd):
    mirror = server.serve(published)
    first = load_mnist(cache_dir=tmp_path / "kept", mirrors=[mirror])
    assert same(first, published.digits())
    assert [file.name for file in (tmp_path / "kept").iterdir()] == ["mnist.digits"]
    assert not list(temporary.iterdir())
    asked = len(server.asked)
    assert asked == 4
    again = load_mnist(cache_dir=tmp_path / "kept", mirrors=[mirror + "/"])
    assert same(again, first)
    assert len(server.asked) == asked
    captured = capfd.readouterr()
    assert captured.out == captured.err == ""


def test_bar_on_a_terminal_only(server, published, tmp_path, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    load_mnist(cache_dir=tmp_path, mirrors=[server.serve(published)])
    assert IMAGES in terminal.getvalue()
    assert "100%" in terminal.getvalue()
    assert terminal.getvalue().isascii()


def cut_off(content: bytes):
    def answer(handler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content[: len(content) // 2])

    return answer


def altered(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 0xFF]) + content[middle + 1 :]


BAD = {
    "cut off": (cut_off, "broke off"),
    "short file": (lambda content: content[: len(content) // 2], "truncated"),
    "altered byte": (altered, IMAGES),
    "empty": (lambda content: b"", "truncated"),
    "web page": (lambda content: b"<html>log in first</html>", "0x3c68746d"),
    "other digits": (
        lambda content: gzip.compress(gzip.decompress(content)[:-1] + b"\x01"),
        "not MNIST's (SHA-256)",
    ),
    "promises billions": (
        lambda content: gzip.compress(b"\0\0\x08\x03\xff\xff\xff\xff\0\0\0\x1c\0\0\0\x1c"),
        "promises 4,294,967,295",
    ),
    "not there": (lambda content: 404, "status 404"),
    "server error": (lambda content: 503, "status 503"),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_file(kind, server, published, tmp_path, temporary):
    spoil, reason = BAD[kind]
    mirror = server.serve(published)
    good = server.answers[f"/mnist/{IMAGES}"]
    server.answers[f"/mnist/{IMAGES}"] = spoil(good)
    with pytest.raises(DataError) as error:
        load_mnist(cache_dir=tmp_path / "kept", mirrors=[mirror])
    message = one_line(error)
    assert reason in message
    assert str(temporary) not in message
    for way_out in ("BREAKNET_DATA", "BREAKNET_MIRRORS", '"synthetic"'):
        assert way_out in message
    assert_nothing_kept(tmp_path / "kept")
    assert not list(temporary.iterdir())

    server.answers[f"/mnist/{IMAGES}"] = good
    assert same(load_mnist(cache_dir=tmp_path / "kept", mirrors=[mirror]), published.digits())


@pytest.mark.parametrize("kind", BAD)
def test_next_mirror_gives_what_the_first_did_not(kind, server, published, tmp_path):
    first, second = server.serve(published, "first"), server.serve(published, "second")
    labels = f"/first/{idx.NAMES[1]}.gz"
    server.answers[labels] = BAD[kind][0](server.answers[labels])
    assert same(load_mnist(cache_dir=tmp_path, mirrors=[first, second]), published.digits())
    # the images had come from the first mirror and were not asked for again
    assert f"/second/{IMAGES}" not in server.asked
    assert f"/second/{idx.NAMES[1]}.gz" in server.asked


def test_pickle_mirror_comes_last(server, published, tmp_path):
    server.answers["/notebook/mnist.pkl.gz"] = pickled(published)
    mirrors = [f"{server.address}/none", f"{server.address}/notebook/mnist.pkl.gz"]
    assert same(load_mnist(cache_dir=tmp_path, mirrors=mirrors), published.digits())


def test_pickle_mirror_with_other_digits(server, published, tmp_path):
    published.arrays[idx.NAMES[0]][0, 0] ^= 1
    server.answers["/mnist.pkl.gz"] = pickled(published)
    with pytest.raises(DataError, match=r"does not hold MNIST \(SHA-256\)"):
        load_mnist(cache_dir=tmp_path / "kept", mirrors=[f"{server.address}/mnist.pkl.gz"])
    assert_nothing_kept(tmp_path / "kept")


def test_pickle_mirror_with_a_program(server, published, tmp_path):
    class Program:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path / 'ran'}",)

    server.answers["/mnist.pkl.gz"] = gzip.compress(pickle.dumps(Program()))
    with pytest.raises(DataError, match="refused"):
        load_mnist(cache_dir=tmp_path / "kept", mirrors=[f"{server.address}/mnist.pkl.gz"])
    assert not (tmp_path / "ran").exists()


def test_stalled_download_ends(server, published, tmp_path, temporary, monkeypatch):
    monkeypatch.setattr(download, "SILENCE_SECONDS", 0.3)
    mirror = server.serve(published)
    content = server.answers[f"/mnist/{IMAGES}"]

    def stall(handler) -> None:
        cut_off(content)(handler)
        handler.wfile.flush()
        server.closing.wait(20)

    server.answers[f"/mnist/{IMAGES}"] = stall
    began = time.monotonic()
    with pytest.raises(DataError, match=r"0\.3 s without a byte"):
        load_mnist(cache_dir=tmp_path / "kept", mirrors=[mirror])
    assert time.monotonic() - began < 5
    assert_nothing_kept(tmp_path / "kept")
    server.answers[f"/mnist/{IMAGES}"] = content
    assert same(load_mnist(cache_dir=tmp_path / "kept", mirrors=[mirror]), published.digits())


def test_slow_but_steady_download_is_left_alone(server, published, tmp_path, monkeypatch):
    monkeypatch.setattr(download, "SILENCE_SECONDS", 1.0)
    monkeypatch.setattr(download, "ANSWER_SECONDS", 1.0)
    mirror = server.serve(published)
    content = server.answers[f"/mnist/{IMAGES}"]

    def trickle(handler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        step = len(content) // 8 + 1
        for start in range(0, len(content), step):  # 1.6 s in all, 0.2 s between pieces
            handler.wfile.write(content[start : start + step])
            handler.wfile.flush()
            time.sleep(0.2)

    server.answers[f"/mnist/{IMAGES}"] = trickle
    assert same(load_mnist(cache_dir=tmp_path, mirrors=[mirror]), published.digits())


def test_interrupted_half_way(server, published, tmp_path, temporary):
    mirror = server.serve(published)
    content = server.answers[f"/mnist/{IMAGES}"]

    def interrupt(handler) -> None:
        cut_off(content)(handler)
        handler.wfile.flush()
        _thread.interrupt_main()
        server.closing.wait(2)

    server.answers[f"/mnist/{IMAGES}"] = interrupt
    with pytest.raises(KeyboardInterrupt):
        load_mnist(cache_dir=tmp_path / "kept", mirrors=[mirror])
    assert_nothing_kept(tmp_path / "kept")
    assert not list(temporary.iterdir())
    server.answers[f"/mnist/{IMAGES}"] = content
    assert same(load_mnist(cache_dir=tmp_path / "kept", mirrors=[mirror]), published.digits())


def seconds_until_given_up(tmp_path: Path, mirrors: list[str]) -> float:
    began = time.monotonic()
    with pytest.raises(DataError, match="no answer") as error:
        load_mnist(cache_dir=tmp_path / "kept", mirrors=mirrors)
    one_line(error)
    assert str(error.value).count("no answer") == len(mirrors)
    assert_nothing_kept(tmp_path / "kept")
    return time.monotonic() - began


@pytest.fixture
def deaf() -> str:
    """The address of a server that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0), backlog=16) as listening:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


def test_no_mirror_answers(deaf, tmp_path, monkeypatch):
    monkeypatch.setattr(download, "ANSWER_SECONDS", 2.4)
    mirrors = [f"{deaf}/one", f"{deaf}/two", f"{deaf}/mnist.pkl.gz"]
    assert 2.3 < seconds_until_given_up(tmp_path, mirrors) < 3.8


def test_no_name_server_answers(tmp_path, monkeypatch):
    def hang(*_, **__):
        time.sleep(3)
        raise socket.gaierror("no such name")

    monkeypatch.setattr(download, "ANSWER_SECONDS", 0.6)
    monkeypatch.setattr(socket, "getaddrinfo", hang)
    mirrors = ["http://one.invalid", "http://two.invalid"]
    assert seconds_until_given_up(tmp_path, mirrors) < 2.5


@pytest.mark.slow
def test_no_mirror_answers_within_ten_seconds(deaf, tmp_path):
    assert seconds_until_given_up(tmp_path, [f"{deaf}/{k}" for k in range(3)]) < 10


def test_deaf_mirror_leaves_time_for_the_next(deaf, server, published, tmp_path, monkeypatch):
    monkeypatch.setattr(download, "ANSWER_SECONDS", 2.0)
    assert same(load_mnist(cache_dir=tmp_path, mirrors=[deaf, server.serve(published)]), published.digits())


def test_nobody_listens(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    began = time.monotonic()
    with pytest.raises(DataError, match="no connection"):
        load_mnist(cache_dir=tmp_path / "kept", mirrors=[f"http://127.0.0.1:{port}"])
    assert time.monotonic() - began < 3
    assert_nothing_kept(tmp_path / "kept")


def test_mirrors_from_the_environment(server, published, tmp_path, monkeypatch):
    mirror = server.serve(published)
    monkeypatch.setenv("BREAKNET_MIRRORS", f" {server.address}/none , {mirror}, ")
    assert same(load_mnist(cache_dir=tmp_path / "a"), published.digits())
    assert server.asked[0].startswith("/none/")
    server.asked.clear()
    assert same(load_mnist(cache_dir=tmp_path / "b", mirrors=[mirror]), published.digits())
    assert not any(path.startswith("/none/") for path in server.asked)


def test_bad_address_in_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("BREAKNET_MIRRORS", "ftp://example.invalid/mnist")
    with pytest.raises(DataError, match=r"BREAKNET_MIRRORS.*ftp://"):
        load_mnist(cache_dir=tmp_path)


@pytest.mark.parametrize(
    ("mirrors", "error"),
    [
        ("http://127.0.0.1/mnist", TypeError),
        (7, TypeError),
        ([7], TypeError),
        ([], ValueError),
        (["mnist"], ValueError),
        (["file:///mnist"], ValueError),
        (["http://"], ValueError),
        (["http://[::1"], ValueError),
    ],
)
def test_wrong_mirrors(mirrors, error, tmp_path):
    with pytest.raises(error, match=r"^mirrors: "):
        load_mnist(cache_dir=tmp_path, mirrors=mirrors)


@pytest.mark.parametrize("folder", [3, b"x", ["x"]])
def test_wrong_cache_folder(folder):
    with pytest.raises(TypeError, match=r"^cache_dir: "):
        load_mnist(cache_dir=folder)


def test_cache_that_cannot_be_written(server, published, tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("in the way of the folder")
    with pytest.warns(RuntimeWarning, match="not kept for the next start") as caught:
        digits = load_mnist(cache_dir=blocked, mirrors=[server.serve(published)])
    assert same(digits, published.digits())
    assert caught[0].filename == __file__
    assert blocked.read_text() == "in the way of the folder"


def test_user_cache_folder(server, published, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path))
    import platformdirs

    if not platformdirs.user_cache_dir("breaknet", appauthor=False).startswith(str(tmp_path)):
        pytest.skip("the cache folder cannot be moved by environment here")
    load_mnist(mirrors=[server.serve(published)])
    assert (cache.folder(None) / "mnist.digits").is_file()


def test_two_processes_at_once(server, published, tmp_path):
    program = textwrap.dedent("""
        import sys, types
        package = types.ModuleType("breaknet")  # without its other parts, which would load torch
        package.__path__ = ["breaknet"]
        sys.modules["breaknet"] = package
        from breaknet.data import idx
        from breaknet.data.mnist import load_mnist
        idx.PUBLISHED = eval(sys.argv[1])
        print("ready", flush=True)
        sys.stdin.readline()
        digits = load_mnist(cache_dir=sys.argv[2], mirrors=[sys.argv[3]])
        print(digits.source, int(digits.train.images.sum()))
    """)
    command = [sys.executable, "-c", program, repr(idx.PUBLISHED), str(tmp_path / "kept")]
    root = Path(__file__).parents[2]
    pipe = subprocess.PIPE
    processes = [
        subprocess.Popen(
            [*command, server.serve(published)], cwd=root, stdin=pipe, stdout=pipe, stderr=pipe, text=True
        )
        for _ in range(2)
    ]
    for process in processes:
        assert process.stdout.readline() == "ready\n", process.communicate()
    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()
    expected = f"MNIST {int(published.digits().train.images.sum())}\n"
    assert [process.communicate(timeout=60) for process in processes] == [(expected, "")] * 2
    assert [file.name for file in (tmp_path / "kept").iterdir()] == ["mnist.digits"]
    assert same(cache.opened(tmp_path / "kept" / "mnist.digits", "MNIST"), published.digits())
