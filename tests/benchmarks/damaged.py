"""Prepares ten thousand damaged recordings: each is decoded or listed with a reason.

    python -m tests.benchmarks.damaged [--num_files=10000] [--seed=0]

Files are cut, changed, spliced and emptied at random from a seed. Names have spaces, other
alphabets and wrong endings. Some files are broken links, pipes, empty or unreadable.
"""

import collections
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from absl import app, flags

from data_prep import store
from data_prep.errors import UserError
from data_prep.features import Features
from data_prep.prepare import prepare
from tests.data_prep.test_audio import mutated, originals

_FILES = flags.DEFINE_integer('num_files', 10000, 'damaged recordings')
_SEED = flags.DEFINE_integer('seed', 0, 'seed of the damage')
_NAMES = (
  '{}.wav',
  '{}.ogg',
  '{}.flac',
  '{}.mp3',
  'mit Leerzeichen {}.WAV',
  '音声 {}.wav',
  'звук {}.aiff',
  'it\'s "{}",.wav',
)


def write(root: Path, count: int, rng: np.random.Generator) -> None:
  """Writes `count` damaged recordings into two folders of `root`."""
  recordings = originals()
  for number in range(count):
    path = root / 'ab'[number % 2] / _NAMES[rng.integers(len(_NAMES))].format(number)
    path.parent.mkdir(parents=True, exist_ok=True)
    kind = rng.integers(100)
    if kind == 0:
      path.symlink_to(root / 'nowhere')
    elif kind == 1:
      os.mkfifo(path)
    elif kind == 2:
      path.write_bytes(recordings[0])
      path.chmod(0)
    elif kind == 3:
      path.write_bytes(b'')
    else:
      path.write_bytes(mutated(rng, recordings))


def main(_) -> None:
  folder = Path(tempfile.mkdtemp())
  try:
    write(folder / 'raw', _FILES.value, np.random.default_rng(_SEED.value))
    try:
      prepare('folder', folder / 'raw', folder / 'stores', Features(clip_seconds=0.2, n_mels=16))
    except UserError as error:
      print(str(error)[:300])
    assert not [
      path for path in (folder / 'stores').iterdir() if path.is_dir() and path.name[0] != '.'
    ]
    start = time.perf_counter()
    loaded = store.load(
      prepare(
        'folder',
        folder / 'raw',
        folder / 'stores',
        Features(clip_seconds=0.2, n_mels=16),
        skip_unreadable=True,
      )
    )
    seconds = time.perf_counter() - start
    skipped = loaded.manifest['skipped']
    assert len(loaded.paths) + len(skipped) == _FILES.value
    assert not set(loaded.paths) & set(skipped)
    assert all(skipped.values()) and np.isfinite(loaded.mels[:].astype(np.float32)).all()
    print(
      f'{_FILES.value} files: {len(loaded.paths)} decoded, {len(skipped)} listed with a reason; '
      f'{seconds:.1f} s'
    )
    reasons = collections.Counter(reason.split(':')[0][:70] for reason in skipped.values())
    for reason, count in reasons.most_common(12):
      print(f'{count:6} {reason}')
  finally:
    shutil.rmtree(folder)


if __name__ == '__main__':
  sys.exit(app.run(main))
