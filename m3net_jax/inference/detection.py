"""What one model detects in one stream, and how it is written down."""

import csv
import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tqdm.auto import tqdm

from data_prep import audio, files
from data_prep.errors import UserError
from data_prep.features import Features
from data_prep.names import visible
from m3net_jax.inference import detector, thresholds, windows
from m3net_jax.inference.classifier import Classifier
from m3net_jax.inference.detector import Event, Settings
from m3net_jax.inference.thresholds import Heard
from m3net_jax.stats.detections import Score, Truth
from m3net_jax.study.streams import Word

DEFAULT_THRESHOLD = 0.8  # of a model without constants of its own
_BLOCK = 256  # windows whose features are in memory at once


def windows_of(model: Classifier, samples: np.ndarray, settings: Settings) -> Iterator[np.ndarray]:
  """Yields the log-Mel arrays [some windows, n_mels, frames] of a stream, in order.

  Args:
    samples: [samples] float32 at the model's rate.

  Raises:
    UserError: the stream is shorter than a clip.
  """
  features = model.spec.features
  if len(samples) < features.num_samples:
    raise UserError(
      f'the stream has {len(samples) / features.sample_rate:.2f} s, and a window has '
      f'{features.clip_seconds:g}: give a longer one'
    )
  hop = settings.hop_frames * features.hop_length
  starts = range(0, len(samples) - features.num_samples + 1, hop)
  for first in range(0, len(starts), _BLOCK):
    block = starts[first : first + _BLOCK]
    part = samples[block[0] : block[-1] + features.num_samples]
    if features.streams:
      yield windows.of_frames(part, features, settings.hop_frames)
    else:
      yield windows.log_mels(part, features, [start - block[0] for start in block])


def stored(model: Classifier, mels: np.ndarray) -> np.ndarray:
  """The probabilities of windows as a detector takes them, [windows, classes] uint16.

  Of an int8 model they are those that a microcontroller computes.
  """
  if not model.output_scale:
    return detector.of_probabilities(model.probabilities(mels))
  steps = np.round(model.logits(mels).astype(np.float64) / model.output_scale)
  return detector.of_stored(steps.astype(np.int64), model.output_scale)


def listen(
  models: Sequence[Classifier], samples: np.ndarray, settings: Settings, name: str
) -> list[np.ndarray]:
  """What several models with the same features say about a stream, [windows, classes] each."""
  features = models[0].spec.features
  parts: list[list[np.ndarray]] = [[] for _ in models]
  total = max(0, len(samples) - features.num_samples) // (settings.hop_frames * features.hop_length)
  with tqdm(total=total + 1, desc=visible(name), unit='', ncols=79, disable=None) as bar:
    for mels in windows_of(models[0], samples, settings):
      for model, part in zip(models, parts):
        part.append(stored(model, mels))
      bar.update(len(mels))
  return [np.concatenate(part) for part in parts]


def truth_of(words: Sequence[Word], classes: Sequence[str], seconds: float, name: str) -> Truth:
  """The words of a stream as arrays.

  Raises:
    UserError: a word has a class that the model does not know, or ends after the stream.
  """
  unknown = sorted({word.label for word in words} - set(classes))
  if unknown:
    raise UserError(
      f'--truth={name}: {unknown[0]!r} is none of the classes {", ".join(classes)}: correct it'
    )
  late = [word for word in words if word.end > seconds + 0.5]
  if late:
    raise UserError(
      f'--truth={name}: {late[0].label} ends at {late[0].end:g} s and the stream at {seconds:g}: '
      'give the labels of this stream'
    )
  labels = [-1 if detector.is_negative(word.label) else classes.index(word.label) for word in words]
  return Truth(
    np.array([word.start for word in words], float),
    np.array([word.end for word in words], float),
    np.array(labels, int),
    seconds,
  )


class Detection(NamedTuple):
  """What a model detects in a stream.

  Attributes:
    name: of the stream.
    classes: names of the classes.
    features: of the model.
    settings: of the detector.
    stored: probabilities [windows, classes] uint16.
    events: in order of time.
    score: hits and alarms, if it is known what was said.
  """

  name: str
  classes: tuple[str, ...]
  features: Features
  settings: Settings
  stored: np.ndarray
  events: list[Event]
  score: Score | None

  def rows(self) -> list[tuple[float, str, float]]:
    """Time (s), class and mean probability of every event."""
    return [
      (
        float(detector.seconds(event.window, self.settings, self.features)),
        self.classes[event.label],
        event.score / detector.ONE,
      )
      for event in self.events
    ]


