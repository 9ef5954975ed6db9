"""The training clips that set the ranges of an integer model. Pure functions on a store and a split."""

import numpy as np

from data_prep.errors import UserError
from data_prep.store import Store
from m3net_jax.network.image import Scaling
from m3net_jax.study.splits import Split

_SEED = 2016  # of the choice; the same clips every time


def choose(store: Store, split: Split, count: int) -> np.ndarray:
  """Positions of at most `count` training clips, ascending; the classes take turns, so that each has its part."""
  chance = np.random.default_rng(_SEED)
  clips = chance.permutation(split.train)
  turn = np.zeros(len(clips), int)
  for label in np.unique(store.labels[clips]):
    mine = np.flatnonzero(store.labels[clips] == label)
    turn[mine] = np.arange(len(mine))
  return np.sort(clips[np.argsort(turn, kind='stable')][:count])


def check(mels: np.ndarray, scaling: Scaling) -> None:
  """Raises UserError where calibration clips [n, n_mels, frames] in dB are not like the training clips.

  An integer model gets its ranges from them: from silence come ranges that hold no sound.

  Args:
    scaling: mean and deviation of all training clips.
  """
  values = np.asarray(mels, np.float64)
  mean, std = values.mean(), values.std()
  if std < 0.5 * scaling.std or abs(mean - scaling.mean) > scaling.std:
    raise UserError(
      f'calibration: the {len(values)} clips have mean {mean:.1f} dB and deviation {std:.1f} dB, all '
      f'training clips {scaling.mean:.1f} and {scaling.std:.1f}: they are silence or other sounds, and a '
      'model with ranges from them cannot be trusted; give more --calibration_clips'
    )
