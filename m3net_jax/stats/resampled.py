"""Tests and intervals over several splits of one corpus: folds, or splits that seeds draw.

The splits of a corpus share clips, so their accuracies are not independent, and the variance of
their mean is larger than the usual one. C. Nadeau and Y. Bengio, Inference for the Generalization
Error, Machine Learning 52, 2003, Section 3, correct it: (1/n + test clips / training clips) times
the variance over the n splits. It speaks about other recordings of the same kind. The correction
assumes a correlation of two splits, test / (train + test), and can be too cautious.
"""

import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from m3net_jax.stats import intervals, wilcoxon
from m3net_jax.stats.intervals import ALPHA, MeanInterval, checked
from m3net_jax.stats.wilcoxon import Test

Lanes = Mapping[tuple[int, Hashable], float]  # {(seed, split): test accuracy}


def ratio_of(sizes: Sequence[Mapping[str, int]]) -> float | None:
  """Test clips / training clips, the mean over the splits; None for a study of one split.

  Args:
    sizes: 'train' and 'test' clips of every split.
  """
  if len(sizes) < 2:
    return None
  return float(np.mean([size['test'] / size['train'] for size in sizes]))


def by_split(lanes: Lanes) -> dict[Hashable, float]:
  """{split: mean over its seeds}: seeds of one split are replicates, not observations."""
  return _means((split, accuracy) for (_, split), accuracy in lanes.items())


def by_seed(lanes: Lanes) -> dict[int, float]:
  """{seed: mean over its splits}."""
  return _means((seed, accuracy) for (seed, _), accuracy in lanes.items())


def _means(accuracies: Iterable[tuple[Any, float]]) -> dict[Any, float]:
  grouped: dict[Any, list[float]] = {}
  for key, accuracy in accuracies:
    grouped.setdefault(key, []).append(accuracy)
  return {key: float(np.mean(values)) for key, values in grouped.items()}


def over_lanes(lanes: Lanes, ratio: float | None) -> MeanInterval:
  """Mean and deviation of all lanes, with the interval over what counts as one observation.

  Args:
    ratio: of `ratio_of`; None: every lane is an observation, otherwise every split is one.

  Raises:
    ValueError: there are no lanes, or an accuracy is not finite.
  """
  lane_interval = intervals.mean_interval(list(lanes.values()))
  if ratio is None:
    return lane_interval
  return lane_interval._replace(interval=interval(list(by_split(lanes).values()), ratio))


def interval(values: ArrayLike, ratio: float) -> tuple[float, float] | None:
  """Corrected 95 % interval of the mean of values [splits]; None if they are equal.

  Args:
    ratio: test clips / training clips.

  Raises:
    ValueError: there are no values, or a value is not finite.
  """
  values = checked(values, 'values')
  return _ends(float(values.mean()), _error(values, ratio), values.size, ALPHA)


def paired(a: ArrayLike, b: ArrayLike, ratio: float, margin: float | None = None) -> Test:
  """Corrected resampled t-test on a - b, both [splits] in the same order.

  Args:
    ratio: test clips / training clips.
    margin: for the test of equivalence, a fraction: 0.01 is one point.

  Raises:
    ValueError: the lengths differ, an accuracy is not finite, or there are none.
  """
  signed_rank = wilcoxon.paired(a, b)
  # Rounded, because equal differences differ in their last bits.
  differences = np.round(np.asarray(a, np.float64) - np.asarray(b, np.float64), 9)
  n, mean = differences.size, float(differences.mean())
  # Equal differences have no variance to judge them by.
  error = _error(differences, ratio)
  known = error > 0
  return Test(
    'Corrected resampled t-test over splits, each the mean of its seeds',
    f'Student t with {n - 1} degrees of freedom, variance corrected for the clips that splits '
    'share (Nadeau and Bengio 2003)',
    n,
    mean / error if known else None,
    2 * float(stats.t.sf(abs(mean) / error, n - 1)) if known else None,
    signed_rank.effect_size,
    'mean',
    mean,
    _ends(mean, error, n, ALPHA),
    _ends(mean, error, n, 2 * ALPHA),
    'the differences that the t-test does not reject',
    float(stats.t.sf((margin - abs(mean)) / error, n - 1)) if known and margin else None,
    signed_rank.zero_differences,
    signed_rank.ties,
    0.0 if known else 1.0,
    '' if known else f'{n} equal differences have no variance to test with',
  )


def _ends(mean: float, error: float, n: int, alpha: float) -> tuple[float, float] | None:
  if not error:
    return None
  half = float(stats.t.ppf(1 - alpha / 2, n - 1)) * error
  return mean - half, mean + half


def _error(values: np.ndarray, ratio: float) -> float:
  if (
    np.ptp(values) == 0
  ):  # one value, or equal ones: their standard deviation can be a rounding error
    return 0.0
  return float(values.std(ddof=1)) * math.sqrt(1 / values.size + ratio)
