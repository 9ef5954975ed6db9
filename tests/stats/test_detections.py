"""Events against words, on cases counted by hand."""

import numpy as np

from m3net_jax.stats import detections
from m3net_jax.stats.detections import Truth

WORDS = Truth(
  np.array([1.0, 3.0, 5.0, 9.0]),
  np.array([1.5, 3.5, 5.5, 9.5]),
  np.array([0, 1, -1, 0]),
  1800.0,
)


def score(*events: tuple[float, int], tolerance: float = 1.0):
  times, labels = zip(*events) if events else ((), ())
  return detections.score(np.array(times), np.array(labels, int), WORDS, tolerance)


def test_hits_wrong_names_and_alarms():
  counted = score((1.7, 0), (1.9, 0), (3.2, 0), (3.4, 1), (5.2, 1), (7.0, 0), (10.5, 0))
  # 1.9 repeats a word, 5.2 is one that must not be reported, 7.0 is none.
  assert (counted.words, counted.hits, counted.wrong, counted.false_alarms) == (3, 3, 1, 3)
  assert counted.alarms == (1, 4, 5)
  np.testing.assert_allclose(counted.delays, (0.2, -0.1, 1.0))
  assert counted.per_hour == 6.0
  assert counted.hit_rate == 1.0


def test_a_word_is_misnamed_once():
  assert score((3.2, 0), (3.4, 2))[1:4] == (0, 1, 1)


def test_the_tolerance_ends_after_the_word():
  assert score((2.5, 0)).hits == 1
  assert score((2.51, 0))[1:4] == (0, 0, 1)
  assert score((0.99, 0))[1:4] == (0, 0, 1)


def test_of_two_words_the_earlier_is_found_first():
  near = Truth(np.array([1.0, 1.6]), np.array([1.5, 2.0]), np.array([0, 0]), 10.0)
  counted = detections.score(np.array([1.8, 2.0]), np.array([0, 0]), near, 1.0)
  np.testing.assert_allclose(counted.delays, (0.3, 0.0))


def test_a_long_word_before_short_ones():
  long = Truth(np.array([0.0, 1.0, 2.0]), np.array([9.0, 1.1, 2.1]), np.array([0, 1, 1]), 10.0)
  counted = detections.score(np.array([8.5]), np.array([0]), long, 0.5)
  assert counted.hits == 1


def test_no_events_and_no_words():
  assert score()[1:4] == (0, 0, 0)
  none = Truth(np.zeros(0), np.zeros(0), np.zeros(0, int), 60.0)
  counted = detections.score(np.array([1.0]), np.array([0]), none, 1.0)
  assert counted.per_hour == 60.0
  assert np.isnan(counted.hit_rate)
