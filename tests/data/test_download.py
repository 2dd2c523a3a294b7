"""Downloads: whatever a mirror does, either MNIST or one clear error, in bounded time, and never a bad cache."""

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
from functools import partial
from pathlib import Path

import pytest
from made_up import assert_same, defect, float_pairs

from breaknet.data import cache, download, idx
from breaknet.data.mnist import load_mnist

IMAGES = "train-images-idx3-ubyte.gz"


@pytest.fixture
def kept(tmp_path) -> Path:
    """The cache folder of the test."""
    return tmp_path / "kept"


@pytest.fixture
def temporary(tmp_path, monkeypatch) -> Path:
    """The folder of temporary folders during the test."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def failure(kept: Path, *mirrors: str) -> str:
    """The error with which `load_mnist` refuses these mirrors, having kept nothing."""
    message = defect(None, cache_dir=kept, mirrors=mirrors)
    assert not kept.exists() or not list(kept.iterdir())
    return message


def test_good_mirror_then_cache(server, published, kept, temporary, capfd):
    mirror = server.serve(published)
    assert_same(load_mnist(cache_dir=kept, mirrors=[mirror]), published.digits())
    assert [file.name for file in kept.iterdir()] == ["mnist.digits"]
    assert not list(temporary.iterdir())
    assert len(server.asked) == 4
    assert_same(load_mnist(cache_dir=kept, mirrors=[mirror + "/"]), published.digits())
    assert len(server.asked) == 4
    captured = capfd.readouterr()
    assert captured.out == captured.err == ""


def test_bar_on_a_terminal_only(server, published, kept, monkeypatch):
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    monkeypatch.setattr(sys, "stderr", terminal)
    load_mnist(cache_dir=kept, mirrors=[server.serve(published)])
    assert IMAGES in terminal.getvalue()
    assert "100%" in terminal.getvalue()
    assert terminal.getvalue().isascii()


def cut_off(content: bytes, pause: float = 0.0):
    return lambda handler: handler.send([content[: len(content) // 2]], len(content), pause)


def altered(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 0xFF]) + content[middle + 1 :]


SPOILED = idx.NAMES[2]

#: What a mirror may do wrong: a bad answer made of a good file's content, and the reason that is given.
BAD = {
    "cut off": (cut_off, "broke off"),
    "stalled": (partial(cut_off, pause=2), "0.3 s without a byte"),
    "short file": (lambda content: content[: len(content) // 2], "truncated"),
    "altered byte": (altered, SPOILED),
    "empty": (lambda content: b"", "truncated"),
    "web page": (lambda content: b"<html>log in first</html>", "0x3c68746d"),
    "other digits": (lambda b: gzip.compress(gzip.decompress(b)[:-1] + b"\x01"), "not MNIST's (SHA-256)"),
    "promises billions": (
        lambda content: gzip.compress(b"\0\0\x08\x03\xff\xff\xff\xff\0\0\0\x1c\0\0\0\x1c"),
        "promises 4,294,967,295",
    ),
    "not there": (lambda content: 404, "status 404"),
    "server error": (lambda content: 503, "status 503"),
}


@pytest.mark.parametrize("kind", BAD)
def test_next_mirror_gives_what_the_first_did_not(kind, server, published, kept, temporary, monkeypatch):
    monkeypatch.setattr(download, "SILENCE_SECONDS", 0.3)
    spoil, reason = BAD[kind]
    first, second = server.serve(published, "first"), server.serve(published, "second")
    place = f"/first/{SPOILED}.gz"
    server.answers[place] = spoil(server.answers[place])
    began = time.monotonic()
    message = failure(kept, first)
    assert time.monotonic() - began < 5
    assert reason in message
    assert str(temporary) not in message
    for way_out in ("BREAKNET_DATA", "BREAKNET_MIRRORS", '"synthetic"'):
        assert way_out in message
    assert not list(temporary.iterdir())

    assert_same(load_mnist(cache_dir=kept, mirrors=[first, second]), published.digits())
    # what the first mirror had is not asked for again
    assert [path for path in server.asked if "second" in path] == [f"/second/{n}.gz" for n in idx.NAMES[2:]]


def test_interrupted_half_way(server, published, kept, temporary):
    mirror = server.serve(published)
    content = server.answers[f"/mnist/{IMAGES}"]

    def interrupt(handler) -> None:
        cut_off(content)(handler)
        _thread.interrupt_main()
        server.closing.wait(2)

    server.answers[f"/mnist/{IMAGES}"] = interrupt
    with pytest.raises(KeyboardInterrupt):
        load_mnist(cache_dir=kept, mirrors=[mirror])
    assert not kept.exists()
    assert not list(temporary.iterdir())
    server.answers[f"/mnist/{IMAGES}"] = content
    assert_same(load_mnist(cache_dir=kept, mirrors=[mirror]), published.digits())


def test_slow_but_steady_download_is_left_alone(server, published, kept, monkeypatch):
    monkeypatch.setattr(download, "SILENCE_SECONDS", 0.5)
    monkeypatch.setattr(download, "ANSWER_SECONDS", 0.5)
    mirror = server.serve(published)
    content = server.answers[f"/mnist/{IMAGES}"]
    step = len(content) // 8 + 1  # 0.8 s in all
    pieces = [content[start : start + step] for start in range(0, len(content), step)]
    server.answers[f"/mnist/{IMAGES}"] = lambda handler: handler.send(pieces, len(content), 0.1)
    assert_same(load_mnist(cache_dir=kept, mirrors=[mirror]), published.digits())


def pickled(made_up) -> bytes:
    return gzip.compress(pickle.dumps(float_pairs(made_up.digits()), protocol=2))


def test_pickle_mirror_comes_last(server, published, kept):
    server.answers["/notebook/mnist.pkl.gz"] = pickled(published)
    mirrors = [f"{server.address}/none", f"{server.address}/notebook/mnist.pkl.gz"]
    assert_same(load_mnist(cache_dir=kept, mirrors=mirrors), published.digits())


def test_pickle_mirror_with_other_content(server, published, kept, tmp_path):
    class Program:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path / 'ran'}",)

    published.arrays[idx.NAMES[0]][0, 0] ^= 1
    server.answers["/digits/mnist.pkl.gz"] = pickled(published)
    server.answers["/program/mnist.pkl.gz"] = gzip.compress(pickle.dumps(Program()))
    message = failure(kept, *(f"{server.address}/{kind}/mnist.pkl.gz" for kind in ("digits", "program")))
    assert "does not hold MNIST (SHA-256)" in message
    assert "refused" in message
    assert not (tmp_path / "ran").exists()


def seconds_until_given_up(kept: Path, *mirrors: str) -> float:
    began = time.monotonic()
    assert failure(kept, *mirrors).count("no answer") == len(mirrors)
    return time.monotonic() - began


@pytest.fixture
def deaf() -> str:
    """The address of a server that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0), backlog=16) as listening:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


