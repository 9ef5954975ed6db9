"""A store of samples that are already in memory, for notebooks and programs."""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from data_prep import audio, files, mel, names, statistics, store
from data_prep.corpora.base import check_counts
from data_prep.errors import UserError
from data_prep.features import Features
from data_prep.store import ClipRow, RecordingRow, Store

CORPUS = 'arrays'  # name of such a corpus in manifests and results


def prepare(
  clips: Sequence[np.ndarray],
  labels: Sequence[str],
  sample_rate: int,
  features: Features,
  *,
  groups: Sequence[str] | None = None,
  store_dir: str | os.PathLike[str] = 'stores',
) -> Store:
  """Computes the features of clips and writes their store, or reads an equal store that exists.

  Args:
    clips: one array [samples] per clip, mono, in -1..1; of any length.
    labels: the class of each clip.
    sample_rate: of the clips, in Hz; they are resampled to `features.sample_rate`.
    features: the settings of the features.
    groups: speaker or source recording of each clip ('' if unknown).
    store_dir: the folder of stores.

  Returns:
    The loaded store.

  Raises:
    UserError: the lengths differ, a clip is not a finite array [samples], or a class has fewer
      than 3 clips or a control character in its name.
  """
  groups = list(groups) if groups is not None else [''] * len(clips)
  labels = [str(label) for label in labels]
  for name, values in (('labels', labels), ('groups', groups)):
    if len(values) != len(clips):
      raise UserError(f'{name}: {len(values)} for {len(clips)} clips: give one per clip')
  samples = [_checked(number, clip) for number, clip in enumerate(clips)]
  classes = tuple(sorted(set(labels)))
  names.check_classes(classes, 'labels')
  check_counts(classes, labels, 'labels')
  hashes = [hashlib.sha256(clip.tobytes()).hexdigest() for clip in samples]
  digest = files.json_sha256([hashes, labels, groups, sample_rate, features.to_json()])[:10]
  path = Path(store_dir) / f'{CORPUS}-{digest}'
  with files.locked(path, files.lock_beside(path)):
    if not path.exists():
      _write(path, samples, labels, list(map(str, groups)), hashes, sample_rate, features)
  return store.load(path, features)


def _write(
  path: Path,
  samples: list[np.ndarray],
  labels: list[str],
  groups: list[str],
  hashes: list[str],
  sample_rate: int,
  features: Features,
) -> None:
  tables = mel.tables(features)
  mels, rows, recordings = [], [], []
  for number, (clip, label, group, sha256) in enumerate(
    zip(samples, labels, groups, hashes, strict=True)
  ):
    resampled = audio.resample(clip, sample_rate, features.sample_rate)[: features.num_samples]
    mels.append(mel.log_mel(mel.fit_length(resampled, features), features, tables))
    seconds = len(clip) / sample_rate
    entropy = statistics.entropy(resampled)
    crossings = statistics.crossings(resampled, features.sample_rate)
    name = f'clip {number}'
    rows.append(ClipRow(name, label, group, 0, '', sha256, 0.0, 1.0, seconds, entropy, crossings))
    recordings.append(RecordingRow(name, clip.nbytes, 0, sha256, ''))
  manifest = {
    'corpus': CORPUS,
    'raw_dir': '',
    'features': features.to_json(),
    'classes': sorted(set(labels)),
    'ignored': [],
    'longer': sum(row.seconds > features.clip_seconds for row in rows),
    'shorter': sum(row.seconds < features.clip_seconds for row in rows),
  }
  store.write(path, manifest, (len(rows), *features.shape), [np.stack(mels)], rows, recordings)


def _checked(number: int, clip: np.ndarray) -> np.ndarray:
  samples = np.asarray(clip, np.float32)
  if samples.ndim != 1 or not samples.size or not np.isfinite(samples).all():
    raise UserError(
      f'clips[{number}]: shape {samples.shape}: give a finite mono array [samples], not empty'
    )
  return samples
