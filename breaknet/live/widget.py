"""`breaknet.play`: the page as a widget, in JupyterLab, Jupyter Notebook, Colab or any other host of anywidget."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from ..data.mnist import load_mnist
from ..data.splits import Digits
from .session import Session, Wanted

_PAGE = Path(__file__).with_name("page")


def play(data: Any = None, *, link: str = "", backend: str = "auto", device: str = "auto") -> Any:
    """The page of `breaknet play` in a notebook: the last line of a cell shows it.

    Args:
        data: Digits, or what `breaknet.load_mnist` takes; None for MNIST.
        link: the query string of a link from the page ("break=missing_class(7)&epochs=30"), "" for the default.
        backend, device: as for `breaknet.train`.

    Returns:
        A widget; `close()` ends its training. Beside what the page shows, `wanted`, `asked`, `runs`, `drawn` and
        `status` hold the same as JSON.

    Raises:
        ImportError: without anywidget: pip install 'breaknet[notebook]'.
        TypeError, ValueError: for a link or a backend that is none.
        DataError: for digits that cannot be had.
    """
    try:
        widget = _widget()
    except ImportError as error:
        raise ImportError(f"breaknet.play needs {error.name}: pip install 'breaknet[notebook]'") from error
    from ..backends.select import choices

    choices(backend, device)
    digits = data if isinstance(data, Digits) else load_mnist(data)
    Wanted.from_json({"link": _without(link, "pin", "guess", "said")}, len(digits.train))
    return widget(digits, link, backend, device)


def _without(link: str, *names: str) -> str:
    """A page's link without what concerns the page alone."""
    if not isinstance(link, str):
        return link
    parts = link.removeprefix("?").split("&")
    return "&".join(part for part in parts if part.partition("=")[0] not in names)


@cache
def _widget() -> Any:
    """The widget's class; anywidget and all that it needs are imported here."""
    import anywidget
    import traitlets

    class Play(anywidget.AnyWidget):
        """Traits by the names of what a session emits; the browser writes `wanted` alone."""

        _esm = (_PAGE / "play.js").read_text(encoding="utf-8")
        _css = (_PAGE / "play.css").read_text(encoding="utf-8")
        start = traitlets.Unicode().tag(sync=True)
        wanted = traitlets.Any().tag(sync=True)
        knobs = traitlets.Any().tag(sync=True)
        asked = traitlets.Any().tag(sync=True)
        runs = traitlets.Any().tag(sync=True)
        drawn = traitlets.Any().tag(sync=True)
        status = traitlets.Any().tag(sync=True)

        def __init__(self, digits: Digits, link: str, backend: str, device: str) -> None:
            super().__init__(start=link.removeprefix("?"), status={"phase": "ready", "text": "ready"})
            self._session = Session(digits, self._show, backend=backend, device=device)
            self.observe(lambda change: self._session.want(change["new"]), "wanted")

        def _show(self, name: str, value: Any) -> None:
            setattr(self, name, value)

        def close(self) -> None:
            """End the training and remove the widget."""
            self._session.close()
            super().close()

    return Play
