"""Captures what C and C++ libraries write to standard error."""

import contextlib
import os
import tempfile
import threading
from collections.abc import Iterator

# The process has one file descriptor: two threads that redirect it at once would lose lines.
_DESCRIPTOR = threading.Lock()


@contextlib.contextmanager
def captured() -> Iterator[list[str]]:
  """Yields a list that holds, after the block, the lines written to standard error in the block.

  They do not appear on the terminal.
  """
  lines: list[str] = []
  with _DESCRIPTOR, tempfile.TemporaryFile() as capture:
    saved = os.dup(2)
    os.dup2(capture.fileno(), 2)
    try:
      yield lines
    finally:
      os.dup2(saved, 2)
      os.close(saved)
      capture.seek(0)
      lines += capture.read().decode(errors='replace').splitlines(keepends=True)
