"""The page on this machine: a few files and one WebSocket a page. Torch is imported once the page can be had.

A browser lets any page open a WebSocket to this machine, so a connection must come from this very page (Origin) and
name this server by a name it has (Host). A page sends what it wants, at most MAX_MESSAGE bytes; it gets the newest of
each thing there is to see and never a queue of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ipaddress
import json
import logging
import os
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import uvicorn
import websockets  # noqa: F401 - which uvicorn itself imports only once it serves
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect

if TYPE_CHECKING:
    from .session import Session

#: Pages that are served at once, connections of any kind, bytes of a message, and trainings of all pages at once.
MAX_SESSIONS = 40
MAX_CONNECTIONS = 200
MAX_MESSAGE = 32 * 1024
TRAININGS = 2

#: The first port that is tried where none was named.
FIRST_PORT = 8765

FILES = {"": "index.html", "play.js": "play.js", "play.css": "play.css"}
FOLDER = Path(__file__).with_name("page")

_HEADERS = (
    (b"content-security-policy", b"default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
     b"img-src 'self' data: blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
)  # fmt: skip


class Loading:
    """Digits that are loaded in a thread while the page already stands, by a function that says what it waits for."""

    def __init__(self, load: Callable[[Callable[[str], None]], Any]) -> None:
        self.status = {"phase": "loading", "text": "starting"}
        self.digits: Any = None
        self._load = load
        self._listeners: list[Callable[[], None]] = []
        self._lock = threading.Lock()

    def start(self) -> None:
        threading.Thread(target=self._run, name="breaknet-loading", daemon=True).start()

    def listen(self, listener: Callable[[], None]) -> None:
        """Call `listener` at every change of `status`, from the loading thread."""
        with self._lock:
            self._listeners.append(listener)

    def unlisten(self, listener: Callable[[], None]) -> None:
        with self._lock:
            self._listeners.remove(listener)

    def _run(self) -> None:
        try:
            digits = self._load(lambda text: self._say("loading", text))
            self._say("ready", "ready", digits)
        except Exception as error:
            text = str(error).strip().split("\n")[0] or type(error).__name__
            logging.getLogger("breaknet").error("%s", text)
            self._say("failed", text)

    def _say(self, phase: str, text: str, digits: Any = None) -> None:
        with self._lock:
            self.digits = digits
            self.status = {"phase": phase, "text": text}
            listeners = list(self._listeners)
        for listener in listeners:
            listener()


class Outbox:
    """The newest value of each name that a page has not been sent yet."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._values: dict[str, Any] = {}
        self._lock = threading.Lock()
        self._filled = asyncio.Event()

    def put(self, name: str, value: Any) -> None:
        """Replace what was not sent yet; from any thread."""
        with self._lock:
            self._values[name] = value
        with contextlib.suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(self._filled.set)

    async def take(self) -> str:
        """All there is, as JSON; waits until there is something."""
        await self._filled.wait()
        self._filled.clear()
        with self._lock:
            values, self._values = self._values, {}
        return json.dumps(values, allow_nan=False, separators=(",", ":"))


class OwnNames:
    """Lets pass what names this server in its Host header, and WebSockets that its own page opened."""

    def __init__(self, app: ASGIApp, host: str) -> None:
        self._app = app
        self._open_to_others = not is_loopback(host)
        self._names = {"localhost", host.lower()}
        if self._open_to_others:
            self._names |= {socket.gethostname().lower(), socket.getfqdn().lower()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers = {
            name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]
        }
        host = headers.get("host", "")
        refused = None if self._is_own(host) else "Host: another name than this server's"
        if refused is None and scope["type"] == "websocket":
            scheme, _, name = headers.get("origin", "").lower().partition("://")
            if scheme not in ("http", "https") or name != host.lower():
                refused = "Origin: another page than this server's"
        if refused is None:
            await self._app(scope, receive, _with_headers(send))
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1008, "reason": refused})
        else:
            await PlainTextResponse(refused, 403)(scope, receive, send)

    def _is_own(self, host: str) -> bool:
        """Whether a Host header names this server; of addresses, which cannot be rebound, any if it is open."""
        try:
            name = (urlsplit(f"//{host}").hostname or "").lower()
        except ValueError:
            return False
        if name in self._names:
            return True
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            return False
        return address.is_loopback or self._open_to_others


def _with_headers(send: Send) -> Send:
    async def sending(message: Any) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message["headers"], *_HEADERS]
        await send(message)

    return sending


