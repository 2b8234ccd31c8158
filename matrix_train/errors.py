"""The one-line error for users."""


class UserError(Exception):
    """A mistake the user can mend. The message is one line and says what to do; the command line prints only that."""
