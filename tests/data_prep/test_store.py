import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from data_prep import store
from data_prep.errors import UserError
from data_prep.features import Features

FEATURES = Features(sample_rate=8000, clip_seconds=0.5, n_fft=256, hop_length=256, n_mels=16)
ROWS = [
  store.ClipRow('a/1.wav', 'a', 'ann', 1, 'train', 'aa', 0.0, 1.0, 0.4, 3.5, 1200.0),
  store.ClipRow('b/odd, "name".wav', 'b', '', 2, 'validation', 'bb', 0.0, 1.0, 0.5, 2.25, 10.0),
  store.ClipRow('b/語 \udcff.wav', 'b', 'bob', 0, '', 'aa', 0.25, 0.5, 0.6, 0.0, 0.0),
]
RECORDINGS = [
  *(store.RecordingRow(row.path, 10, 123456789012345678, row.sha256, '') for row in ROWS),
  store.RecordingRow('b/bad.wav', 0, 5, '', 'empty file'),
]


def write(path: Path) -> np.ndarray:
  mels = np.random.default_rng(0).normal(-40, 10, (3, *FEATURES.shape)).astype(np.float16)
  manifest = {
    'corpus': 'folder',
    'raw_dir': '/x',
    'features': FEATURES.to_json(),
    'classes': ['a', 'b'],
  }
  store.write(path, manifest, mels.shape, iter([mels[:2], mels[2:]]), ROWS, RECORDINGS)
  return mels


def test_what_is_written_is_read(tmp_path):
  path = tmp_path / 'stores' / store.name('folder', FEATURES)
  mels = write(path)
  loaded = store.load(path, FEATURES)
  np.testing.assert_array_equal(loaded.mels, mels)
  assert (
    isinstance(loaded.mels, np.memmap)
    and not loaded.mels.flags.writeable
    and loaded.mels.dtype == np.float16
  )
  assert loaded.labels.tolist() == [0, 1, 1] and loaded.labels.dtype == np.int32
  assert loaded.groups.tolist() == ['ann', '', 'bob'] and loaded.folds.tolist() == [1, 2, 0]
  assert loaded.parts.tolist() == ['train', 'validation', ''] and loaded.hashes.tolist() == [
    'aa',
    'bb',
    'aa',
  ]
  assert loaded.paths.tolist() == [row.path for row in ROWS]
  assert loaded.entropies.tolist() == [3.5, 2.25, 0.0] and loaded.crossings.tolist() == [
    1200.0,
    10.0,
    0.0,
  ]
  assert loaded.classes == ('a', 'b') and loaded.features == FEATURES and loaded.path == path
  assert loaded.manifest['counts'] == {'a': 1, 'b': 2} and loaded.manifest['skipped'] == {
    'b/bad.wav': 'empty file'
  }
  assert loaded.manifest['num_clips'] == 3 and loaded.manifest['num_recordings'] == 4
  assert store.read_clips(path) == ROWS and store.read_recordings(path) == RECORDINGS
  assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def alter(path: Path, position: int) -> None:
  data = bytearray(path.read_bytes())
  data[position] ^= 1
  path.write_bytes(data)


def rewrite(path: Path, **changes) -> None:
  path.write_text(json.dumps(json.loads(path.read_text()) | changes))


DAMAGE = {
  'mels.npy has 1000 bytes': lambda path: (path / 'mels.npy').write_bytes(
    (path / 'mels.npy').read_bytes()[:1000]
  ),
  'mels.npy was altered': lambda path: alter(path / 'mels.npy', -1),
  'clips.csv was altered': lambda path: alter(path / 'clips.csv', 70),
  'recordings.csv is missing': lambda path: (path / 'recordings.csv').unlink(),
  'its format is 0': lambda path: rewrite(path / 'manifest.json', format=0),
  'manifest.json cannot be read': lambda path: (path / 'manifest.json').write_text('{"format": 1'),
  'manifest.json was altered': lambda path: rewrite(path / 'manifest.json', classes=['b', 'a']),
  'refused: manifest.json is missing': lambda path: (path / 'manifest.json').unlink(),
  'x: no store': lambda path: [file.unlink() for file in path.iterdir()],
  'no store': shutil.rmtree,
}


@pytest.mark.parametrize('reason', DAMAGE)
def test_a_damaged_store_is_refused_with_its_reason(tmp_path, reason):
  path = tmp_path / 'folder-x'
  write(path)
  store.load(path)
  DAMAGE[reason](path)
  with pytest.raises(UserError, match=reason) as error:
    store.load(path)
  assert str(path) in str(error.value)


def test_every_byte_counts(tmp_path):
  write(tmp_path / 's')
  rng = np.random.default_rng(5)
  for name in ('mels.npy', 'clips.csv', 'recordings.csv'):
    content = (tmp_path / 's' / name).read_bytes()
    for position in rng.integers(len(content), size=20):
      alter(tmp_path / 's' / name, position)
      with pytest.raises(UserError, match=name):
        store.load(tmp_path / 's')
      (tmp_path / 's' / name).write_bytes(content)
  store.load(tmp_path / 's')


def test_other_settings_are_refused(tmp_path):
  write(tmp_path / 's')
  with pytest.raises(UserError, match='n_mels=16, not --n_mels=32: give --n_mels=16'):
    store.load(
      tmp_path / 's',
      Features(sample_rate=8000, clip_seconds=0.5, n_fft=256, hop_length=256, n_mels=32),
    )


def test_an_interrupted_write_leaves_the_old_store(tmp_path):
  path = tmp_path / 's'
  mels = write(path)

  def interrupted():
    yield mels[:1]
    raise KeyboardInterrupt

  with pytest.raises(KeyboardInterrupt):
    store.write(path, {'classes': ['a', 'b']}, mels.shape, interrupted(), ROWS, RECORDINGS)
  np.testing.assert_array_equal(store.load(path).mels, mels)
  write(path)
  assert [entry.name for entry in tmp_path.iterdir()] == ['s']
