"""A store: a folder with the log-Mel arrays of a corpus and all that a study needs to know of it.

    mels.npy        float16 [clips, n_mels, frames], dB
    clips.csv       one row per clip: path, label, group, fold, part, sha256 of its recording,
                    start, gain, seconds, entropy, crossings
    recordings.csv  one row per recording: path, size, mtime_ns, sha256, and why it was skipped
    manifest.json   format, corpus, features, versions, classes, counts, skipped recordings, hashes
                    of the three files above and of itself

A store is written completely or not at all, and an altered store is not read.
"""

import csv
import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from data_prep.errors import UserError
from data_prep.features import Features
from data_prep.files import json_sha256, one_line, replacing_folder, write_bytes

FORMAT = 3
DTYPE = np.dtype(np.float16)
_PACKAGES = ('librosa', 'numpy', 'soundfile', 'soxr')  # that decide the features
_FILES = ('mels.npy', 'clips.csv', 'recordings.csv')


class ClipRow(NamedTuple):
  """A row of clips.csv: a `Clip`, its recording's SHA-256 and seconds, and its `statistics`."""

  path: str
  label: str
  group: str
  fold: int
  part: str
  sha256: str
  start: float
  gain: float
  seconds: float
  entropy: float
  crossings: float

  @property
  def identity(self) -> tuple[str, float]:
    """The hash of the recording and the start in it: equal for the same clip in two stores."""
    return self.sha256, self.start


class RecordingRow(NamedTuple):
  """A row of recordings.csv; `size` is in bytes (-1: absent), `skipped` is the reason or ''."""

  path: str
  size: int
  mtime_ns: int
  sha256: str
  skipped: str


class Store(NamedTuple):
  """A loaded store; `mels` stays on disk and is read when it is used.

  Attributes:
    path: of the store's folder.
    mels: [clips, n_mels, frames] float16, dB, a read-only memory map.
    labels: [clips] int32, positions in `classes`.
    groups: [clips] str, speaker or source recording; '' if unknown.
    folds: [clips] int32, from 1; 0 if the corpus has none.
    parts: [clips] str, the official 'train', 'validation' or 'test'; '' if there is none.
    paths: [clips] str, of the recording, relative to the corpus's folder.
    starts: [clips] float64, start of the clip in its recording, seconds.
    hashes: [clips] str, SHA-256 of the recording; equal for byte-identical ones.
    entropies, crossings: [clips] float64, see `statistics`.
    classes: names of the classes.
    features: the settings of the features.
    manifest: the content of manifest.json.
  """

  path: Path
  mels: np.ndarray
  labels: np.ndarray
  groups: np.ndarray
  folds: np.ndarray
  parts: np.ndarray
  paths: np.ndarray
  starts: np.ndarray
  hashes: np.ndarray
  entropies: np.ndarray
  crossings: np.ndarray
  classes: tuple[str, ...]
  features: Features
  manifest: dict[str, Any]

  @property
  def sha256(self) -> str:
    """SHA-256 of mels.npy."""
    return self.manifest['files']['mels.npy']['sha256']


def name(corpus: str, features: Features) -> str:
  """The name of a store's folder within --store_dir."""
  return f'{corpus}-{features.digest()}'


def write(
  path: Path,
  manifest: dict[str, Any],
  shape: tuple[int, int, int],
  blocks: Iterable[np.ndarray],
  clips: Sequence[ClipRow],
  recordings: Sequence[RecordingRow],
) -> None:
  """Writes a store, completely or not at all; replaces the store at `path`.

  Args:
    path: of the store's folder.
    manifest: without the format, the versions, the counts and the hashes, which are added here.
    shape: [clips, n_mels, frames].
    blocks: the clips' arrays in order, float16 [any, n_mels, frames].
    clips: the rows of clips.csv.
    recordings: the rows of recordings.csv.
  """
  with replacing_folder(path) as folder:
    with open(folder / 'mels.npy', 'wb') as file:
      np.lib.format.write_array_header_1_0(
        file, {'descr': DTYPE.str, 'fortran_order': False, 'shape': shape}
      )
      for block in blocks:
        file.write(np.ascontiguousarray(block, DTYPE).data)
      _to_disk(file)
    _write_rows(folder / 'clips.csv', ClipRow._fields, clips)
    _write_rows(folder / 'recordings.csv', RecordingRow._fields, recordings)
    counts = dict.fromkeys(manifest['classes'], 0)
    for clip in clips:
      counts[clip.label] += 1
    skipped = {row.path: row.skipped for row in recordings if row.skipped}
    content = {
      'format': FORMAT,
      **manifest,
      'versions': {name: version(name) for name in _PACKAGES},
      'num_clips': len(clips),
      'num_recordings': len(recordings),
      'counts': counts,
      'skipped': skipped,
      'files': {file: _signature(folder / file) for file in _FILES},
    }
    _write_manifest(folder, content)


def relocate(path: Path, raw_dir: str) -> None:
  """Records in the store at `path` that its recordings have moved to the folder `raw_dir`."""
  _write_manifest(path, read_manifest(path, hash_mels=False) | {'raw_dir': raw_dir})


def source(raw_dir: str, listing: str) -> str:
  """The csv file that lists the clips of a corpus, or its folder."""
  return os.path.join(raw_dir, listing) if listing else raw_dir


