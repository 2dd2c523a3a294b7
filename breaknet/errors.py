"""The errors of breaknet's own; wrong types and values are plain TypeError and ValueError."""


class BackendError(RuntimeError):
    """A backend or device that was asked for by name cannot be used, or cannot take the shapes given."""


class DataError(OSError):
    """Data or checkpoint files are missing, broken or of another kind."""


def shown(value: object) -> str:
    """A value that is refused, in one short line: arrays and the like by their type alone."""
    text = repr(value)
    return text if len(text) <= 200 and "\n" not in text else f"a {type(value).__name__}"
