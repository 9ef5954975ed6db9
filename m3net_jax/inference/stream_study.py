"""Streams of a study: made of its clips, and its lanes calibrated and measured on them."""

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tqdm.auto import tqdm

from data_prep import audio, files
from data_prep.background import Noise
from data_prep.errors import UserError
from data_prep.features import Features
from data_prep.store import Store
from m3net_jax.inference import best_lane, detector, lane_classifier, thresholds
from m3net_jax.inference.classifier import Classifier
from m3net_jax.inference.detection import counts, listen, truth_of
from m3net_jax.inference.detector import Settings
from m3net_jax.inference.thresholds import Heard
from m3net_jax.network import ops
from m3net_jax.stats import detections, intervals
from m3net_jax.stats.detections import Score, Truth
from m3net_jax.study import noise_bank, results, streams
from m3net_jax.study.workdir import Workdir

STREAMS = 'streams.json'


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
  heard = {sha256 for _, sha256 in noise_bank.recorded(workdir.path, workdir.config)}
  new = [noise for noise in noises if noise.sha256 not in heard]
  if len(new) < len(noises):
    print(
      f'{len(noises) - len(new)} of {len(noises)} noise recordings were mixed into training clips '
      'and are left out',
      file=sys.stderr,
    )
  of_side = streams.sides_of(new)
  (folder / STREAMS).unlink(missing_ok=True)  # if this is interrupted, the folder holds no streams
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
      both = [path, path.with_suffix('.csv')]
      written += both
      sha256 = {file.name: audio.digest(audio.load(file)) for file in both}
      described.append({'name': path.name, 'side': side, 'snr_db': snr, 'sha256': sha256})
  content = {
    'store_sha256': store.sha256,
    'split': split.name,
    'noise': {side: [noise.name for noise in of_side[side]] for side in streams.SIDES},
    'streams': described,
  }
  files.write_json(folder / STREAMS, content)
  return [*written, folder / STREAMS]


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
    lane_classifier.from_lane(workdir, best_lane.load(workdir, lane.variant, lane.seed), lowering)
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
    for name, sha256 in row.get('sha256', {}).items():  # folders made before have none
      if audio.digest(audio.load(folder / name)) != sha256:
        raise UserError(f'{folder / name}: was altered: make the streams again')
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
          **counts(scores[-1]),
          'every_window': counts(thresholds.score(loop, each, start, features)),
          'curve': thresholds.curve(each, chosen, features),
        }
      )
  return {'settings': chosen.to_json(classes), 'streams': rows}, scores


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
