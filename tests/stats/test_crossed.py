"""The crossed bootstrap: counts by hand; coverage for other seeds and other speakers."""

import numpy as np
import pytest
from scipy import stats

from m3net_jax.stats import crossed, intervals


def test_clips_are_counted_by_lane_and_group():
  right = [np.array([True, False, True]), np.array([True, True])]
  groups = [np.array([0, 0, 2]), np.array([1, 2])]
  correct, tested = crossed.by_group(right, groups)
  assert correct.tolist() == [[1, 0, 1], [0, 1, 1]]
  assert tested.tolist() == [[2, 0, 1], [0, 1, 1]]


def test_it_is_the_same_every_time_and_none_without_two_seeds_or_groups():
  rng = np.random.default_rng(0)
  correct, tested = rng.integers(0, 3, (6, 30)).astype(float), np.full((6, 30), 3.0)
  first = crossed.interval(correct, tested, range(6))
  assert first == crossed.interval(correct, tested, range(6))
  assert first[0] < correct.mean() / 3 < first[1]
  assert crossed.interval(correct[:1], tested[:1], [0]) is None
  assert crossed.interval(correct[:, :1], tested[:, :1], range(6)) is None


def test_without_a_difference_between_clips_it_is_nearly_students_over_seeds():
  """Every group of a lane has the same accuracy, so only seeds differ."""
  accuracy = np.random.default_rng(1).normal(0.8, 0.02, 14)
  correct = np.repeat(50 * accuracy[:, None], 40, 1)
  low, high = crossed.interval(correct, np.full((14, 40), 50.0), range(14))
  expected = intervals.mean_interval(accuracy).interval
  assert (low, high) == pytest.approx(expected, abs=0.002)


@pytest.mark.parametrize('lanes', [8, 12])
def test_it_is_as_wide_as_students_t_for_few_seeds(lanes):
  """Without widening it would be narrower by a factor of 0.77 (8 lanes) or 0.84."""
  accuracy = 0.8 + 0.02 * stats.norm.ppf((np.arange(lanes) + 0.5) / lanes)  # symmetric
  correct = np.repeat(50 * accuracy[:, None], 40, 1)
  low, high = crossed.interval(correct, np.full((lanes, 40), 50.0), range(lanes))
  half = intervals.mean_interval(accuracy).interval[1] - 0.8
  assert high - 0.8 == pytest.approx(half, rel=0.045)
  assert 0.8 - low == pytest.approx(half, rel=0.045)


def test_without_a_difference_between_seeds_it_is_nearly_students_over_groups():
  accuracy = np.random.default_rng(2).uniform(0.6, 1.0, 20)
  correct = np.repeat(30 * accuracy[None], 5, 0)
  low, high = crossed.interval(correct, np.full((5, 20), 30.0), range(5))
  assert (low, high) == pytest.approx(
    stats.t.interval(0.95, 19, accuracy.mean(), stats.sem(accuracy)), abs=0.008
  )


def test_lanes_of_a_seed_on_several_folds_are_drawn_together():
  rng = np.random.default_rng(3)
  seed_effect = rng.normal(0, 0.05, 4)
  correct = np.concatenate([np.repeat(40 * (0.8 + seed_effect[:, None]), 30, 1)] * 2, 0)
  tested = np.full((8, 30), 40.0)
  together = crossed.interval(correct, tested, [0, 1, 2, 3] * 2)
  apart = crossed.interval(correct, tested, range(8))
  assert together[1] - together[0] > 1.3 * (apart[1] - apart[0])


def test_degrees_of_freedom_are_satterthwaites():
  rng = np.random.default_rng(5)
  accuracy = rng.normal(0.7, 0.05, (6, 1)) + rng.normal(0, 0.1, (1, 9))
  tested = rng.integers(20, 60, 9) * np.ones((6, 1))
  correct = accuracy * tested
  means = correct.sum(1) / tested.sum(1)
  seeds = means.var(ddof=1) / 6
  # The mean over lanes as a function of the weights of the groups, differentiated by hand.
  moved = ((correct - means[:, None] * tested) / tested.sum(1)[:, None]).mean(0)
  groups = 9 * moved.var(ddof=1)
  expected = (seeds + groups) ** 2 / (seeds**2 / 5 + groups**2 / 8)
  assert crossed._degrees_of_freedom(correct, tested, np.arange(6), 6) == pytest.approx(expected)
  # Two lanes of every seed, on two folds: the seed's mean counts.
  twice = [np.concatenate([array, array]) for array in (correct, tested)]
  assert crossed._degrees_of_freedom(*twice, np.tile(np.arange(6), 2), 6) == pytest.approx(expected)
  same = np.full((6, 9), 10.0)
  assert crossed._degrees_of_freedom(0.5 * same, same, np.arange(6), 6) == 5
