"""The report's sentences on a run, chosen by its numbers.

`notice(results, name)` describes one experiment. No sentence assumes an outcome: a validation cost may rise,
fall or stay level, training may diverge, a fit may be missing, a run may be short.
"""

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from ..kernels.jobs import Shape
from ..model import INPUTS, OUTPUTS
from .experiments import BATCH_SIZE, HIDDEN, LEARNING_RATE
from .fits import FIRST_EPOCH_OF_LINES, Line, line_from, logistic_from
from .many_runs_sentences import MANY_RUNS
from .words import OF_DIGITS, cost, percent, slope_text, worded

Results = Mapping[str, Any]
Run = Mapping[str, Any]

#: A line that changes by less than this share of its level, from epoch 20 to the last, is called level.
LEVEL_SHARE = 0.03

#: The gap has opened once the validation cost is this many times the training cost.
OPEN_GAP = 1.2


#: Labels are memorised where the training accuracy has reached this; *hundred* does within so many epochs.
MEMORISED = 0.9
FULL_LENGTH = 1_000


def parameter_count(hidden: Sequence[int]) -> int:
    """Weights and biases of 784 inputs, two hidden layers and 10 outputs."""
    first, second = hidden
    return Shape(INPUTS, first, second, OUTPUTS).parameters


def notice(results: Results, name: str) -> list[str]:
    """Sentences on experiment `name`, in the order of the questions after it."""
    return [worded(said, results) for said in _notice(results, name)]


def _notice(results: Results, name: str) -> list[str]:
    if name in MANY_RUNS:
        return MANY_RUNS[name](results[name])
    run = results["experiments"][name]
    said = []
    if run["diverged_at"] is not None:
        said.append(
            f"Training diverged in epoch {run['diverged_at']}: some parameter was no longer a finite number, "
            "and the run ended there. Everything here is about the epochs before. A smaller learning rate "
            "helps."
        )
    if not run["train_cost"]:
        return [*said, "No epoch was completed, so there is nothing to see."]
    return said + {"clean": _clean, "shuffled": _shuffled, "hundred": _hundred}[name](results, run)


def alarms(results: Results) -> list[str]:
    """Faults because of which the lesson does not show what it should: a line each, none if all is well."""
    said = []
    rate = results["settings"].get("learning_rate")
    for name, run in results["experiments"].items():
        at = run.get("stuck_at")
        if at is not None:
            said.append(
                f"{name}: the network is stuck from epoch {at} on. Its units are saturated: it gives nearly every "
                "image the same answer, and its gradients are close to zero, so it learns nothing more. A smaller "
                "learning rate helps" + ("." if rate is None else f"; this one was {rate:g}.")
            )
    short = _too_short(results)
    return [*said, short] if short else said


def _too_short(results: Results) -> str:
    """That the run on 100 examples was too short to memorise them; "" if it was not, or failed otherwise."""
    run = results["experiments"].get("hundred")
    planned = results["settings"].get("epochs", {}).get("hundred", FULL_LENGTH)
    if (
        run is None
        or planned >= FULL_LENGTH
        or run["diverged_at"] is not None
        or run.get("stuck_at") is not None
    ):
        return ""
    if max(run["train_accuracy"]) >= MEMORISED:
        return ""
    enough = "More epochs may do it"
    network = tuple(results["settings"].get(key) for key in ("hidden", "learning_rate", "batch_size"))
    if results["data_source"] in OF_DIGITS and network == (list(HIDDEN), LEARNING_RATE, BATCH_SIZE):
        enough = f"With {FULL_LENGTH:,} epochs it does"
    return (
        f"hundred: {planned:,} epochs are too few to memorise 100 labels (the highest training accuracy is "
        f"{percent(max(run['train_accuracy']))}), so what this experiment claims does not show at this length. "
        f"{enough}; --epochs 20 shortens the other two experiments and keeps them."
    )


def _clean(results: Results, run: Run) -> list[str]:
    train, valid, last = run["train_cost"], run["valid_cost"], len(run["train_cost"]) - 1
    best = valid.index(min(valid))
    said = [
        f"After epoch {last} the cost per image is {cost(train[-1])} on the training set and "
        f"{cost(valid[-1])} on the validation set; the accuracy is {percent(run['train_accuracy'][-1])} and "
        f"{percent(run['valid_accuracy'][-1])}."
    ]
    if best == last:
        said.append(f"The validation cost is lowest, {cost(valid[best])}, after the last epoch of all.")
    else:
        near = next(epoch for epoch, value in enumerate(valid) if value <= 1.05 * valid[best])
        said.append(
            f"The validation cost first comes within 5 % of its lowest value after epoch {near}. It is "
            f"lowest, {cost(valid[best])}, after epoch {best}, and ends "
            f"{percent(valid[-1] / valid[best] - 1)} above that."
        )
    lines = [line_from(run["fits"].get(f"{part}_cost_line")) for part in ("train", "valid")]
    if lines[0] is None or lines[1] is None:
        said.append(
            f"There are no lines to compare: they are fitted from epoch {FIRST_EPOCH_OF_LINES} on and need "
            "two epochs there. So few epochs show no long run."
        )
    else:
        said += _clean_lines(lines[0], lines[1], last)
    ratio = valid[-1] / max(train[-1], 1e-12)
    if ratio > OPEN_GAP:
        said.append(
            f"At the end the validation cost is {ratio:.1f} times the training cost. That gap is what the "
            "network knows about the training images and about no others."
        )
    else:
        said.append("At the end the two costs still lie close together: the gap has not opened in this run.")
    return said


