"""The error that a user can mend: command lines print its message without a traceback and exit 2."""


class UserError(Exception):
  """A mistake in a path, flag or file: the message names it, says what is wrong and what to do."""
