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
  """Shows the progress of a study in lane-steps; lines stay below 80 columns.

  Args:
    total: lane-steps of the study.
    stream: where to write (default: standard error).
  """

  def __init__(self, total: int, stream: TextIO | None = None):
    self._stream = stream or sys.stderr
    self._total, self._done, self._timed = total, 0, 0
    self._start: float | None = None
    self._bar = auto.tqdm(
      total=total,
      file=self._stream,
      disable=None,  # except in a terminal or a notebook
      leave=_IN_NOTEBOOK,
      ncols=None if _IN_NOTEBOOK else 79,
      bar_format=None if _IN_NOTEBOOK else '{desc}  {percentage:3.0f}%|{bar}| {remaining} left',
    )

  @property
  def done(self) -> int:
    """Lane-steps taken."""
    return self._done

  def go_to(self, done: int) -> None:
    """Sets the number of lane-steps taken, by an earlier run for example."""
    self._done = done
    self._bar.initial = self._bar.n = self._done

  def advance(self, steps: int) -> None:
    """Counts lane-steps taken.

    The clock starts after the first call, which includes compiling.
    """
    self._done += steps
    first = self._start is None
    if first:
      self._start = time.monotonic()
      if not self._bar.disable:
        self._bar.unpause()
    else:
      self._timed += steps
    self._bar.update(steps)
    if first:
      self._bar.refresh()

  def rate(self) -> float | None:
    """Lane-steps per second since the first call of `advance`; None if unknown."""
    passed = time.monotonic() - self._start if self._start else 0.0
    return self._timed / passed if self._timed and passed else None

  def start(self, text: str) -> None:
    """Shows beside the bar what runs now; in a notebook the result of the last epoch stays."""
    if not (_IN_NOTEBOOK and self._bar.desc):
      self._bar.set_description_str(text)

  def end_epoch(self, text: str) -> None:
    """Shows the result of an epoch.

    In a notebook it is shown beside the bar, elsewhere on a line with the time left.
    """
    if _IN_NOTEBOOK:
      self._bar.set_description_str(text)
      return
    if rate := self.rate():
      left = duration((self._total - self._done) / rate)
      text += f'  {rate:.4g} lane-steps/s  {left} left'
    self.note(text[:79])

  def note(self, text: str) -> None:
    """Writes a permanent line, above the bar if there is a bar."""
    if self._bar.disable:
      self._stream.write(f'{text}\n')
      self._stream.flush()
    else:
      self._bar.write(text, file=self._stream)

  def close(self) -> None:
    """Ends the bar."""
    self._bar.close()