def is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def make_app(
    loading: Loading, host: str = "127.0.0.1", backend: str = "auto", device: str = "auto"
) -> Starlette:
    """The application: the page's files, and `/live`, where one connection is one session."""
    slots = threading.BoundedSemaphore(TRAININGS)
    connections: set[int] = set()

    async def live(socket_: WebSocket) -> None:
        await socket_.accept()
        if len(connections) >= MAX_SESSIONS:
            text = f"{MAX_SESSIONS} pages are open already: close one, then reload this"
            await socket_.send_text(json.dumps({"status": {"phase": "failed", "text": text}}))
            await socket_.close(1013)
            return
        connections.add(id(socket_))
        outbox = Outbox()
        tasks = [
            asyncio.ensure_future(_send(socket_, outbox)),
            asyncio.ensure_future(_receive(socket_, outbox, loading, slots, backend, device)),
        ]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            connections.discard(id(socket_))
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    routes = [Route(f"/{name}", _file(path)) for name, path in FILES.items()]
    return Starlette(
        routes=[*routes, WebSocketRoute("/live", live)], middleware=[Middleware(OwnNames, host=host)]
    )


def _file(name: str) -> Callable[[Request], Any]:
    async def answer(request: Request) -> Response:
        return FileResponse(FOLDER / name)

    return answer


async def _send(page: WebSocket, outbox: Outbox) -> None:
    """Send what there is to see; while one message is on its way, newer values replace each other."""
    with contextlib.suppress(WebSocketDisconnect, RuntimeError):
        while True:
            await page.send_text(await outbox.take())


async def _receive(
    page: WebSocket, outbox: Outbox, loading: Loading, slots: Any, backend: str, device: str
) -> None:
    """One session: made once the digits are there, given every message, closed with the connection."""
    session: Session | None = None
    kept: list[Any] = []
    ready = asyncio.Event()
    loop = asyncio.get_running_loop()

    def changed() -> None:
        if session is None:  # whose own status is newer
            outbox.put("status", loading.status)
        if loading.digits is not None:
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(ready.set)

    loading.listen(changed)
    changed()
    waiting = asyncio.ensure_future(ready.wait())
    try:
        while session is None:  # what is wanted meanwhile is kept, the newest only
            message = asyncio.ensure_future(_message(page))
            await asyncio.wait([waiting, message], return_when=asyncio.FIRST_COMPLETED)
            if waiting.done():
                session = await asyncio.to_thread(_session, loading.digits, outbox, slots, backend, device)
                for wanted in kept:
                    await asyncio.to_thread(session.want, wanted)
            kept = [await message]
        while True:
            await asyncio.to_thread(session.want, kept[0])
            kept = [await _message(page)]
    except (WebSocketDisconnect, RuntimeError):
        pass
    finally:
        waiting.cancel()
        loading.unlisten(changed)
        if session is not None:
            session.close()


async def _message(page: WebSocket) -> Any:
    """A page's next message; None for what is no JSON text, which a session answers with an error."""
    try:
        return json.loads(await page.receive_text())
    except (KeyError, ValueError, RecursionError):  # bytes have no text
        return None


def _session(digits: Any, outbox: Outbox, slots: Any, backend: str, device: str) -> Session:
    from .session import Session

    return Session(digits, outbox.put, slots, backend, device)


def bind(host: str, port: int | None) -> socket.socket:
    """A socket that listens on `host`: on `port`, or on the first that is free from 8765 on.

    Raises:
        OSError: where the address or the port cannot be had.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    error: OSError | None = None
    for number in [port] if port is not None else [*range(FIRST_PORT, FIRST_PORT + 20), 0]:
        listening = socket.socket(family)
        if os.name == "posix":
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((host, number))
            listening.listen()
            return listening
        except OSError as failed:
            listening.close()
            error = failed
            if failed.errno != errno.EADDRINUSE:
                break
    assert error is not None
    raise OSError(
        f"port: {host} port {port or FIRST_PORT} cannot be had ({error.strerror or error})"
    ) from error


def address(listening: socket.socket, host: str) -> str:
    """The page's address for a browser on this machine."""
    name = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
    return f"http://{name}:{listening.getsockname()[1]}/"


def serve(
    listening: socket.socket, loading: Loading, host: str, on_ready: Callable[[], None], backend: str = "auto",
    device: str = "auto",
) -> None:  # fmt: skip
    """Serve until Ctrl-C, then close the port and every page at once.

    Args:
        listening: from `bind`.
        loading: is started once the page can be had.
        host: as given to `bind`.
        on_ready: called once the page can be had.
        backend, device: as for `breaknet.train`.
    """
    app = make_app(loading, host, backend, device)
    config = uvicorn.Config(
        app, log_level="error", access_log=False, ws_max_size=MAX_MESSAGE, ws_max_queue=4, lifespan="off",
        timeout_graceful_shutdown=1, server_header=False, limit_concurrency=MAX_CONNECTIONS, ws="websockets-sansio",
    )  # fmt: skip
    server = uvicorn.Server(config)

    async def run() -> None:
        task = asyncio.ensure_future(server.serve([listening]))
        while not server.started and not task.done():
            await asyncio.sleep(0.005)
        if server.started:
            loading.start()
            on_ready()
        await task

    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(run())
