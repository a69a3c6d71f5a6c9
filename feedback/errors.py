"""What goes wrong with data sets: bad input of theirs, or a place that cannot be written."""


class DataError(Exception):
    """A data set, a suite or a corpus that cannot be read, or must not be written; nothing was changed."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint
