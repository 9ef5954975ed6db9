"""The noise that is mixed into training clips: windows of clip length as Mel powers of level 1.

`noise.npz` in a workdir keeps them, so that a study continues with the noise it began with.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from data_prep import background, mel
from data_prep.background import Noise
from data_prep.errors import UserError
from data_prep.features import Features
from data_prep.store import Store
from m3net_jax.study import arrays_file

NAME = 'noise.npz'
MAX_WINDOWS = 1024
OVERLAP = 4  # windows begin every quarter of a clip


class NoiseBank(NamedTuple):
  """Windows of noise.

  Attributes:
    decibels: [windows, n_mels, frames] float16, dB relative to the level of the window's samples,
      which counts what no filter hears too.
    names: [recordings] str.
    sha256: [recordings] str, of the files; '' for generated noise.
  """

  decibels: np.ndarray
  names: np.ndarray
  sha256: np.ndarray

  @property
  def powers(self) -> np.ndarray:
    """[windows, n_mels, frames] float32, each of level 1."""
    return (10.0 ** (self.decibels.astype(np.float32) / 10)).astype(np.float32)

  def text(self) -> str:
    """What it holds, for people."""
    return f'{len(self.decibels)} windows of {background.some(self.names.tolist())}'


def of(store: Store, noise_dirs: Sequence[str]) -> NoiseBank:
  """The noise of some folders; without any, of the corpus, or if it has none, coloured noise.

  Raises:
    UserError: see `background.recordings`.
  """
  noises = (
    background.recordings(noise_dirs, store.features)
    if noise_dirs
    else background.of_corpus(store.manifest['raw_dir'], store.features)
  )
  return make(noises or background.coloured(store.features), store.features)


def make(noises: Sequence[Noise], features: Features) -> NoiseBank:
  """Cuts noise into windows; of more than MAX_WINDOWS it takes some, evenly spread.

  Raises:
    UserError: every window is silent.
  """
  hop = max(1, features.num_samples // OVERLAP)
  places = [
    (noise.samples, start)
    for noise in noises
    for start in range(0, len(noise.samples) - features.num_samples + 1, hop)
  ]
  audible = [
    samples[start : start + features.num_samples]
    for samples, start in places
    if background.level(samples[start : start + features.num_samples]) > background.SILENT
  ]
  if not audible:
    raise UserError('--noise_dir: every window of a clip is silent: give other recordings')
  chosen = np.unique(np.linspace(0, len(audible) - 1, MAX_WINDOWS).round().astype(int))
  tables = mel.tables(features)
  # A window's own floor would be audible under a quiet clip.
  unlimited = dataclasses.replace(features, top_db=float('inf'))
  decibels = []
  for window in (audible[i] for i in chosen):
    db = mel.log_mel(window, unlimited, tables).astype(np.float64)
    level = background.level(window) ** 2 * mel.level_of_unit(features)
    decibels.append(np.maximum(db - 10 * np.log10(level), -120.0).astype(np.float16))
  return NoiseBank(
    np.stack(decibels),
    np.array([noise.name for noise in noises]),
    np.array([noise.sha256 for noise in noises]),
  )


def write(workdir: Path, bank: NoiseBank) -> None:
  """Writes noise.npz, completely or not at all."""
  arrays_file.write(workdir / NAME, **bank._asdict())


def read(workdir: Path) -> NoiseBank:
  """Reads noise.npz; UserError if it cannot be read."""
  return NoiseBank(*arrays_file.read(workdir / NAME, *NoiseBank._fields))
