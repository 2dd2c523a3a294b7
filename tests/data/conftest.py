"""Made-up digits, taken for MNIST or not, and a web server on the loopback device to give them out."""

import gzip
import hashlib
import http.server
import threading
import time
from collections.abc import Callable, Iterator

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


class Server(http.server.ThreadingHTTPServer):
    """A web server on the loopback device; `answers` maps paths to content, a status, or a handler."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server_port}"
        self.answers: dict[str, Answer] = {}
        self.asked: list[str] = []
        self.closing = threading.Event()

    def serve(self, made_up: MadeUp, under: str = "mnist") -> str:
        """Give out the four gzipped files; the address of their folder."""
        for name, content in made_up.files.items():
            self.answers[f"/{under}/{name}.gz"] = gzip.compress(content)
        return f"{self.address}/{under}"

    def handle_error(self, *_: object) -> None:  # a client that went away is what the tests are about
        pass


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        answer = self.server.answers.get(self.path, 404)
        if isinstance(answer, int):
            self.send_error(answer)
        elif callable(answer):
            answer(self)
        else:
            self.send([answer], len(answer))

    def send(self, pieces: list[bytes], size: int, pause: float = 0.0) -> None:
        """Announce `size` bytes, send the pieces, and pause after each."""
        self.send_response(200)
        self.send_header("Content-Length", str(size))
        self.end_headers()
        for piece in pieces:
            self.wfile.write(piece)
            time.sleep(pause)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server
        server.closing.set()
        server.shutdown()
        thread.join()
