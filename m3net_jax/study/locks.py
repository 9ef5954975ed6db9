"""The locks of a study's folder: one for commands that train or measure lanes, one for its report.

Both end with the process that holds them, in whatever way it ends.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from data_prep import files
from data_prep.errors import UserError
from m3net_jax.study import hosts

STUDY, REPORT = '.study.lock', '.report.lock'


@contextlib.contextmanager
def owned(path: Path) -> Iterator[None]:
  """Holds the lock of a study, for a command that makes, trains or measures it.

  Another such command waits. In a folder that does not become a study, no lock is left. Of several
  processes that train a study together, the first one holds it for all.
  """
  if not hosts.first():
    yield
    return
  if path.exists() and not path.is_dir():
    raise UserError(f'--workdir={path}: is a file: give a folder')
  with contextlib.ExitStack() as held:
    for last in (False, True):
      made = not path.exists()
      try:
        held.enter_context(files.locked(path, path / STUDY))
        break
      except FileNotFoundError:  # who held it made no study and deleted the folder
        if last:
          raise
    try:
      yield
    finally:
      if path.is_dir() and not (path / 'config.json').exists():
        (path / STUDY).unlink(missing_ok=True)
        if made:
          with contextlib.suppress(OSError):  # it holds something
            path.rmdir()


def reporting(path: Path) -> contextlib.AbstractContextManager[None]:
  """Holds the lock for writing the report or export.json, which readers may while lanes train."""
  return files.locked(path / 'report.html', path / REPORT)
