"""An interval over seeds and test clips at once: the crossed bootstrap.

A lane's accuracy depends on its seed and on the clips it was tested on; all lanes of a split share
these. Both are drawn again, independently of each other (A. B. Owen, The pigeonhole bootstrap,
Ann. Appl. Stat. 1, 2007). Clips of one speaker or recording are drawn together if these are known.
"""

import math
from collections.abc import Sequence

import numpy as np
from scipy import stats

from m3net_jax.stats.intervals import ALPHA

_BLOCKS, _DRAWS = 16, 250  # 4,000 draws, 250 computed together
_SEED = 0  # equal predictions have equal intervals


def by_group(
  right: Sequence[np.ndarray], groups: Sequence[np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
  """Counts the test clips of every lane by group.

  Args:
    right: [clips] bool per lane, whether the lane classifies a test clip correctly.
    groups: [clips] int per lane, the group of the same clip, from 0; a clip alone is a group.

  Returns:
    Correct clips and tested clips, both [lanes, groups].
  """
  num_groups = 1 + max(int(group.max()) for group in groups)
  count = lambda weights: np.stack(
    [
      np.bincount(group, weight, num_groups).astype(np.float64)
      for group, weight in zip(groups, weights)
    ]
  )
  return count(right), count([np.ones(len(group)) for group in groups])


def interval(
  correct: np.ndarray, tested: np.ndarray, seeds: Sequence[int]
) -> tuple[float, float] | None:
  """95 % interval of the mean accuracy over lanes, for other seeds and other clips like these.

  The percentiles of the bootstrap are widened as Student's t widens the normal quantiles
  (T. Hesterberg, What Teachers Should Know About the Bootstrap, Am. Stat. 69, 2015, Section 3.3);
  the degrees of freedom follow from the shares of seeds and groups in the variance (Satterthwaite).

  Args:
    correct, tested: [lanes, groups] clips of `by_group`.
    seeds: of the lanes; lanes of one seed, on several folds, are drawn together.

  Returns:
    None if there are fewer than two seeds or groups.
  """
  unique, seed_of_lane = np.unique(np.array(seeds), return_inverse=True)
  used = tested.sum(0) > 0
  correct, tested = correct[:, used], tested[:, used]
  num_seeds, num_groups = len(unique), correct.shape[1]
  if min(num_seeds, num_groups) < 2:
    return None
  random = np.random.default_rng(_SEED)
  means = []
  for _ in range(_BLOCKS):
    group_draws = random.multinomial(num_groups, np.full(num_groups, 1 / num_groups), _DRAWS)
    seed_draws = random.multinomial(num_seeds, np.full(num_seeds, 1 / num_seeds), _DRAWS)
    clips = group_draws @ tested.T  # [draws, lanes]
    accuracy = group_draws @ correct.T / np.maximum(clips, 1)
    # A lane without a clip in a draw, in a tiny study, does not count in it.
    weight = seed_draws[:, seed_of_lane] * (clips > 0)
    means.append((weight * accuracy).sum(1) / np.maximum(weight.sum(1), 1))
  df = _degrees_of_freedom(correct, tested, seed_of_lane, num_seeds)
  tail = stats.norm.cdf(math.sqrt((df + 1) / df) * stats.t.ppf(ALPHA / 2, df))
  low, high = np.quantile(np.concatenate(means), [tail, 1 - tail])
  return float(low), float(high)


def _degrees_of_freedom(
  correct: np.ndarray, tested: np.ndarray, seed_of_lane: np.ndarray, num_seeds: int
) -> float:
  """Satterthwaite's degrees of freedom of the sum of the variances by seeds and by groups."""
  clips = tested.sum(1)
  accuracy = correct.sum(1) / clips
  by_seed = np.bincount(seed_of_lane, accuracy) / np.bincount(seed_of_lane)
  # What a group moves the mean accuracy by, to first order.
  influence = ((correct - accuracy[:, None] * tested) / clips[:, None]).mean(0)
  num_groups = correct.shape[1]
  parts = (
    (by_seed.var(ddof=1) / num_seeds, num_seeds - 1),
    (num_groups * influence.var(ddof=1), num_groups - 1),
  )
  total = sum(part for part, _ in parts)
  if total == 0:
    return float(num_seeds - 1)
  return float(total**2 / sum(part**2 / df for part, df in parts))
