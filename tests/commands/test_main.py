"""The main command as its user meets it: in a process of its own unless a study is finished."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from absl import flags

from data_prep import store
from data_prep.errors import UserError
from data_prep.prepare import prepare
from m3net_jax import main
from m3net_jax.study import splits
from tests import command
from tests.conftest import FEATURES

ROOT = Path(__file__).parents[2]
SMALL = [
  '--corpus=folder',
  '--sample_rate=8000',
  '--clip_seconds=0.25',
  '--n_fft=256',
  '--hop_length=128',
  '--n_mels=16',
  '--input_shape=16,16,1',
  '--num_seeds=2',
  '--batch_size=12',
  '--learning_rate=0.01',
  '--workdir=studies/tones',
]


# The main command gets Ctrl-C before the checkpoint of its third epoch is written.
STOPPED_IN_EPOCH_3 = """
import os, signal
from data_prep import cli
from m3net_jax import main
from m3net_jax.study import checkpoint

save = checkpoint.Checkpoints.save

def save_or_stop(self, number, lanes, losses):
  if lanes.epoch[0] == 3:
    os.kill(os.getpid(), signal.SIGINT)
  save(self, number, lanes, losses)

checkpoint.Checkpoints.save = save_or_stop
cli.run(main.main, main.define)
"""


def started(folder, *command):
  environment = {**os.environ, 'PYTHONPATH': str(ROOT)}
  return subprocess.run(
    command, cwd=folder, env=environment, capture_output=True, text=True, timeout=600
  )


def run(folder, *arguments):
  return started(folder, sys.executable, '-m', 'm3net_jax.main', *arguments)


def test_a_study_from_recordings_to_results_and_what_follows(
  tones_dir, tmp_path, monkeypatch, capsys
):
  """Ctrl-C, the same command, the same once more, and other settings."""
  flags = [*SMALL, f'--raw_dir={tones_dir}', '--num_epochs=30']
  stopped = started(tmp_path, sys.executable, '-c', STOPPED_IN_EPOCH_3, *flags)
  assert stopped.returncode == 130
  assert (
    stopped.stderr.strip()
    .splitlines()[-1]
    .endswith('error: interrupted; run the same command again to continue')
  )
  metrics = tmp_path / 'studies/tones/metrics.jsonl'
  assert (
    len(metrics.read_text().splitlines()) == 6
    and not (tmp_path / 'studies/tones/results.json').exists()
  )

  continued = run(tmp_path, *flags)
  assert continued.returncode == 0, continued.stderr
  assert 'epoch 4/30' in continued.stderr and 'epoch 30/30' in continued.stderr
  assert 'epoch 3/30' not in continued.stderr
  found = json.loads((tmp_path / 'studies/tones/results.json').read_text())
  assert found['corpus']['name'] == 'folder' and len(found['variants']['full']['lanes']) == 2
  assert found['variants']['full']['mean'] > 0.9  # three pitches far apart
  rows = [json.loads(line) for line in metrics.read_text().splitlines()]
  assert [row['epoch'] for row in rows] == [epoch for epoch in range(1, 31) for _ in range(2)]
  for name in ('accuracy.png', 'learning_curves.png'):
    assert (tmp_path / 'studies/tones/figures' / name).read_bytes().startswith(b'\x89PNG')

  monkeypatch.chdir(tmp_path)  # a finished study is read in this process, which is quicker
  missing = [
    tmp_path / 'studies/tones' / name
    for name in ('report.html', 'report.md', 'tables/variants.csv', 'figures/accuracy.png')
  ]
  for path in missing:
    path.unlink()  # as if killed before its report
  command.call(main, *flags)
  assert all(path.exists() for path in missing)

  times = lambda: {
    path: path.stat().st_mtime_ns
    for path in (tmp_path / 'studies/tones').rglob('*')
    if path.suffix != '.lock'
  }
  before = times()
  capsys.readouterr()
  command.call(main, *flags)
  assert 'this study is finished' in capsys.readouterr().out
  assert before == times()

  with pytest.raises(UserError) as other:
    command.call(main, *flags, '--batch_size=10')
  assert str(other.value) == (
    '--workdir=studies/tones: holds a study with batch_size=12, this one has 10: '
    'give another --workdir, or the same settings'
  )


def test_a_folder_that_is_already_split_keeps_its_parts(tones_dir, tmp_path, capsys):
  for number, part in enumerate(('train', 'val', 'test')):
    for name in ('high', 'low'):
      (tmp_path / 'raw' / part / name).mkdir(parents=True)
      for take in range(4 * number, 4 * number + 4):
        recording = tones_dir / name / f'{take}.wav'
        shutil.copy(recording, tmp_path / 'raw' / part / name)
  own = store.load(prepare('folder', tmp_path / 'raw', tmp_path / 'stores', FEATURES))
  for given, corpus, expected in (
    ([], 'folder', 'official keeps to that'),
    (['--split=official'], 'folder', 'official keeps to that'),
    (['--split=random'], 'folder', 'random does not keep to that'),
    ([], 'fsdd', ''),
  ):
    values = flags.FlagValues()
    main.define(values)
    values(['main', f'--corpus={corpus}', *given])
    config = main.with_parts(main.config_from(values), own, values)
    said = capsys.readouterr().err
    assert f'--split={expected}\n' in said if expected else not said
    assert config.split == (expected.split()[0] if expected else 'random')
  (split,) = splits.make(own, 'official')
  assert split.sizes == {'train': 8, 'validation': 8, 'test': 8}


@pytest.mark.parametrize(
  'arguments, message',
  [
    (['--corpos=fsdd'], "error: Unknown command line flag 'corpos'"),
    (['--corpus=folder', '--raw_dir=nowhere'], 'error: --raw_dir'),
    (['--num_epochs=0'], 'error: --num_epochs=0: give 1 or more'),
    (['fsdd'], "error: 'fsdd' is not a flag"),
  ],
)
def test_a_mistake_is_one_line(tmp_path, arguments, message):
  ended = run(tmp_path, *arguments)
  assert ended.returncode == 2
  assert ended.stderr.startswith(message) and ended.stderr.count('\n') == 1
  assert not (tmp_path / 'studies').exists()


def test_help_is_a_success(tmp_path):
  ended = run(tmp_path, '--help')
  assert ended.returncode == 0
  assert '--num_seeds' in ended.stdout and '--raw_dir' in ended.stdout


@pytest.mark.skipif('M3NET_REAL_DATA' not in os.environ, reason='M3NET_REAL_DATA is not set')
def test_real_digits_are_learnt(tmp_path):
  ended = run(
    tmp_path,
    f'--flagfile={ROOT}/launch/fsdd.flags',
    f'--raw_dir={os.environ["M3NET_REAL_DATA"]}/fsdd',
    '--input_shape=32,32,1',
    '--num_seeds=2',
    '--num_epochs=6',
    '--batch_size=32',
  )
  assert ended.returncode == 0, ended.stderr
  found = json.loads((tmp_path / 'studies/fsdd/results.json').read_text())
  assert found['corpus']['num_clips'] == 3000 and found['corpus']['shared_groups'] == 6
  assert found['variants']['full']['mean'] > 0.5
