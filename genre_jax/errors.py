"""What ends a command without a traceback: a mistake that the user can mend, or a signal."""


class UserError(Exception):
  """A mistake in a path, flag or file: the message names it, says what is wrong and what to do.

  Command lines print the message and exit with status 2.
  """


class Interrupted(Exception):
  """A signal ended training after a checkpoint; the argument is the signal's number."""
