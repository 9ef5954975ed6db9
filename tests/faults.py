"""Faults of the computer, injected for tests: a full disk and a read-only one."""

import contextlib
import os
import resource
import shutil
import subprocess

import pytest


@contextlib.contextmanager
def full_disk(free):
  """In the block no file gets larger than `free` bytes: writing more fails with EFBIG."""
  soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
  resource.setrlimit(resource.RLIMIT_FSIZE, (free, hard))
  try:
    yield
  finally:
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@contextlib.contextmanager
def read_only(folder):
  """In the block nothing can be written below `folder`; skips the test if that cannot be done."""
  if os.geteuid():  # permissions do not bind root
    folders = [folder, *(path for path in folder.rglob('*') if path.is_dir())]
    for path in folders:
      path.chmod(0o555)
    try:
      yield
    finally:
      for path in folders:
        path.chmod(0o755)
    return
  mount = shutil.which('mount')
  run = lambda *words: subprocess.run(words, capture_output=True).returncode == 0
  if not (mount and run(mount, '--bind', folder, folder)):
    pytest.skip('nothing can be mounted here')
  try:
    if not run(mount, '-o', 'remount,ro,bind', folder):
      pytest.skip('nothing can be mounted read-only here')
    yield
  finally:
    run('umount', folder)
