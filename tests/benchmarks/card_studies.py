"""Sections `resume` and `digits` of `tests.benchmarks.accelerator`: whole studies.

resume  trains a small study with the real command on clips made of noise, once without disturbance
        and once killed in the middle, and compares what both wrote
digits  the study of `launch/fsdd.flags` from the recordings to its report
"""

import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any
from unittest import mock

import jax
import numpy as np
from absl import flags

from data_prep import store as stores
from data_prep.features import Features
from m3net_jax import main as command
from m3net_jax.study import workdir
from tests.benchmarks.card_sections import LeftOut, Log, Settings, check_time, rows_of

ROOT = Path(__file__).parents[2]
_FEATURES = Features(sample_rate=8000, clip_seconds=0.25, n_fft=256, hop_length=128, n_mels=16)
_CLASSES, _CLIPS = ('high', 'low', 'middle'), 60
_TIMES = ('seconds', 'compilations', 'environments')  # of results.json: differ between two runs
_COMPILING = '/jax/core/compile/backend_compile_duration'  # jax's name for XLA's part


def resume(settings: Settings, log: Log, until: float, known: dict[str, Any]) -> None:
  """Kills the command with SIGKILL after an epoch, and compares the study in the end."""
  log.plan(['killed and resumed'])
  with log.attempt('killed and resumed'), tempfile.TemporaryDirectory() as name:
    folder = Path(name)
    flags_ = [*write_store(folder), *settings.killed, *_lowering(settings, known)]
    calm, stormy = folder / 'calm', folder / 'stormy'
    begin = time.monotonic()
    _end(_start(flags_, calm, folder), until, folder)
    calm_seconds = time.monotonic() - begin
    check_time(until, calm_seconds)
    epochs = []
    for _ in range(settings.kills):
      epochs.append(_kill_after_an_epoch(_start(flags_, stormy, folder), stormy, until))
    _end(_start(flags_, stormy, folder), until, folder)
    log.row(
      'killed and resumed',
      killed_after_epochs=epochs,
      identical=_written(calm) == _written(stormy),
      seconds=calm_seconds,
    )


def write_store(folder: Path) -> list[str]:
  """Writes a store of three kinds of noise, from numpy alone; returns the flags that use it."""
  rng, (bands, frames) = np.random.default_rng(0), _FEATURES.shape
  labels = [label for label in _CLASSES for _ in range(_CLIPS)]
  mels = rng.uniform(-80, -30, (len(labels), bands, frames)).astype(np.float16)
  for i, label in enumerate(labels):
    mels[i, 5 * _CLASSES.index(label) :][:5] += 30  # a band of its own
  clips = [
    stores.ClipRow(f'{label}/{i}.wav', label, '', 0, '', f'{i:064x}', 0.0, 1.0, 0.25, 0.5, 0.5)
    for i, label in enumerate(labels)
  ]
  recordings = [stores.RecordingRow(clip.path, 1, 1, clip.sha256, '') for clip in clips]
  manifest = {
    'corpus': 'folder',
    'raw_dir': str(folder / 'recordings'),  # is not there: the store is used without it
    'listing': '',
    'features': _FEATURES.to_json(),
    'classes': list(_CLASSES),
    'ignored': [],
    'silence_clips': None,
    'longer': 0,
    'shorter': 0,
  }
  path = folder / 'stores' / stores.name('folder', _FEATURES)
  # No package for sounds has made these features, and none may be installed.
  with mock.patch.object(stores, '_PACKAGES', ('numpy',)):
    stores.write(path, manifest, mels.shape, [mels], clips, recordings)
  return [
    '--corpus=folder',
    f'--raw_dir={folder / "recordings"}',
    f'--store_dir={folder / "stores"}',
    *(
      f'--{name}={getattr(_FEATURES, name)}'
      for name in ('sample_rate', 'clip_seconds', 'n_fft', 'hop_length', 'n_mels')
    ),
  ]


def _lowering(settings: Settings, known: dict[str, Any]) -> list[str]:
  """The flag of the lowering that was fastest with the study's lanes and the first input."""
  rows = [
    row
    for row in rows_of(known, 'speed')
    if row['input_shape'] == list(settings.sizes[0].input_shape)
    and (row['lanes'], row['precision']) == (settings.study_lanes, settings.precisions[0])
  ]
  fastest = min(rows, key=lambda row: row['seconds'], default=None)
  return [f'--lowering={fastest["lowering"]}'] if fastest else []


