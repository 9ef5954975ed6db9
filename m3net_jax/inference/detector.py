"""From the probabilities of overlapping windows to events: what was said, and when.

Whole numbers only, so that a computer, a microcontroller (`deploy/cc/detector.h`) and a page in the
browser find the same events. A probability p is stored as `ONE` * p.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from data_prep.errors import UserError
from data_prep.features import Features
from data_prep.negatives import is_negative

ONE = 32768  # the stored probability 1
MOST_WINDOWS = 16  # of `smooth` and `min_windows`
MOST_REFRACTORY = 255
_STEPS = 256  # differences of two int8 values
_LARGEST_POWER = 65535


class Settings(NamedTuple):
  """The constants of a detector.

  Attributes:
    hop_frames: frames of the features from one window to the next.
    smooth: windows over which probabilities are averaged.
    min_windows: windows in a row in which the mean must reach the threshold.
    refractory: windows after an event in which there is no other.
    thresholds: [classes], least mean of a class, `ONE` * p; 0: the class is never reported.
  """

  hop_frames: int
  smooth: int
  min_windows: int
  refractory: int
  thresholds: tuple[int, ...]

  def to_json(self, classes: Sequence[str]) -> dict[str, Any]:
    """The settings as JSON values, thresholds by class."""
    return {**self._asdict(), 'thresholds': dict(zip(classes, self.thresholds, strict=True))}

  @classmethod
  def from_json(cls, values: Mapping[str, Any], classes: Sequence[str]) -> 'Settings':
    """The inverse of `to_json`; ValueError if a value is absent or out of range."""
    try:
      thresholds = tuple(values['thresholds'][name] for name in classes)
      settings = cls(*(values[name] for name in cls._fields[:-1]), thresholds)
    except (KeyError, TypeError) as error:
      raise ValueError(f'detector: {error} is absent') from error
    limits = {
      'hop_frames': (1, 2**16),
      'smooth': (1, MOST_WINDOWS),
      'min_windows': (1, MOST_WINDOWS),
      'refractory': (0, MOST_REFRACTORY),
    }
    for name, (low, high) in limits.items():
      if type(value := getattr(settings, name)) is not int or not low <= value <= high:
        raise ValueError(f'detector: {name} {value!r} is not from {low} to {high}')
    for name, value in zip(classes, thresholds):
      if type(value) is not int or not 0 <= value <= ONE:
        raise ValueError(f'detector: the threshold of {name} {value!r} is not from 0 to {ONE}')
    return settings


class Event(NamedTuple):
  """A class that was reported.

  Attributes:
    window: position of the newest window, from 0.
    label: position of the class.
    score: its mean over the last windows, `ONE` * p, rounded down.
  """

  window: int
  label: int
  score: int


def default(classes: Sequence[str], features: Features, threshold: float = 0.8) -> Settings:
  """A detector that no data chose: a window every eighth of a clip, three of them averaged.

  After an event nothing is reported for a clip.
  """
  hop_frames = max(1, round(features.num_samples / 8 / features.hop_length))
  refractory = round(features.num_samples / (hop_frames * features.hop_length))
  stored = max(1, round(threshold * ONE))
  return Settings(
    hop_frames,
    3,
    1,
    min(refractory, MOST_REFRACTORY),
    tuple(0 if is_negative(name) else stored for name in classes),
  )


def powers(scale: float) -> np.ndarray:
  """exp(-scale * d) for the differences d = 0..255 of stored logits, [256] uint32, 65535 for d 0.

  Args:
    scale: of the int8 output, a logit per step.
  """
  return np.floor(_LARGEST_POWER * np.exp(-scale * np.arange(_STEPS)) + 0.5).astype(np.uint32)


def of_stored(stored: np.ndarray, scale: float) -> np.ndarray:
  """Probabilities [windows, classes] uint16 of int8 logits [windows, classes]."""
  differences = stored.max(1, keepdims=True).astype(np.int64) - stored
  terms = powers(scale)[differences].astype(np.int64)
  total = terms.sum(1, keepdims=True)
  return ((terms * ONE + total // 2) // total).astype(np.uint16)


def of_probabilities(probabilities: np.ndarray) -> np.ndarray:
  """Probabilities [windows, classes] as they are stored, uint16."""
  return np.floor(np.asarray(probabilities, np.float64) * ONE + 0.5).astype(np.uint16)


def totals(stored: np.ndarray, smooth: int) -> np.ndarray:
  """Sums over the last `smooth` windows, [windows, classes] int32; none before the first counts."""
  sums = np.cumsum(np.asarray(stored, np.int32), 0)
  sums[smooth:] -= sums[:-smooth].copy()
  return sums


def events(stored: np.ndarray, settings: Settings) -> list[Event]:
  """The events of a stream.

  Of several classes that may be reported, the one with the largest mean is; the first of equals.

  Args:
    stored: probabilities [windows, classes] of consecutive windows, as `of_stored` returns them.
  """
  return from_totals(totals(stored, settings.smooth), settings)


def from_totals(sums: np.ndarray, settings: Settings) -> list[Event]:
  """`events`, from the `totals` of a stream."""
  thresholds = np.array(settings.thresholds)
  above = (thresholds > 0) & (sums >= thresholds * settings.smooth)
  ready = above.copy()
  for back in range(1, settings.min_windows):
    ready[back:] &= above[:-back]
    ready[:back] = False
  windows = np.flatnonzero(ready.any(1))
  candidates = np.where(ready[windows], sums[windows], -1)
  found: list[Event] = []
  free = 0
  for window, label, total in zip(
    windows.tolist(), candidates.argmax(1).tolist(), candidates.max(1).tolist()
  ):
    if window >= free:
      found.append(Event(window, label, total // settings.smooth))
      free = window + 1 + settings.refractory
  return found


def seconds(window: int | np.ndarray, settings: Settings, features: Features) -> Any:
  """The end of a window in its stream, s: when an event is known."""
  samples = features.num_samples + window * settings.hop_frames * features.hop_length
  return samples / features.sample_rate


def check(settings: Settings, classes: Sequence[str]) -> None:
  """Raises UserError if the settings report no class."""
  if not any(settings.thresholds):
    raise UserError(f'none of the classes {", ".join(classes)} can be reported: all are negatives')
