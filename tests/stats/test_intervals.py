"""The interval of a mean against scipy."""

import numpy as np
import pytest
from scipy import stats

from m3net_jax.stats.intervals import mean_interval


def test_mean_interval_is_students():
  values = np.array([0.971, 0.968, 0.9745, 0.973])
  result = mean_interval(values)
  assert (result.mean, result.std) == pytest.approx((values.mean(), values.std(ddof=1)))
  assert result.interval == pytest.approx(
    stats.t.interval(0.95, 3, values.mean(), stats.sem(values))
  )
  assert mean_interval([0.9]) == (0.9, None, None)
