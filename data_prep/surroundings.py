"""Makes a process independent of what surrounds it: variables, encodings, folders of its user."""

import atexit
import contextlib
import functools
import os
import shutil
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

from data_prep.stopping import Stopped

_CGROUP_LIMITS = (  # of version 2 and version 1
  '/sys/fs/cgroup/memory.max',
  '/sys/fs/cgroup/memory/memory.limit_in_bytes',
)
# Variables of JAX that change no number. Others choose types, random numbers, how to compile.
_JAX = (
  'JAX_PLATFORM',
  'JAX_COMPILATION_CACHE',
  'JAX_PERSISTENT_CACHE',
  'JAX_CUDA',
  'JAX_ROCM',
  'JAX_COORDINATOR',
  'JAX_LOCAL_DEVICE',
)


def settle() -> None:
  """Prepares the process of a command; before jax and matplotlib are imported.

  A command draws into files and computes the same numbers, whatever a notebook or another program
  has set for its own processes. A character that the output's encoding lacks is printed as its
  escape.
  """
  os.environ.pop('MPLBACKEND', None)
  for name in [*os.environ]:
    if name.startswith('JAX_') and not name.startswith(_JAX):
      del os.environ[name]
  if os.path.expanduser('~') == '~':  # no HOME, and the system does not know the user
    os.environ['HOME'] = os.devnull  # libraries do without a home that cannot be written to
  _open_closed_streams()
  for stream in (sys.stdout, sys.stderr):
    if hasattr(stream, 'reconfigure'):
      stream.reconfigure(errors='backslashreplace')
  sys.unraisablehook = _unraisable
  ignore_closed_loops()
  # JAX does without a cache, and filelock without locks of the file system.
  warnings.filterwarnings('ignore', 'Error .* persistent compilation cache|flock not supported')


def _open_closed_streams() -> None:
  """Connects a standard stream that was closed to nothing.

  Otherwise the next file that is opened gets its descriptor, and what a library prints goes there.
  """
  for name, mode in (('stdin', 'r'), ('stdout', 'w'), ('stderr', 'w')):
    if getattr(sys, name) is None:
      stream = open(os.devnull, mode)  # the lowest descriptor that is free
      os.set_inheritable(stream.fileno(), True)
      setattr(sys, name, stream)


def _unraisable(ignored: Any) -> None:
  """Prints an error of a call from C, but for a signal: the thread that watches answers it."""
  if ignored.exc_type is not Stopped:
    sys.__unraisablehook__(ignored)


@functools.cache
def ignore_closed_loops() -> None:
  """Keeps the threads of orbax from printing tracebacks after a read or a write has failed.

  At the first error orbax ends its event loop, which the reads and writes of other files then call.
  The main thread raises that first error.
  """
  shown = lambda error: 'Event loop is closed' not in str(error)
  of_thread, unraisable = sys.excepthook, sys.unraisablehook
  sys.excepthook = lambda kind, error, trace: shown(error) and of_thread(kind, error, trace)
  sys.unraisablehook = lambda ignored: shown(ignored.exc_value) and unraisable(ignored)


def give_numba_a_cache(package: Path) -> None:
  """Sets NUMBA_CACHE_DIR if numba would find no folder; before librosa is imported.

  numba keeps what it compiles for librosa in librosa's folder or in the cache of the user's home.
  If it can write to neither, librosa cannot be imported. It then gets a folder that is deleted at
  the end of the process.

  Args:
    package: the folder of librosa.
  """
  home_cache = Path(os.environ.get('XDG_CACHE_HOME') or '~/.cache').expanduser() / 'numba'
  if os.environ.get('NUMBA_CACHE_DIR') or can_write(package) or can_write(home_cache):
    return
  folder = tempfile.mkdtemp(prefix='numba-')
  atexit.register(shutil.rmtree, folder, ignore_errors=True)
  os.environ['NUMBA_CACHE_DIR'] = folder


def can_write(folder: Path) -> bool:
  """Whether files can be made in a folder, or it and its parents can be made."""
  while not folder.exists() and folder != folder.parent:
    folder = folder.parent
  return os.access(folder, os.W_OK | os.X_OK)


def memory() -> int | None:
  """Bytes of memory that this process may use: the computer's or its container's; None: unknown."""
  limits = []
  with contextlib.suppress(AttributeError, OSError, ValueError):  # not on every system
    limits.append(os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES'))
  for file in _CGROUP_LIMITS:
    with contextlib.suppress(OSError, ValueError):  # absent, or `max`
      limits.append(int(Path(file).read_text()))
  return min(limits, default=None)