def _clean_lines(train: Line, valid: Line, last: int) -> list[str]:
    moves = movement(train, last), movement(valid, last)
    texts = [
        f"{moves} (slope {slope_text(line.slope)} an epoch, {100 * relative_change(line, last):+.1f} % to the end)"
        for line, moves in zip((train, valid), moves, strict=True)
    ]
    said = [
        f"From epoch {FIRST_EPOCH_OF_LINES} on, the line through the training cost {texts[0]}, "
        f"and the line through the validation cost {texts[1]}."
    ]
    if moves[0] != "falls":
        said.append(
            "The training cost has stopped falling in this run, so it cannot show what over-fitting looks "
            "like: that would need a training cost that goes on falling while the validation cost does not."
        )
    elif moves[1] == "rises":
        said.append(
            "This is over-fitting in plain sight: whatever the network still learns makes it better on "
            "the images that it is trained on and worse on all others."
        )
    elif moves[1] == "is nearly level":
        said.append(
            "This is over-fitting: the network still gets better on the images that it is trained on, and no "
            "better on others. What it learns by now holds for those images alone."
        )
    elif relative_change(valid, last) > relative_change(train, last) + LEVEL_SHARE:
        said.append(
            "Both costs still fall, the validation cost more slowly: over-fitting begins, but what is "
            "learned still helps a little on unseen images."
        )
    else:
        said.append(
            "Both costs fall about equally: no over-fitting is visible yet. More epochs would show whether "
            "the curves separate."
        )
    return said


def relative_change(line: Line, last: int) -> float:
    """The line's change from epoch 20 to epoch `last`, as a share of its value at epoch 20."""
    level = abs(line.slope * FIRST_EPOCH_OF_LINES + line.intercept)
    return line.slope * (last - FIRST_EPOCH_OF_LINES) / max(level, 1e-12)


def movement(line: Line, last: int) -> str:
    """ "rises", "falls" or "is nearly level" from epoch 20 to epoch `last`."""
    change = relative_change(line, last)
    if abs(change) < LEVEL_SHARE:
        return "is nearly level"
    return "rises" if change > 0 else "falls"


def _shuffled(results: Results, run: Run) -> list[str]:
    train, valid = run["train_cost"][-1], run["valid_cost"][-1]
    right, unseen = run["train_accuracy"][-1], run["valid_accuracy"][-1]
    costs = (
        "A network that ignores the image and answers 1/10 on every output has a cost of 0.90 per image. "
        f"The training cost ends at {cost(train)}, {_beside_chance(train)}; the validation cost ends at "
        f"{cost(valid)}, {_beside_chance(valid)}."
    )
    clean = results["experiments"].get("clean")
    if clean and clean["train_cost"]:
        ends = f"{cost(clean['train_cost'][-1])} and {cost(clean['valid_cost'][-1])}"
        costs += f" With true labels the same network reached {ends}."
    guessing = "Guessing among ten digits is right in 10 % of all cases."
    if results["data_source"] == "MNIST":
        guessing += " Always answering MNIST's most frequent digit, the 1, is right in about 11 %."
    said = [costs, guessing]
    if right > 0.12:
        said.append(
            f"The training accuracy ends at {percent(right)}, better than guessing. The labels say nothing "
            "about the images, so nothing was understood: the network has memorised a part of the labels."
        )
    else:
        said.append(f"The training accuracy ends at {percent(right)}: hardly better than guessing.")
    side = "below" if unseen < 0.09 else "above" if unseen > 0.11 else "about the same as"
    said.append(
        f"The validation accuracy ends at {percent(unseen)}, {side} guessing. The shuffled labels contain nothing "
        "that could help here. The network gives whole groups of similar images the same answer, and which "
        "answer depends on the shuffle, so the accuracy can end a few points above or below 10 %."
    )
    said.append(_fit_sentence(run))
    fit = logistic_from(run["fits"].get("train_accuracy_logistic"))
    if right < 0.5 and fit is not None and fit.levels_off_within(len(run["train_accuracy"])):
        said.append(
            f"Why so little? Labels without a rule can only be stored one by one, and the network has "
            f"{parameter_count(results['settings']['hidden']):,} parameters to store them in. The training "
            f"set has {_examples(results):,} labels: too many for that memory, at least with this training rule."
        )
    return said


