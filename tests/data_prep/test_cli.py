"""Commands that end early: by Ctrl-C during a library's work, or because their reader leaves."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
INTERRUPTED = 'error: interrupted; run the same command again to continue\n'
TERMINATED = 'error: terminated; run the same command again to continue\n'
NOTICE = 'stopping: saving after the steps that are being computed\n'

SAVING = """
import os, signal, sys, threading, time
from pathlib import Path
import numpy as np
from data_prep import cli
from m3net_jax.study.checkpoint import Checkpoints

folder = Path(sys.argv.pop())

def interrupt():
  while not any(folder.glob('*tmp*')):
    time.sleep(0.0005)
  os.kill(os.getpid(), signal.SIGINT)

def main(arguments, values):
  checkpoints = Checkpoints(folder)
  lanes = {str(i): np.zeros((14, 5000)) for i in range(60)}
  threading.Thread(target=interrupt, daemon=True).start()
  for epoch in range(1, 100):
    checkpoints.save(epoch, lanes, np.zeros((14, 3)))

cli.run(main)
"""


def test_ctrl_c_while_a_checkpoint_is_written_is_one_line(tmp_path):
  for number in range(3):
    ended = subprocess.run(
      [sys.executable, '-c', SAVING, str(tmp_path / str(number))],
      cwd=ROOT,
      text=True,
      capture_output=True,
      timeout=120,
    )
    assert (ended.returncode, ended.stderr) == (
      128 + signal.SIGINT,
      'error: interrupted; run the same command again to continue\n',
    )


def test_ctrl_c_while_a_thread_has_more_to_start_is_one_line():
  code = """
import os, signal, threading, time
from concurrent.futures import ThreadPoolExecutor
from data_prep import cli
def main(arguments, values):
  pool = ThreadPoolExecutor(1)
  def work():
    pool.submit(time.sleep, 0.5).result()
    # A library may do this during its work; it is refused at shutdown.
    pool.submit(time.sleep, 0.5).result()
  threading.Thread(target=work).start()
  os.kill(os.getpid(), signal.SIGINT)
  time.sleep(60)
cli.run(main)
"""
  ended = subprocess.run(
    [sys.executable, '-c', code], cwd=ROOT, text=True, capture_output=True, timeout=50
  )
  assert (ended.returncode, ended.stderr) == (
    130,
    'error: interrupted; run the same command again to continue\n',
  )


def test_ctrl_c_that_a_library_swallows_ends_the_command(tmp_path):
  code = """
import os, signal, time
from data_prep import cli
class Finalised:
  def __del__(self):
    os.kill(os.getpid(), signal.SIGINT)
def main(arguments, values):
  Finalised()
  print('swallowed', flush=True)
  time.sleep(60)
cli.run(main)
"""
  ended = subprocess.run(
    [sys.executable, '-c', code], cwd=ROOT, text=True, capture_output=True, timeout=50
  )
  assert (ended.returncode, ended.stdout, ended.stderr) == (130, 'swallowed\n', INTERRUPTED)


def test_ctrl_c_of_which_a_library_makes_another_error_is_one_line():
  code = """
import os, signal
from data_prep import cli
def main(arguments, values):
  try:
    os.kill(os.getpid(), signal.SIGINT)
  except KeyboardInterrupt:
    pass
  raise RuntimeError('no compiled object yet')
cli.run(main)
"""
  ended = subprocess.run(
    [sys.executable, '-c', code], cwd=ROOT, text=True, capture_output=True, timeout=50
  )
  assert (ended.returncode, ended.stderr) == (130, INTERRUPTED)


BUSY = """
import hashlib, sys, time
from data_prep import cli, stopping
def main(arguments, values):
  with stopping.Deferred() as stop:
    if 'saves' in sys.argv:
      stop.begin()
    print('busy', flush=True)
    # One long call that no signal handler of Python interrupts.
    hashlib.pbkdf2_hmac('sha256', b'', b'', int(float(sys.argv[1])))
    if stop.asked:
      print('saved', flush=True)
      stop.act()
    print('went on', flush=True)
    time.sleep(60)
cli.run(main)
"""


@pytest.mark.parametrize(
  'rounds, saves, signals, out, last_line, status',
  [
    (3e6, True, [signal.SIGINT], 'busy\nsaved\n', INTERRUPTED, 130),
    (3e6, True, [signal.SIGTERM], 'busy\nsaved\n', TERMINATED, 143),
    (1e9, True, [signal.SIGINT, signal.SIGINT], 'busy\n', INTERRUPTED, 130),
    (1e9, False, [signal.SIGTERM], 'busy\n', TERMINATED, 143),
  ],
)
def test_signals_wait_for_work_to_be_saved_once(rounds, saves, signals, out, last_line, status):
  """1e9 rounds take many minutes: nothing but the thread that watches can end the command."""
  process = subprocess.Popen(
    [sys.executable, '-c', BUSY, f'{rounds:g}', *['saves'] * saves],
    cwd=ROOT,
    text=True,
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
  )
  assert process.stdout.readline() == 'busy\n'
  for number in signals:
    process.send_signal(number)
    time.sleep(0.3)  # else two equal signals may come as one
  written, wrong = process.communicate(timeout=300)
  assert ('busy\n' + written, process.returncode) == (out, status)
  assert wrong.removeprefix(NOTICE) == last_line


def test_a_reader_that_leaves_ends_the_command_quietly(tmp_path):
  code = 'from data_prep import cli\ncli.run(lambda arguments, values: print("line\\n" * 100000))'
  process = subprocess.Popen(
    [sys.executable, '-c', code], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
  )
  process.stdout.close()
  assert process.stderr.read() == b''
  assert process.wait(60) == 141
