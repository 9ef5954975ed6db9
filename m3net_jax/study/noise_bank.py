"""The noise that is mixed into training clips: windows of clip length as Mel powers of level 1.

`noise.npz` in a workdir keeps them, so that a study continues with the noise it began with.
"""

import dataclasses
import sys
import types
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from data_prep import background, mel
from data_prep.background import Noise
from data_prep.errors import UserError
from data_prep.features import Features
from data_prep.negatives import SILENCE
from data_prep.store import Store
from m3net_jax.study import arrays_file
from m3net_jax.study.config import Config
from m3net_jax.study.splits import Split

# By the SHA-256 of a recording: the starts of clips in it, seconds.
HeldOut = Mapping[str, Sequence[float]]

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


def held_out(store: Store, splits: Sequence[Split] | None) -> HeldOut:
  """The validation and test clips of all splits (None: all clips), which no noise may hold.

  A clip of `_silence_` does not count if its recording also has training clips, in any split or
  (None) perhaps: silence is cut from the corpus's own noise, of which little or nothing would be
  left.
  """
  clips = (
    np.arange(len(store.labels))
    if splits is None
    else np.unique(np.concatenate([np.r_[split.validation, split.test] for split in splits]))
  )
  trained = {store.hashes[i] for split in splits or () for i in split.train}
  starts: dict[str, list[float]] = {}
  for i in clips:
    is_silence = store.classes[store.labels[i]] == SILENCE
    if not is_silence or not (splits is None or store.hashes[i] in trained):
      starts.setdefault(store.hashes[i], []).append(float(store.starts[i]))
  return starts


def of(store: Store, noise_dirs: Sequence[str], held_out: HeldOut) -> NoiseBank:
  """The noise of some folders; without any, of the corpus, or if it has none, coloured noise.

  Raises:
    UserError: see `background.recordings` and `make`; or the folder of the corpus is gone.
  """
  raw_dir = store.manifest['raw_dir']
  if noise_dirs:
    noises = background.recordings(noise_dirs, store.features)
  elif raw_dir and not Path(raw_dir).is_dir():
    raise UserError(
      f'--noise: {raw_dir}, where the recordings of {store.path.name} were, is not there, so its '
      'noise cannot be read: give --noise_dir'
    )
  else:
    noises = background.of_corpus(raw_dir, store.features) if raw_dir else []
  return make(noises or background.coloured(store.features), store.features, held_out)


def make(
  noises: Sequence[Noise], features: Features, held_out: HeldOut = types.MappingProxyType({})
) -> NoiseBank:
  """Cuts noise into windows; of more than MAX_WINDOWS it takes some, evenly spread.

  Windows that overlap a clip of `held_out` are left out, which a line on standard error says.

  Raises:
    UserError: every window is silent, or overlaps a clip of `held_out`.
  """
  hop = max(1, features.num_samples // OVERLAP)
  every = [
    (noise, start)
    for noise in noises
    for start in range(0, len(noise.samples) - features.num_samples + 1, hop)
  ]
  places = [
    (noise.samples, start)
    for noise, start in every
    if not any(
      abs(start / features.sample_rate - clip) < features.clip_seconds
      for clip in held_out.get(noise.sha256, ())
    )
  ]
  if not places:
    raise UserError(
      '--noise_dir: every window of the noise is a validation or test clip of this study: give '
      'other recordings'
    )
  if len(places) < len(every):
    print(
      f'noise: {len(every) - len(places)} of {len(every)} windows overlap validation or test clips '
      'of this study and are left out',
      file=sys.stderr,
    )
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
  unlimited = dataclasses.replace(features, top_db=0.0, amin=min(features.amin, 1e-10))
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


def recorded(workdir: Path, config: Config) -> list[tuple[str, str]]:
  """The recordings of the noise that training mixed in, names and SHA-256.

  Empty if it mixed in none or all noise was generated; UserError if noise.npz is missing or cannot
  be read.
  """
  if 'noise' not in config.parts:
    return []
  bank = read(workdir)
  return [(name, file) for name, file in zip(bank.names.tolist(), bank.sha256.tolist()) if file]


def read(workdir: Path) -> NoiseBank:
  """Reads noise.npz; UserError if it is missing or cannot be read."""
  return NoiseBank(**arrays_file.read(workdir / NAME))