def _examples(results: Results) -> int:
    """The number of training examples."""
    count: int = results["settings"].get("examples", 50_000)
    return count


def _beside_chance(value: float) -> str:
    if value < 0.87:
        return "clearly below that"
    if value < 0.895:
        return "a little below that"
    if value <= 0.905:
        return "the same within 0.005"
    return "above that, worse than the constant answer"


def _hundred(results: Results, run: Run) -> list[str]:
    accuracy, unseen = run["train_accuracy"], run["valid_accuracy"]
    best = accuracy.index(max(accuracy))
    said = [
        f"The training accuracy is highest, {percent(accuracy[best])}, first after epoch {best}. At that "
        f"moment the validation accuracy is {percent(unseen[best])}; at the end it is {percent(unseen[-1])}."
    ]
    if accuracy[best] >= MEMORISED:
        said.append(
            "The network has memorised the labels of its 100 images, although there is no rule in them, and "
            "what it learned is useless for any other image."
            if unseen[-1] < 0.2
            else "The network has memorised the labels of its 100 images."
        )
    else:
        said.append("The network has not memorised its 100 labels in this run; it may need more epochs.")
    if run["valid_cost"][-1] > 0.95 and unseen[-1] < 0.5:
        said.append(
            f"The validation cost ends at {cost(run['valid_cost'][-1])}, more than the 0.90 of the "
            "constant answer: the network has become sure of its answers, and they are mostly wrong."
        )
    said.append(_fit_sentence(run))
    shuffled = results["experiments"].get("shuffled")
    if shuffled and shuffled["train_accuracy"] and max(shuffled["train_accuracy"]) < accuracy[best] - 0.2:
        parameters = parameter_count(results["settings"]["hidden"])
        said.append(
            f"With all shuffled examples the training accuracy did not pass "
            f"{percent(max(shuffled['train_accuracy']))}. The network has {parameters:,} parameters: "
            f"{parameters // 100:,} for each of 100 labels, but {parameters / _examples(results):.2g} for each "
            f"of all {_examples(results):,}. Wider hidden layers memorise more labels, given a smaller learning rate "
            "and more epochs, and know no more about other images."
        )
    return [*said, _late(unseen)]


def _late(unseen: Sequence[float]) -> str:
    """Whether the validation accuracy rises over the last four tenths of the run, and towards what."""
    epochs = len(unseen)
    if epochs < 50:
        return "The run is too short for a late rise of the validation accuracy."
    first = 6 * epochs // 10
    tenth = epochs // 10
    early, late = fmean(unseen[first : first + tenth]), fmean(unseen[-tenth:])
    span = f"from {percent(early)} just after epoch {first} to {percent(late)} at the end"
    if late - early <= 0.003:
        kind = "falls" if early - late > 0.003 else "hardly moves"
        moves = f"it {kind}, {span} (means of {tenth} epochs)"
        return f"Late in this run the validation accuracy does not rise: {moves}."
    towards = (
        " It drifts towards the 10 % of guessing: the better the network knows its 100 images, the more its "
        "answer to any other image is chance."
        if abs(late - 0.1) < abs(early - 0.1)
        else " It does not come closer to the 10 % of guessing, so chance is the better explanation."
    )
    return f"Late in this run the validation accuracy rises, {span} (means of {tenth} epochs).{towards}"


def _fit_sentence(run: Run) -> str:
    fit = logistic_from(run["fits"].get("train_accuracy_logistic"))
    if fit is None:
        return "No logistic curve could be fitted to the training accuracy of this run."
    if fit.levels_off_within(len(run["train_accuracy"])):
        return (
            f"The logistic curve fitted to the training accuracy levels off at {fit.capacity_text}, its "
            "carrying capacity."
        )
    return (
        f"The logistic curve fitted to the training accuracy would level off at {fit.capacity_text}, but "
        "only after the end of this run: that is extrapolation, and says little about where the accuracy "
        "would end."
    )


def closing(results: Results) -> list[str]:
    """Sentences that name over-fitting and look back for it in the clean run."""
    run = results["experiments"].get("clean")
    said = [
        "Over-fitting is the name for what you have seen: a model becomes better and better at its training "
        "examples without becoming better at the task. With 100 shuffled labels nothing else is possible, "
        "since there is no task behind them."
    ]
    if not run or not run["train_cost"]:
        return said
    ratio = run["valid_cost"][-1] / max(run["train_cost"][-1], 1e-12)
    if ratio > OPEN_GAP:
        said.append(
            "It was there in the clean run already: with true labels the network ended at a cost of "
            f"{cost(run['train_cost'][-1])} on the training images and {cost(run['valid_cost'][-1])} on the "
            "validation images. Only a validation set, which training never uses, can show it."
        )
    else:
        said.append(
            "In this clean run the two costs stayed close together, so there is little of it to see there. "
            "Only a validation set, which training never uses, can show it."
        )
    return said
