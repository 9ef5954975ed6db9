"""Progress of a study: a bar in a terminal or a notebook, one line per epoch in a log."""

import sys
import time
from typing import TextIO

from tqdm import auto, notebook

_IN_NOTEBOOK = issubclass(auto.tqdm, notebook.tqdm_notebook)


def duration(seconds: float) -> str:
  """Seconds as 0:05, 12:34 or 1:02:03."""
  minutes, seconds = divmod(round(seconds), 60)
  hours, minutes = divmod(minutes, 60)
  return f'{hours}:{minutes:02}:{seconds:02}' if hours else f'{minutes}:{seconds:02}'


class Progress:
  """Counts the lane-steps of a whole study; lines stay below 80 columns."""

  def __init__(self, total: int, stream: TextIO | None = None):
    self._stream = stream or sys.stderr
    self._total, self._done, self._timed = total, 0, 0
    self._begun: float | None = None
    self._bar = auto.tqdm(
      total=total,
      file=self._stream,
      disable=None,  # except in a terminal or a notebook
      leave=_IN_NOTEBOOK,
      ncols=None if _IN_NOTEBOOK else 79,
      bar_format=None if _IN_NOTEBOOK else '{desc}  {percentage:3.0f}%|{bar}| {remaining} left',
    )

  def skip(self, steps: int) -> None:
    """Counts lane-steps of an earlier run."""
    self._done += steps
    self._bar.initial = self._bar.n = self._done

  def advance(self, steps: int) -> None:
    """Counts lane-steps taken. The clock starts after the first call, which waits for the compiler."""
    self._done += steps
    if self._begun is None:
      self._begun = time.monotonic()
      if not self._bar.disable:
        self._bar.unpause()
    else:
      self._timed += steps
    self._bar.update(steps)

  def rate(self) -> float | None:
    """Lane-steps per second since the first call returned."""
    passed = time.monotonic() - self._begun if self._begun else 0.0
    return self._timed / passed if self._timed and passed else None

  def start(self, text: str) -> None:
    """Says what comes now, beside the bar."""
    self._bar.set_description_str(text)

  def end_epoch(self, text: str) -> None:
    """Says how an epoch ended: in a notebook beside the bar, elsewhere as a line with the time left."""
    self._bar.set_description_str(text)
    if _IN_NOTEBOOK:
      return
    if rate := self.rate():
      left = duration((self._total - self._done) / rate)
      text += f'  {rate:.4g} lane-steps/s  {left} left'
    self.note(text[:79])

  def note(self, text: str) -> None:
    """Writes a line that stays, above the bar if there is one."""
    if self._bar.disable:
      self._stream.write(f'{text}\n')
      self._stream.flush()
    else:
      self._bar.write(text, file=self._stream)

  def close(self) -> None:
    """Ends the bar."""
    self._bar.close()
