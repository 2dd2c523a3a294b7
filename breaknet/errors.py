"""The errors of breaknet's own; wrong types and values are plain TypeError and ValueError."""


class BackendError(RuntimeError):
    """A backend or device that was asked for by name cannot be used, or cannot take the shapes given."""


class DataError(OSError):
    """Data or checkpoint files are missing, broken or of another kind."""
