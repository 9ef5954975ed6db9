"""The intervals of a mean and of a proportion against scipy and the formula."""

import numpy as np
import pytest
from scipy import stats

from m3net_jax.stats.intervals import mean_interval, wilson


def test_mean_interval_is_students():
  values = np.array([0.971, 0.968, 0.9745, 0.973])
  result = mean_interval(values)
  assert (result.mean, result.std) == pytest.approx((values.mean(), values.std(ddof=1)))
  assert result.interval == pytest.approx(
    stats.t.interval(0.95, 3, values.mean(), stats.sem(values))
  )
  assert mean_interval([0.9]) == (0.9, None, None)


def test_the_interval_of_a_proportion_is_wilsons():
  # Wilson (1927), by his formula.
  k, n, z = 480, 600, 1.959963984540054
  centre, half = (k / n + z**2 / 2 / n), z * np.sqrt(k / n * (1 - k / n) / n + z**2 / 4 / n**2)
  np.testing.assert_allclose(wilson(k, n), [(centre + s * half) / (1 + z**2 / n) for s in (-1, 1)])
