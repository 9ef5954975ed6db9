"""A long recording as overlapping clips, and what was heard when. Pure functions on samples and probabilities."""

from typing import NamedTuple

import numpy as np

from data_prep import mel
from data_prep.features import Features


class Segment(NamedTuple):
  """A stretch of a recording, in seconds, whose windows have one most probable class.

  Attributes:
    probabilities: [classes], the mean of its windows'; that class is the most probable by them too.
  """

  start: float
  end: float
  probabilities: np.ndarray

  @property
  def label(self) -> int:
    return int(self.probabilities.argmax())


def starts(num_samples: int, features: Features, hop: int) -> list[int]:
  """First samples of the windows of a recording.

  One window for a recording no longer than a clip and a tenth, cut or padded as in training; else one every `hop`
  samples and one that ends where the recording ends.
  """
  last = num_samples - features.num_samples
  if last <= features.num_samples // 10:
    return [0]
  regular = list(range(0, last + 1, hop))
  return regular if regular[-1] == last else [*regular, last]


def log_mels(samples: np.ndarray, features: Features, first: list[int]) -> np.ndarray:
  """The log-Mel array of each window, [windows, n_mels, frames] float32 dB."""
  clips = (
    mel.fit_length(samples[start : start + features.num_samples], features) for start in first
  )
  return np.stack([mel.log_mel(clip, features) for clip in clips])


def segments(
  probabilities: np.ndarray, first: list[int], num_samples: int, features: Features
) -> list[Segment]:
  """Windows of one class in a row as one stretch; each window stands for the time nearer to its middle than to others'.

  Args:
    probabilities: [windows, classes].
    first: `starts`.
    num_samples: of the recording.
  """
  middles = (np.array(first) + features.num_samples / 2) / features.sample_rate
  edges = [0.0, *((middles[1:] + middles[:-1]) / 2), num_samples / features.sample_rate]
  labels = probabilities.argmax(1)
  found: list[Segment] = []
  begin = 0
  for end in range(1, len(labels) + 1):
    if end == len(labels) or labels[end] != labels[begin]:
      found.append(
        Segment(float(edges[begin]), float(edges[end]), probabilities[begin:end].mean(0))
      )
      begin = end
  return found
