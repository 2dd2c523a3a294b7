"""The knobs of the page: their ranges, the link that holds them, and the Python lines that mean the same."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace
from typing import Any
from urllib.parse import parse_qsl, urlencode

from ..breakage import BREAKAGES, Parameter, parse
from ..model import INPUTS

#: Characters of a link, and of one of the settings in it.
MAX_LINK = 4_000

#: Work of one run, in FMAs: about a minute of one core.
MAX_WORK = 2.4e11

#: What a step of gradient descent costs beside its arithmetic, and breaking an image in the slowest way: in FMAs,
#: about 15 and 50 microseconds.
WORK_OF_STEP = 60_000
WORK_OF_BREAKING = 200_000

#: The way to break data that is listed first.
FIRST = "shuffle_labels"

#: Images that are evaluated, and may be broken, beside the training examples.
VALID = 10_000

#: The numbers that can be turned, beside those of the breakages.
KNOBS = (
    Parameter("examples", 10, 50_000, 2_000, whole=True),
    Parameter("epochs", 1, 2_000, 20, whole=True),
    Parameter("learning_rate", 0.0001, 100, 0.05),
    Parameter("batch_size", 1, 5_000, 100, whole=True),
    Parameter("hidden1", 1, 128, 16, whole=True),
    Parameter("hidden2", 1, 128, 16, whole=True),
    Parameter("seed", 0, 999_999, 0, whole=True),
)


@dataclass(frozen=True)
class Settings:
    """The settings of one run. `breakage` is a recipe (see `breaknet.break_data`) for the first `examples`."""

    breakage: str = "shuffle_labels(0)"
    examples: int = 2_000
    epochs: int = 20
    learning_rate: float = 0.05
    batch_size: int = 100
    hidden1: int = 16
    hidden2: int = 16
    seed: int = 0

    def __post_init__(self) -> None:
        steps = " + ".join(map(str, parse(self.breakage)))
        object.__setattr__(self, "breakage", steps)
        for knob in KNOBS:
            object.__setattr__(self, knob.name, knob.check(getattr(self, knob.name)))

    @classmethod
    def from_link(cls, link: str, most_examples: int | None = None) -> Settings:
        """The settings in the query string of a link; what it does not name has its default.

        Raises:
            TypeError, ValueError: for other names, values outside their range, or more work than one run may be.
        """
        if not isinstance(link, str):
            raise TypeError(f"link: text such as 'break=missing_class(7)', not {link!r:.200}")
        if len(link) > MAX_LINK:
            raise ValueError(f"link: at most {MAX_LINK:,} characters, not {len(link):,}")
        given: dict[str, Any] = {}
        knobs = {knob.name: knob for knob in KNOBS}
        if link.count("&") > len(knobs) + 1:
            raise ValueError(
                f"link: each of break, {', '.join(knobs)} once, not {link.count('&') + 1} settings"
            )
        for name, text in parse_qsl(link.removeprefix("?"), keep_blank_values=True):
            if name in given:
                raise ValueError(f"link: {name} stands twice")
            if name != "break" and name not in knobs:
                raise ValueError(f"link: one of break, {', '.join(knobs)}, not {name!r:.100}")
            given[name] = text if name == "break" else _number(text, knobs[name])
        settings = cls(given.pop("break", cls.breakage), **given)
        if most_examples is not None and settings.examples > most_examples:
            settings = replace(settings, examples=most_examples)
        if settings.work > MAX_WORK:
            raise ValueError(
                f"epochs: so many with these examples, widths and batches are {settings.work / MAX_WORK:,.1f} times "
                "the work that one run may be; fewer epochs or examples, or larger batches"
            )
        return settings

    @property
    def link(self) -> str:
        """The query string that `from_link` reads back, without what has its default."""
        plain = Settings()
        given = {
            "break" if field.name == "breakage" else field.name: getattr(self, field.name)
            for field in fields(self)
            if getattr(self, field.name) != getattr(plain, field.name)
        }
        return urlencode(given)

    @property
    def hidden(self) -> tuple[int, int]:
        return self.hidden1, self.hidden2

    @property
    def work(self) -> float:
        """FMAs of breaking the data, training and evaluation, if about a quarter of the pixels are not black."""
        of_image = self.hidden1 * (INPUTS // 4 + self.hidden2)
        recipe = parse(self.breakage)
        kept = [
            int(step.values[0]) for step in recipe if step.name == "fewer_examples" and step.concerns("train")
        ]
        trained = min([self.examples, *kept])
        steps = -(-trained // self.batch_size)
        of_epoch = (3 * trained + VALID) * of_image + steps * WORK_OF_STEP
        breaking = len(recipe) * (self.examples + VALID) * WORK_OF_BREAKING
        return float(self.epochs * of_epoch + breaking)

    def described(self) -> dict[str, Any]:
        """The settings as the page's knobs show them: numbers by name, and the steps of the recipe."""
        steps = [
            {
                "name": step.name,
                "part": step.part,
                "values": list(step.values),
                "seed": step.seed,
            }
            for step in parse(self.breakage)
        ]
        return {**asdict(self), "steps": steps}

    def python(self, source: str = "MNIST", backend: str = "auto", device: str = "auto") -> str:
        """The lines of Python that make the same run."""
        load = 'breaknet.load_mnist("synthetic")' if source == "synthetic digits" else "breaknet.load_mnist()"
        if source.startswith("local: "):
            load += f"  # here: {source.removeprefix('local: ')}"
        where = "".join(
            f', {name}="{value}"'
            for name, value in (("backend", backend), ("device", device))
            if value != "auto"
        )
        return (
            "import breaknet\n\n"
            f"digits = {load}\n"
            f'broken = "{self.breakage}"\n'
            f"train = breaknet.break_data(digits.train[:{self.examples}], broken, seed={self.seed})\n"
            f'valid = breaknet.break_data(digits.valid, broken, seed={self.seed}, part="valid")\n'
            "run = breaknet.train(\n"
            f"    train, valid=valid, epochs={self.epochs}, batch_size={self.batch_size}, "
            f"learning_rate={self.learning_rate!r},\n"
            f"    hidden=({self.hidden1}, {self.hidden2}), seed={self.seed}{where},\n"
            ")\n"
            "print(run.valid_accuracy[-1])\n"
        )


def _number(text: str, knob: Parameter) -> float | int:
    try:
        if len(text) > 40:
            raise ValueError
        number = int(text) if knob.whole else float(text)
    except ValueError:
        kind = "a whole number" if knob.whole else "a number"
        raise ValueError(
            f"{knob.name}: {kind} from {knob.low:,g} to {knob.high:,g}, not {text!r:.100}"
        ) from None
    return knob.check(number)


def described_knobs(most_examples: int) -> dict[str, Any]:
    """Data of the page's knobs: ranges of numbers, and every way to break data."""

    def described(parameter: Parameter) -> dict[str, Any]:
        high = min(parameter.high, most_examples) if parameter.name == "examples" else parameter.high
        return {**asdict(parameter), "high": high, "log": parameter.low > 0 and high / parameter.low >= 500}

    return {
        "numbers": [described(knob) for knob in KNOBS],
        "breakages": [
            {
                "name": breakage.name,
                "part": breakage.part,
                "lesson": breakage.lesson,
                "parameters": [described(parameter) for parameter in breakage.parameters],
            }
            for breakage in sorted(BREAKAGES.values(), key=lambda one: one.name != FIRST)
        ],
    }
