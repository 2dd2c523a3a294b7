"""Made-up results of a lesson, shaped like results.json, for the tests of figures and report."""

from typing import Any

import numpy as np

from breaknet.data.splits import Digits
from breaknet.lesson.experiments import CURVES, Lesson, Settings
from breaknet.lesson.fits import Logistic, fit_experiment

#: The curves over epochs in a lesson's figures/, without their endings; users rely on them.
FIGURE_NAMES = (
    "clean_cost", "clean_cost_fits", "shuffled_cost", "shuffled_accuracy", "hundred_cost", "hundred_valid_accuracy",
    "hundred_train_accuracy",
)  # fmt: skip
#: All figures that every lesson draws.
DRAWN = (*FIGURE_NAMES, "label_noise")


def made_results(
    data_source: str = "MNIST",
    valid_slope: float = 1e-4,
    train_slope: float = -3e-4,
    epochs: int = 100,
    scale: float = 1.0,
) -> dict[str, Any]:
    """A lesson whose clean costs go along straight lines from epoch 20 on, with the slopes given."""
    few, many = np.arange(epochs), np.arange(10 * epochs)
    late = np.maximum(few - 20, 0)
    early = 0.1 * np.exp(-few / 3) * (few < 20)
    shuffled = Logistic(0.033, 0.1, 0.43 * epochs, 0.113)(few)
    hundred = Logistic(0.85, 0.15 / (epochs / 10), 3.0 * epochs, 0.14)(many)
    experiments = {
        "clean": {
            "train_cost": 0.07 + early + train_slope * late,
            "valid_cost": 0.09 + early + valid_slope * late,
            "train_accuracy": 0.975 - early,
            "valid_accuracy": 0.948 - early,
        },
        "shuffled": {
            "train_cost": 0.901 - 0.009 * few / epochs,
            "valid_cost": 0.901 + 0.02 * few / epochs,
            "train_accuracy": shuffled,
            "valid_accuracy": 0.105 - 0.03 * few / epochs,
        },
        "hundred": {
            "train_cost": 0.9 * (1 - (hundred - 0.14) / 0.86),
            "valid_cost": 0.9 + 0.4 * many / len(many),
            "train_accuracy": hundred,
            "valid_accuracy": 0.09 + 0.0 * many,
        },
    }
    runs: dict[str, Any] = {}
    for name, curves in experiments.items():
        run: dict[str, Any] = {key: curve.tolist() for key, curve in curves.items()}
        runs[name] = {**run, "diverged_at": None, "stuck_at": None, "fits": fit_experiment(name, run)}
    noise = {
        "fractions": [0.0, 0.25, 0.5, 0.75, 0.9, 1.0],
        "labels_right": [1.0, 0.775, 0.55, 0.325, 0.19, 0.1],
        "train_accuracy": [0.94, 0.73, 0.515, 0.303, 0.166, 0.114],
        "valid_accuracy": [0.936, 0.935, 0.921, 0.893, 0.731, 0.106],
        "epochs": 10,
        "seeds": {"start": 0, "shuffle": 0},
    }
    results = Lesson(Digits(*3 * [None], "MNIST"), Settings(epochs_scale=scale))._empty_results()
    results["settings"]["epochs"] = {"clean": epochs, "shuffled": epochs, "hundred": 10 * epochs}
    return results | {
        "data_source": data_source,
        "versions": {"python": "3.11.2", "torch": "2.13.0"},
        "backend": "torch",
        "plan": "one by one",
        "device": "cpu",
        "seconds": {"data": 0.08, "training": 61.2, "total": 70.0},
        "experiments": runs,
        "label_noise": noise,
    }


def with_capacity(**changes: Any) -> dict[str, Any]:
    """The same, with what can be memorised; `changes` of that."""
    widths = {
        "examples": 10_000,
        "epochs": 500,
        "hidden": [[16, 16], [32, 32], [64, 64]],
        "learning_rates": [0.02, 0.0125, 0.0125],
        "best_train_accuracy": [0.366, 0.494, 0.633],
    }
    found = {
        "examples": [100, 300, 1_000, 3_000, 10_000],
        "epochs": [3_000, 1_000, 300, 100, 30],
        "steps": 3_000,
        "best_train_accuracy": [0.99, 0.957, 0.709, 0.234, 0.124],
        "widths": widths,
    }
    return made_results() | {"capacity": found | changes}


def diverged_results(at: int) -> dict[str, Any]:
    """The same, with the shuffled run diverged in epoch `at`."""
    results = made_results()
    run = results["experiments"]["shuffled"]
    for key in CURVES:
        run[key] = run[key][:at]
    run["diverged_at"] = at
    run["fits"] = fit_experiment("shuffled", run)
    return results
