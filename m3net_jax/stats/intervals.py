"""Intervals of a mean and of a proportion.

Pure functions on numpy arrays of accuracies (fractions).
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

ALPHA = 0.05  # two-sided level of every decision and 1 - level of every interval


class MeanInterval(NamedTuple):
  """A mean over lanes; `std` and `interval` are None for a single lane.

  Attributes:
    mean: of the lanes.
    std: standard deviation of the lanes (ddof 1).
    interval: Student t 95 % interval of the mean.
  """

  mean: float
  std: float | None
  interval: tuple[float, float] | None


def mean_interval(values: ArrayLike) -> MeanInterval:
  """Mean, standard deviation (ddof 1) and Student t 95 % interval of the mean of values [lanes].

  Raises:
    ValueError: there are no values, or a value is not finite.
  """
  values = checked(values, 'values')
  mean = float(values.mean())
  if values.size == 1:
    return MeanInterval(mean, None, None)
  std = float(values.std(ddof=1))
  half_width = float(stats.t.ppf(1 - ALPHA / 2, values.size - 1)) * std / math.sqrt(values.size)
  return MeanInterval(mean, std, (mean - half_width, mean + half_width))


def wilson(correct: float, count: float) -> tuple[float, float]:
  """Wilson's 95 % interval of a share, as fractions: `correct` of `count`, such as test clips.

  Both may be fractions of one: a tie that counts half, or an effective number of observations.
  """
  square = float(stats.norm.ppf(1 - ALPHA / 2)) ** 2
  share = correct / count
  centre = share + square / (2 * count)
  half = math.sqrt(square * (share * (1 - share) / count + square / (4 * count**2)))
  scale = 1 + square / count
  return max(0.0, (centre - half) / scale), min(1.0, (centre + half) / scale)


def checked(values: ArrayLike, name: str) -> np.ndarray:
  """Converts values [lanes] to float64.

  Raises:
    ValueError: there are no values, or a value is not finite; it names the argument `name`.
  """
  values = np.asarray(values, dtype=np.float64)
  if values.ndim != 1 or values.size == 0 or not np.isfinite(values).all():
    raise ValueError(f'{name} must be a non-empty list of finite accuracies, got {values.tolist()}')
  return values
