"""Chromium for tests: found by CHROMIUM= or on the PATH, allowed to reach this machine only; and the page's server."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

CHROMIUM = os.environ.get("CHROMIUM") or next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)

#: Set by `make test-all`, which has nothing to skip.
REQUIRED = bool(os.environ.get("BREAKNET_TEST_ALL"))

FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
]  # fmt: skip

#: Records every address that the server asks the system for or connects to.
RECORDING = """
import sys
def record(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto"):
        with open(sys.argv[1], "a") as file:
            file.write(f"{event} {arguments}\\n")
sys.addaudithook(record)
from breaknet.cli.commands import main
sys.exit(main(sys.argv[2:]))
"""


def need_chromium() -> None:
    """Skip where there is no Chromium, or fail if all tests are to run."""
    if CHROMIUM is None:
        message = "needs Chromium: on the PATH, or named by CHROMIUM="
        pytest.fail(message) if REQUIRED else pytest.skip(message)


@contextlib.contextmanager
def browser() -> Iterator:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        try:
            yield opened
        finally:
            opened.close()


@contextlib.contextmanager
def serving(data: Path | str, folder: Path, *options: str) -> Iterator[tuple[str, subprocess.Popen, Path]]:
    """`breaknet play` in a process of its own: its address, the process, and the file of its connections."""
    connections = folder / "connections.txt"
    connections.touch()
    command = [sys.executable, "-c", RECORDING, str(connections), "play", "--no-browser", "--data", str(data)]
    process = subprocess.Popen([*command, *options], stdout=subprocess.PIPE, text=True)
    try:
        line = process.stdout.readline()
        assert line.startswith("Open http://127.0.0.1:"), line
        yield line.split()[1], process, connections
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(60)
            finally:
                process.kill()
                process.wait()
        process.stdout.close()
