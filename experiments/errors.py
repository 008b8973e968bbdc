"""The exceptions whose text is written for the user."""


class UsageError(Exception):
    """Something the user can put right: the command line prints it as one line and exits with code 2."""


class TrainingError(Exception):
    """Training cannot go on: the command line prints it as one line and exits with code 1."""

    def __init__(self, message: str, details: str = "") -> None:
        """Args: message: one line.  details: printed before it, such as the traceback of an environment."""
        super().__init__(message)
        self.details = details
