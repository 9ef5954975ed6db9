"""One line that says what is being done, how far it is and how long it still takes.

On a terminal the line is rewritten in place; in a log every epoch leaves a line.
"""
import sys
import time


def duration(seconds: float) -> str:
  """0:05, 12:34, 1:02:03."""
  minutes, seconds = divmod(round(seconds), 60)
  hours, minutes = divmod(minutes, 60)
  return f'{hours}:{minutes:02}:{seconds:02}' if hours else f'{minutes}:{seconds:02}'


class Progress:
  """Counts lane-steps of a whole study; lines stay below 80 columns."""

  def __init__(self, total: int, stream=None):
    self._total, self._done, self._timed = total, 0, 0
    self._stream = stream or sys.stderr
    self._live = self._stream.isatty()
    self._begun: float | None = None
    self._line = ''

  def skip(self, steps: int) -> None:
    """Counts lane-steps that an earlier run took."""
    self._done += steps

  def advance(self, steps: int) -> None:
    """Counts lane-steps taken. The clock starts after the first, which waits for the compiler."""
    self._done += steps
    if self._begun is None:
      self._begun = time.monotonic()
    else:
      self._timed += steps
    if self._live and self._line:
      self.show(self._line)

  def rate(self) -> float | None:
    """Lane-steps a second since the first call returned."""
    passed = time.monotonic() - self._begun if self._begun else 0.0
    return self._timed / passed if self._timed and passed else None

  def show(self, line: str, keep: bool = False) -> None:
    """Shows `line` with rate and time left; `keep` leaves it on the screen, and a log gets only kept lines."""
    self._line = line
    if rate := self.rate():
      line += f'  {rate:.4g} lane-steps/s  {duration((self._total - self._done) / rate)} left'
    if self._live:
      self._stream.write(f'\r\x1b[2K{line[:79]}' + ('\n' if keep else ''))
    elif keep:
      self._stream.write(line + '\n')
    self._stream.flush()
