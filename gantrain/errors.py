"""Errors and notices for the user."""


class UserError(Exception):
    """One line that says what was wrong, where, what was expected and what to do; the command exits with code 2."""


class Notice(UserWarning):
    """One line for the user about something that does not stop the command, which prints it without its source."""
