"""What C and C++ libraries write to standard error, kept from the terminal."""

import contextlib
import os
import tempfile
import threading
from collections.abc import Iterator

# The file descriptor belongs to the process: two threads that move it at once would lose each other's lines.
_DESCRIPTOR = threading.Lock()


@contextlib.contextmanager
def captured() -> Iterator[list[str]]:
  """Gives a list that holds, at the end of the block, the lines that were written to standard error in it."""
  lines: list[str] = []
  with _DESCRIPTOR, tempfile.TemporaryFile() as caught:
    kept = os.dup(2)
    os.dup2(caught.fileno(), 2)
    try:
      yield lines
    finally:
      os.dup2(kept, 2)
      os.close(kept)
      caught.seek(0)
      lines += caught.read().decode(errors='replace').splitlines(keepends=True)
