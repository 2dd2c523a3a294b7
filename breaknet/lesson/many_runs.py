"""Two experiments made of many short runs: accuracy against label noise, and how much a network can memorise."""

from collections.abc import Mapping, Sequence
from typing import Any

from ..breakage import shuffle_labels
from ..data.splits import Digits, Split
from ..inputs import check_count
from ..training import Job, train_many

#: Shares of the training labels that are shuffled, and the epochs of each run.
FRACTIONS = (0.0, 0.25, 0.5, 0.75, 0.9, 1.0)
NOISE_EPOCHS = 10

#: Numbers of shuffled examples to memorise, all within the same number of steps.
EXAMPLES = (100, 300, 1_000, 3_000, 10_000)
STEPS = 3_000

#: Hidden widths with a learning rate that suits them, and the shuffled examples and epochs by which width shows.
#: The cost is summed over a batch, not averaged, and a wider layer adds up more terms: at the lesson's learning rate
#: its steps are too large.
WIDTHS = {(16, 16): 0.02, (32, 32): 0.0125, (64, 64): 0.0125}
WIDTH_EXAMPLES = 10_000
WIDTH_EPOCHS = 500

#: What `train_many` is given as well: batch_size and hidden of the jobs; backend, device and progress.
Options = Mapping[str, Any]


def label_noise(
    digits: Digits,
    *,
    fractions: Sequence[float] = FRACTIONS,
    epochs: int = NOISE_EPOCHS,
    seed: int = 0,
    shuffle_seed: int | None = None,
    network: Options | None = None,
    running: Options | None = None,
) -> dict[str, Any]:
    """Train one network for each share of shuffled labels, and evaluate it after its last epoch.

    Args:
        digits: its training labels are shuffled, its validation labels stay true.
        fractions: shares of the training labels to shuffle, each 0 to 1.
        epochs: of each run, 1 or more.
        seed: draws the starting parameters; with `shuffle_seed` None it shuffles the labels as well.
        network: batch_size, hidden and learning_rate, as for `breaknet.Job`.
        running: backend, device and progress, as for `breaknet.train_many`.

    Returns:
        What results.json holds under "label_noise": lists with an entry for each share. Accuracies are in 0..1,
        None for a run that diverged; those on the training set are against its shuffled labels, of which the share
        `labels_right` is still the true one.

    Raises:
        TypeError, ValueError, BackendError: as `breaknet.train_many` does.
    """
    shuffle_seed = seed if shuffle_seed is None else shuffle_seed
    check_count(epochs, "epochs")
    noisy = [shuffle_labels(digits.train, fraction=fraction, seed=shuffle_seed) for fraction in fractions]
    names = [f"{100 * fraction:g} % shuffled" for fraction in fractions]
    jobs = [
        Job(split, valid=digits.valid, epochs=epochs, every=epochs, seed=seed, name=name, **(network or {}))
        for split, name in zip(noisy, names, strict=True)
    ]
    runs = train_many(jobs, checkpoints="last", **(running or {}))
    return {
        "fractions": [float(fraction) for fraction in fractions],
        "labels_right": [float((split.labels == digits.train.labels).mean()) for split in noisy],
        "train_accuracy": [_last(run.train_accuracy) for run in runs],
        "valid_accuracy": [_last(run.valid_accuracy) for run in runs],
        "epochs": epochs,
        "seeds": {"start": seed, "shuffle": shuffle_seed},
    }


def capacity(
    shuffled: Split,
    *,
    examples: Sequence[int] = EXAMPLES,
    steps: int = STEPS,
    seed: int = 0,
    network: Options | None = None,
    running: Options | None = None,
) -> dict[str, Any]:
    """The share of the first so many shuffled examples that is memorised within the same number of steps.

    Fixed epochs would give fewer examples fewer steps, and show them as learned less.

    Args:
        shuffled: examples whose labels mean nothing. Numbers over its length are left out.
        examples: numbers of its first examples, each 1 or more.
        steps: of gradient descent, for each; the epochs are what comes nearest to that.
        seed, network, running: as for `label_noise`.

    Returns:
        What results.json holds under "capacity": lists with an entry for each number, the best training accuracy of
        the run in 0..1 (None if it diverged at once).

    Raises:
        TypeError, ValueError, BackendError: as `breaknet.train_many` does.
    """
    check_count(steps, "steps")
    counts = [check_count(count, "examples") for count in examples]
    counts = [count for count in counts if count <= len(shuffled)] or [len(shuffled)]
    batch_size = check_count((network or {}).get("batch_size", Job.batch_size), "batch_size")
    epochs = [max(1, round(steps / -(-count // batch_size))) for count in counts]
    jobs = [
        Job(shuffled[:count], epochs=number, seed=seed, name=f"{count:,} examples", **(network or {}))
        for count, number in zip(counts, epochs, strict=True)
    ]
    runs = train_many(jobs, checkpoints="last", **(running or {}))
    return {
        "examples": counts,
        "epochs": epochs,
        "steps": steps,
        "best_train_accuracy": [_best(run.train_accuracy) for run in runs],
    }


def capacity_by_width(
    shuffled: Split,
    *,
    widths: Mapping[tuple[int, int], float] | None = None,
    examples: int = WIDTH_EXAMPLES,
    epochs: int = WIDTH_EPOCHS,
    seed: int = 0,
    batch_size: int = Job.batch_size,
    running: Options | None = None,
) -> dict[str, Any]:
    """The share of the same shuffled examples that networks of several widths memorise.

    Args:
        shuffled: examples whose labels mean nothing.
        widths: hidden widths -> learning rate; None for `WIDTHS`.
        examples: how many of the first ones; all, where there are fewer.
        epochs: for each network, 1 or more.
        seed, running: as for `label_noise`.

    Returns:
        What results.json holds under "capacity" as "widths": lists with an entry for each network, the best training
        accuracy in 0..1 among up to a hundred epochs, evenly spaced, with the last (None if it diverged before).

    Raises:
        TypeError, ValueError, BackendError: as `breaknet.train_many` does.
    """
    check_count(epochs, "epochs")
    part = shuffled[: check_count(examples, "examples")]
    every = next(step for step in range(max(1, epochs // 100), epochs + 1) if epochs % step == 0)
    chosen = WIDTHS if widths is None else widths
    jobs = [
        Job(
            part, epochs=epochs, every=every, hidden=hidden, learning_rate=rate, batch_size=batch_size, seed=seed,
            name=f"{hidden[0]}-{hidden[1]}",
        )
        for hidden, rate in chosen.items()
    ]  # fmt: skip
    runs = train_many(jobs, checkpoints="last", **(running or {}))
    return {
        "examples": len(part),
        "epochs": epochs,
        "hidden": [list(hidden) for hidden in chosen],
        "learning_rates": [float(rate) for rate in chosen.values()],
        "best_train_accuracy": [_best(run.train_accuracy) for run in runs],
    }


def _last(curve: Any) -> float | None:
    return float(curve[-1]) if len(curve) else None


def _best(curve: Any) -> float | None:
    return float(max(curve)) if len(curve) else None
