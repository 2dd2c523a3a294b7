"""`breaknet sweep` and `breaknet atlas`. A wrong file or a sweep too large ends with status 2, before any job."""

from __future__ import annotations

from pathlib import Path
from time import perf_counter
from typing import Annotated, Any

import typer

from . import output
from .options import Backend, Data, Device, Quiet, Verbose, load_digits

Engine = Annotated[str, typer.Option(help="Where the networks are trained: local, or ray for a Ray cluster.")]
Address = Annotated[
    str | None,
    typer.Option(
        help="With --engine ray: the cluster. Default: RAY_ADDRESS, else a new one on this machine."
    ),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what it would cost, and stop.")]
Yes = Annotated[bool, typer.Option("--yes", help="Go on with over 200,000 jobs or an estimated hour.")]


def sweep(
    file: Annotated[Path, typer.Argument(help="A TOML file with the grid of networks.", metavar="FILE.toml")],
    out: Annotated[
        Path, typer.Option(help="The folder of results; what is finished there is not done again.")
    ] = Path("breaknet-sweep"),
    data: Data = None,
    backend: Backend = "auto",
    device: Device = "auto",
    engine: Engine = "local",
    address: Address = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Train every network of a grid on data broken in every way of it, and draw maps of the results."""
    output.configure(verbose, quiet)
    from ..sweeps.grid import read_file

    _run(read_file(file), out, data, backend, device, engine, address, dry_run, yes, quiet, is_atlas=False)


def atlas(
    out: Annotated[
        Path, typer.Option(help="The folder of results; what is finished there is not done again.")
    ] = Path("breaknet-atlas"),
    full: Annotated[
        bool, typer.Option("--full", help="30,000 steps for every network instead of 3,000.")
    ] = False,
    data: Data = None,
    backend: Backend = "auto",
    device: Device = "auto",
    engine: Engine = "local",
    address: Address = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Map 1,320 networks: label noise, numbers of examples and widths, five seeds of each."""
    output.configure(verbose, quiet)
    from ..sweeps.atlas import grid

    digits = load_digits(data)
    given = grid(len(digits.train), full)
    _run(given, out, digits, backend, device, engine, address, dry_run, yes, quiet, is_atlas=True)


def _run(
    grid: dict[str, Any], out: Path, data: Any, backend: str, device: str, engine: str, address: str | None,
    dry_run: bool, yes: bool, quiet: bool, is_atlas: bool,
) -> None:  # fmt: skip
    from ..errors import DataError
    from ..sweeps import atlas, page, runner
    from ..sweeps.grid import MAX_JOBS_AT_ALL, settings

    # everything after these checks is not the fault of how the command was called
    usage_error: Any = typer.BadParameter.__mro__[1]
    began = perf_counter()
    try:
        settings(grid, MAX_JOBS_AT_ALL, MAX_JOBS_AT_ALL)  # before data are downloaded
        chosen = runner.engine_named(engine, backend, device, address)
        digits = data if not isinstance(data, str | None) else load_digits(data)
        digits, plan, store = runner.prepared(
            grid, data=digits, out=out, backend=backend, device=device, yes=yes or dry_run
        )
    except DataError:
        raise
    except (TypeError, ValueError) as error:
        raise usage_error(str(error)) from error
    if dry_run:
        print(plan)
        return
    if not quiet:
        output.notice(str(plan))
    result = runner.run(digits, plan, store, chosen, progress=not quiet)
    text = atlas.text(result.results) if is_atlas else ()
    title = atlas.TITLE if is_atlas else "A sweep of broken data"
    report = page.write_page(result, title, text)
    print(
        f"{result.trained:,} networks trained in {runner.duration(perf_counter() - began)}, "
        f"{len(plan.settings):,} in all"
    )
    print(f"table: {result.folder / 'table.csv'}")
    print(f"\nRead {report}")
