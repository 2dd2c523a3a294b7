"""`breaknet class`: the predictions of a class over the outcome."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from . import output
from .options import Quiet, Verbose


def class_page(
    folder: Annotated[
        Path,
        typer.Argument(
            help="The folder with the files that students saved in the report; those in folders below it count too.",
            metavar="FOLDER",
        ),
    ],
    out: Annotated[str, typer.Option(help="The page to write.", metavar="FILE.html")] = "class.html",
    lesson: Annotated[
        Path | None,
        typer.Option(
            help="The folder of a lesson whose outcome is drawn. Default: the outcome that most of the reports showed.",
            metavar="FOLDER",
        ),
    ] = None,
    force: Annotated[
        bool, typer.Option("-f", "--force", help="Replace a file that holds something else than such a page.")
    ] = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Draw what a class predicted over the outcome: histograms of numbers, and curves."""
    output.configure(verbose, quiet)
    from ..files import check_output_file
    from ..lesson.class_view import is_class_page, outcome_of_lesson, write_class_page
    from ..lesson.exported_predictions import read_folder

    target, _ = check_output_file(out, is_class_page, force)
    outcome = None if lesson is None else outcome_of_lesson(lesson)
    found = read_folder(folder)
    if not quiet:
        for line in found.left_out:
            output.notice(f"left out: {line}")
    rows = write_class_page(found, target, outcome)
    output.show_class(rows, len(found.predicted), out)
