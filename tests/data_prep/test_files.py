"""Folders: locked by one command at a time, replaced as a whole."""

import errno
import fcntl
import os
import socket
import subprocess
import sys

import filelock
import pytest

from data_prep import files

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


@pytest.mark.filterwarnings('ignore:flock not supported')
def test_where_there_are_no_locks_the_record_of_the_owner_stays(tmp_path, monkeypatch):
  def unknown(*_):
    raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

  monkeypatch.setattr(fcntl, 'flock', unknown)
  lock = tmp_path / '.lock'
  lock.write_text('process 1 on another')
  with files.locked(tmp_path, lock):
    assert filelock.SoftFileLock(lock).pid == os.getpid()
  assert not lock.exists()


def test_a_folder_that_is_not_replaced_stays(tmp_path, monkeypatch):
  place = tmp_path / 'place'
  place.mkdir()
  rename, calls = os.rename, []

  def interrupted(source, target):
    calls.append(target)
    if len(calls) == 2:  # the folder is away, the new one is not there yet
      raise KeyboardInterrupt
    rename(source, target)

  with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
    patched.setattr(os, 'rename', interrupted)
    with files.replacing_folder(place) as folder:
      (folder / 'new').touch()
  assert [*tmp_path.rglob('*')] == [place]
  place.rename(tmp_path / '.place.old')  # what a kill leaves there
  with pytest.raises(ZeroDivisionError):
    with files.replacing_folder(place):
      raise ZeroDivisionError
  assert [*tmp_path.rglob('*')] == [place]


def test_a_link_to_a_folder_stays_a_link(tmp_path):
  (tmp_path / 'link').symlink_to('place')
  for content in ('1', '2'):
    with files.replacing_folder(tmp_path / 'link') as folder:
      (folder / 'file').write_text(content)
    assert (tmp_path / 'place' / 'file').read_text() == content
  assert sorted(path.name for path in tmp_path.iterdir()) == ['link', 'place']
