"""One study on two hosts: two processes that talk over this computer's own network."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from data_prep.errors import UserError
from m3net_jax import main
from m3net_jax.study import hosts, metrics, workdir
from tests import command

ROOT = Path(__file__).parents[2]
FLAGS = """
--corpus=folder --sample_rate=8000 --clip_seconds=0.25 --n_fft=256 --hop_length=128 --n_mels=16
--input_shape=16,16,1 --variants=no_ma --num_seeds=5 --batch_size=12 --num_epochs=20
""".split()
# Every host reads the clips of its own lanes, block by block.
STREAMED = """
from data_prep import cli
from m3net_jax import main
from m3net_jax.study import devices
devices.resident_bytes = lambda config: 0
cli.run(main.main, main.define)
"""


def free_port():
  with socket.socket() as probe:
    probe.bind(('127.0.0.1', 0))
    return probe.getsockname()[1]


class Study:
  """Commands that train one study in a folder."""

  def __init__(self, folder, raw_dir, name):
    self.path = folder / name
    self._folder = folder
    self._flags = [
      *FLAGS,
      f'--raw_dir={raw_dir}',
      f'--store_dir={folder / "stores"}',
      f'--workdir={self.path}',
    ]

  def start(self, *flags, code=('-m', 'm3net_jax.main')):
    return subprocess.Popen(
      [sys.executable, *code, *self._flags, *flags],
      env={
        **os.environ,
        'PYTHONPATH': str(ROOT),
        'OMP_NUM_THREADS': '1',
        'XLA_FLAGS': '--xla_backend_optimization_level=0',  # compiling takes longest
      },
      stdout=subprocess.PIPE,
      stderr=subprocess.PIPE,
      text=True,
    )

  def start_hosts(self, count):
    """Hosts that stream: the first one prints and writes."""
    together = ['--distributed', f'--coordinator=127.0.0.1:{free_port()}', f'--num_hosts={count}']
    return [self.start(*together, f'--host={host}', code=('-c', STREAMED)) for host in range(count)]

  def outcome(self):
    """The results without what differs from run to run, and the answers of every lane."""
    study = workdir.read(self.path)
    content = study.results()
    for name in ('seconds', 'environments', 'compilations'):
      content.pop(name)
    answers = {key: value.tolist() for key, value in study.predictions().items()}
    rows = [
      {name: value for name, value in row.items() if name != 'seconds'} for row in study.metrics()
    ]
    order = lambda row: (row['epoch'], row['seed'])
    return json.loads(json.dumps(content)), answers, sorted(rows, key=order)


def ended(processes, seconds=300):
  """Standard output, standard error and exit status of every process."""
  return [(*process.communicate(timeout=seconds), process.returncode) for process in processes]


def test_a_host_that_is_lost_ends_the_study_which_goes_on_to_the_same_end(tones_dir, tmp_path):
  """The lanes are those of one process that keeps the store on its devices, bit for bit."""
  alone = Study(tmp_path, tones_dir, 'alone')
  ((_, errors, status),) = ended([alone.start()])
  assert status == 0, errors

  study = Study(tmp_path, tones_dir, 'together')
  first, second = started = study.start_hosts(2)
  epochs = lambda: max((row['epoch'] for row in metrics.read(study.path)), default=0)
  end = time.monotonic() + 200
  while not (study.path / metrics.NAME).exists() or epochs() < 2:
    assert first.poll() is None and time.monotonic() < end, ended(started)
    time.sleep(0.05)
  second.send_signal(signal.SIGKILL)
  killed = time.monotonic()
  (_, errors, status), (_, other, _) = ended(started)
  assert time.monotonic() - killed < hosts.LOST_SECONDS and epochs() < 20
  assert status == 1 and not other
  lines = [line for line in errors.splitlines() if line.startswith('error')]
  assert lines == [
    'error: host 1 has left; run the same command again to continue, on as many hosts as there are'
  ]
  assert 'Traceback' not in errors and 'Gloo' not in errors

  (output, errors, status), (other_output, other, other_status) = ended(study.start_hosts(2))
  assert status == other_status == 0, errors + other
  assert 'wrote' in output and not other_output and not other
  assert study.outcome() == alone.outcome()
  environments = workdir.read(study.path).environments
  assert [row['devices'] for row in environments] == [4]


@pytest.mark.parametrize(
  'flags, message',
  [
    (['--coordinator=a:1'], '--coordinator=a:1: is not used: give --distributed too'),
    (['--host=1'], '--host=1: is not used: give --distributed too'),
    (['--distributed', '--plan'], '--plan: plans the work of one process'),
  ],
)
def test_flags_of_hosts_that_do_not_fit_are_one_line(flags, message):
  with pytest.raises(UserError) as error:
    command.call(main, *flags)
  assert str(error.value).startswith(message)


def test_hosts_that_nobody_names_are_one_line(tones_dir, tmp_path):
  study = Study(tmp_path, tones_dir, 'study')
  ((_, errors, status),) = ended([study.start('--distributed')])
  assert status == 2 and errors.count('\n') == 1
  assert errors.startswith('error: --distributed: cannot join the other processes (')
  assert '--coordinator=ADDRESS:PORT' in errors and not study.path.exists()


def test_a_process_alone_waits_for_nobody():
  assert hosts.first() and not hosts.several()
  assert hosts.any_of(True) and not hosts.any_of(False) and hosts.of_first(7) == 7
  with hosts.first_goes():
    hosts.wait()
