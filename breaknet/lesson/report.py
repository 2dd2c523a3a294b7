"""The lesson's report: one self-contained HTML page, made from the results that results.json holds."""

import base64
import hashlib
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

from ..files import written_whole
from ..html import data_uri
from .experiments import PHASES, outcome
from .fits import line_from, logistic_from
from .inline_figures import axes_of, inlined
from .many_runs_sentences import MANY_RUNS
from .page_template import TEMPLATES, template
from .predictions import UNITS
from .report_predictions import asked, lesson_data
from .report_questions import SECTIONS, Section, place_of
from .report_sentences import alarms, closing, notice, parameter_count
from .words import class_names, cost, percent, slope_text, worded

Results = Mapping[str, Any]

#: The page's parts before and after the experiments: anchor and title.
BEFORE = [("network", "The network and its task"), ("examples", "The examples")]
AFTER = [
    ("wrong", "What went wrong"),
    ("data", "Data are the heart of any model"),
    ("homework", "Homework"),
    ("run", "How this run was made"),
]


def write_report(
    results: Results, samples: bytes | None, folder: Path | str, *, answers: bool = False
) -> Path:
    """Write `folder`/report.html, or with `answers` `folder`/answers.html, whole or not at all; its path.

    Args:
        results: what results.json holds; experiments that are not in it are left out of the page.
        samples: the sample digits as PNG or SVG; None leaves the picture out.
        folder: the lesson's folder. What is shown is read from its figures/ and pictures/.
        answers: the page for a teacher, which shows and prints all outcomes; else they are folded away, and printing
            gives a worksheet.

    Raises:
        DataError: where the page cannot be written.
    """
    path = Path(folder) / ("answers.html" if answers else "report.html")
    page = render_report(results, samples, Path(folder), answers=answers)
    with written_whole(path) as unfinished:
        unfinished.write_text(page, encoding="utf-8")
    return path


