"""Thresholds on made probabilities, where the best ones are known."""

import numpy as np

from data_prep.features import Features
from m3net_jax.inference import detector, thresholds
from m3net_jax.inference.detector import Settings
from m3net_jax.inference.thresholds import Heard
from m3net_jax.stats.detections import Truth

FEATURES = Features(sample_rate=1000, clip_seconds=1.0, n_fft=50, hop_length=50, n_mels=8)
CLASSES = ('no', 'yes', '_silence_')
START = Settings(5, 3, 1, 4, (26000, 26000, 0))  # a window every 0.25 s


def heard(level_no: float, level_yes: float, noise: float, minutes: int = 10) -> Heard:
  """A word every 10 s; its two windows have a level of its class, single other ones `noise`."""
  seconds = 60 * minutes
  windows = 1 + (seconds - 1) * 4
  p = np.zeros((windows, 3))
  starts = np.arange(5, seconds - 5, 10.0)
  labels = np.arange(len(starts)) % 2
  for start, label in zip(starts, labels):
    window = round((start - 0.5) * 4)  # ends at start + 0.5
    p[window : window + 2, label] = (level_no, level_yes)[label]
  p[40::80, 0] = noise  # no word is near
  p[:, 2] = 1 - p.sum(1)
  return Heard(detector.of_probabilities(p), Truth(starts, starts + 0.5, labels, float(seconds)))


def test_noise_is_kept_out_and_words_are_found():
  stream = heard(0.9, 0.7, 0.8)
  chosen = thresholds.choose([stream], START, FEATURES, CLASSES, 0.0)
  found = thresholds.measure(stream, chosen, FEATURES)
  assert (found.hits, found.false_alarms) == (found.words, 0)
  assert chosen.thresholds[2] == 0
  # What never overlaps names the noise too.
  loop = thresholds.every_window(stream, CLASSES, START)
  assert thresholds.score(loop, stream, START, FEATURES).false_alarms > 0


def test_the_limit_holds_in_every_stream():
  quiet, loud = heard(0.9, 0.7, 0.1), heard(0.6, 0.7, 0.85)
  # The upper 84 % bound of none in ten minutes is 11 an hour, of five 50.
  for limit, allowed in ((0.0, 0.0), (12.0, 0.0), (51.0, 30.0)):
    chosen = thresholds.choose([quiet, loud], START, FEATURES, CLASSES, limit)
    for stream in (quiet, loud):
      assert thresholds.measure(stream, chosen, FEATURES).per_hour <= allowed


def test_a_class_has_its_own_threshold(monkeypatch):
  # Without means or runs of windows only the thresholds can tell: 'no' must lie above the noise,
  # and 'yes' below it.
  monkeypatch.setattr(thresholds, 'SMOOTHS', (1,))
  monkeypatch.setattr(thresholds, 'MIN_WINDOWS', (1,))
  stream = heard(0.95, 0.5, 0.8)
  chosen = thresholds.choose([stream], START, FEATURES, CLASSES, 0.0)
  no, yes, _ = np.array(chosen.thresholds) / detector.ONE
  assert yes <= 0.5 < 0.8 < no <= 0.95
  assert thresholds.measure(stream, chosen, FEATURES).hit_rate == 1.0


def test_the_curve_goes_through_the_chosen_point():
  stream = heard(0.9, 0.7, 0.8)
  chosen = thresholds.choose([stream], START, FEATURES, CLASSES, 6.0)
  score = thresholds.measure(stream, chosen, FEATURES)
  points = thresholds.curve(stream, chosen, FEATURES)
  assert (score.per_hour, score.hit_rate) in points
  assert points[-1][1] < score.hit_rate
  assert points[0][0] >= points[-1][0]


def test_every_window_takes_those_that_overlap_no_other():
  p = np.zeros((9, 3))
  p[:, 2] = 1
  p[[0, 1, 5], 0] = 1
  p[[0, 1, 5], 2] = 0
  stream = Heard(detector.of_probabilities(p), Truth(np.zeros(0), np.zeros(0), np.zeros(0, int), 3))
  events = thresholds.every_window(stream, CLASSES, START._replace(refractory=3))
  assert [(event.window, event.label) for event in events] == [(0, 0)]
