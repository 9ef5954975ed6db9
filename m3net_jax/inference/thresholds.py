"""Chooses the constants of a detector on labelled streams, and draws its curve. Pure functions."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

from data_prep.features import Features
from data_prep.negatives import is_negative
from m3net_jax.inference import detector
from m3net_jax.inference.detector import ONE, Event, Settings
from m3net_jax.stats import detections
from m3net_jax.stats.detections import Score, Truth

SMOOTHS = (1, 2, 3, 4, 6)
MIN_WINDOWS = (1, 2, 3)
# Probabilities that are tried, closer to each other where they are close to 1.
LEVELS = tuple(round(ONE * (1 - 0.8 * 0.88**step)) for step in range(50))
_CONFIDENCE = 0.84  # one standard deviation
_SWEEPS = 2  # over the classes
_HOPELESS = 10.0  # times too many false alarms


class Heard(NamedTuple):
  """What a model says about a labelled stream.

  Attributes:
    stored: probabilities [windows, classes] uint16 of consecutive windows.
    truth: what was said.
  """

  stored: np.ndarray
  truth: Truth


def tolerance_of(settings: Settings, features: Features) -> float:
  """How long after a word's end an event still belongs to it, s.

  The last window that can hold the end of the word ends a clip later, and is in the mean for
  `smooth` more windows.
  """
  hop = settings.hop_frames * features.hop_length / features.sample_rate
  return features.clip_seconds + (settings.smooth - 1) * hop


def score(found: Sequence[Event], heard: Heard, settings: Settings, features: Features) -> Score:
  """The events of a stream against what was said."""
  times = detector.seconds(np.array([event.window for event in found], int), settings, features)
  labels = np.array([event.label for event in found], int)
  return detections.score(times, labels, heard.truth, tolerance_of(settings, features))


def measure(heard: Heard, settings: Settings, features: Features) -> Score:
  """What a detector finds in a stream."""
  return score(detector.events(heard.stored, settings), heard, settings, features)


def every_window(heard: Heard, classes: Sequence[str], settings: Settings) -> list[Event]:
  """What a loop without a detector reports: the class of every window that overlaps no other.

  Negatives are not reported. `Event.window` counts the windows of `heard`.
  """
  step = 1 + settings.refractory
  negative = np.array([is_negative(name) for name in classes])
  labels = heard.stored[::step].argmax(1)
  return [
    Event(number * step, int(label), int(heard.stored[number * step, label]))
    for number, label in enumerate(labels)
    if not negative[label]
  ]


def choose(
  streams: Sequence[Heard],
  start: Settings,
  features: Features,
  classes: Sequence[str],
  per_hour: float,
) -> Settings:
  """The constants that find the most words of validation streams.

  In none of the streams may the upper bound of `_CONFIDENCE` of the rate of false alarms (Poisson)
  be above `per_hour`: of the constants that keep a limit in a stream, the best ones were lucky
  there, and have more false alarms in another. First `smooth`,
  `min_windows` and one threshold for all classes are chosen from a grid, then the threshold of
  each class in turn is moved to its best place. Of equally good constants the strictest are taken.

  Args:
    start: hop and refractory, which stay.
  """
  reported = np.array([not is_negative(name) for name in classes])
  best: tuple[tuple[float, ...], Settings] | None = None
  for smooth in SMOOTHS:
    sums = [detector.totals(heard.stored, smooth) for heard in streams]
    for min_windows in MIN_WINDOWS:
      for level in reversed(LEVELS):
        tried = start._replace(
          smooth=smooth,
          min_windows=min_windows,
          thresholds=tuple(np.where(reported, level, 0).tolist()),
        )
        value = _value(streams, sums, tried, features, per_hour)
        if best is None or value > best[0]:
          best = value, tried
        if value[0] < -_HOPELESS * (1 + per_hour):
          break  # lower thresholds give more false alarms
  assert best is not None
  value, settings = best
  sums = [detector.totals(heard.stored, settings.smooth) for heard in streams]
  for _ in range(_SWEEPS):
    before = value
    for label in np.flatnonzero(reported):
      for level in LEVELS:
        moved = list(settings.thresholds)
        moved[label] = level
        tried = settings._replace(thresholds=tuple(moved))
        if (now := _value(streams, sums, tried, features, per_hour)) > value:
          value, settings = now, tried
    if value == before:
      break
  return settings


def _value(
  streams: Sequence[Heard],
  sums: Sequence[np.ndarray],
  settings: Settings,
  features: Features,
  per_hour: float,
) -> tuple[float, ...]:
  """What `choose` makes as large as it can."""
  hits, wrong, excess = 0, 0, 0.0
  for heard, total in zip(streams, sums):
    counts = score(detector.from_totals(total, settings), heard, settings, features)
    hits, wrong = hits + counts.hits, wrong + counts.wrong
    bound = stats.chi2.ppf(_CONFIDENCE, 2 * counts.false_alarms + 2) / 2 / counts.seconds * 3600
    excess = max(excess, bound - per_hour)
  # Where no constants keep the limit, those that break it least are taken.
  return -max(0.0, excess), hits - wrong, sum(settings.thresholds)


def curve(heard: Heard, settings: Settings, features: Features) -> list[tuple[float, float]]:
  """False alarms an hour and share of words found, while all thresholds rise together.

  Every threshold keeps its place between its chosen value and 0 or 1.
  """
  sums = detector.totals(heard.stored, settings.smooth)
  chosen = np.array(settings.thresholds) / ONE
  points = []
  for shift in np.linspace(-6.0, 6.0, 41):
    with np.errstate(divide='ignore'):
      odds = np.log(chosen / np.maximum(1 - chosen, 1 / ONE)) + shift
    moved = np.where(chosen > 0, np.clip(np.round(ONE / (1 + np.exp(-odds))), 1, ONE), 0)
    tried = settings._replace(thresholds=tuple(moved.astype(int).tolist()))
    counts = score(detector.from_totals(sums, tried), heard, settings, features)
    points.append((counts.per_hour, counts.hit_rate))
  return points