def test_no_mirror_answers(deaf, kept, monkeypatch):
    monkeypatch.setattr(download, "ANSWER_SECONDS", 1.2)
    assert 1.1 < seconds_until_given_up(kept, f"{deaf}/one", f"{deaf}/two", f"{deaf}/mnist.pkl.gz") < 2.6


def test_no_name_server_answers(kept, monkeypatch):
    def hang(*_, **__):
        time.sleep(3)
        raise socket.gaierror("no such name")

    monkeypatch.setattr(download, "ANSWER_SECONDS", 0.6)
    monkeypatch.setattr(socket, "getaddrinfo", hang)
    assert seconds_until_given_up(kept, "http://one.invalid", "http://two.invalid") < 2.5


@pytest.mark.slow
def test_no_mirror_answers_within_ten_seconds(deaf, kept):
    assert seconds_until_given_up(kept, *(f"{deaf}/{k}" for k in range(3))) < 10


def test_deaf_mirror_leaves_time_for_the_next(deaf, server, published, kept, monkeypatch):
    monkeypatch.setattr(download, "ANSWER_SECONDS", 2.0)
    assert_same(load_mnist(cache_dir=kept, mirrors=[deaf, server.serve(published)]), published.digits())


def test_nobody_listens(kept):
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    began = time.monotonic()
    assert "no connection" in failure(kept, f"http://127.0.0.1:{port}")
    assert time.monotonic() - began < 3


def test_mirrors_from_the_environment(server, published, tmp_path, monkeypatch):
    mirror = server.serve(published)
    monkeypatch.setenv("BREAKNET_MIRRORS", f" {server.address}/none , {mirror}, ")
    assert_same(load_mnist(cache_dir=tmp_path / "a"), published.digits())
    assert server.asked.pop(0).startswith("/none/")
    assert_same(load_mnist(cache_dir=tmp_path / "b", mirrors=[mirror]), published.digits())
    assert not any(path.startswith("/none/") for path in server.asked)
    monkeypatch.setenv("BREAKNET_MIRRORS", "ftp://example.invalid/mnist")
    message = defect(None, cache_dir=tmp_path / "c")
    assert message.startswith("BREAKNET_MIRRORS: ")
    assert "ftp://" in message


def test_cache_that_cannot_be_written(server, published, tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("in the way of the folder")
    with pytest.warns(RuntimeWarning, match="not kept for the next start") as caught:
        digits = load_mnist(cache_dir=blocked, mirrors=[server.serve(published)])
    assert_same(digits, published.digits())
    assert caught.pop(RuntimeWarning).filename == __file__
    assert blocked.read_text() == "in the way of the folder"


def test_user_cache_folder(server, published, tmp_path, monkeypatch):
    for name in ("XDG_CACHE_HOME", "HOME", "LOCALAPPDATA"):
        monkeypatch.setenv(name, str(tmp_path))
    import platformdirs

    if not platformdirs.user_cache_dir("breaknet", appauthor=False).startswith(str(tmp_path)):
        pytest.skip("the cache folder cannot be moved by environment here")
    load_mnist(mirrors=[server.serve(published)])
    assert (cache.folder(None) / "mnist.digits").is_file()


def test_two_processes_at_once(server, published, kept):
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
    command = [sys.executable, "-c", program, repr(idx.PUBLISHED), str(kept), server.serve(published)]
    root = Path(__file__).parents[2]
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    processes = [subprocess.Popen(command, cwd=root, text=True, **pipes) for _ in range(2)]
    for process in processes:
        assert process.stdout.readline() == "ready\n", process.communicate()
    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()
    expected = f"MNIST {int(published.digits().train.images.sum())}\n"
    assert [process.communicate(timeout=60) for process in processes] == [(expected, "")] * 2
    assert [file.name for file in kept.iterdir()] == ["mnist.digits"]
    assert_same(cache.opened(kept / "mnist.digits", "MNIST"), published.digits())
