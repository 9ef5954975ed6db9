"""The work of one process: turns recordings into rows of a store.

Imports no librosa and nothing that downloads, because every worker process imports it again.
"""

import functools
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from data_prep import audio, mel, statistics
from data_prep.features import Features
from data_prep.store import DTYPE

# Path, start and gain: with the features, all that a clip's array depends on.
Key = tuple[str, float, float]


class Measured(NamedTuple):
  """Seconds of a clip's recording, and the two `statistics` of the clip's samples."""

  seconds: float = 0.0
  entropy: float = 0.0
  crossings: float = 0.0


class Result(NamedTuple):
  """What a worker returns for a clip: its array as bytes, or the reason why it has none."""

  key: Key
  size: int
  mtime_ns: int
  sha256: str
  measured: Measured
  array: bytes
  reason: str


def chunk(root: Path, keys: Sequence[Key], features: Features, tables: mel.Tables) -> list[Result]:
  """The results of several clips of the folder `root`, in the order of `keys`."""
  try:
    return [clip(root, key, features, tables) for key in keys]
  finally:
    _recording.cache_clear()


def clip(root: Path, key: Key, features: Features, tables: mel.Tables) -> Result:
  """Computes the array of one clip of the folder `root`; an unreadable one gives the reason."""
  path, start, gain = key
  size, mtime_ns = state(root / path)
  whole, seconds, sha256, reason = _recording(root / path, size, mtime_ns, features.sample_rate)
  samples = cut(whole, start, gain, features)
  if not (reason or len(samples)):
    reason = f'a clip starts at {start:g} s, after its end'
  if reason:
    return Result(key, size, mtime_ns, sha256, Measured(), b'', reason)
  array = mel.log_mel(mel.fit_length(samples, features), features, tables)
  measured = Measured(
    seconds,
    statistics.entropy(samples),
    statistics.crossings(samples, features.sample_rate),
  )
  return Result(key, size, mtime_ns, sha256, measured, array.astype(DTYPE).tobytes(), '')


@functools.lru_cache(maxsize=1)
def _recording(
  path: Path, size: int, mtime_ns: int, sample_rate: int
) -> tuple[np.ndarray, float, str, str]:
  """Samples, seconds and SHA-256 of a recording, or the reason why it has none.

  The last one is kept, because neighbouring clips are often of one recording.
  """
  sha256 = ''
  try:
    data = audio.load(path)
    sha256 = audio.digest(data)
    decoded, rate = audio.decode(data)
    samples = audio.resample(decoded, rate, sample_rate)
  except audio.Unreadable as error:
    return np.zeros(0, np.float32), 0.0, sha256, str(error)
  return samples, len(decoded) / rate, sha256, ''


def cut(samples: np.ndarray, start: float, gain: float, features: Features) -> np.ndarray:
  """The samples of a clip in its recording, at most `num_samples`; `start` is in seconds."""
  first = round(start * features.sample_rate)
  return samples[first : first + features.num_samples] * np.float32(gain)


def state(path: Path) -> tuple[int, int]:
  """Size in bytes and modification time in ns; (-1, 0) if the file is absent."""
  try:
    status = os.stat(path)
  except (OSError, ValueError):
    return -1, 0
  return status.st_size, status.st_mtime_ns
