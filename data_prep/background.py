"""Background noise: recordings of a user's folder or of the corpus, or coloured noise; and mixing.

The level of noise is a signal-to-noise ratio: the energy of a clip's samples over the energy of
the noise's samples in the same window, in dB. Silence that a short clip was padded with counts.
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from data_prep import audio, noises
from data_prep.corpora import base
from data_prep.corpora.folder import NOISES
from data_prep.errors import UserError
from data_prep.features import Features

SEEDS = {'white': 5, 'pink': 4, 'brown': 6}  # of generated noise; published figures depend on them
COLOURS = tuple(SEEDS)
COLOURED_SECONDS = 60.0  # of each colour
SILENT = 1e-6  # a window whose root mean square is below this is silent


class Noise(NamedTuple):
  """A noise recording.

  Attributes:
    name: its folder and file, or its colour.
    samples: [any] float32, at the sample rate of the features.
    sha256: of its file; '' if it was generated.
  """

  name: str
  samples: np.ndarray
  sha256: str


def recordings(folders: Sequence[str | os.PathLike[str]], features: Features) -> list[Noise]:
  """Reads all recordings below some folders.

  A recording that is shorter than a clip is repeated up to the length of a clip; one line on
  standard error says which ones are.

  Raises:
    UserError: a folder is absent or holds no recording, or a recording cannot be decoded or is
      silent.
  """
  found, short = [], []
  if '' in folders or len({os.path.realpath(folder) for folder in folders}) < len(folders):
    given = ','.join(map(str, folders))
    raise UserError(f'--noise_dir={given}: a name is empty or given twice: give each folder once')
  for folder in map(Path, folders):
    paths = base.recordings(folder)[0] if folder.is_dir() else []
    if not paths:
      state = 'holds no recordings' if folder.is_dir() else 'is not a folder'
      raise UserError(f'--noise_dir={folder}: {state}: give a folder of noise recordings')
    for path in paths:
      try:
        data = audio.load(folder / path)
        samples = audio.resample(*audio.decode(data), features.sample_rate)
      except audio.Unreadable as error:
        raise UserError(
          f'--noise_dir={folder}: {path} cannot be decoded ({error}): remove or replace it'
        ) from error
      if not level(samples) > SILENT:
        raise UserError(f'--noise_dir={folder}: {path} is silent: remove it')
      if len(samples) < features.num_samples:
        short.append(path)
        samples = np.resize(samples, features.num_samples)
      found.append(Noise(f'{folder.name}/{path}', samples, audio.digest(data)))
  if short:
    print(
      f'--noise_dir: {len(short)} of {len(found)} recordings are shorter than a clip of '
      f'{features.clip_seconds:g} s and are repeated: {some(short)}',
      file=sys.stderr,
    )
  return found


def some(names: Sequence[str]) -> str:
  """The first three names, and how many more there are."""
  return ', '.join(names[:3]) + (f' and {len(names) - 3} more' if len(names) > 3 else '')


def of_corpus(raw_dir: str | os.PathLike[str], features: Features) -> list[Noise]:
  """The noise recordings that a corpus itself has; none if it has none or is not there."""
  raw = Path(raw_dir)
  # The class folders may lie in another folder.
  folders = [path for name in NOISES for path in (raw / name, *sorted(raw.glob(f'*/{name}')))]
  return recordings([folder for folder in folders if folder.is_dir()], features)


def coloured(
  features: Features, colours: Sequence[str] = COLOURS, seconds: float = COLOURED_SECONDS
) -> list[Noise]:
  """Generated noise of each colour, the same in every call."""
  length = max(features.num_samples, round(seconds * features.sample_rate))
  made = []
  for colour in colours:
    rng = np.random.default_rng([SEEDS[colour], length])
    samples = noises.BACKGROUNDS[colour](rng, length).astype(np.float32)
    made.append(Noise(colour, samples / level(samples), ''))
  return made


def level(samples: np.ndarray) -> float:
  """Root mean square of samples [any]; 0 for none."""
  return float(np.sqrt(np.mean(np.square(samples, dtype=np.float64)))) if len(samples) else 0.0


def mixed(samples: np.ndarray, noise: np.ndarray, snr_db: float) -> np.ndarray:
  """Adds noise to a clip at a signal-to-noise ratio.

  Args:
    samples: [n] float32, the whole window of a clip (`mel.fit_length`).
    noise: [n] float32, not silent.
    snr_db: energy of `samples` over that of the added noise, in dB. A silent clip stays silent.

  Returns:
    [n] float32, not limited to -1..1.
  """
  scale = level(samples) / level(noise) * 10.0 ** (-snr_db / 20.0)
  return samples + np.float32(scale) * noise
