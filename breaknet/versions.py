"""The versions of Python and of the packages that can change a result or a time."""

import platform
from contextlib import suppress
from importlib import metadata

PACKAGES = ("breaknet", "torch", "numpy", "numba", "triton", "scipy", "matplotlib")


def versions(*more: str) -> dict[str, str]:
    """Version by name, "python" first; packages (`more` as well) that are not installed are left out."""
    found = {"python": platform.python_version()}
    for package in (*PACKAGES, *more):
        with suppress(metadata.PackageNotFoundError):
            found[package] = metadata.version(package)
    return found