def _start(flags_: list[str], path: Path, folder: Path) -> subprocess.Popen:
  with open(folder / 'log', 'a') as log:
    return subprocess.Popen(
      [sys.executable, '-m', 'm3net_jax.main', *flags_, f'--workdir={path}'],
      cwd=ROOT,
      stdout=log,
      stderr=log,
    )


def _end(process: subprocess.Popen, until: float, folder: Path) -> None:
  """Waits for a command to end well."""
  try:
    process.wait(max(until - time.monotonic(), 1))
  except subprocess.TimeoutExpired:
    raise LeftOut('the study did not end in time') from None
  finally:
    process.kill()
    process.wait()
  if process.returncode:
    last = (folder / 'log').read_text().strip().splitlines()[-1:]
    raise RuntimeError(f'the command ended with status {process.returncode}: {"".join(last)}')


def _kill_after_an_epoch(process: subprocess.Popen, path: Path, until: float) -> int:
  """Kills a command as soon as it has written an epoch; returns the epoch."""
  metrics = path / 'metrics.jsonl'
  size = lambda: metrics.stat().st_size if metrics.exists() else 0
  before, ended = size(), None
  try:
    # Reading what was there cuts the file: it is only longer after a new epoch.
    while size() <= before and (ended := process.poll()) is None and time.monotonic() < until:
      time.sleep(0.002)
    if ended is not None or time.monotonic() >= until:
      raise LeftOut('the study ended before it could be killed')
  finally:
    process.send_signal(signal.SIGKILL)  # nothing happens if it has ended
    process.wait()
  return max(row['epoch'] for row in workdir.read(path).metrics())


def _written(path: Path) -> tuple:
  """What a study has written, without its times."""
  study = workdir.read(path)
  content = {name: value for name, value in study.results().items() if name not in _TIMES}
  predictions = {name: array.tolist() for name, array in study.predictions().items()}
  return content, predictions, [{**row, 'seconds': 0} for row in study.metrics()]


def digits(settings: Settings, log: Log, until: float, known: dict[str, Any]) -> None:
  """Prepares the features, trains, tests and reports; the seconds of each."""
  if settings.raw_dir is None and settings.store_dir is None:
    raise LeftOut('neither --raw_dir nor --store_dir of the spoken digits is given')
  log.plan(['the digits'])
  with log.attempt('the digits'), tempfile.TemporaryDirectory() as name:
    values = flags.FlagValues()
    command.define(values)
    flagfile = ROOT / 'launch' / 'fsdd.flags'
    values(
      [
        'main',
        f'--flagfile={flagfile}',
        f'--raw_dir={settings.raw_dir or "recordings"}',
        f'--store_dir={settings.store_dir or Path(name) / "stores"}',
        *_lowering(settings, known),
        *settings.digits,
      ]
    )
    config = command.config_from(values)
    # Imports are no part of the features' seconds.
    from data_prep import main as store_command
    from m3net_jax import api

    compiling = []
    jax.monitoring.register_event_duration_secs_listener(
      lambda event, seconds, **_: event == _COMPILING and compiling.append(seconds)
    )
    begin = time.monotonic()
    if settings.raw_dir is None:
      path = _find_store(Path(settings.store_dir), store_command.features_from(values))
    else:
      path = store_command.prepare_from(values)
    store = api.load_store(path)
    features = time.monotonic()
    study = api.create(store, Path(name) / 'study', config)
    study.train(store)
    end = time.monotonic()
    results = study.results()
    (variant,) = results['variants'].values()
    epochs = study.metrics()
    log.row(
      'the digits',
      lanes=len(variant['lanes']),
      epochs=config.num_epochs,
      clips=len(store.labels),
      lowering=config.lowering,
      seconds=end - begin,
      features_seconds=features - begin,
      from_store=settings.raw_dir is None,
      compile_seconds=sum(compiling),
      training_seconds=max(row['seconds'] for row in epochs),
      test_accuracy=variant['mean'],
    )


def _find_store(folder: Path, features: Features) -> Path:
  """A store of the digits that was prepared elsewhere, whatever folder it was made from."""
  path = folder / stores.name('fsdd', features)
  if not path.is_dir():
    raise LeftOut(f'--store_dir={folder}: holds no {path.name}')
  return path
