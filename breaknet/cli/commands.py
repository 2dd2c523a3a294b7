"""The command line: `breaknet lesson`, `class`, `train`, `evaluate`, `data`, `play`, `sweep`, `atlas`, `doctor` ..."""

from __future__ import annotations

from time import perf_counter

_BEGAN = perf_counter()  # before the slow imports, which a lesson reports as a phase

import gc  # noqa: E402
import os  # noqa: E402
import sys  # noqa: E402
import traceback  # noqa: E402
import warnings  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import TYPE_CHECKING, Annotated, Any  # noqa: E402

import typer  # noqa: E402

from . import bench, class_page, live, networks, output, sweeps  # noqa: E402
from .options import (  # noqa: E402
    AsJson,
    Backend,
    BatchSize,
    Data,
    Device,
    Hidden,
    Quiet,
    Seed,
    Verbose,
    check_backend,
    load_digits,
    parse_hidden,
)

if TYPE_CHECKING:
    from ..data.splits import Digits

_INTERRUPTED = 130

app = typer.Typer(
    name="breaknet",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(asked: bool) -> None:
    if asked:
        from .. import __version__

        print(f"breaknet {__version__}")
        raise typer.Exit


@app.callback()
def common(
    version: Annotated[
        bool,
        typer.Option("--version", help="Say which version this is.", is_eager=True, callback=_show_version),
    ] = False,
) -> None:
    """Train a tiny neural network on handwritten digits, then break it with bad data."""


@app.command()
def lesson(
    out: Annotated[
        str,
        typer.Option(
            help="The folder for report, figures, numbers and checkpoints. An older lesson in it is replaced "
            "once the new one is complete."
        ),
    ] = "breaknet-lesson",
    data: Data = None,
    backend: Backend = "auto",
    device: Device = "auto",
    seed: Seed = 0,
    shuffle_seed: Annotated[
        int | None, typer.Option(help="Shuffles the labels. Default: the seed does.", metavar="N")
    ] = None,
    epochs: Annotated[
        int | None,
        typer.Option(
            help="Passes over all training images, clean and shuffled. Default: 100. The run on 100 examples "
            "keeps its 1,000.",
            metavar="N",
        ),
    ] = None,
    epochs_scale: Annotated[
        float,
        typer.Option(
            help="Multiplies all numbers of epochs. Under 1, the run on 100 examples may be too short to memorise "
            "them; --epochs keeps it.",
            metavar="F",
        ),
    ] = 1.0,
    batch_size: BatchSize = 100,
    learning_rate: Annotated[
        float | None,
        typer.Option(
            help="Step size of gradient descent. Default: 0.05; on other data than digits, halved until the "
            "network learns.",
            metavar="F",
        ),
    ] = None,
    hidden: Hidden = "16,16",
    labels: Annotated[
        str | None,
        typer.Option(help="Names of the ten classes, with commas between them.", metavar="NAMES"),
    ] = None,
    capacity: Annotated[
        bool,
        typer.Option("--capacity", help="Measure as well how many shuffled labels networks can memorise."),
    ] = False,
    answers: Annotated[
        bool,
        typer.Option(
            "--answers",
            help="Also write answers.html, the report for a teacher: it shows and prints all outcomes. "
            "Printed, report.html is a worksheet without them.",
        ),
    ] = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Run the whole lesson: clean labels, shuffled labels, only 100 shuffled examples, some labels shuffled."""
    output.configure(verbose, quiet)
    from ..lesson.figure_workers import Illustrator

    with Illustrator(processes=2) as illustrator:
        began = perf_counter()
        import torch  # noqa: F401 - the slowest import

        seconds = {"torch": perf_counter() - began}
        from dataclasses import replace

        from ..data.splits import check_names
        from ..lesson.experiments import Lesson, Settings
        from ..lesson.output_folder import LessonFolder

        settings = Settings(
            seed, epochs_scale, backend, device, shuffle_seed, epochs, batch_size, learning_rate,
            parse_hidden(hidden), capacity,
        )  # fmt: skip
        names = None if labels is None else check_names(labels.split(","))
        check_backend(backend, device)
        folder = LessonFolder(out)
        seconds["imports"] = perf_counter() - _BEGAN - seconds["torch"]
        began = perf_counter()
        try:
            digits = load_digits(data)
            if names is not None:
                digits = replace(digits, names=names)
            seconds["data"] = perf_counter() - began
            results = folder.run(Lesson(digits, settings, progress=not quiet), seconds, illustrator, answers)
        except BaseException:
            folder.abandon()
            if folder.finished:
                done = ", ".join(folder.finished)
                output.notice(f"Finished experiments ({done}) are in {folder.unfinished}")
            raise
    output.show_lesson(results, folder.folder)


app.command()(networks.train)
app.command()(networks.evaluate)


@app.command()
def data(
    data: Data = None,
    break_: Annotated[
        str,
        typer.Option(
            "--break",
            help="Describe the training images as broken by this; a name alone stands for its typical numbers.",
            metavar="TEXT",
        ),
    ] = "",
    out: Annotated[
        str | None, typer.Option(help="With --break: a PNG file for some digits before and after.")
    ] = None,
    breakages: Annotated[bool, typer.Option(help="List all ways to break data.")] = False,
    seed: Seed = 0,
    force: Annotated[
        bool, typer.Option("-f", "--force", help="Replace a file that is no picture of breaknet's.")
    ] = False,
    json: AsJson = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Download the digits if necessary, and describe them, true or broken."""
    output.configure(verbose, quiet)
    if breakages:
        output.show_breakages(json)
        return
    if out is not None and not break_:
        raise ValueError("out: only with --break")
    from ..breakage import BREAKAGES, parse
    from ..inputs import check_seed

    check_seed(seed)
    text = BREAKAGES[break_].example if break_ in BREAKAGES else break_
    parse(text)
    target = None
    if out is not None:
        from ..files import check_output_file, is_picture_file

        target, _ = check_output_file(out, is_picture_file, force)
    digits = load_digits(data)
    if text:
        digits = _broken(digits, text, seed, target)
    if json:
        output.show_json({"data_source": digits.source, "splits": output.count_labels(digits)})
    else:
        output.show_data(digits)


@app.command()
def doctor(json: AsJson = False, verbose: Verbose = False, quiet: Quiet = False) -> None:
    """Examine this machine: versions, GPU, which backends work, and what 'auto' picks."""
    output.configure(verbose, quiet)
    from .doctor import examine

    found = examine()
    if json:
        output.show_json(found)
    else:
        output.show_examination(found)
    if not found["auto"]["backend"]:
        raise typer.Exit(1)


@app.command()
def kernels(
    target: Annotated[
        list[str] | None,
        typer.Option(help="A GPU generation such as sm_75 (T4); may be repeated. Default: all."),
    ] = None,
    json: AsJson = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Compile every GPU kernel (no GPU needed) and report registers, spills and shared memory.

    Exit status 1 if one does not compile or must not be supported, with a line for each on standard error.
    """
    output.configure(verbose, quiet)
    from dataclasses import asdict

    from ..kernels.host.resources import render, resource_report

    rows, problems = resource_report(target or None)
    if json:
        output.show_json([asdict(row) for row in rows])
    else:
        print(render(rows))
    if problems:
        output.notice("\n".join(problems))
        raise typer.Exit(1)


def _broken(digits: Digits, text: str, seed: int, out: Path | None) -> Digits:
    """The digits broken by `text`; pictured in `out`."""
    from ..breakage import break_data, parse
    from ..files import written_whole

    broken = break_data(digits, text, seed)
    if out is not None:
        from ..breakage.picture import before_and_after

        part = "train" if any(step.concerns("train") for step in parse(text)) else "valid"
        shown = f"{text}, seed {seed}: {'training' if part == 'train' else 'validation'} images"
        picture = before_and_after(getattr(digits, part), getattr(broken, part), shown)
        with written_whole(out) as unfinished:
            unfinished.write_bytes(picture)
        output.notice(f"picture: {out}")
    return broken


app.command()(bench.bench)
app.command()(live.play)
app.command()(sweeps.sweep)
app.command()(sweeps.atlas)
app.command("class")(class_page.class_page)


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit status: 0, 1 (failed), 2 (usage) or 130 (Ctrl-C)."""
    # typer's usage error, whichever library its release builds on
    usage_error: Any = typer.BadParameter.__mro__[1]
    try:
        status = app(arguments, prog_name="breaknet", standalone_mode=False)
    except usage_error as error:
        hint = f" (try `{error.ctx.command_path} --help`)" if error.ctx is not None else ""
        if type(error).__name__ == "NoArgsIsHelpError":
            print(error.format_message())
        else:
            output.error_line(f"{_usage_message(error)}{hint}")
        return 2
    except (KeyboardInterrupt, typer.Abort):
        status = _INTERRUPTED
    except typer.Exit as stop:
        status = stop.exit_code
    except (TypeError, ValueError, ArithmeticError, RuntimeError, OSError, ImportError, MemoryError) as error:
        if output.verbose():
            output.notice(traceback.format_exc())
        else:
            output.error_line(str(error).strip() or type(error).__name__)
        return 1
    if status == _INTERRUPTED:  # newer releases of typer give this status themselves
        output.error_line("interrupted")
    return status if isinstance(status, int) else 0


def _usage_message(error: Any) -> str:
    """The message of a usage error; for an option that other libraries have, with ours."""
    if type(error).__name__ == "NoSuchOption" and error.ctx is not None:
        from ..inputs import name_here

        options = {
            one.name: name for one in error.ctx.command.params for name in one.opts if name.startswith("--")
        }
        here = name_here(error.option_name.lstrip("-").replace("-", "_"), list(options))
        if here is not None:
            return f"No such option: {error.option_name}; did you mean {options[here]}?"
        error.possibilities = None
    message: str = error.format_message()
    return message.rstrip(".")


def run() -> None:
    """The `breaknet` command."""
    warnings.simplefilter("default", RuntimeWarning)
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by the caller: the next file opened would take its place
            setattr(sys, name, open(os.devnull, "r" if name == "stdin" else "w"))  # noqa: SIM115
    # figures go into files; a notebook's backend, inherited, may not be here
    os.environ["MPLBACKEND"] = "agg"
    status = main()
    gc.freeze()  # at exit Python would search torch's objects for garbage, for over half a second
    sys.exit(status)
