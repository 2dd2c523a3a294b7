"""The jobs of a sweep: read from a TOML file or a mapping, checked, and put in a fixed order.

break = ["", "shuffle_labels(0.5)"]      # one value, or a list: every combination is one job
examples = [1000, 10000]                 # the first N training examples; they are broken after they were chosen
hidden = [[16, 16], [32, 32]]
learning_rate = 0.05
batch_size = 100
epochs = 20                              # or steps = 3000, whole epochs of which are as near as can be
seed = [0, 1, 2]                         # of the starting parameters and of the breakage
points = 5                               # curves are taken at so many epochs, evenly spaced, the last among them

[[job]]                                  # optional, any number: a grid of its own in place of what it names
hidden = [64, 64]
learning_rate = 0.01
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from difflib import get_close_matches
from hashlib import sha256
from itertools import product
from pathlib import Path
from typing import Any

from ..breakage import parse
from ..errors import DataError

#: More jobs than this are asked about first; more than `MAX_JOBS_AT_ALL` are refused.
MAX_JOBS = 200_000
MAX_JOBS_AT_ALL = 10_000_000
#: Bounds of one job, far beyond what a sweep is for: they keep a typing error from becoming a week of work.
MAX_EPOCHS = 1_000_000
MAX_HIDDEN = 4_096

DEFAULTS: dict[str, Any] = {
    "break": "",
    "examples": None,
    "hidden": [16, 16],
    "learning_rate": 0.05,
    "batch_size": 100,
    "epochs": None,
    "steps": None,
    "seed": 0,
    "points": 1,
}


@dataclass(frozen=True)
class Setting:
    """One job of a sweep, in the words of its file."""

    breakage: str  # "break" in files and tables, a word that Python keeps for itself
    examples: int
    hidden: tuple[int, int]
    learning_rate: float
    batch_size: int
    epochs: int
    seed: int
    points: int  # divides epochs

    @property
    def steps_per_epoch(self) -> int:
        return -(-self.examples // self.batch_size)

    @property
    def steps(self) -> int:
        return self.epochs * self.steps_per_epoch

    @property
    def key(self) -> str:
        """Names the job in result files: 16 hexadecimal digits that depend on the setting alone."""
        return sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:16]

    def __str__(self) -> str:
        widths = f"{self.hidden[0]},{self.hidden[1]}"
        parts = (self.breakage or "clean", f"{self.examples:,} examples", f"hidden {widths}")
        return " / ".join((*parts, f"rate {self.learning_rate:g}", f"seed {self.seed}"))

    def columns(self) -> dict[str, Any]:
        """The setting as a table's columns."""
        found = asdict(self)
        found["break"] = found.pop("breakage")
        found["hidden"] = f"{self.hidden[0]},{self.hidden[1]}"
        names = ["break", *(field.name for field in fields(self) if field.name != "breakage")]
        return {name: found[name] for name in names} | {"steps": self.steps}


def read_file(path: Path) -> dict[str, Any]:
    """The content of a TOML file.

    Raises:
        DataError: for a file that cannot be read or is no TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: not a TOML file ({error})") from error


def settings(given: Mapping[str, Any], available: int, max_jobs: int = MAX_JOBS) -> list[Setting]:
    """Every job, each once, in the order in which they are trained.

    Args:
        given: keys of `DEFAULTS`, each one value or a list of values, and `job`, a list of such mappings.
        available: how many training examples there are.
        max_jobs: more jobs are refused.

    Raises:
        TypeError, ValueError: for an unknown key, an empty list, a value out of range or too many jobs.
    """
    if not isinstance(given, Mapping):
        raise TypeError(f"sweep: a mapping such as {{'seed': [0, 1, 2]}}, not {type(given).__name__}")
    own_grids = given.get("job", [{}])
    if not isinstance(own_grids, list) or not all(isinstance(one, Mapping) for one in own_grids):
        raise TypeError("job: tables [[job]], each a grid of its own")
    if not own_grids:
        raise ValueError("job: at least one table, not an empty list")
    shared = {name: value for name, value in given.items() if name != "job"}
    axes = [_axes(_merged(shared, own)) for own in own_grids]
    count = sum(_combinations(one) for one in axes)
    if count > max_jobs:
        remedy = " without --yes (yes=True)" if max_jobs < MAX_JOBS_AT_ALL else ""
        raise ValueError(f"sweep: at most {max_jobs:,} jobs{remedy}, not {count:,}")
    found: dict[Setting, None] = {}
    for one in axes:
        for values in product(*one.values()):
            found[_setting(dict(zip(one, values, strict=True)), available)] = None
    return sorted(found, key=_order)


def _merged(shared: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """A grid's own keys over those that all share; its own epochs or steps replace both."""
    base = dict(shared)
    if "epochs" in own or "steps" in own:
        base = {name: value for name, value in base.items() if name not in ("epochs", "steps")}
    return base | dict(own)


