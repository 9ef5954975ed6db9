"""The work of one process: recordings in, rows of a store out.

Imports little, because every worker starts afresh: no librosa, nothing that downloads.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from data_prep import audio, mel, statistics
from data_prep.features import Features
from data_prep.store import DTYPE

Key = tuple[
  str, float, float
]  # path, start, gain: with the features, all that a clip's array depends on


class Measured(NamedTuple):
  """Of a clip: seconds of its recording, and the two `statistics` of its samples."""

  seconds: float = 0.0
  entropy: float = 0.0
  crossings: float = 0.0


class Result(NamedTuple):
  """What a worker returns of a clip: its array as bytes, or the reason why there is none."""

  key: Key
  size: int
  mtime_ns: int
  sha256: str
  measured: Measured
  array: bytes
  reason: str


def chunk(root: Path, keys: Sequence[Key], features: Features, made: mel.Tables) -> list[Result]:
  return [clip(root, key, features, made) for key in keys]


def clip(root: Path, key: Key, features: Features, made: mel.Tables) -> Result:
  path, start, gain = key
  found = state(root / path)
  sha256 = ''
  try:
    data = audio.load(root / path)
    sha256 = audio.digest(data)
    own, rate = audio.decode(data)
    samples = audio.resample(own, rate, features.sample_rate)[round(start * features.sample_rate) :]
    if not len(samples):
      raise audio.Unreadable(f'a clip starts at {start:g} s, after its end')
  except audio.Unreadable as error:
    return Result(key, *found, sha256, Measured(), b'', str(error))
  samples = samples[: features.num_samples] * np.float32(gain)
  array = mel.log_mel(mel.fit_length(samples, features), features, made)
  measured = Measured(
    len(own) / rate,
    statistics.entropy(samples),
    statistics.crossings(samples, features.sample_rate),
  )
  return Result(key, *found, sha256, measured, array.astype(DTYPE).tobytes(), '')


def state(path: Path) -> tuple[int, int]:
  """Size in bytes and time of change in ns; (-1, 0) for a file that is not there."""
  try:
    found = os.stat(path)
  except (OSError, ValueError):
    return -1, 0
  return found.st_size, found.st_mtime_ns
