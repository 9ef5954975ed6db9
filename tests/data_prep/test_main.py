import subprocess
import sys
from pathlib import Path

import pytest

from tests.data_prep.conftest import write_tone


def run(*arguments: str, cwd: Path) -> subprocess.CompletedProcess:
  root = Path(__file__).parents[2]
  return subprocess.run(
    [sys.executable, '-m', 'data_prep.main', *arguments],
    capture_output=True,
    text=True,
    cwd=cwd,
    env={'PYTHONPATH': str(root), 'PATH': '/usr/bin:/bin'},
    timeout=60,
  )


def test_the_command_makes_describes_and_draws(folder_corpus, tmp_path):
  arguments = ['--corpus=folder', f'--raw_dir={folder_corpus}', '--clip_seconds=0.5', '--n_mels=32']
  first = run(*arguments, cwd=tmp_path)
  assert first.returncode == 0, first.stderr
  assert first.stderr.splitlines() == ['folder: computing the features of 8 clips']
  assert (tmp_path / first.stdout.strip() / 'mels.npy').exists() and first.stdout.startswith(
    'stores/folder-'
  )
  again = run(*arguments, '--describe', '--figure=picture.png', cwd=tmp_path)
  assert again.returncode == 0 and again.stderr == ''
  for expected in (
    '8 of 8 recordings, 2 classes',
    '[32, 16] in dB, 16000 Hz, 0.5 s',
    'high',
    'bits/symbol',
    'entropy:',
  ):
    assert expected in again.stdout
  assert (tmp_path / 'picture.png').stat().st_size > 10000
  named = run('--describe', first.stdout.strip(), cwd=tmp_path)
  assert (named.returncode, named.stdout, named.stderr) == (0, again.stdout, '')
  preset = run(*arguments, '--preset=section_3.1', '--describe', cwd=tmp_path)
  assert '[32, 44] in dB, 44100 Hz, 0.5 s, n_fft 512' in preset.stdout


@pytest.mark.parametrize(
  'arguments, expected',
  [
    (['--corpus=fssd'], 'fsdd'),
    (['--corpus=fsdd', '--raw_dir=nowhere'], 'nowhere/fsdd is not there'),
    (['--n_mels=0'], '--n_mels=0'),
    (['--n_mels=ten'], 'n_mels'),
    (['--clipseconds=1'], 'clipseconds'),
    (['fsdd'], "'fsdd' is not a flag"),
    (['--num_processes=0'], 'num_processes'),
    (['--describe', 'stores/nowhere'], 'stores/nowhere: no store'),
    (['--store_dir=/proc/x'], '/proc/x: '),
    (['--figure=picture.xyz'], '--figure=picture.xyz: give a file that ends in .png, .svg, .pdf'),
    (['--flagfile=/proc/self/exe'], '--flagfile: cannot be read'),
    (['--corpus=urbansound8k', '--download'], 'https://urbansounddataset.weebly.com'),
  ],
)
def test_a_mistake_is_one_line(tmp_path, arguments, expected):
  ended = run(*arguments, cwd=tmp_path)
  assert ended.returncode == 2 and ended.stdout == ''
  assert (
    len(ended.stderr.splitlines()) == 1
    and ended.stderr.startswith('error: ')
    and expected in ended.stderr
  )
  assert not list(tmp_path.glob('*/[!.]*'))


def test_unreadable_recordings(folder_corpus, tmp_path):
  (folder_corpus / 'low' / 'bad.wav').write_bytes(b'')
  arguments = ['--corpus=folder', f'--raw_dir={folder_corpus}']
  ended = run(*arguments, cwd=tmp_path)
  assert ended.returncode == 2 and 'low/bad.wav (empty file)' in ended.stderr.splitlines()[-1]
  ended = run(*arguments, '--skip_unreadable', '--describe', cwd=tmp_path)
  assert ended.returncode == 0 and 'skipped low/bad.wav: empty file' in ended.stdout


def test_help_names_every_flag(tmp_path):
  text = run('--help', cwd=tmp_path).stdout
  for flag in (
    'corpus',
    'raw_dir',
    'store_dir',
    'clip_seconds',
    'sample_rate',
    'n_fft',
    'hop_length',
    'n_mels',
    'skip_unreadable',
    'download',
    'num_processes',
    'describe',
    'figure',
  ):
    assert f'--{flag}' in text or f'--[no]{flag}' in text


def test_nothing_here_knows_the_network(tmp_path):
  write_tone(tmp_path / 'a' / '1.wav')
  code = (
    'import sys, pkgutil, importlib, data_prep\n'
    'for m in pkgutil.walk_packages(data_prep.__path__, "data_prep."): '
    'importlib.import_module(m.name)\n'
    'print([m for m in sys.modules if m.split(".")[0] in ("jax", "flax", "m3net_jax", "librosa")])'
  )
  ended = subprocess.run(
    [sys.executable, '-c', code], capture_output=True, text=True, cwd=Path(__file__).parents[2]
  )
  assert ended.stdout.strip() == '[]', ended.stderr