def _axes(grid: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Each key's values as a list, checked one by one."""
    for name in grid:
        if name not in DEFAULTS:
            near = get_close_matches(str(name), DEFAULTS, 1)
            hint = f" (did you mean {near[0]}?)" if near else ""
            raise ValueError(f"sweep: keys are {', '.join(DEFAULTS)} and job, not {name!r}{hint}")
    if grid.get("epochs") is not None and grid.get("steps") is not None:
        raise ValueError("sweep: epochs or steps, not both")
    axes = {}
    for name, default in DEFAULTS.items():
        values = grid.get(name, default)
        if not _is_axis(name, values):
            values = [values]
        if not values:
            raise ValueError(f"{name}: at least one value, not an empty list")
        axes[name] = [_checked(name, value) for value in values]
    return axes


def _is_axis(name: str, values: Any) -> bool:
    if not isinstance(values, (list, tuple)):
        return False
    # one pair of widths is a value, a list of pairs an axis
    return name != "hidden" or not values or isinstance(values[0], (list, tuple))


def _combinations(axes: Mapping[str, list[Any]]) -> int:
    count = 1
    for values in axes.values():
        count *= len(values)
    return count


_WHOLE = {
    "examples": (1, 10_000_000),
    "batch_size": (1, 10_000_000),
    "epochs": (1, MAX_EPOCHS),
    "steps": (1, 1_000 * MAX_EPOCHS),
    "seed": (0, 2**63 - 1),
    "points": (1, MAX_EPOCHS),
}


def _checked(name: str, value: Any) -> Any:
    if value is None and DEFAULTS[name] is None:
        return None
    if name in _WHOLE:
        return _whole(name, value, *_WHOLE[name])
    if name == "break":
        return " + ".join(map(str, parse(value)))
    if name == "hidden":
        if not isinstance(value, (list, tuple)) or len(value) != 2:
            raise ValueError(f"hidden: two widths such as [16, 16], not {value!r}")
        first, second = (_whole("hidden", width, 1, MAX_HIDDEN) for width in value)
        return first, second
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{name}: a number, not {value!r}")
    if not 0 < value < float("inf"):
        raise ValueError(f"{name}: finite and over 0, not {value!r}")
    return float(value)


def _whole(name: str, value: Any, low: int, high: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name}: a whole number from {low:,} to {high:,}, not {value!r}")
    if not low <= value <= high:
        raise ValueError(f"{name}: {low:,} to {high:,}, not {value:,}")
    return value


def _setting(values: dict[str, Any], available: int) -> Setting:
    examples = available if values["examples"] is None else values["examples"]
    if examples > available:
        raise ValueError(f"examples: at most the {available:,} there are, not {examples:,}")
    per_epoch = -(-examples // values["batch_size"])
    epochs = values["epochs"] or (round(values["steps"] / per_epoch) if values["steps"] else 20)
    points = min(values["points"], max(1, epochs))
    epochs = max(1, round(epochs / points)) * points
    if epochs > MAX_EPOCHS:
        raise ValueError(f"steps: {values['steps']:,} steps are {epochs:,} epochs of {examples:,} examples, "
                         f"and {MAX_EPOCHS:,} are the most")  # fmt: skip
    return Setting(
        breakage=values["break"],
        examples=examples,
        hidden=values["hidden"],
        learning_rate=values["learning_rate"],
        batch_size=values["batch_size"],
        epochs=epochs,
        seed=values["seed"],
        points=points,
    )


def _order(one: Setting) -> tuple[Any, ...]:
    """Jobs that can share launches and data stand side by side."""
    return (
        one.hidden,
        one.batch_size,
        one.examples,
        one.epochs,
        one.points,
        one.breakage,
        one.seed,
        one.learning_rate,
    )
