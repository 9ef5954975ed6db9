"""What models detect in streams: constants of lanes by validation, their figures by test."""

import csv
import io
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import soundfile
from tqdm.auto import tqdm

from data_prep import audio, files
from data_prep.background import Noise
from data_prep.errors import UserError
from data_prep.features import Features
from data_prep.store import Store
from m3net_jax.inference import best_lane, classifier, detector, thresholds, windows
from m3net_jax.inference.classifier import Classifier
from m3net_jax.inference.detector import Event, Settings
from m3net_jax.inference.thresholds import Heard
from m3net_jax.network import ops
from m3net_jax.stats import detections, intervals
from m3net_jax.stats.detections import Score, Truth
from m3net_jax.study import noise_bank, results, streams
from m3net_jax.study.streams import Word
from m3net_jax.study.workdir import Workdir

STREAMS = 'streams.json'
DEFAULT_THRESHOLD = 0.8  # of a model without constants of its own
_BLOCK = 256  # windows whose features are in memory at once


def make_streams(
  workdir: Workdir,
  store: Store,
  noises: Sequence[Noise],
  folder: Path,
  *,
  snrs: Sequence[float],
  minutes: float,
  raw_dir: str | os.PathLike[str] | None = None,
) -> list[Path]:
  """Writes a stream of validation clips and one of test clips for every signal-to-noise ratio.

  The clips are those of the study's first split. Validation and test have noise recordings of
  their own.

  Args:
    noises: at least two recordings; those that training heard are left out.
    folder: for the streams, their words and streams.json.
    snrs: dB.
    minutes: of each stream.

  Raises:
    UserError: too few recordings of noise, or recordings of the corpus are absent or changed.
  """
  split = workdir.splits(store)[0]
  bank = noise_bank.read(workdir.path)
  heard = set() if bank is None else set(bank.sha256.tolist()) - {''}
  new = [noise for noise in noises if noise.sha256 not in heard]
  if len(new) < len(noises):
    print(
      f'{len(noises) - len(new)} of {len(noises)} noise recordings were mixed into training clips '
      'and are left out',
      file=sys.stderr,
    )
  of_side = streams.sides_of(new)
  described, written = [], []
  for side in streams.SIDES:
    clips = streams.clips_of(store, split, side, raw_dir)
    for snr in snrs:
      samples, words = streams.compose(
        clips,
        of_side[side],
        store.features,
        seconds=60 * minutes,
        snr_db=snr,
        seed=(streams.SIDES.index(side), round(10 * snr) % 2**32),
      )
      path = folder / f'{side}_{snr:g}dB.flac'
      streams.write(path, samples, words, store.features)
      written += [path, path.with_suffix('.csv')]
      described.append({'name': path.name, 'side': side, 'snr_db': snr})
  content = {
    'store_sha256': store.sha256,
    'split': split.name,
    'noise': {side: [noise.name for noise in of_side[side]] for side in streams.SIDES},
    'streams': described,
  }
  files.write_json(folder / STREAMS, content)
  return [*written, folder / STREAMS]


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
  with tqdm(total=total + 1, desc=name, unit='', ncols=79, disable=None) as bar:
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
    return f'{found.name}: no event\n'
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
    content['score'] = _counts(found.score)
  return json.dumps(content, indent=1) + '\n'


def as_labels(found: Detection) -> str:
  """A label track of Audacity: the window of every event with its class."""
  clip = found.features.clip_seconds
  return ''.join(f'{time - clip:.4f}\t{time:.4f}\t{label}\n' for time, label, _ in found.rows())


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
    content = io.BytesIO()
    clip = samples[start : start + found.features.num_samples]
    soundfile.write(content, clip, rate, subtype='PCM_16', format='WAV')
    files.write_bytes(folder / f'{stem}_{start / rate:08.2f}s.wav', content.getvalue())
  return len(found.score.alarms)


class _Stream(NamedTuple):
  """A stream of a folder that `make_streams` wrote."""

  name: str
  side: str
  snr_db: float
  truth: Truth
  heard: list[np.ndarray]  # by lane


def measure(workdir: Workdir, store: Store, folder: Path, per_hour: float) -> dict[str, Any]:
  """Chooses every lane's detector on validation streams and measures it on test streams.

  Only lanes of the split whose clips are in the streams are measured.

  Args:
    folder: that `make_streams` wrote for this study.
    per_hour: false alarms an hour that are allowed in each validation stream.

  Returns:
    The content of detection.json.

  Raises:
    UserError: the folder holds no streams or those of another study.
  """
  described = _described(folder)
  if described['store_sha256'] != store.sha256:
    raise UserError(f'{folder}: its streams were made for another study: make them for this one')
  lanes = [
    name
    for name, row in results.tested(workdir.results()).items()
    if row['status'] == 'finished' and row['split'] == described['split']
  ]
  if not lanes:
    raise UserError(f'{folder}: no lane of {workdir.path} has its split {described["split"]}')
  lowering = ops.lowering_for('cpu')
  models = [
    classifier.from_lane(workdir, best_lane.load(workdir, lane.variant, lane.seed), lowering)
    for lane in lanes
  ]
  spec = models[0].spec
  start = detector.default(spec.classes, spec.features)
  detector.check(start, spec.classes)
  heard = [_hear(models, folder, row, start) for row in described['streams']]
  rows, scores = [], []
  for position, lane in enumerate(tqdm(lanes, desc='detectors', unit='', ncols=79, disable=None)):
    of_lane = [Heard(stream.heard[position], stream.truth) for stream in heard]
    row, score = _lane(of_lane, heard, start, spec.features, spec.classes, per_hour)
    rows.append({'variant': lane.variant, 'seed': lane.seed, **row})
    scores.append(score)
  return {
    'per_hour': per_hour,
    'one': detector.ONE,  # the stored probability 1
    'split': described['split'],
    'noise': described['noise'],
    'streams': [
      {
        'name': stream.name,
        'side': stream.side,
        'snr_db': stream.snr_db,
        'words': stream.truth.words,
        'hours': stream.truth.seconds / 3600,
      }
      for stream in heard
    ],
    'lanes': rows,
    'variants': {
      variant: _over_lanes(
        [(row, score) for row, score in zip(rows, scores) if row['variant'] == variant]
      )
      for variant in dict.fromkeys(row['variant'] for row in rows)
    },
  }


