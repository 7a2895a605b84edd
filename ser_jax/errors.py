"""The one error a user can cause and mend."""


class InputError(ValueError):
    """Something the user gave cannot be used.

    The message is one text for a person: what was expected, what came, what to do.
    `run.py` prints it without a traceback and exits with 2.
    """
