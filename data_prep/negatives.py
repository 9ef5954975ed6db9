"""Classes that train and count, and that a detector never reports."""

SILENCE, UNKNOWN = '_silence_', '_unknown_'
NEGATIVES = (SILENCE, UNKNOWN)


def is_negative(name: str) -> bool:
  """Whether a class stands for what is not to be reported: silence, or other sounds and words."""
  return name in NEGATIVES