def detect(
  model: Classifier,
  samples: np.ndarray,
  name: str = 'array',
  *,
  threshold: float | None = None,
  words: Sequence[Word] | None = None,
) -> Detection:
  """Finds the words of a stream.

  Args:
    samples: [samples] float32 at the model's rate.
    threshold: for all classes but the negatives, 0 to 1 (default: those of the model, or
      `DEFAULT_THRESHOLD`).
    words: what was said, if it is known.

  Raises:
    UserError: the stream is shorter than a clip, the threshold is out of range, or the words do
      not fit.
  """
  spec = model.spec
  if threshold is not None and not 0 < threshold <= 1:
    raise UserError(f'--threshold={threshold:g}: give more than 0 and at most 1')
  settings = spec.detector or detector.default(spec.classes, spec.features, DEFAULT_THRESHOLD)
  if threshold is not None:
    of_all = detector.default(spec.classes, spec.features, threshold).thresholds
    settings = settings._replace(thresholds=of_all)
  detector.check(settings, spec.classes)
  seconds = len(samples) / spec.features.sample_rate
  truth = None if words is None else truth_of(words, spec.classes, seconds, name)
  (heard,) = listen([model], samples, settings, name)
  found = detector.events(heard, settings)
  score = truth and thresholds.score(found, Heard(heard, truth), settings, spec.features)
  return Detection(name, spec.classes, spec.features, settings, heard, found, score)


def as_table(found: Detection) -> str:
  """A line for every event, for people."""
  if not found.events:
    return f'{visible(found.name)}: no event\n'
  width = max(map(len, found.classes))
  return ''.join(
    f'{time:10.2f} s  {label:<{width}} {100 * p:5.1f} %\n' for time, label, p in found.rows()
  )


def as_csv(found: Detection) -> str:
  """A row for every event: time in s, class, probability."""
  text = io.StringIO()
  rows = csv.writer(text, lineterminator='\n')
  rows.writerow(('time', 'class', 'probability'))
  rows.writerows((f'{time:.4f}', label, f'{p:.6f}') for time, label, p in found.rows())
  return text.getvalue()


def as_json(found: Detection) -> str:
  """Events and constants."""
  content = {
    'stream': found.name,
    'detector': found.settings.to_json(found.classes),
    'events': [{'time': t, 'class': label, 'probability': p} for t, label, p in found.rows()],
  }
  if found.score:
    content['score'] = counts(found.score)
  return json.dumps(content, indent=1) + '\n'


def as_labels(found: Detection) -> str:
  """A label track of Audacity: the window of every event with its class."""
  clip = found.features.clip_seconds
  return ''.join(f'{time - clip:.4f}\t{time:.4f}\t{label}\n' for time, label, _ in found.rows())


def counts(score: Score) -> dict[str, Any]:
  return {
    'words': score.words,
    'hits': score.hits,
    'hit_rate': score.hit_rate,
    'wrong': score.wrong,
    'false_alarms': score.false_alarms,
    'per_hour': score.per_hour,
    'median_delay': float(np.median(score.delays)) if score.delays else None,
  }


def counted(score: Score) -> str:
  """Hits and alarms in a line."""
  found = f'{score.hits} of {score.words} words found'
  share = f' ({100 * score.hit_rate:.1f} %)' if score.words else ''
  delay = f', {np.median(score.delays):.2f} s after their end' if score.delays else ''
  return (
    f'{found}{share}{delay}; {score.wrong} wrong names; {score.false_alarms} false alarms '
    f'({score.per_hour:.1f} an hour)'
  )


def save_alarms(found: Detection, samples: np.ndarray, folder: Path) -> int:
  """Writes the window of every false alarm as 16-bit WAV; returns their number.

  The newest window of an event is written, as long as a clip.
  """
  if found.score is None:
    raise ValueError('it is not known which events are false alarms')
  folder.mkdir(parents=True, exist_ok=True)
  rate, hop = found.features.sample_rate, found.settings.hop_frames * found.features.hop_length
  stem = Path(found.name).stem
  for position in found.score.alarms:
    start = found.events[position].window * hop
    clip = samples[start : start + found.features.num_samples]
    files.write_bytes(folder / f'{stem}_{start / rate:08.2f}s.wav', audio.wave(clip, rate))
  return len(found.score.alarms)
