"""Options that several commands share, and checks of what they are given before anything slow begins."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from . import output

if TYPE_CHECKING:
    from ..data.splits import Digits

Data = Annotated[
    str | None,
    typer.Option(
        help="The digits: a folder or file with MNIST, or 'synthetic'. Default: MNIST, downloaded once and "
        "cached; with no network, the synthetic digits.",
        metavar="PATH",
    ),
]
Backend = Annotated[
    str,
    typer.Option(help="The implementation: auto, triton (NVIDIA GPU), numba (CPU) or torch (slow, plain)."),
]
Device = Annotated[str, typer.Option(help="The device: auto, cpu, cuda, cuda:1 ...")]
Seed = Annotated[int, typer.Option(help="Draws the starting parameters and what is random in broken data.")]
BatchSize = Annotated[int, typer.Option(help="Images per step.", metavar="N")]
Hidden = Annotated[str, typer.Option(help="Widths of the two hidden layers.", metavar="N,N")]
ShuffleSeed = Annotated[
    int | None,
    typer.Option(
        "--shuffle-seed",
        help="Draws what is random in broken data alone. Default: --seed.",
        metavar="INTEGER",
    ),
]
Break = Annotated[
    str,
    typer.Option(
        "--break",
        help='How to break the data, such as "shuffle_labels(0.3) + missing_class(7)". "train:", "valid:" or '
        '"both:" before a name says where. After --shuffle and --examples. Names: `breaknet data --breakages`.',
        metavar="TEXT",
    ),
]
Verbose = Annotated[bool, typer.Option("-v", "--verbose", help="Show the whole traceback of an error.")]
Quiet = Annotated[
    bool, typer.Option("-q", "--quiet", help="No progress, no notices: only results and errors.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs to read.")]


def load_digits(source: str | None) -> Digits:
    """The digits at `source`; without a source and without a network, synthetic ones under a banner."""
    from ..data.mnist import load_mnist
    from ..errors import DataError

    try:
        return load_mnist(source)
    except DataError as error:
        import os

        if source is not None or os.environ.get("BREAKNET_DATA"):
            raise
        output.banner(
            "NO MNIST: SYNTHETIC DIGITS ARE USED INSTEAD",
            f"{error}\nEverything that follows is about digits drawn from fonts, not about MNIST.",
        )
        return load_mnist("synthetic")


def check_backend(backend: str, device: str) -> str:
    """The backend that will be used by name; refuses a wrong one before data are downloaded."""
    from ..backends.select import choices

    return choices(backend, device)[0].name


def parse_hidden(text: str) -> tuple[int, int]:
    from ..model import check_hidden

    try:
        widths = [int(part) for part in text.split(",")]
    except ValueError:
        raise ValueError(f"hidden: two whole numbers such as 16,16, not {text!r}") from None
    return check_hidden(widths)
