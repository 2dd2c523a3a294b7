"""Made-up digits, taken for MNIST or not, and a web server on the loopback device to give them out."""

from __future__ import annotations

import gzip
import hashlib
import http.server
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest
from made_up import MadeUp

from breaknet.data import idx


@pytest.fixture
def made_up() -> MadeUp:
    return MadeUp.drawn()


@pytest.fixture
def published(made_up: MadeUp, monkeypatch: pytest.MonkeyPatch) -> MadeUp:
    """The made-up digits, taken for MNIST: their hashes stand in the place of the published ones."""
    hashes = {name: hashlib.sha256(content).hexdigest() for name, content in made_up.files.items()}
    monkeypatch.setattr(idx, "PUBLISHED", hashes)
    return made_up


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    for name in ("BREAKNET_DATA", "BREAKNET_MIRRORS", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        if not (name == "BREAKNET_DATA" and "mnist" in request.keywords):
            monkeypatch.delenv(name, raising=False)


Answer = bytes | int | Callable[[http.server.BaseHTTPRequestHandler], None]


@dataclass
class Server:
    """A web server on the loopback device; `answers` maps paths to content, a status, or a handler."""

    address: str
    answers: dict[str, Answer] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    closing: threading.Event = field(default_factory=threading.Event)

    def serve(self, made_up: MadeUp, under: str = "mnist") -> str:
        """Give out the four gzipped files; the address of their folder."""
        for name, content in made_up.files.items():
            self.answers[f"/{under}/{name}.gz"] = gzip.compress(content)
        return f"{self.address}/{under}"


@pytest.fixture
def server() -> Iterator[Server]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state.asked.append(self.path)
            answer = state.answers.get(self.path, 404)
            if callable(answer):
                answer(self)
            elif isinstance(answer, int):
                self.send_error(answer)
            else:
                self.send_response(200)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            pass

    class Quiet(http.server.ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: object) -> None:  # a client that went away is what the tests are about
            pass

    listening = Quiet(("127.0.0.1", 0), Handler)
    state = Server(f"http://127.0.0.1:{listening.server_port}")
    thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield state
    state.closing.set()
    listening.shutdown()
    thread.join()
    listening.socket.close()
