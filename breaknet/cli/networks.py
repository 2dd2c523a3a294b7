"""`breaknet train` and `breaknet evaluate`."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated

import typer

from . import output
from .options import (
    AsJson,
    Backend,
    BatchSize,
    Break,
    Data,
    Device,
    Hidden,
    Quiet,
    Seed,
    ShuffleSeed,
    Verbose,
    check_backend,
    load_digits,
    parse_hidden,
)


def train(
    out: Annotated[str, typer.Option(help="The file for the checkpoint of every epoch.")] = "run.safetensors",
    data: Data = None,
    epochs: Annotated[int, typer.Option(help="Passes over the training images.")] = 100,
    batch_size: BatchSize = 100,
    learning_rate: Annotated[float, typer.Option(help="Step size of gradient descent.")] = 0.05,
    hidden: Hidden = "16,16",
    shuffle: Annotated[
        float, typer.Option(help="Share of the training labels to shuffle, 0 to 1.", metavar="FRACTION")
    ] = 0.0,
    examples: Annotated[
        int | None, typer.Option(help="Train on the first N images only. Default: all.", metavar="N")
    ] = None,
    break_: Break = "",
    seed: Seed = 0,
    shuffle_seed: ShuffleSeed = None,
    plot: Annotated[
        str | None,
        typer.Option(
            help="Also draw the curves into this file, a PNG or an SVG by its ending.", metavar="FILE"
        ),
    ] = None,
    force: Annotated[
        bool,
        typer.Option("-f", "--force", help="Replace files that hold something else than breaknet writes."),
    ] = False,
    backend: Backend = "auto",
    device: Device = "auto",
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Train one network, save a checkpoint of every epoch, and draw its curves if asked."""
    output.configure(verbose, quiet)
    import breaknet

    chosen = check_backend(backend, device)
    widths = parse_hidden(hidden)
    from ..breakage import parse
    from ..checkpoints import is_checkpoint_file
    from ..files import check_output_file
    from ..inputs import check_count, check_learning_rate, check_seed
    from ..resources import check_disk, check_memory, check_time

    parse(break_)
    if not 0 <= shuffle <= 1:
        raise ValueError(f"shuffle: 0 to 1, not {shuffle:g}")
    check_count(epochs, "epochs")
    check_count(batch_size, "batch_size")
    check_learning_rate(learning_rate)
    if examples is not None:
        check_count(examples, "examples")
    check_seed(seed)
    data_seed = seed if shuffle_seed is None else check_seed(shuffle_seed, "shuffle_seed")
    picture = None if plot is None else _picture_file(plot, force)
    target, replaces = check_output_file(out, is_checkpoint_file, force)
    if replaces:
        logging.getLogger("breaknet").info("%s: the checkpoints there will be replaced", out)
    if target == picture:
        raise ValueError(f"plot: another file than that of the checkpoints, {plot}")
    check_memory([(epochs, widths)])
    check_disk(target, [(epochs, widths)])
    digits = load_digits(data)
    good = digits.train
    split = breaknet.shuffle_labels(good, fraction=shuffle, seed=data_seed) if shuffle else good
    if examples is not None:
        if examples > len(split):
            raise ValueError(f"examples: 1 to {len(split)}, not {examples}")
        split = split[:examples]
    split = breaknet.break_data(split, break_, data_seed)
    valid = breaknet.break_data(digits.valid, break_, data_seed, part="valid")
    check_time(chosen, [(epochs, widths, len(split) + len(valid), batch_size)])
    run = breaknet.train(
        split, valid=valid, epochs=epochs, batch_size=batch_size, learning_rate=learning_rate,
        hidden=widths, seed=seed, backend=backend, device=device, progress=not quiet,
    )  # fmt: skip
    run.checkpoints.metadata["data_source"] = digits.source
    run.checkpoints.save(target)
    if picture is not None:
        from ..curves import write_plot

        write_plot(run.plot(), picture)
    output.show_run(run, digits.source, {"checkpoints": out, "curves": plot})


def evaluate(
    checkpoints: Annotated[Path, typer.Argument(help="A file that `breaknet train` or a lesson wrote.")],
    data: Data = None,
    split: Annotated[str, typer.Option(help="The images to evaluate on: train, valid or test.")] = "test",
    backend: Backend = "auto",
    device: Device = "auto",
    confusion: Annotated[bool, typer.Option(help="Show the confusion matrix of the last epoch.")] = False,
    json: AsJson = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Cost and accuracy of every checkpoint in a file."""
    output.configure(verbose, quiet)
    import breaknet

    if split not in ("train", "valid", "test"):
        raise ValueError(f"split: train, valid or test, not {split!r}")
    check_backend(backend, device)
    loaded = breaknet.Checkpoints.load(checkpoints)
    digits = load_digits(data)
    examples = getattr(digits, split)
    result = breaknet.evaluate(loaded, examples, backend=backend, device=device, confusion=confusion)
    if json:
        output.show_json(
            {
                "data_source": digits.source, "split": split, "images": len(examples),
                "backend": result.backend, "device": result.device,
                "cost": result.cost.tolist(), "accuracy": result.accuracy.tolist(),
                "confusion": None if result.confusion is None else result.confusion.tolist(),
            }
        )  # fmt: skip
    else:
        output.show_evaluation(result, f"{digits.source}, {split}, {len(examples):,} images")


def _picture_file(plot: str, force: bool) -> Path:
    """The file that the curves will be drawn into.

    Raises:
        ValueError: for a name that ends in nothing they can be drawn as.
        DataError: for a file that must not be replaced.
    """
    from ..files import MADE_BY, check_output_file, is_picture_file

    if Path(plot).suffix.lower() not in MADE_BY:
        raise ValueError(f"plot: a file that ends in {' or '.join(MADE_BY)}, not {plot!r}")
    target, _ = check_output_file(plot, is_picture_file, force, "plot")
    return target
