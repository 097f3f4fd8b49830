"""Errors that a user can act on."""


class UserError(Exception):
    """One line that says what was wrong, where, what was expected and what to do; the command exits with code 2."""
