"""What a model predicts for recordings, and how that is printed."""

import csv
import io
import itertools
import json
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from data_prep.errors import UserError
from data_prep.features import Features
from data_prep.names import visible
from data_prep.negatives import SILENCE
from m3net_jax.inference import windows
from m3net_jax.inference.classifier import Classifier
from m3net_jax.inference.windows import Segment

SILENT = 'digital silence: every sample is 0'
_BLOCK = 64  # windows whose features are in memory at once


class Prediction(NamedTuple):
  """What a model predicts for one recording.

  Attributes:
    name: of the file.
    classes: names of the classes.
    num_samples: of the recording at `sample_rate`.
    sample_rate: of the model, Hz.
    clip_samples: length of a window.
    starts: first sample of each window.
    probabilities: [windows, classes].
    silent: [windows] bool: every sample is 0, and no class of the model stands for that.
    segments: consecutive windows of one class; one for a short recording.
  """

  name: str
  classes: tuple[str, ...]
  num_samples: int
  sample_rate: int
  clip_samples: int
  starts: list[int]
  probabilities: np.ndarray
  silent: np.ndarray
  segments: list[Segment]

  @property
  def seconds(self) -> float:
    """Length of the recording."""
    return self.num_samples / self.sample_rate

  @property
  def label(self) -> str:
    """The class with the highest mean probability over all windows."""
    return self.top(1)[0][0]

  def top(self, count: int = 3) -> list[tuple[str, float]]:
    """The most probable classes, by the mean over all windows, with their probability."""
    return _top(self.probabilities.mean(0), self.classes, count)


def classify(
  model: Classifier, name: str, samples: np.ndarray | Iterable[np.ndarray], hop: int | None = None
) -> Prediction:
  """Classifies a recording at the model's rate, in bounded memory.

  Args:
    samples: [samples] float32, or blocks of them in order.
    hop: samples from one window to the next (default: half a clip).
  """
  features, count = model.spec.features, 0

  def counted() -> Iterator[np.ndarray]:
    nonlocal count
    for block in [samples] if isinstance(samples, np.ndarray) else samples:
      count += len(block)
      yield block

  starts: list[int] = []
  silent: list[bool] = []
  parts = []
  names_silence = SILENCE in model.spec.classes
  cut = windows.cut(counted(), features, hop or default_hop(features))
  while block := list(itertools.islice(cut, _BLOCK)):
    starts += [start for start, _ in block]
    silent += [not (names_silence or clip.any()) for _, clip in block]
    parts.append(model.probabilities(windows.of_clips((clip for _, clip in block), features)))
  probabilities, is_silent = np.concatenate(parts), np.array(silent)
  return Prediction(
    name,
    model.spec.classes,
    count,
    features.sample_rate,
    features.num_samples,
    starts,
    probabilities,
    is_silent,
    windows.segments(probabilities, is_silent, starts, count, features),
  )


def default_hop(features: Features) -> int:
  """Half a clip, in samples."""
  return max(1, features.num_samples // 2)


def hop_of(seconds: float | None, features: Features) -> int:
  """Samples from one window to the next; UserError if `seconds` does not lie within a clip."""
  if seconds is None:
    return default_hop(features)
  if not 1 / features.sample_rate <= seconds <= features.clip_seconds:
    raise UserError(
      f'--hop_seconds={seconds:g}: give more than 0 and at most the clip, {features.clip_seconds:g}'
    )
  return round(seconds * features.sample_rate)


def as_table(predictions: Sequence[Prediction], top_k: int) -> str:
  """For people: one line per recording, or per segment of a long one, with its top classes."""
  names = [visible(each.name) for each in predictions]
  name_width = max(map(len, names))
  lines = []
  for name, each in zip(names, predictions, strict=True):
    label_width = max(map(len, each.classes))

    def columns(
      probabilities: np.ndarray, each: Prediction = each, width: int = label_width
    ) -> str:
      top = _top(probabilities, each.classes, top_k)
      return ''.join(f'  {label:<{width}} {100 * p:5.1f} %' for label, p in top)

    if len(each.starts) == 1:
      said = f'  {SILENT}' if each.silent[0] else columns(each.probabilities[0])
      lines.append(f'{name:<{name_width}}{said}')
      continue
    lines.append(f'{name}  {each.seconds:.1f} s, {len(each.starts)} windows')
    for segment in each.segments:
      span = f'  {segment.start:8.2f} to {segment.end:8.2f} s'
      said = f'  {SILENT}' if segment.is_silent else columns(segment.probabilities)
      lines.append(f'{span}{said}')
  return '\n'.join(lines)


def as_json(predictions: Sequence[Prediction], model: str, top_k: int) -> str:
  """Everything: windows and segments with their top classes; `model` is the model's name."""
  rows = []
  for each in predictions:
    windows_of = [
      {
        'start': start,
        'end': end,
        'silent': bool(silent),
        'top': _named(probabilities, each.classes, top_k),
      }
      for (start, end, probabilities), silent in zip(_windows(each), each.silent, strict=True)
    ]
    segments = [
      {
        'start': s.start,
        'end': s.end,
        'silent': s.is_silent,
        'top': _named(s.probabilities, each.classes, top_k),
      }
      for s in each.segments
    ]
    rows.append(
      {'file': each.name, 'seconds': each.seconds, 'windows': windows_of, 'segments': segments}
    )
  return json.dumps({'model': model, 'recordings': rows}, indent=1)


def as_csv(predictions: Sequence[Prediction], top_k: int) -> str:
  """One row per window and class."""
  text = io.StringIO()
  rows = csv.writer(text, lineterminator='\n')
  rows.writerow(('file', 'start', 'end', 'rank', 'class', 'probability'))
  for each in predictions:
    for start, end, probabilities in _windows(each):
      for rank, (name, p) in enumerate(_top(probabilities, each.classes, top_k), 1):
        rows.writerow((each.name, start, end, rank, name, f'{p:.6f}'))
  return text.getvalue().rstrip('\n')


def _windows(prediction: Prediction) -> list[tuple[float, float, np.ndarray]]:
  """Start and end in seconds, and probabilities, of every window."""
  rate, clip = prediction.sample_rate, prediction.clip_samples
  return [
    (start / rate, (start + clip) / rate, probabilities)
    for start, probabilities in zip(prediction.starts, prediction.probabilities, strict=True)
  ]


def _top(
  probabilities: np.ndarray, classes: tuple[str, ...], top_k: int
) -> list[tuple[str, float]]:
  """The most probable classes of [classes], with their probability."""
  order = np.argsort(-probabilities, kind='stable')[:top_k]
  return [(classes[index], float(probabilities[index])) for index in order]


def _named(
  probabilities: np.ndarray, classes: tuple[str, ...], top_k: int
) -> list[dict[str, str | float]]:
  return [{'class': name, 'probability': p} for name, p in _top(probabilities, classes, top_k)]
