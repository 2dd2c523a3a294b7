"""Sentences on the experiments that consist of many runs, chosen by their numbers."""

from collections.abc import Mapping
from typing import Any

from ..quantities import number_of
from .words import percent


def _label_noise(noise: Mapping[str, Any]) -> list[str]:
    shares, right, seen, unseen = (
        noise[key] for key in ("fractions", "labels_right", "train_accuracy", "valid_accuracy")
    )
    if None in unseen:
        return [
            "Training diverged for some shares, so there is no curve to read. A smaller learning rate helps."
        ]
    rows = zip(shares, unseen, strict=True)
    listed = ", ".join(f"{100 * share:g} %: {percent(value)}" for share, value in rows)
    length = number_of(noise["epochs"], "epoch")
    said = [f"Share of shuffled labels and validation accuracy after {length}: {listed}."]
    if unseen[0] < 0.2 and shares[0] == 0:
        return [
            *said,
            "Even with true labels the network hardly learns within these epochs, so the curve says nothing about "
            "shuffled ones.",
        ]
    mixed = [place for place, share in enumerate(shares) if 0 < share < 1]
    if not mixed:
        return said
    most = max(mixed, key=lambda place: shares[place])
    said.append(
        f"With {100 * shares[most]:g} % of the labels shuffled, {percent(1 - right[most])} of them are wrong: "
        "some images get their own label back by chance."
    )
    if unseen[most] > max(0.5, 2 * right[most]):
        said.append(
            f"Only {percent(right[most])} of the labels are right, and yet the network is right on "
            f"{percent(unseen[most])} of images that it has never seen. The wrong labels are spread evenly over all "
            "other classes, so among images that look alike the right label is still the most frequent one. "
            "Whatever the wrong labels pull the network towards, they pull in all directions and nearly cancel; the "
            "right ones pull in one."
        )
        said.append(
            f"Its training accuracy is {percent(seen[most])}: it is compared with labels that are mostly wrong. A low "
            "training accuracy need not mean a bad network, if the labels are bad at random."
        )
    else:
        said.append(
            "In this run the network does not see through so much noise: its validation accuracy is "
            f"{percent(unseen[most])}."
        )
    if shares[-1] == 1 and unseen[-1] < 0.2:
        said.append(
            "With all labels shuffled, the right label is no more frequent than any other, and nothing is "
            "left to learn."
        )
    said.append(
        "Errors that agree are worse. If the wrong labels of each class all named the same other class, the network "
        "would learn that one as soon as it is more frequent than the right one."
    )
    return said


def _capacity(found: Mapping[str, Any]) -> list[str]:
    counts, best = found["examples"], found["best_train_accuracy"]
    widths = found["widths"]
    if None in best or None in widths["best_train_accuracy"]:
        return [
            "Training diverged for some runs, so there is no curve to read. A smaller learning rate helps."
        ]
    listed = ", ".join(f"{percent(value)} of {count:,}" for count, value in zip(counts, best, strict=True))
    said = [f"Memorised within {found['steps']:,} steps: {listed}."]
    number = [value * count for count, value in zip(counts, best, strict=True)]
    above = [max(0.0, value - 0.1) * count / 0.9 for count, value in zip(counts, best, strict=True)]
    most = max(range(len(counts)), key=lambda place: above[place])
    if max(best) < 0.2:
        said.append("That is hardly more than the tenth that is right by guessing.")
    else:
        said.append(
            f"A tenth is right by guessing. Beyond that, most was memorised of {counts[most]:,} examples: about "
            f"{above[most]:,.0f} labels ({number[most]:,.0f} are right). More steps would raise it; this is "
            f"what fits into {found['steps']:,}."
        )
    results = [
        f"{percent(value)} with {first} and {second} units"
        for (first, second), value in zip(widths["hidden"], widths["best_train_accuracy"], strict=True)
    ]
    said.append(
        f"Of the same {widths['examples']:,} examples, {widths['epochs']:,} epochs memorise {', '.join(results)}."
    )
    ends = widths["best_train_accuracy"]
    if ends[-1] > ends[0] + 0.05:
        said.append(
            "The wider the hidden layers, the more they memorise, but only with a learning rate that suits them: the "
            "cost is a sum, not a mean, so a step grows with the number of units that a sum adds up."
        )
    else:
        said.append(
            "In this run the wider networks did not memorise more; they need enough epochs to show it."
        )
    return said


#: The experiments that consist of many runs: name -> sentences on what the results hold under that name.
MANY_RUNS = {"label_noise": _label_noise, "capacity": _capacity}