def render_report(results: Results, samples: bytes | None, folder: Path, *, answers: bool = False) -> str:
    """The page's HTML; arguments as for `write_report`."""
    from markupsafe import Markup

    script = (TEMPLATES / "report.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    settings = results["settings"]
    shown = [
        section.worded(results)
        for section in SECTIONS
        if section.name not in MANY_RUNS or section.name in results
    ]
    numbered = [(section.name, f"{number}. {section.title}") for number, section in enumerate(shown, 1)]
    contents = [*BEFORE, *numbered, *AFTER]
    sections = [_section(results, section, folder) for section in shown]
    for place, context in enumerate(sections, len(BEFORE)):
        context.update(before=contents[place - 1], next=contents[place + 1])
    return template("report.html.j2").render(
        answers=answers,
        results=results,
        settings=settings,
        genuine=results["data_source"] == "MNIST",
        said=lambda text: worded(text, results),
        parameters=parameter_count(settings["hidden"]),
        network=network_diagram(settings["hidden"]),
        samples=None if samples is None else data_uri(samples),
        alarms=alarms(results),
        contents=contents,
        sections=sections,
        summary=_summary(results),
        closing=closing(results),
        facts=_facts(results),
        phases=_phases(results),
        lesson=lesson_data(results, [(section.name, section.title) for section in shown]),
        allowed={name: f"{unit.allowed:g}" for name, unit in UNITS.items()},
        script=Markup(script),
        script_hash=f"sha256-{digest}",
    )


def _section(results: Results, section: Section, folder: Path) -> dict[str, Any]:
    """The template's data of one experiment; `run` is None where it is not in the results."""
    run = outcome(results, section.name)
    context = {"text": section, "run": run}
    if run is None:
        return context
    failure = _failure(results, section.name)
    pictures = []
    for name, caption in section.figures:
        svg = (folder / place_of(name) / f"{name}.svg").read_text(encoding="utf-8")
        drawn = inlined(svg, name, describe(results, name))
        text = f"{caption} {failure}".strip()
        pictures.append({"name": name, "caption": text, "svg": drawn, "axes": axes_of(svg)})
    rows = _rows_of_many[section.name](run) if section.name in MANY_RUNS else _rows(run)
    return {
        **context,
        **asked(results, section.name),
        "figures": pictures,
        "pictures": _pictures(results, section, folder) if run.get("confusion") else [],
        "rows": rows,
        "failure": failure,
        "notice": notice(results, section.name),
    }


def _pictures(results: Results, section: Section, folder: Path) -> list[dict[str, Any]]:
    """The template's data of what the network sees: pixels, so PNG."""
    shown = []
    for name, caption in section.pictures:
        image = (folder / place_of(name) / f"{name}.png").read_bytes()
        width, height = (int.from_bytes(image[place : place + 4]) for place in (16, 20))
        alt = f"{caption} {_said(results, section.name, name.rpartition('_')[2])}".strip()
        shown.append(
            {"uri": data_uri(image), "caption": caption, "alt": alt, "width": width, "height": height}
        )
    return shown


def _said(results: Results, experiment: str, kind: str) -> str:
    """The main thing on a picture, in words."""
    run, names = results["experiments"][experiment], class_names(results)
    if kind == "confusion":
        wrong = [
            (count, true, answer)
            for true, row in enumerate(run["confusion"])
            for answer, count in enumerate(row)
            if true != answer
        ]
        count, true, answer = max(wrong)
        said = f"The most frequent mistake, {count} times: {names[true]} is taken for {names[answer]}."
        return said if count else ""
    if kind == "mistakes":
        listed = (f"{names[one['label']]} taken for {names[one['predicted']]}" for one in run["mistakes"])
        return f"In order: {', '.join(listed)}."
    return ""


def _failure(results: Results, name: str) -> str:
    """That a run diverged or is stuck, "" if all is well."""
    run = results["experiments"].get(name, {})
    if run.get("diverged_at") is not None:
        planned = results["settings"]["epochs"][name]
        return f"Training diverged in epoch {run['diverged_at']} of {planned}; the curves end before it."
    if run.get("stuck_at") is not None:
        return f"The network is stuck from epoch {run['stuck_at']} on: it learns nothing more."
    return ""


def _rows(run: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """The table of final numbers: quantity, on the training set, on the validation set."""
    if not run["train_cost"]:
        return []
    last = len(run["train_cost"]) - 1
    rows: list[tuple[str, ...]] = []
    for kind, write, superlative, best in (
        ("cost", cost, "Lowest", min),
        ("accuracy", percent, "Highest", max),
    ):
        curves = [run[f"train_{kind}"], run[f"valid_{kind}"]]
        bests = [(best(curve), curve.index(best(curve))) for curve in curves]
        rows.append((f"{kind.capitalize()} after epoch {last}", *(write(curve[-1]) for curve in curves)))
        rows.append((f"{superlative} {kind}", *(f"{write(value)} (epoch {epoch})" for value, epoch in bests)))
    fits = run["fits"]
    if "train_cost_line" in fits:
        lines = [line_from(fits[f"{part}_cost_line"]) for part in ("train", "valid")]
        slopes = ["no fit" if line is None else f"{slope_text(line.slope)} an epoch" for line in lines]
        rows.append(("Slope from epoch 20 on", *slopes))
    if "train_accuracy_logistic" in fits:
        fit = logistic_from(fits["train_accuracy_logistic"])
        capacity = "no fit" if fit is None else fit.capacity_text
        if fit is not None and not fit.levels_off_within(last + 1):
            capacity += " (not reached)"
        rows.append(("Carrying capacity", capacity, ""))
    return rows


def _noise_rows(noise: Mapping[str, Any]) -> list[tuple[str, ...]]:
    columns = (noise[key] for key in ("fractions", "train_accuracy", "valid_accuracy"))
    return [
        (f"Accuracy, {100 * share:g} % of the labels shuffled", _share(train), _share(valid))
        for share, train, valid in zip(*columns, strict=True)
    ]


def _capacity_rows(found: Mapping[str, Any]) -> list[tuple[str, ...]]:
    columns = (found[key] for key in ("examples", "epochs", "best_train_accuracy"))
    rows: list[tuple[str, ...]] = [
        (f"Highest accuracy, {count:,} examples, {epochs:,} epochs", _share(best), "")
        for count, epochs, best in zip(*columns, strict=True)
    ]
    widths = found["widths"]
    columns = (widths[key] for key in ("hidden", "learning_rates", "best_train_accuracy"))
    for (first, second), rate, best in zip(*columns, strict=True):
        what = (
            f"Hidden layers of {first} and {second}, learning rate {rate:g}, {widths['examples']:,} examples"
        )
        rows.append((what, _share(best), ""))
    return rows


_rows_of_many = {"label_noise": _noise_rows, "capacity": _capacity_rows}


def _share(accuracy: float | None) -> str:
    return "diverged" if accuracy is None else percent(accuracy)


def _summary(results: Results) -> list[tuple[str, str, str]]:
    """Experiment, final accuracy on what it was trained on, final accuracy on the validation set."""
    rows = []
    for section in SECTIONS:
        run = results["experiments"].get(section.name)
        if run and run["train_accuracy"]:
            ends = percent(run["train_accuracy"][-1]), percent(run["valid_accuracy"][-1])
            rows.append((section.title, *ends))
    return rows


def describe(results: Results, name: str) -> str:
    """A figure's alternative text: its kind, and where its curves begin and end."""
    if name == "label_noise":
        return f"Line chart over shares of shuffled labels. {notice(results, name)[0]}"
    if name.startswith("capacity"):
        place, kind = (1, "Line chart over numbers of examples") if name == "capacity" else (3, "Bar chart")
        return f"{kind}. {' '.join(notice(results, 'capacity')[place - 1 : place])}"
    experiment, _, quantity = name.partition("_")
    run = results["experiments"][experiment]
    kind, write = ("cost", cost) if "cost" in quantity else ("accuracy", percent)
    parts = [part for part in ("train", "valid") if quantity.startswith(("cost", "accuracy", part))]
    curves = []
    for part in parts:
        values = run[f"{part}_{kind}"]
        word = "training" if part == "train" else "validation"
        moves = f"from {write(values[0])} to {write(values[-1])}" if values else "has no values"
        curves.append(f"{word} {kind} {moves}")
    text = f"Line chart over {len(run['train_cost'])} epochs: {', '.join(curves)}"
    if quantity == "cost_fits" and any(run["fits"].values()):
        text += ", with the lines fitted from epoch 20 on"
    elif kind == "accuracy" and "train" in parts and any(run["fits"].values()):
        text += ", with the fitted logistic curve"
    return text + "."


def _facts(results: Results) -> list[tuple[str, str]]:
    """The table of settings."""
    settings, names = results["settings"], class_names(results)
    epochs = ", ".join(f"{name} {number}" for name, number in settings["epochs"].items())
    versions = ", ".join(f"{name} {version}" for name, version in results["versions"].items() if version)
    return [
        ("Data", results["data_source"]),
        *([("Classes", ", ".join(names))] if tuple(names) != tuple("0123456789") else []),
        ("Backend", f"{results['backend']}, plan {results['plan']}"),
        ("Device", results["device"]),
        ("Hidden layers", " and ".join(str(width) for width in settings["hidden"])),
        ("Learning rate", _learning_rate(settings)),
        ("Batch size", str(settings["batch_size"])),
        ("Epochs", epochs),
        ("Seed", str(settings["seed"])),
        ("Seed of the shuffle", str(settings.get("shuffle_seed", settings["seed"]))),
        ("Versions", versions),
    ]


def _learning_rate(settings: Mapping[str, Any]) -> str:
    """The learning rate, and how it was found where the lesson's own did not work."""
    tried = settings.get("learning_rates_tried", ())
    text = f"{settings['learning_rate']:g}"
    if len(tried) < 2:
        return text
    listed = ", ".join(f"{rate:g}" for rate in tried[:-1])
    return f"{text}, found by halving: with {listed} the network soon diverges, is stuck or learns nothing"


def _phases(results: Results) -> list[tuple[str, str]]:
    """The table of times; the page's own is known only when it is rendered again from results.json."""
    return [
        (PHASES.get(phase, phase), f"{seconds:.{1 if seconds >= 1 else 2}f} s")
        for phase, seconds in results["seconds"].items()
        if phase != "report" or seconds > 0
    ]


def network_diagram(hidden: list[int]) -> dict[str, Any]:
    """Coordinates of the network's drawing: columns of nodes, and a path of edges between neighbours.

    A column shows at most 16 nodes, the inputs 12 of their 784; `more` says whether some are left out.
    """
    columns: list[dict[str, Any]] = []
    layers = [(784, 12, "inputs"), *((width, 16, "hidden") for width in hidden), (10, 10, "outputs")]
    for place, (size, most, label) in enumerate(layers):
        shown = min(size, most)
        ys = [round(160 + (node - (shown - 1) / 2) * 250 / 15, 1) for node in range(shown)]
        columns.append({"x": 110 + 100 * place, "ys": ys, "size": size, "more": shown < size, "label": label})
    edges = [
        " ".join(f"M{left['x']} {a}L{right['x']} {b}" for a in left["ys"] for b in right["ys"])
        for left, right in pairwise(columns)
    ]
    return {"columns": columns, "edges": edges}
