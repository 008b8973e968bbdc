"""The exceptions whose text is written for the user."""


class UsageError(Exception):
    """Something the user can put right: the command line prints it as one line and exits with code 2."""


class TrainingError(Exception):
    """Training cannot go on: the command line prints it as one line and exits with code 1."""