def _described(folder: Path) -> dict[str, Any]:
  try:
    return files.read_json(folder / STREAMS, 'make the streams again')
  except FileNotFoundError as error:
    raise UserError(
      f'{folder}: holds no {STREAMS} of --make_stream: make streams there first'
    ) from error


def _hear(
  models: Sequence[Classifier], folder: Path, row: Mapping[str, Any], settings: Settings
) -> _Stream:
  features, path = models[0].spec.features, folder / row['name']
  try:
    samples = audio.read(path, features.sample_rate)
  except audio.Unreadable as error:
    raise UserError(f'{path}: cannot be decoded ({error}): make the streams again') from error
  words = streams.read_words(path.with_suffix('.csv'))
  truth = truth_of(words, models[0].spec.classes, len(samples) / features.sample_rate, str(path))
  return _Stream(
    row['name'], row['side'], row['snr_db'], truth, listen(models, samples, settings, row['name'])
  )


def _lane(
  of_lane: Sequence[Heard],
  heard: Sequence[_Stream],
  start: Settings,
  features: Features,
  classes: Sequence[str],
  per_hour: float,
) -> tuple[dict[str, Any], list[Score]]:
  """The detector of one lane and its figures on the test streams.

  Args:
    of_lane: what the lane says about every stream of `heard`.
  """
  validation = [each for each, stream in zip(of_lane, heard) if stream.side == 'validation']
  chosen = thresholds.choose(validation, start, features, classes, per_hour)
  rows, scores = [], []
  for each, stream in zip(of_lane, heard):
    if stream.side == 'test':
      loop = thresholds.every_window(each, classes, start)
      scores.append(thresholds.measure(each, chosen, features))
      rows.append(
        {
          'name': stream.name,
          **_counts(scores[-1]),
          'every_window': _counts(thresholds.score(loop, each, start, features)),
          'curve': thresholds.curve(each, chosen, features),
        }
      )
  return {'settings': chosen.to_json(classes), 'streams': rows}, scores


def _counts(score: Score) -> dict[str, Any]:
  return {
    'words': score.words,
    'hits': score.hits,
    'hit_rate': score.hit_rate,
    'wrong': score.wrong,
    'false_alarms': score.false_alarms,
    'per_hour': score.per_hour,
    'median_delay': float(np.median(score.delays)) if score.delays else None,
  }


def _over_lanes(
  lanes: Sequence[tuple[Mapping[str, Any], Sequence[Score]]],
) -> list[dict[str, Any]]:
  """Means over lanes with their 95 % intervals, the widest first; a row a test stream.

  Args:
    lanes: rows and scores on every test stream.
  """
  seeds = [lane['seed'] for lane, _ in lanes]
  rows = []
  for place, of_lanes in enumerate(zip(*(scores for _, scores in lanes))):
    streams_of = [lane['streams'][place] for lane, _ in lanes]
    alarms = float(np.mean([score.false_alarms for score in of_lanes]))
    over = {
      'hit_rate': ('seeds and words', detections.hit_rate_interval(of_lanes, seeds)),
      'per_hour': ('streams', detections.per_hour_interval(alarms, of_lanes[0].seconds)),
      'wrong': ('', None),
    }
    row: dict[str, Any] = {'name': streams_of[0]['name']}
    for key, other in over.items():
      mean = intervals.mean_interval([stream[key] for stream in streams_of])
      found = [
        {'over': name, 'ci95': list(ends)}
        for name, ends in (('seeds', mean.interval), other)
        if ends
      ]
      found.sort(key=lambda entry: entry['ci95'][0] - entry['ci95'][1])
      row[key] = {
        'mean': mean.mean,
        'ci95': found[0]['ci95'] if found else None,
        'intervals': found,
      }
      loop = [stream['every_window'][key] for stream in streams_of]
      row[f'every_window_{key}'] = float(np.mean(loop))
    delays = [stream['median_delay'] for stream in streams_of]
    known = [delay for delay in delays if delay is not None]
    row['median_delay'] = float(np.mean(known)) if known else None
    rows.append(row)
  return rows
