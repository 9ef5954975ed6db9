"""From recordings or arrays to a store."""

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from data_prep import arrays, corpora
from data_prep import prepare as preparation
from data_prep import store as stores
from data_prep.features import Features
from data_prep.store import Store

PathLike = str | os.PathLike[str]


def prepare(
  corpus: str,
  raw_dir: PathLike = 'corpora',
  *,
  store_dir: PathLike = 'stores',
  download: bool = False,
  skip_unreadable: bool = False,
  silence_clips: int | None = None,
  num_processes: int | None = None,
  **features: Any,
) -> Store:
  """Computes the features of a corpus, unless a store that fits its recordings is there.

  Args:
    corpus: one of `data_prep.corpora.NAMES`, such as 'folder' (your own, one folder per class).
    raw_dir: folder of the recordings.
    store_dir: folder of the stores.
    download: download the corpus if it is absent.
    skip_unreadable: leave out recordings that cannot be decoded, and list them in the manifest.
    silence_clips: number of clips of `_silence_` to cut from the recordings in `_noise_` of a
      'folder' corpus (default: up to as many as the mean class has; 0: none).
    num_processes: processes that compute (default: one per core).
    **features: fields of `Features`, such as sample_rate (Hz), clip_seconds, n_fft, n_mels.

  Returns:
    The store: `mels` [clips, n_mels, frames] float16 in dB, `labels` [clips], `classes`, ...

  Raises:
    UserError: see `data_prep.prepare.prepare`.
  """
  path = preparation.prepare(
    corpus,
    raw_dir,
    store_dir,
    corpora.features_of(corpus, **features),
    skip_unreadable=skip_unreadable,
    download=download,
    silence_clips=silence_clips,
    num_processes=num_processes,
  )
  return stores.load(path)


def prepare_arrays(
  clips: Sequence[np.ndarray],
  labels: Sequence[str],
  rate: int,
  *,
  groups: Sequence[str] | None = None,
  store_dir: PathLike = 'stores',
  **features: Any,
) -> Store:
  """Computes the features of clips that are already in memory.

  Args:
    clips: one mono array [samples] per clip, in -1..1, of any length.
    labels: the class of each clip.
    rate: of the clips, Hz; they are resampled to the sample rate of the features.
    groups: speaker or source recording of each clip, for splits that keep them apart.
    store_dir: folder of the stores.
    **features: fields of `Features`, such as sample_rate (Hz), clip_seconds, n_fft, n_mels.

  Raises:
    UserError: see `data_prep.arrays.prepare`.
  """
  return arrays.prepare(
    clips, labels, rate, Features(**features), groups=groups, store_dir=store_dir
  )


def load_store(path: PathLike) -> Store:
  """Reads a store that was prepared before; UserError if it is absent or was altered."""
  return stores.load(path)
