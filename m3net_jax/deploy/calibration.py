"""The training clips that set the ranges of an integer model. Pure functions."""

import numpy as np

from data_prep.errors import UserError
from data_prep.store import Store
from m3net_jax.network.image import Scaling
from m3net_jax.study.splits import Split

_SEED = 2016  # the same clips are chosen every time


def choose(store: Store, split: Split, count: int) -> np.ndarray:
  """Chooses at most `count` training clips, the classes in turn; ascending positions."""
  rng = np.random.default_rng(_SEED)
  clips = rng.permutation(split.train)
  turn = np.zeros(len(clips), int)
  for label in np.unique(store.labels[clips]):
    members = np.flatnonzero(store.labels[clips] == label)
    turn[members] = np.arange(len(members))
  return np.sort(clips[np.argsort(turn, kind='stable')][:count])


def check(mels: np.ndarray, scaling: Scaling) -> None:
  """Raises UserError if calibration clips are not like the training clips.

  They set the ranges of an integer model: ranges from silence are too small for sound.

  Args:
    mels: calibration clips [n, n_mels, frames], dB.
    scaling: mean and deviation of all training clips, dB.
  """
  values = np.asarray(mels, np.float64)
  mean, std = values.mean(), values.std()
  if std < 0.5 * scaling.std or abs(mean - scaling.mean) > scaling.std:
    raise UserError(
      f'calibration: the {len(values)} clips have mean {mean:.1f} dB and deviation {std:.1f} dB, '
      f'all training clips {scaling.mean:.1f} and {scaling.std:.1f}: they are silence or other '
      'sounds, and a model with ranges from them cannot be trusted; give more --calibration_clips'
    )
