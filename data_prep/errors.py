"""The one error that a user's mistake raises."""


class UserError(Exception):
  """A mistake that the user can fix: the message names the flag or file, its value and the fix."""
