"""`python -m breaknet.cli`."""

from .commands import run

run()
