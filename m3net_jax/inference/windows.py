"""A long recording as overlapping windows, and windows joined to segments. Pure functions."""

import dataclasses
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from data_prep import mel
from data_prep.features import Features


class Segment(NamedTuple):
  """Consecutive windows with the same most probable class.

  Attributes:
    start, end: in the recording, s.
    probabilities: [classes], the mean over the windows.
    is_silent: every sample of the windows is 0, and no class stands for that.
  """

  start: float
  end: float
  probabilities: np.ndarray
  is_silent: bool = False

  @property
  def label(self) -> int:
    """The class: the most probable one of every window, and so of their mean."""
    return int(self.probabilities.argmax())


def cut(
  blocks: Iterable[np.ndarray], features: Features, hop: int
) -> Iterator[tuple[int, np.ndarray]]:
  """Cuts the windows of a recording of any length.

  One window if the recording is not longer than 1.1 clips: it is cut or padded as in training.
  Otherwise one window every `hop` samples and one that ends with the recording.

  Args:
    blocks: the recording's samples in order, [some] float32 each.
    hop: samples from one window to the next.

  Yields:
    First sample and samples of each window: [num_samples], or all of a shorter recording.
  """
  length, start, held, offset = features.num_samples, 0, np.zeros(0, np.float32), 0
  for block in blocks:
    held = np.concatenate([held, block])
    # As long as the recording may end within a tenth of a clip, it may have one window.
    while start + length <= offset + len(held) and offset + len(held) > length + length // 10:
      yield start, held[start - offset :][:length]
      start += hop
    unused = max(0, min(start, offset + len(held) - length) - offset)
    offset, held = offset + unused, held[unused:]
  total = offset + len(held)
  if total <= length + length // 10:
    yield 0, held[:length]
  elif start - hop + length != total:
    yield total - length, held[-length:]


def of_clips(clips: Iterable[np.ndarray], features: Features) -> np.ndarray:
  """The log-Mel array of each clip [any length], [clips, n_mels, frames] float32 dB."""
  return np.stack([mel.log_mel(mel.fit_length(clip, features), features) for clip in clips])


def log_mels(samples: np.ndarray, features: Features, first: Iterable[int]) -> np.ndarray:
  """The log-Mel array of each window, [windows, n_mels, frames] float32 dB."""
  return of_clips((samples[start : start + features.num_samples] for start in first), features)


def of_frames(samples: np.ndarray, features: Features, hop_frames: int) -> np.ndarray:
  """The log-Mel arrays of windows, each frame computed once: [windows, n_mels, frames] float32 dB.

  Equal bit for bit to `log_mels` of the windows that begin every `hop_frames` frames.

  Args:
    samples: [at least num_samples] float32.
    features: settings whose frames depend on their own samples alone (`Features.streams`).
  """
  assert features.streams, 'a frame of these features depends on its window'
  seconds = len(samples) / features.sample_rate
  long = dataclasses.replace(features, clip_seconds=seconds)
  frames = mel.log_mel(samples, long, mel.tables(features))
  every = np.lib.stride_tricks.sliding_window_view(frames, features.frames, axis=1)
  # The last samples of a window are in no frame of it, so another window could end before them.
  count = 1 + (len(samples) - features.num_samples) // (hop_frames * features.hop_length)
  return np.ascontiguousarray(every[:, ::hop_frames][:, :count].swapaxes(0, 1))


def segments(
  probabilities: np.ndarray,
  silent: np.ndarray,
  first: list[int],
  num_samples: int,
  features: Features,
) -> list[Segment]:
  """Joins consecutive windows of one class, and silent ones.

  A window stands for the time that is nearer to its middle than to the middles of other windows.

  Args:
    probabilities: [windows, classes].
    silent: [windows] bool, windows whose class says nothing.
    first: first sample of each window, as `cut` yields them.
    num_samples: length of the recording.
  """
  middles = (np.array(first) + features.num_samples / 2) / features.sample_rate
  edges = [0.0, *((middles[1:] + middles[:-1]) / 2), num_samples / features.sample_rate]
  labels = np.where(silent, -1, probabilities.argmax(1))
  joined: list[Segment] = []
  begin = 0
  for end in range(1, len(labels) + 1):
    if end == len(labels) or labels[end] != labels[begin]:
      joined.append(
        Segment(
          float(edges[begin]),
          float(edges[end]),
          probabilities[begin:end].mean(0),
          bool(silent[begin]),
        )
      )
      begin = end
  return joined
