"""A page's side of a session, without a browser."""

import threading
from typing import Any

from tiny import tiny_digits

from breaknet import Digits
from breaknet.live.session import Session

#: Pages of the running test, to be closed after it.
OPENED: list["Page"] = []


def at_work() -> list[str]:
    """The threads of sessions that have not ended."""
    return [thread.name for thread in threading.enumerate() if thread.name == "breaknet-play"]


class Page:
    """Keeps what a session emits: everything in `seen`, the newest by name in `newest`."""

    def __init__(self, digits: Digits | None = None, **options: Any) -> None:
        self.seen: list[tuple[str, Any]] = []
        self.newest: dict[str, Any] = {}
        self._changed = threading.Condition()
        self.session = Session(digits or tiny_digits(), self.emit, **{"backend": "torch", **options})
        OPENED.append(self)

    def emit(self, name: str, value: Any) -> None:
        with self._changed:
            self.seen.append((name, value))
            self.newest[name] = value
            self._changed.notify_all()

    def wait(self, condition: Any, seconds: float = 120) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: condition(self), seconds), self.newest.get("status")

    def show(self, link: str = "", **others: Any) -> dict[str, Any]:
        """Want a link; the run, once it and the pins are finished."""
        self.session.want({"link": link, **others})
        self.wait(lambda page: page.finished(1 + len(others.get("pins", []))))
        return self.newest["runs"][0]

    def finished(self, count: int) -> bool:
        runs = self.newest.get("runs", [])
        links = [self.newest["asked"]["link"], *self.newest["asked"]["pins"]]
        ended = all(run["done"] == run["epochs"] or run["diverged_at"] is not None for run in runs)
        return len(runs) == count and [run["link"] for run in runs] == links and ended
