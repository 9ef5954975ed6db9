"""Events against words, on cases counted by hand; intervals of their counts."""

import numpy as np
import pytest
from scipy import stats

from m3net_jax.stats import detections, intervals
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
  assert score((3.4, 1), (5.2, 2)).found == (False, True, False)  # the third word has no class


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


@pytest.mark.parametrize('alarms', [0, 1, 6, 40])
def test_the_interval_of_false_alarms_is_exact(alarms):
  """At its ends a Poisson variable is as far out as what was counted in 2.5 % of the streams."""
  low, high = detections.per_hour_interval(alarms, 7200.0)
  assert stats.poisson.cdf(alarms, 2 * high) == pytest.approx(0.025)
  if alarms:
    assert stats.poisson.sf(alarms - 1, 2 * low) == pytest.approx(0.025)
  else:
    assert low == 0.0
  above = detections.per_hour_interval(alarms + 0.5, 7200.0)
  assert low < above[0] < detections.per_hour_interval(alarms + 1, 7200.0)[0] and high < above[1]


@pytest.mark.parametrize('together', [True, False])
def test_the_interval_of_several_lanes_holds_the_rate_of_other_streams(together):
  """Lanes that all give the same alarms, or each its own; 3 in half an hour are expected."""
  rng = np.random.default_rng(0)
  counts, of_stream = np.unique(
    rng.poisson(3.0, (4000, 1 if together else 4)).mean(1), return_inverse=True
  )
  ends = np.array([detections.per_hour_interval(count, 1800.0) for count in counts])
  low, high = ends[of_stream].T
  covered = ((low <= 6.0) & (6.0 <= high)).mean()
  assert covered >= 0.95 and (not together or covered < 0.99)


def lanes(found):
  """A score for every row of `found`, with nothing but its words."""
  return [
    detections.Score(len(row), sum(row), 0, 0, 60.0, (), (), tuple(row)) for row in found.tolist()
  ]


def test_the_interval_of_hits_is_for_other_words_too():
  """Lanes that find the same 80 of 100 words have no spread over seeds; the words have."""
  found = np.tile(np.arange(100) % 5 > 0, (6, 1))
  low, high = detections.hit_rate_interval(lanes(found), range(6))
  assert (low, high) == pytest.approx(
    stats.t.interval(0.95, 99, 0.8, stats.sem(found[0].astype(float))), abs=0.015
  )
  # Lanes of other words each: the spread is that of 600 words.
  own = np.stack([np.roll(found[0], lane) for lane in range(5)])
  narrow = detections.hit_rate_interval(lanes(own), range(5))
  assert narrow[1] - narrow[0] < 0.7 * (high - low)


@pytest.mark.parametrize('share', [0, 1])
def test_lanes_that_find_all_or_nothing_are_not_certain(share):
  found = np.full((4, 30), bool(share))
  ends = detections.hit_rate_interval(lanes(found), range(4))
  assert ends == pytest.approx(intervals.wilson(30 * share, 30))


def test_a_single_lane_has_the_interval_of_its_words():
  found = np.arange(20)[None] < 15
  expected = stats.binomtest(15, 20).proportion_ci(method='wilson')
  assert detections.hit_rate_interval(lanes(found), [0]) == pytest.approx(tuple(expected))
