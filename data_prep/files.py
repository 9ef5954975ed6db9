"""Writes files and folders completely or not at all, and hashes JSON values."""

import contextlib
import hashlib
import io
import json
import os
import shutil
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
  from matplotlib.figure import Figure


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
  """Yields a temporary path in the same folder and renames it to `path` if the block succeeds."""
  path.parent.mkdir(parents=True, exist_ok=True)
  temporary = path.with_name(f'.{path.name}.new')
  try:
    yield temporary
    with open(temporary, 'rb') as file:
      os.fsync(file.fileno())
    os.replace(temporary, path)
  finally:
    temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
  """Holds the lock of a folder, so that two commands do not make it at once.

  The lock ends with the process, in whatever way it ends.
  """
  path.parent.mkdir(parents=True, exist_ok=True)
  import filelock  # needed here only, and most commands make nothing

  lock = filelock.FileLock(path.with_name(f'.{path.name}.lock'))
  try:
    lock.acquire(blocking=False)
  except filelock.Timeout:
    message = f'{path} is being made by another command; waiting for it'
    print(message, file=sys.stderr, flush=True)
    lock.acquire()
  try:
    yield
  finally:
    lock.release()


@contextlib.contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
  """Yields a new folder that replaces `path` if the block succeeds and is deleted otherwise."""
  new, old = path.with_name(f'.{path.name}.new'), path.with_name(f'.{path.name}.old')
  for leftover in (new, old):
    shutil.rmtree(leftover, ignore_errors=True)
  try:
    new.mkdir(parents=True)
    yield new
    if path.exists():
      os.rename(path, old)
    os.rename(new, path)
  finally:
    for leftover in (new, old):
      shutil.rmtree(leftover, ignore_errors=True)


def write_figure(path: Path, figure: 'Figure', dpi: int = 120) -> None:
  """Saves a matplotlib figure in the format of the path's suffix.

  Characters missing from the font appear as boxes.
  """
  content = io.BytesIO()
  with warnings.catch_warnings():
    warnings.filterwarnings('ignore', message='Glyph')
    figure.savefig(content, format=path.suffix[1:].lower(), dpi=dpi)
  write_bytes(path, content.getvalue())


def write_bytes(path: Path, content: bytes) -> None:
  """Writes bytes to a file, completely or not at all; makes its folder."""
  with replacing(path) as temporary:
    temporary.write_bytes(content)


def json_sha256(value: Any) -> str:
  """SHA-256, hexadecimal, of a JSON value; the order of keys does not matter."""
  return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def write_json(path: Path, content: Any) -> None:
  """Writes a JSON file; raises ValueError for NaN and infinity."""
  write_bytes(path, (json.dumps(content, indent=1, allow_nan=False) + '\n').encode())


def write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
  """Writes a JSON-lines file, one row per line; raises ValueError for NaN and infinity."""
  write_bytes(path, ''.join(json.dumps(row, allow_nan=False) + '\n' for row in rows).encode())


def read_rows(path: Path) -> list[dict[str, Any]]:
  """The rows of a JSON-lines file; none if it is absent."""
  return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
