"""The error that a user's mistake raises, and that of a recording."""


class UserError(Exception):
  """A mistake that the user can fix: the message names the flag or file, its value and the fix."""


class Unreadable(Exception):
  """A recording cannot be used; the message is the reason.

  Attributes:
    fix: what the user can do, as an imperative clause.
  """

  def __init__(self, reason: str, fix: str = 'record or copy it again'):
    super().__init__(reason)
    self.fix = fix
