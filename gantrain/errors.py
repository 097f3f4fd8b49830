"""Errors and notices whose text is meant for the user."""


class UserError(Exception):
    """An error the user can mend: one line on what was wrong, where, what was expected and what to do.

    The command line prints the line without a traceback and exits with code 2.
    """


class Diverged(UserError):
    """The training left the finite numbers. An earlier checkpoint is a place from which it may go another way."""


class Notice(UserWarning):
    """A line for the user about something that does not stop the command; it is printed without its source."""
