"""The templates of the lesson's pages."""

from pathlib import Path
from typing import Any

TEMPLATES = Path(__file__).parent / "templates"


def template(name: str) -> Any:
    """A template of this package; what is put into it is escaped, and nothing may be missing."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(name)
