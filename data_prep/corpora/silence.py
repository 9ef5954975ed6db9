"""Clips of silence, cut from noise recordings at random places and levels.

The rule is that of TensorFlow's speech_commands example (`prepare_data_index`, `prepare_data`).
"""

import random
from collections.abc import Iterator, Mapping
from pathlib import Path

from data_prep import audio

SEED = 59185
_NOISE_SHARE = 0.8  # fraction of the clips that hold noise; the others are zeros


def places(
  seconds: Mapping[str, float],
  count: int,
  rng: random.Random,
  clip_seconds: float,
  max_gain: float,
) -> Iterator[tuple[str, float, float]]:
  """Draws clips: recording and start uniformly; the gain is 0 in one of five, else uniform.

  Args:
    seconds: length of each noise recording, by its path.
    max_gain: the largest factor of the samples.

  Yields:
    Path, start in seconds, and gain of each of `count` clips.
  """
  paths = list(seconds)
  for _ in range(count):
    path = rng.choice(paths)
    start = round(rng.uniform(0, max(0.0, seconds[path] - clip_seconds)), 4)
    gain = round(rng.uniform(0, max_gain), 6) if rng.random() < _NOISE_SHARE else 0.0
    yield path, start, gain


def length(path: Path) -> float:
  """Seconds of a recording; 0 if unreadable, whose reason is told when its clips are computed."""
  try:
    return audio.seconds(path)
  except audio.Unreadable:
    return 0.0
