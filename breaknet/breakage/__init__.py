"""Ways to break data: pure functions from a Split to a Split, and the text that composes them.

    from breaknet.breakage import missing_class, shuffle_labels
    bad = missing_class(shuffle_labels(digits.train, 0.3), 7)
    bad = breaknet.break_data(digits, "shuffle_labels(0.3) + missing_class(7)").train       # the same

registry.py   parameters with their ranges, and the decorator that checks arguments and records what was applied
labels.py     labels and the choice of examples: what the network is told
images.py     pixels: what the network sees
recipe.py     the text form and `break_data`
picture.py    digits and labels before and after
"""

from .images import invert, leak, occlude, permute_pixels, pixel_noise, rotate, shift
from .labels import (
    duplicates,
    fewer_examples,
    flip_labels,
    imbalance,
    mislabel_class,
    mislabel_hardest,
    missing_class,
    shuffle_labels,
)
from .recipe import Step, break_data, parse
from .registry import BREAKAGES, PARTS, Breakage, Parameter

__all__ = [
    "BREAKAGES",
    "PARTS",
    "Breakage",
    "Parameter",
    "Step",
    "break_data",
    "duplicates",
    "fewer_examples",
    "flip_labels",
    "imbalance",
    "invert",
    "leak",
    "mislabel_class",
    "mislabel_hardest",
    "missing_class",
    "occlude",
    "parse",
    "permute_pixels",
    "pixel_noise",
    "rotate",
    "shift",
    "shuffle_labels",
]
