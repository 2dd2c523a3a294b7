"""The lesson's report: one self-contained HTML page, made from the results that results.json holds."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..files import written_whole
from .fits import line_from, logistic_from
from .report_questions import SECTIONS
from .report_sentences import closing, cost, notice, parameter_count, percent

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Results = Mapping[str, Any]

PHASE_NAMES = {
    "torch": "importing torch",
    "imports": "starting Python and its other libraries",
    "data": "opening the data",
    "compile": "compiling",
    "transfer": "moving data and parameters to the device and back",
    "training": "training",
    "evaluation": "cost and accuracy of every epoch",
    "fits": "fits",
    "figures": "waiting for the figures",
    "report": "this page",
    "total": "in all, up to this page",
}


def write_report(results: Results, samples: Figure | bytes | str | None, folder: Path | str) -> Path:
    """Write `folder`/report.html, whole or not at all, and return its path.

    Args:
        results: what results.json holds; experiments that are not in it are left out of the page.
        samples: the sample digits, as a figure or its PNG or SVG; None leaves the picture out.
        folder: the lesson's folder. Figures are read from `folder`/figures/NAME.svg, where `draw_figures` wrote
            them; missing ones are drawn.

    Raises:
        DataError: where the page cannot be written.
    """
    path = Path(folder) / "report.html"
    page = render_report(results, samples, Path(folder) / "figures")
    with written_whole(path) as unfinished:
        unfinished.write_text(page, encoding="utf-8")
    return path


def render_report(
    results: Results, samples: Figure | bytes | str | None = None, figures: Path | None = None
) -> str:
    """The page's HTML; arguments as for `write_report`, `figures` being the folder of drawn figures."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    settings = results["settings"]
    return environment.get_template("report.html.j2").render(
        results=results,
        settings=settings,
        genuine=results["data_source"] == "MNIST",
        parameters=parameter_count(settings["hidden"]),
        network=network_diagram(settings["hidden"]),
        samples=None if samples is None else _sample_uri(samples),
        sections=[_section(results, section, figures) for section in SECTIONS],
        summary=_summary(results),
        closing=closing(results),
        facts=_facts(results),
        phases=_phases(results),
    )


def _section(results: Results, section: Any, folder: Path | None) -> dict[str, Any]:
    """The template's data of one experiment; `run` is None where it is not in the results."""
    run = results["experiments"].get(section.name)
    planned = results["settings"]["epochs"][section.name]
    context = {"text": section, "planned": planned, "run": run}
    if run is None:
        return context
    pictures = [
        {
            "name": name,
            "caption": caption,
            "uri": _figure_uri(results, name, folder),
            "alt": describe(results, name),
        }
        for name, caption in section.figures
    ]
    return {**context, "figures": pictures, "rows": _rows(run), "notice": notice(results, section.name)}


def _rows(run: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """The table of final numbers: quantity, on the training set, on the validation set."""
    if not run["train_cost"]:
        return []
    last = len(run["train_cost"]) - 1
    train, valid = run["train_cost"], run["valid_cost"]
    right, unseen = run["train_accuracy"], run["valid_accuracy"]
    rows = [
        (f"Cost after epoch {last}", cost(train[-1]), cost(valid[-1])),
        ("Lowest cost", _at(train, min(train), cost), _at(valid, min(valid), cost)),
        (f"Accuracy after epoch {last}", percent(right[-1]), percent(unseen[-1])),
        ("Highest accuracy", _at(right, max(right), percent), _at(unseen, max(unseen), percent)),
    ]
    fits = run["fits"]
    if "train_cost_line" in fits:
        rows.append(
            ("Slope from epoch 20 on", _slope(fits["train_cost_line"]), _slope(fits["valid_cost_line"]))
        )
    if "train_accuracy_logistic" in fits:
        fit = logistic_from(fits["train_accuracy_logistic"])
        capacity = "no fit" if fit is None else fit.capacity_text
        if fit is not None and not fit.levels_off_within(len(train)):
            capacity += " (not reached)"
        rows.append(("Carrying capacity", capacity, ""))
    return rows


def _at(values: list[float], value: float, write: Callable[[float], str]) -> str:
    return f"{write(value)} (epoch {values.index(value)})"


def _slope(stored: Mapping[str, float] | None) -> str:
    line = line_from(stored)
    return "no fit" if line is None else f"{line.slope:+.2e}"


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
    experiment, _, quantity = name.partition("_")
    run = results["experiments"][experiment]
    kind, write = ("cost", cost) if "cost" in quantity else ("accuracy", percent)
    parts = [
        part for part in ("train", "valid") if quantity in (f"{part}_accuracy", "accuracy") or kind == "cost"
    ]
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
    settings = results["settings"]
    epochs = ", ".join(f"{name} {number}" for name, number in settings["epochs"].items())
    versions = ", ".join(f"{name} {version}" for name, version in results["versions"].items() if version)
    return [
        ("Data", results["data_source"]),
        ("Backend", f"{results['backend']}, plan {results['plan']}"),
        ("Device", results["device"]),
        ("Hidden layers", " and ".join(str(width) for width in settings["hidden"])),
        ("Learning rate", f"{settings['learning_rate']:g}"),
        ("Batch size", str(settings["batch_size"])),
        ("Epochs", epochs),
        ("Seed", str(settings["seed"])),
        ("Versions", versions),
    ]


def _phases(results: Results) -> list[tuple[str, str]]:
    """The table of times; the page's own is known only when it is rendered again from results.json."""
    seconds = results["seconds"]
    return [(PHASE_NAMES.get(k, k), _seconds(v)) for k, v in seconds.items() if k != "report" or v > 0]


def _seconds(value: float) -> str:
    return f"{value:.1f} s" if value >= 1 else f"{value:.2f} s"


def _figure_uri(results: Results, name: str, folder: Path | None) -> str:
    if folder is not None and (folder / f"{name}.svg").is_file():
        return _data_uri((folder / f"{name}.svg").read_bytes())
    from .figures import FIGURES, svg_bytes

    return _data_uri(svg_bytes(FIGURES[name](results)))


def _sample_uri(samples: Figure | bytes | str) -> str:
    if isinstance(samples, str):
        return _data_uri(samples.encode())
    if isinstance(samples, bytes):
        return _data_uri(samples)
    from .figures import png_bytes

    return _data_uri(png_bytes(samples))


def _data_uri(image: bytes) -> str:
    kind = "png" if image.startswith(b"\x89PNG") else "svg+xml"
    return f"data:image/{kind};base64,{base64.b64encode(image).decode()}"


def network_diagram(hidden: list[int]) -> dict[str, Any]:
    """Coordinates of the network's drawing: columns of nodes, and a path of edges between neighbours.

    A column shows at most 16 nodes, the inputs 12 of their 784; `more` says whether some are left out.
    """
    columns: list[dict[str, Any]] = []
    layers = [(784, 12, "inputs"), *((width, 16, "hidden") for width in hidden), (10, 10, "outputs")]
    for place, (size, most, label) in enumerate(layers):
        shown = min(size, most)
        step = 250 / 15
        ys = [round(160 + (node - (shown - 1) / 2) * step, 1) for node in range(shown)]
        columns.append({"x": 110 + 100 * place, "ys": ys, "size": size, "more": shown < size, "label": label})
    edges = [
        " ".join(f"M{left['x']} {a}L{right['x']} {b}" for a in left["ys"] for b in right["ys"])
        for left, right in pairwise(columns)
    ]
    return {"columns": columns, "edges": edges}