def claims(path: Path) -> dict[str, str]:
  """What a store says of itself, unchecked: where its recordings were, and its SHA-256.

  Returns:
    'raw_dir', 'source' (the csv file that lists the clips, else raw_dir) and 'sha256' (of
    mels.npy); all '' if there is no readable store at `path`.
  """
  try:
    manifest = json.loads(
      (path / 'manifest.json').read_text(encoding='utf-8', errors='surrogateescape')
    )
    return {
      'raw_dir': manifest['raw_dir'],
      'source': source(manifest['raw_dir'], manifest.get('listing', '')),
      'sha256': manifest['files']['mels.npy']['sha256'],
    }
  except (OSError, ValueError, KeyError, TypeError):
    return {'raw_dir': '', 'source': '', 'sha256': ''}


def read_manifest(path: str | os.PathLike[str], *, hash_mels: bool = True) -> dict[str, Any]:
  """Reads the manifest of a store and checks the store's files against it.

  Args:
    path: of the store's folder.
    hash_mels: also hash mels.npy, which takes about one second per gigabyte; otherwise only its
      size is checked.

  Raises:
    UserError: the store is absent, has another format, or is truncated or altered.
  """
  path = Path(path)
  try:
    manifest = json.loads(
      (path / 'manifest.json').read_text(encoding='utf-8', errors='surrogateescape')
    )
    version, files, sha256 = manifest['format'], manifest['files'], manifest.pop('sha256', '')
  except FileNotFoundError as error:
    raise (
      _refused(path, 'manifest.json is missing')
      if any((path / name).exists() for name in _FILES)
      else UserError(f'{path}: no store: prepare it with python -m data_prep.main')
    ) from error
  except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
    raise _refused(path, f'manifest.json cannot be read ({one_line(error)})') from error
  if version != FORMAT:
    raise _refused(path, f'its format is {version}, this program reads {FORMAT}')
  if sha256 != json_sha256(manifest):
    raise _refused(path, 'manifest.json was altered (its SHA-256 is not the one in its last line)')
  for name in _FILES:
    file = path / name
    if not file.is_file():
      raise _refused(path, f'{name} is missing')
    size = file.stat().st_size
    if size != files[name]['bytes']:
      raise _refused(path, f'{name} has {size} bytes, {files[name]["bytes"]} were written')
    if (hash_mels or name != 'mels.npy') and _signature(file) != files[name]:
      raise _refused(path, f'{name} was altered (its SHA-256 is not the one in manifest.json)')
  return manifest


def read_clips(path: Path) -> list[ClipRow]:
  """The rows of clips.csv of the store at `path`."""
  return [
    ClipRow(*row[:3], int(row[3]), *row[4:6], *map(float, row[6:]))
    for row in _read_rows(path / 'clips.csv')
  ]


def read_recordings(path: Path) -> list[RecordingRow]:
  """The rows of recordings.csv of the store at `path`."""
  return [
    RecordingRow(a, int(b), int(c), d, e) for a, b, c, d, e in _read_rows(path / 'recordings.csv')
  ]


def load(path: str | os.PathLike[str], features: Features | None = None) -> Store:
  """Reads a store and checks all its hashes, which takes about one second per gigabyte.

  Args:
    path: of the store's folder.
    features: the settings it must have been made with; None accepts any.

  Raises:
    UserError: the store is absent, truncated, altered, or made with other settings.
  """
  path = Path(path)
  manifest = read_manifest(path)
  settings = Features.from_json(manifest['features'])
  if features is not None:
    same_features(path, settings, features)
  clips = read_clips(path)
  classes = tuple(manifest['classes'])
  position = {label: index for index, label in enumerate(classes)}
  columns = ClipRow(*zip(*clips))
  return Store(
    path,
    np.load(path / 'mels.npy', mmap_mode='r'),
    np.array([position[label] for label in columns.label], np.int32),
    np.array(columns.group),
    np.array(columns.fold, np.int32),
    np.array(columns.part),
    np.array(columns.path),
    np.array(columns.start),
    np.array(columns.sha256),
    np.array(columns.entropy),
    np.array(columns.crossings),
    classes,
    settings,
    manifest,
  )


def same_features(path: Path, stored: Features, requested: Features) -> None:
  """Raises UserError with the first setting in which a store differs from the requested one."""
  stored_values = stored.to_json()
  for field, value in requested.to_json().items():
    if stored_values[field] != value:
      raise UserError(
        f'{path}: the store was made with {field}={stored_values[field]}, not --{field}={value}: '
        f'give --{field}={stored_values[field]} or another --store_dir'
      )


def _refused(path: Path, reason: str) -> UserError:
  return UserError(f'{path}: store refused: {reason}; delete the folder and run again')


def _signature(path: Path) -> dict[str, Any]:
  with open(path, 'rb') as file:
    return {
      'bytes': os.fstat(file.fileno()).st_size,
      'sha256': hashlib.file_digest(file, 'sha256').hexdigest(),
    }


def _write_manifest(folder: Path, content: dict[str, Any]) -> None:
  """Writes manifest.json with its own hash, completely or not at all."""
  text = json.dumps({**content, 'sha256': json_sha256(content)}, indent=1, ensure_ascii=False)
  write_bytes(folder / 'manifest.json', text.encode('utf-8', 'surrogateescape'))


def _to_disk(file: Any) -> None:
  file.flush()
  os.fsync(file.fileno())


def _write_rows(path: Path, header: tuple[str, ...], rows: Sequence[tuple]) -> None:
  # A file name may be invalid UTF-8; surrogateescape keeps its bytes.
  with open(path, 'w', newline='', encoding='utf-8', errors='surrogateescape') as file:
    table = csv.writer(file, lineterminator='\n')
    table.writerow(header)
    table.writerows(rows)
    _to_disk(file)


def _read_rows(path: Path) -> list[list[str]]:
  with open(path, newline='', encoding='utf-8', errors='surrogateescape') as file:
    table = csv.reader(file)
    next(table)
    return list(table)
