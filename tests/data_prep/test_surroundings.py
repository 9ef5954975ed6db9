"""A command gives the same result in any environment: variables, encodings, no home, no memory."""

import os
import subprocess
import sys
from pathlib import Path

import jax
import pytest
from absl import flags

from data_prep import cli, surroundings, workers
from data_prep import main as store_command
from data_prep.errors import UserError
from m3net_jax import demo, detect, edge, export, main, predict, robustness

ROOT = Path(__file__).parents[2]


def started(code, **variables):
  return subprocess.run(
    [sys.executable, '-c', f'from data_prep import cli\n{code}'],
    cwd=ROOT,
    env={**os.environ, **variables},
    text=True,
    capture_output=True,
    timeout=60,
  )


def test_a_command_forgets_variables_of_notebooks_and_prints_in_any_encoding():
  code = """
import os
def main(arguments, values):
  import jax
  import matplotlib
  number = jax.random.bits(jax.random.key(0))
  print(jax.numpy.arange(2.0).dtype, number, os.environ.get('MPLBACKEND'))
  print('\\u00b1 \\udcff')
cli.run(main)
"""
  ended = started(
    code,
    JAX_ENABLE_X64='1',
    JAX_DEFAULT_PRNG_IMPL='rbg',
    JAX_THREEFRY_PARTITIONABLE='0',
    JAX_NUM_CPU_DEVICES='nonsense',
    MPLBACKEND='nonsense',
    PYTHONIOENCODING='ascii',
  )
  assert (ended.returncode, ended.stderr) == (0, '')
  number = int(jax.random.bits(jax.random.key(0)))
  assert ended.stdout == f'float32 {number} None\n\\xb1 \\udcff\n'


def test_a_stream_that_is_closed_takes_no_descriptor_of_a_file(tmp_path):
  code = """
import os, sys
from pathlib import Path
from data_prep import stderr
def main(arguments, values):
  with open(arguments[0], 'w') as file:
    os.write(1, b'of a library')
    with stderr.captured() as lines:
      os.write(2, b'told')
    file.write(f'{sys.stdin.read()} {lines}')
  print('printed')
cli.run(main)
"""
  ended = subprocess.run(
    [
      'sh',
      '-c',
      'exec "$@" <&- >&- 2>&-',
      'sh',
      sys.executable,
      '-c',
      f'from data_prep import cli\n{code}',
      str(tmp_path / 'file'),
    ],
    cwd=ROOT,
    timeout=60,
  )
  assert ended.returncode == 0
  assert (tmp_path / 'file').read_text() == " ['told']"


def test_a_device_that_is_absent_is_one_line():
  code = """
def main(arguments, values):
  import jax
  jax.jit(lambda x: x + 1)(1)
cli.run(main)
"""
  ended = started(code, JAX_PLATFORMS='cuda')
  assert (ended.returncode, ended.stderr) == (
    2,
    'error: JAX_PLATFORMS=cuda: JAX finds no such device here: unset the variable\n',
  )


def test_output_that_cannot_be_written_is_one_line():
  code = "cli.run(lambda arguments, values: print('line'))"
  with open('/dev/full', 'w') as full:
    ended = subprocess.run(
      [sys.executable, '-c', f'from data_prep import cli\n{code}'],
      cwd=ROOT,
      stdout=full,
      stderr=subprocess.PIPE,
      text=True,
      timeout=60,
    )
  assert (ended.returncode, ended.stderr) == (
    2,
    'error: output: No space left on device: free some space and run the same command again\n',
  )


def test_numba_gets_a_cache_only_where_it_finds_none(monkeypatch, tmp_path):
  monkeypatch.setenv('NUMBA_CACHE_DIR', '')
  monkeypatch.delenv('XDG_CACHE_HOME', raising=False)
  nowhere = Path('/dev/null/librosa')  # nobody can make a folder in a file, not even root
  monkeypatch.setenv('HOME', str(tmp_path))
  surroundings.give_numba_a_cache(nowhere)
  assert not os.environ['NUMBA_CACHE_DIR']
  monkeypatch.setenv('HOME', '/dev/null')
  surroundings.give_numba_a_cache(tmp_path)
  assert not os.environ['NUMBA_CACHE_DIR']
  surroundings.give_numba_a_cache(nowhere)
  assert Path(os.environ['NUMBA_CACHE_DIR']).is_dir()


def test_a_user_without_a_home_gets_one_that_cannot_be_written_to(tmp_path):
  code = """
import os
os.path.expanduser = lambda path: path.replace('~', os.environ.get('HOME', '~'))
def main(arguments, values):
  print(os.path.expanduser('~'))
cli.run(main)
"""
  run = lambda home: started(f'import os\nos.environ.pop("HOME", None)\n{home}\n{code}').stdout
  assert run('') == '/dev/null\n'
  assert run('os.environ["HOME"] = "/home/me"') == '/home/me\n'


def test_late_calls_of_a_library_print_nothing_and_other_errors_are_printed():
  code = """
import warnings
class Late:
  def __init__(self, text):
    self.text = text
  def __del__(self):
    raise RuntimeError(self.text)
def main(arguments, values):
  Late('Event loop is closed')
  warnings.warn("Error writing persistent compilation cache entry for 'jit_f': OSError")
  Late('another')
cli.run(main)
"""
  ended = started(code)
  assert ended.returncode == 0 and 'RuntimeError: another' in ended.stderr
  assert ended.stderr.count('Traceback') == 1 and 'cache' not in ended.stderr


def test_a_wrong_number_of_cores_is_one_line(monkeypatch):
  monkeypatch.setenv('LOKY_MAX_CPU_COUNT', 'many')
  for use in (workers.num_cores, lambda: workers.parallel(2)):
    with pytest.raises(UserError, match='LOKY_MAX_CPU_COUNT=many: unset the variable'):
      use()


def test_memory_is_no_more_than_that_of_the_computer():
  lines = dict(line.split(':') for line in Path('/proc/meminfo').read_text().splitlines())
  assert 2**28 < surroundings.memory() <= int(lines['MemTotal'].split()[0]) * 1024


@pytest.mark.parametrize(
  'command, names',
  [
    (store_command, 'raw_dir store_dir figure'),
    (main, 'raw_dir store_dir workdir teacher noise_dir'),
    (export, 'workdir out_dir'),
    (predict, 'model plot'),
    (robustness, 'raw_dir noise_dir'),
    (
      detect,
      'model stream truth plot save_false_alarms make_stream raw_dir calibrate noise_dir',
    ),
    (demo, 'model'),
    (edge, 'out_dir'),
  ],
  ids=lambda value: getattr(value, '__name__', ''),
)
def test_a_tilde_is_the_home_in_every_path(command, names, monkeypatch, tmp_path):
  monkeypatch.setenv('HOME', str(tmp_path))
  values = flags.FlagValues()
  command.define(values)
  values(['command', *(f'--{name}=~/some folder' for name in names.split())])
  path = f'{tmp_path}/some folder'
  assert {name: values[name].value for name in names.split()} == {
    name: [path] if name == 'noise_dir' else path for name in names.split()
  }


def test_a_path_in_a_list_keeps_its_place(monkeypatch):
  monkeypatch.setenv('HOME', '/home/me')
  values = flags.FlagValues()
  cli.define_paths('noise_dir', 'folders', values)
  values(['command', '--noise_dir=~/a,b,~/c'])
  assert values.noise_dir == ['/home/me/a', 'b', '/home/me/c']
