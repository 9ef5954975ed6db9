"""The lock of a folder: one command at a time, named, and gone with its process."""

import socket
import subprocess
import sys

HOLDER = """
import sys, time
from pathlib import Path
from data_prep import files

path = Path(sys.argv[1])
with files.locked(path, path / '.lock'), files.locked(path, path / '.lock'):  # one owner
  print('held', flush=True)
  time.sleep(600)
"""


def test_a_command_waits_for_the_process_that_is_named_and_a_kill_leaves_no_lock(tmp_path):
  start = lambda: subprocess.Popen(
    [sys.executable, '-c', HOLDER, str(tmp_path)],
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
  )
  with start() as first:
    assert first.stdout.readline() == 'held\n'
    with start() as second:
      owner = f'process {first.pid} on {socket.gethostname()}'
      assert second.stderr.readline() == f'{tmp_path} is in use by {owner}; waiting until it ends\n'
      first.kill()
      assert second.stdout.readline() == 'held\n'
      second.kill()
