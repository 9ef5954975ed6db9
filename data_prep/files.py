"""Files and folders written completely or not at all, and the hash of what goes into one."""

import contextlib
import hashlib
import io
import json
import os
import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
  from matplotlib.figure import Figure


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
  """Gives another name in the same folder to write to; renames it to `path` when all went well."""
  path.parent.mkdir(parents=True, exist_ok=True)
  fresh = path.with_name(f'.{path.name}.new')
  try:
    yield fresh
    with open(fresh, 'rb') as file:
      os.fsync(file.fileno())
    os.replace(fresh, path)
  finally:
    fresh.unlink(missing_ok=True)


@contextlib.contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
  """Gives a new folder beside `path`, which takes its place if the block ends well and goes if not."""
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
  """Saves a matplotlib figure in the format of the path's ending; characters without a glyph become boxes."""
  content = io.BytesIO()
  with warnings.catch_warnings():
    warnings.filterwarnings('ignore', message='Glyph')
    figure.savefig(content, format=path.suffix[1:].lower(), dpi=dpi)
  write_bytes(path, content.getvalue())


def write_bytes(path: Path, content: bytes) -> None:
  with replacing(path) as fresh:
    fresh.write_bytes(content)


def json_sha256(value: Any) -> str:
  """SHA-256, hexadecimal, of a JSON value, whatever the order of its keys."""
  return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def write_json(path: Path, content: Any) -> None:
  write_bytes(path, (json.dumps(content, indent=1, allow_nan=False) + '\n').encode())


def write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
  """JSON lines, one row each."""
  write_bytes(path, ''.join(json.dumps(row, allow_nan=False) + '\n' for row in rows).encode())


def read_rows(path: Path) -> list[dict[str, Any]]:
  """The rows of a JSON-lines file; none if it is absent."""
  return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
