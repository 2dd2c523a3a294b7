"""`load_mnist`: MNIST from the cache, a mirror, or local files; or the synthetic digits."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ..errors import DataError, shown
from . import cache, idx
from .arrays import from_arrays, is_pair
from .local import open_local, recognised
from .splits import Digits, just_loaded

#: Where MNIST is asked for, in this order: PyTorch's copy, the CVDF's, and the file of PyTorch's tutorial.
MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist",
    "https://storage.googleapis.com/cvdf-datasets/mnist",
    "https://github.com/pytorch/tutorials/raw/main/_static/mnist.pkl.gz",
)

SYNTHETIC = "synthetic"

#: A download's file in the cache folder.
KEPT_AS = "mnist.digits"


def load_mnist(
    source: Any = None,
    *,
    cache_dir: str | os.PathLike[str] | None = None,
    mirrors: Sequence[str] | None = None,
) -> Digits:
    """MNIST: 50,000 images to train on (the first of the training file), 10,000 to validate, 10,000 to test.

    Args:
        source: a folder with the four IDX files (gzipped or not), an `mnist.pkl.gz`, Keras's `mnist.npz`, a
            CSV table as Kaggle's `train.csv` (a label, then 784 pixels a row; or scikit-learn's digits.csv), a
            folder that holds one of these, or the word "synthetic" for digits drawn from fonts. Local data of
            other size or content is taken if well-formed; of IDX, npz and CSV, the last sixth of the training rows
            then validates. Or arrays: a pair (images, labels), such as scikit-learn's
            `load_digits(return_X_y=True)`, or a pair of pairs to train on and to test on, such as Keras's
            `load_data()`; images of another size are scaled to 20 x 20 in the middle of 28 x 28.
            None: what the environment variable BREAKNET_DATA names, else the cached
            MNIST, else a download. Only downloads and synthetic digits are cached.
        cache_dir: where they are cached; None: the user's cache folder.
        mirrors: addresses to download from, in this order, each a folder with the four gzipped IDX files or
            an `mnist.pkl.gz`. None: the comma-separated list in BREAKNET_MIRRORS, else `MIRRORS`.

    Returns:
        Three splits of uint8 images [N, 784] and uint8 labels [N]; `.source` is "MNIST" where all four files
        hash to the published values, "local: NAME" for other local data, or "synthetic digits".

    Raises:
        DataError: for local files that are missing, broken or foreign, and where no mirror gives MNIST. That
            no mirror answers is found out within 10 seconds.
        TypeError, ValueError: for arguments of another kind.
    """
    if is_pair(source):
        return recognised(from_arrays(source), "arrays")
    if source is not None and not isinstance(source, (str, os.PathLike)):
        raise TypeError(f'source: a folder, a file, "{SYNTHETIC}" or None, not {shown(source)}')
    if source == "":
        raise ValueError(f'source: a folder, a file or "{SYNTHETIC}", not an empty string')
    servers = _checked_mirrors(mirrors)
    kept_in = cache.folder(cache_dir) if cache_dir is not None else None
    if source is None:
        source = os.environ.get("BREAKNET_DATA") or None
    if source == SYNTHETIC:
        from .synthetic import synthetic_digits

        return just_loaded(synthetic_digits(kept_in))
    if source is not None:
        return just_loaded(open_local(Path(source).expanduser()))

    def fetch() -> Digits:
        from .download import download

        return download(servers or _mirrors_in_environment() or MIRRORS)

    file = (kept_in or cache.folder(None)) / KEPT_AS
    return just_loaded(cache.opened_or_made(file, "MNIST", fetch, idx.has_mnist_labels))


def _checked_mirrors(mirrors: object) -> tuple[str, ...]:
    """The argument `mirrors` as a tuple, empty for None."""
    if mirrors is None:
        return ()
    if isinstance(mirrors, str) or not isinstance(mirrors, Sequence):
        raise TypeError(f"mirrors: a list of addresses or None, not {mirrors!r}")
    if not mirrors:
        raise ValueError("mirrors: at least one address, or None for the usual ones")
    for mirror in mirrors:
        if not isinstance(mirror, str):
            raise TypeError(f"mirrors: addresses as strings, not {mirror!r}")
    return _addresses(mirrors, "mirrors", ValueError)


def _mirrors_in_environment() -> tuple[str, ...]:
    """The addresses in BREAKNET_MIRRORS, empty where it is not set."""
    listed = [mirror.strip() for mirror in os.environ.get("BREAKNET_MIRRORS", "").split(",")]
    return _addresses([mirror for mirror in listed if mirror], "BREAKNET_MIRRORS", DataError)


def _addresses(mirrors: Sequence[str], what: str, error: type[Exception]) -> tuple[str, ...]:
    for mirror in mirrors:
        try:
            parts = urlsplit(mirror)
        except ValueError:  # such as an unclosed bracket
            parts = urlsplit("")
        if parts.scheme not in {"http", "https"} or not parts.netloc:
            raise error(f"{what}: http:// or https:// addresses, not {mirror!r}")
    return tuple(mirrors)
