"""`python -m breaknet`."""

from .cli.commands import run

run()
