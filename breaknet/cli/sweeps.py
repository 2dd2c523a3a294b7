"""`breaknet sweep` and `breaknet atlas`. A wrong file or a sweep too large ends with status 2, before any job."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from . import output
from .options import Backend, Data, Device, Quiet, Verbose, load_digits

if TYPE_CHECKING:
    from ..data.splits import Digits
    from ..sweeps import runner

Out = Annotated[str, typer.Option(help="The folder of results; what is finished there is not done again.")]
Engine = Annotated[str, typer.Option(help="Where the networks are trained: local, or ray for a Ray cluster.")]
Address = Annotated[
    str | None,
    typer.Option(
        help="With --engine ray: the cluster. Default: RAY_ADDRESS, else a new one on this machine."
    ),
]
Parameters = Annotated[
    bool,
    typer.Option(
        "--parameters", help="Keep every network's final parameters too: 52 kB each with widths 16,16."
    ),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what it would cost, and stop.")]
Yes = Annotated[bool, typer.Option("--yes", help="Go on with over 200,000 jobs or an estimated hour.")]


def sweep(
    file: Annotated[Path, typer.Argument(help="A TOML file with the grid of networks.", metavar="FILE.toml")],
    out: Out = "breaknet-sweep",
    data: Data = None,
    backend: Backend = "auto",
    device: Device = "auto",
    engine: Engine = "local",
    address: Address = None,
    parameters: Parameters = False,
    dry_run: DryRun = False,
    yes: Yes = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Train every network of a grid on data broken in each of its ways, and draw maps of the results."""
    output.configure(verbose, quiet)
    from ..sweeps.grid import read_file

    asked = Asked(out, backend, device, engine, address, parameters, dry_run, yes, quiet)
    grid = read_file(file)
    with _fault_of_the_call():
        chosen = asked.engine_for(grid)
        digits = load_digits(data)
    _run(grid, digits, chosen, asked, is_atlas=False)


def atlas(
    out: Out = "breaknet-atlas",
    full: Annotated[
        bool, typer.Option("--full", help="30,000 steps for every network instead of 3,000.")
    ] = False,
    data: Data = None,
    backend: Backend = "auto",
    device: Device = "auto",
    engine: Engine = "local",
    address: Address = None,
    parameters: Parameters = False,
    dry_run: DryRun = False,
    yes: Yes = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Map 1,320 networks: label noise, numbers of examples and widths, five seeds of each."""
    output.configure(verbose, quiet)
    from ..sweeps.atlas import grid

    asked = Asked(out, backend, device, engine, address, parameters, dry_run, yes, quiet)
    with _fault_of_the_call():
        chosen = asked.engine_for(grid(50_000, full))
        digits = load_digits(data)
    _run(grid(len(digits.train), full), digits, chosen, asked, is_atlas=True)


class Asked(NamedTuple):
    """The options of both commands."""

    out: str
    backend: str
    device: str
    engine: str
    address: str | None
    parameters: bool
    dry_run: bool
    yes: bool
    quiet: bool

    def engine_for(self, grid: dict[str, Any]) -> runner.Engine:
        """The engine, after all checks of it, of the backend and of the grid that need no data."""
        from ..sweeps import runner

        runner.checked(grid, self.backend, self.device, self.yes or self.dry_run)
        return runner.engine_named(self.engine, self.backend, self.device, self.address, self.parameters)


@contextmanager
def _fault_of_the_call() -> Iterator[None]:
    """A wrong value within, but for wrong data, ends the command with status 2, as any other wrong call does."""
    from ..errors import DataError

    usage_error: Any = typer.BadParameter.__mro__[1]
    try:
        yield
    except DataError:
        raise
    except (TypeError, ValueError) as error:
        raise usage_error(str(error)) from error


def _run(grid: dict[str, Any], digits: Digits, engine: runner.Engine, asked: Asked, is_atlas: bool) -> None:
    from ..quantities import duration, number_of
    from ..sweeps import atlas, page, runner

    began = perf_counter()
    with _fault_of_the_call():
        _digits, plan, store = runner.prepared(
            grid, data=digits, out=asked.out, backend=asked.backend, device=asked.device,
            parameters=asked.parameters, yes=asked.yes or asked.dry_run,
        )  # fmt: skip
    if asked.dry_run:
        print(plan)
        return
    if not asked.quiet:
        output.notice(str(plan))
    result = runner.run(digits, plan, store, engine, progress=not asked.quiet)
    text = atlas.text(result.results) if is_atlas else ()
    title = atlas.TITLE if is_atlas else "A sweep of broken data"
    report = page.write_page(result, title, text)
    print(
        f"{number_of(result.trained, 'network')} trained in {duration(perf_counter() - began)}, "
        f"{len(plan.settings):,} in all"
    )
    print(f"table: {result.folder / 'table.csv'}")
    print(f"\nRead {report}")
