"""An exercise's cell in both versions: blank for students, solved for instructors.

The solution stands between lines `### BEGIN SOLUTION` and `### END SOLUTION`, several times in a cell if need be.
"""

import re

_SOLUTION = re.compile(r"^ *### BEGIN SOLUTION\n(.*?)^ *### END SOLUTION(?:\n|\Z)", re.MULTILINE | re.DOTALL)


def blank(code: str) -> str:
    """`code` without the solutions in it."""
    return _SOLUTION.sub("", code)


def solved(code: str) -> str:
    """`code` without the lines that mark the solutions."""
    return _SOLUTION.sub(r"\1", code)
