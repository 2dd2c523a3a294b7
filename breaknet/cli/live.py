"""`breaknet play`: the page whose knobs train the network again, on this machine."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Annotated, Any

import typer

from . import output
from .options import Backend, Data, Device, Quiet, Verbose


def play(
    data: Data = None,
    port: Annotated[
        int | None, typer.Option(help="The port. Default: the first free one from 8765 on.", min=0, max=65535)
    ] = None,
    host: Annotated[
        str,
        typer.Option(help="The address to listen on. Another than this machine's own lets others use it."),
    ] = "127.0.0.1",
    browser: Annotated[bool, typer.Option(help="Open the page in the browser.")] = True,
    backend: Backend = "auto",
    device: Device = "auto",
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Open a page whose knobs break the data and train the network again while you watch."""
    output.configure(verbose, quiet)
    try:
        from ..live import server
    except ImportError as error:
        raise ImportError(f"breaknet play needs {error.name}: pip install 'breaknet[play]'") from error

    def load(say: Callable[[str], None]) -> Any:
        say("PyTorch is being imported")
        import torch  # noqa: F401 - the slowest import

        from ..live import session
        from .options import check_backend, load_digits

        check_backend(backend, device)
        say("the digits are being loaded (downloaded, the first time)")
        digits = load_digits(data)
        say("the compiled training is being loaded (compiled, the first time)")
        session.warm_up(digits, backend, device)
        return digits

    listening = server.bind(host, port)
    where = server.address(listening, host)
    if not server.is_loopback(host):
        output.notice(
            f"Warning: everybody who can reach {host} can use this page and its computing; there is no password."
        )

    def ready() -> None:
        print(f"Open {where}\nCtrl-C ends it.", flush=True)
        if browser:
            import webbrowser

            webbrowser.open(where)

    server.serve(listening, server.Loading(load), host, ready, backend, device)
    # Nothing is left to be written, and a compiled call or an import in another thread would hold the process.
    output.error_line("interrupted")
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(130)
