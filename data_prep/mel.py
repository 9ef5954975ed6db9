"""Turns samples into log-Mel arrays in dB: the only definition of the features.

Training and inference both call `log_mel`. It equals `librosa.feature.melspectrogram` followed by
`librosa.power_to_db`, with every parameter in `Features`, and is faster; a test compares the two.
"""

import functools
import importlib.util
import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np
import scipy.fft
import scipy.optimize
import scipy.sparse

from data_prep import surroundings
from data_prep.features import Features


class Tables(NamedTuple):
  """The constant arrays of a log-Mel spectrogram.

  Attributes:
    window: [n_fft] float32.
    filters: [n_mels, 1 + n_fft // 2] float32; sparse, because a filter covers few bins.
  """

  window: np.ndarray
  filters: scipy.sparse.csr_array


@functools.lru_cache(maxsize=8)
def tables(features: Features) -> Tables:
  """librosa's window and Mel filters; the first call takes about a second to import librosa."""
  surroundings.give_numba_a_cache(Path(importlib.util.find_spec('librosa').origin).parent)
  from librosa import filters, util

  window = filters.get_window(features.window, features.win_length, fftbins=True)
  with warnings.catch_warnings():
    # 128 filters over 257 bins leave some of the lowest filters empty, as in the paper.
    warnings.filterwarnings('ignore', message='Empty filters')
    bank = filters.mel(
      sr=features.sample_rate,
      n_fft=features.n_fft,
      n_mels=features.n_mels,
      fmin=features.fmin,
      fmax=features.fmax,
      htk=features.htk,
      norm=features.norm,
      dtype=np.float32,
    )
  return Tables(
    util.pad_center(window, size=features.n_fft).astype(np.float32), scipy.sparse.csr_array(bank)
  )


@functools.lru_cache(maxsize=8)
def level_weights(features: Features) -> np.ndarray:
  """Weights [n_mels] that make of the powers of the filters the power of the samples, nearly.

  The filters of `norm='slaney'` are lower the wider they are, and overlap: these weights, none
  negative, bring their sum as near to 1 in every bin as they can (least squares). The sum of
  weighted powers over the level of another clip is then a ratio as of samples.
  """
  bank = tables(features).filters.toarray().astype(np.float64)
  covered = bank.any(0)
  return scipy.optimize.nnls(bank[:, covered].T, np.ones(covered.sum()))[0].astype(np.float32)


def level_of_unit(features: Features) -> float:
  """The sum of weighted powers (`level_weights`) of white noise with mean square 1."""
  return float(features.n_fft / 2 * np.square(tables(features).window, dtype=np.float64).sum())


def fit_length(samples: np.ndarray, features: Features) -> np.ndarray:
  """Pads, repeats or cuts samples [any length] to [num_samples], at their end."""
  missing = features.num_samples - len(samples)
  if missing <= 0:
    return samples[: features.num_samples]
  return np.pad(samples, (0, missing), mode='wrap' if features.fit == 'repeat' else 'constant')


def log_mel(
  samples: np.ndarray, features: Features, mel_tables: Tables | None = None
) -> np.ndarray:
  """The log-Mel spectrogram of one clip.

  Args:
    samples: [num_samples] float32, as `fit_length` returns them.
    features: the settings.
    mel_tables: `tables(features)`, if the caller has them: librosa is then not imported.

  Returns:
    [n_mels, frames] float32, dB relative to `features.ref`.
  """
  if samples.shape != (features.num_samples,):
    raise ValueError(f'samples: shape {samples.shape} is not ({features.num_samples},)')
  mel_tables = mel_tables or tables(features)
  samples = samples.astype(np.float32, copy=False)
  if features.center:
    samples = np.pad(samples, features.n_fft // 2, mode=features.pad_mode)
  frames = np.lib.stride_tricks.sliding_window_view(samples, features.n_fft)[:: features.hop_length]
  magnitude = np.abs(scipy.fft.rfft(frames * mel_tables.window))
  mel = mel_tables.filters @ (magnitude**features.power).T
  decibels = 10.0 * np.log10(np.maximum(np.float32(features.amin), mel))
  decibels -= np.float32(10.0 * np.log10(max(features.amin, features.ref)))
  return np.maximum(decibels, decibels.max() - np.float32(features.range_db))
