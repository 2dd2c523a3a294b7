"""The exercises that have been solved, over all notebooks of the course.

While a notebook runs they are kept in a file of the user's cache folder, or in the one that BREAKNET_COURSE_FILE names
(empty: in none); elsewhere, and in a rehearsal, in memory alone.
"""

import json
import os
import sys
from contextlib import suppress
from pathlib import Path

from breaknet.files import written_whole
from notebooks.course.here import SIZE

_solved: set[str] = set()


def file() -> Path | None:
    """The file of solved exercises; None where none is kept."""
    named = os.environ.get("BREAKNET_COURSE_FILE")
    if named is not None:
        return Path(named) if named else None
    if SIZE == "rehearse" or "ipykernel" not in sys.modules:
        return None
    import platformdirs

    return Path(platformdirs.user_cache_dir("breaknet", appauthor=False)) / "course.json"


def solved(known: list[str], tag: str | None = None) -> list[str]:
    """The solved ones of the `known` exercises, in their order, after `tag` was solved as well.

    A file that cannot be read or written is no reason to fail: what was solved since the kernel started counts.
    """
    place = file()
    if place is not None:
        with suppress(OSError, ValueError):
            kept = json.loads(place.read_text(encoding="utf-8"))
            _solved.update(one for one in kept if isinstance(one, str))
    if tag is not None and tag not in _solved:
        _solved.add(tag)
        if place is not None:
            with suppress(OSError), written_whole(place) as unfinished:
                unfinished.write_text(json.dumps(sorted(_solved)) + "\n", encoding="utf-8")
    return [one for one in known if one in _solved]


def line(known: list[str], tag: str | None = None) -> str:
    """ "solved: 2 of 9 (exercises 1, 3)"; `tag` was solved just now."""
    done = solved(known, tag)
    numbers = ", ".join(str(known.index(one) + 1) for one in done)
    which = f" (exercise{'s' * (len(done) > 1)} {numbers})" if done else ""
    return f"solved: {len(done)} of {len(known)}{which}"
