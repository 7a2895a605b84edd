"""The one error for what a user can cause and correct."""


def first_line(error: Exception) -> str:
    """The start of an error's text, to be quoted; its type if it has none."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:300]


class InputError(ValueError):
    """Something the user gave cannot be used.

    The message is one text for a person: what was expected, what came, what to do.
    `run.py` prints it without a traceback and exits with 2.
    """
