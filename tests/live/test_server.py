"""The server without a browser: who may connect, what is answered, what is bounded, and how it ends."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request

import pytest
import uvicorn
from chromium import serving
from made_up_page import at_work
from tiny import tiny_digits, write_tiny_idx
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from breaknet.live import server as servers
from breaknet.live.server import Loading, Outbox, OwnNames, is_loopback, make_app


@contextlib.contextmanager
def running(loading: Loading | None = None, host: str = "127.0.0.1"):
    """A server in this process; its port."""
    loading = loading or Loading(lambda say: tiny_digits())
    listening = servers.bind("127.0.0.1", 0)
    config = uvicorn.Config(
        make_app(loading, host, "torch"), log_level="error", lifespan="off", ws_max_size=servers.MAX_MESSAGE,
        timeout_graceful_shutdown=1, ws="websockets-sansio",
    )  # fmt: skip
    server = uvicorn.Server(config)
    thread = threading.Thread(target=lambda: asyncio.run(server.serve([listening])), daemon=True)
    thread.start()
    loading.start()
    try:
        yield listening.getsockname()[1]
    finally:
        server.should_exit = True
        thread.join(60)
        assert not thread.is_alive()


def open_page(port: int, **headers: str):
    return connect(f"ws://127.0.0.1:{port}/live", origin=f"http://127.0.0.1:{port}", max_size=None, **headers)


def newest(page, condition, seconds: float = 120) -> dict:
    """The newest message of each name that the server has sent, once `condition` holds of them."""
    found: dict = {}
    ends = time.monotonic() + seconds
    while not (condition(found)):
        found.update(json.loads(page.recv(timeout=ends - time.monotonic())))
    return found


def is_done(found: dict) -> bool:
    return found.get("status", {}).get("phase") == "done"


def get(port: int, path: str = "/", host: str | None = None) -> tuple[int, str, dict]:
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers={"Host": host} if host else {})
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status, answer.read().decode(), dict(answer.headers)
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode(), dict(error.headers)


def test_the_page_asks_for_nothing_that_is_not_here():
    with running() as port:
        status, page, headers = get(port)
        assert status == 200
        assert headers["content-security-policy"].startswith("default-src 'none'; script-src 'self'")
        for path in ("/play.js", "/play.css"):
            assert path[1:] in page
            assert get(port, path)[0] == 200
        for name in ("http://", "https://"):
            assert name not in page + get(port, "/play.css")[1]
        assert get(port, "/../server.py")[0] == 404
        assert get(port, "/play.py")[0] == 404


@pytest.mark.parametrize(
    ("host", "answer"),
    [("localhost", 200), ("127.0.0.1:1", 200), ("[::1]:80", 200), ("evil.example", 403), ("", 200),
     ("127.0.0.1.evil.example", 403), ("10.0.0.1", 403), ("[", 403)],
)  # fmt: skip
def test_only_this_servers_names_are_answered(host, answer):
    with running() as port:
        assert get(port, host=host or None)[0] == answer


def test_a_server_open_to_others_takes_addresses_but_no_foreign_names():
    names = OwnNames(lambda *_: None, "0.0.0.0")
    assert names._is_own("192.168.1.5:8765")
    assert names._is_own(socket.gethostname())
    assert not names._is_own("evil.example")
    assert not is_loopback("0.0.0.0")
    assert is_loopback("::1")


@pytest.mark.parametrize(
    "origin", [None, "http://evil.example", "null", "http://127.0.0.1:1", "file://", "http://["]
)
def test_a_socket_that_another_page_opens_is_refused(origin):
    with running() as port, pytest.raises(InvalidStatus) as refused:
        connect(f"ws://127.0.0.1:{port}/live", origin=origin)
    assert refused.value.response.status_code == 403


def test_two_pages_have_their_own_runs():
    with running() as port, open_page(port) as first, open_page(port) as second:
        first.send(json.dumps({"link": "epochs=2&examples=100"}))
        second.send(json.dumps({"link": "epochs=3&examples=200"}))
        for page, epochs in ((first, 2), (second, 3)):
            found = newest(page, is_done)
            assert [run["done"] for run in found["runs"]] == [epochs]
            assert found["knobs"]["source"].startswith("local")


@pytest.mark.parametrize(
    "message", ["no json", b"{}", "[" * 10_000, "{}x", '{"link": 5}', '{"link": "epochs=1e9"}', "3", "null"]
)
def test_wrong_messages_are_answered_and_the_session_goes_on(message):
    with running() as port, open_page(port) as page:
        page.send(message)
        newest(page, lambda found: found.get("status", {}).get("phase") == "error")
        page.send(json.dumps({"link": "epochs=1&examples=50"}))
        assert newest(page, is_done)["runs"][0]["done"] == 1


def test_a_wrong_message_that_comes_before_the_digits_is_answered_too():
    come = threading.Event()
    with running(Loading(lambda say: come.wait(120) and tiny_digits())) as port, open_page(port) as page:
        newest(page, lambda found: found.get("status", {}).get("phase") == "loading")
        page.send("null")
        time.sleep(0.2)  # the server has read it
        come.set()
        newest(page, lambda found: found.get("status", {}).get("phase") == "error")


def test_a_message_too_long_ends_the_connection():
    with running() as port, open_page(port) as page:
        page.send("x" * (servers.MAX_MESSAGE + 1))
        with pytest.raises(ConnectionClosed):
            newest(page, lambda found: False)


def test_pages_are_bounded(monkeypatch):
    monkeypatch.setattr(servers, "MAX_SESSIONS", 1)
    with running() as port:
        with open_page(port), open_page(port) as second:
            found = newest(second, lambda found: found.get("status", {}).get("phase") == "failed")
            assert "1 pages are open already" in found["status"]["text"]
        for _ in range(100):  # the first has gone, so that there is room again
            with open_page(port) as third:  # which says nothing: it may be closed already
                if newest(third, lambda found: "status" in found)["status"]["phase"] != "failed":
                    return
            time.sleep(0.05)
        pytest.fail("a closed page still counts")


@pytest.mark.parametrize("how", ["closed", "killed"])
def test_a_page_that_is_gone_ends_its_run(how):
    with running() as port:
        with open_page(port) as page:
            page.send(json.dumps({"link": "epochs=2000&examples=600&batch_size=5"}))
            newest(page, lambda found: found.get("runs"))
            assert at_work()
            if how == "killed":  # no closing handshake
                page.socket.shutdown(socket.SHUT_RDWR)
        ends = time.monotonic() + 60
        while at_work() and time.monotonic() < ends:
            time.sleep(0.02)
        assert not at_work()


def test_the_page_says_what_it_waits_for_and_keeps_what_is_wanted_meanwhile():
    go_on = threading.Event()

    def load(say):
        say("the digits are being loaded")
        go_on.wait(120)
        return tiny_digits()

    with running(Loading(load)) as port, open_page(port) as page:
        newest(
            page, lambda found: found["status"]["text"] == "the digits are being loaded" if found else False
        )
        page.send(json.dumps({"link": "epochs=1&examples=60"}))
        page.send(json.dumps({"link": "epochs=2&examples=60"}))
        time.sleep(0.1)
        go_on.set()
        wanted = "examples=60&epochs=2"  # the other may have begun, where the server had read it alone
        newest(page, lambda found: is_done(found) and [run["link"] for run in found["runs"]] == [wanted])


def test_loading_that_fails_says_why(caplog):
    def load(say):
        raise OSError("no such folder\nat all")

    with running(Loading(load)) as port, open_page(port) as page:
        found = newest(page, lambda found: found.get("status", {}).get("phase") == "failed")
        assert found["status"]["text"] == "no such folder"


def test_a_slow_page_gets_the_newest_and_no_queue():
    async def filled():
        outbox = Outbox()
        for number in range(1_000):
            outbox.put("runs", number)
            outbox.put("status", -number)
        return await outbox.take(), len(outbox._values)

    assert asyncio.run(filled()) == ('{"runs":999,"status":-999}', 0)


def test_the_server_is_imported_without_torch_or_numpy():
    code = "import sys, breaknet.live.server, breaknet.cli.commands; print({'torch', 'numpy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


@pytest.mark.skipif(os.name != "posix", reason="sends SIGINT")
def test_ctrl_c_in_the_midst_of_a_run_frees_the_port_at_once(tmp_path):
    with serving(write_tiny_idx(tmp_path / "digits"), tmp_path, "--backend", "torch") as (
        address,
        process,
        asked,
    ):
        port = int(address.rstrip("/").rpartition(":")[2])
        with open_page(port) as page:
            page.send(json.dumps({"link": "epochs=2000&examples=600&batch_size=5"}))
            newest(page, lambda found: found.get("runs"))
            began = time.monotonic()
            process.send_signal(signal.SIGINT)
            assert process.wait(60) == 130
            assert time.monotonic() - began < 15  # the run itself would take minutes
        servers.bind("127.0.0.1", port).close()
        foreign = [line for line in asked.read_text().splitlines() if "127.0.0.1" not in line]
        assert not foreign


def test_a_port_that_is_taken_is_an_error_and_the_next_one_is_tried():
    with servers.bind("127.0.0.1", None) as first, servers.bind("127.0.0.1", None) as second:
        assert first.getsockname()[1] != second.getsockname()[1]
        with pytest.raises(OSError, match=r"port: 127\.0\.0\.1 port .* cannot be had"):
            servers.bind("127.0.0.1", first.getsockname()[1])
