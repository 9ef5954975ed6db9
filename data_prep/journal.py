"""Keeps the finished rows of an incomplete store, so that an interrupted preparation continues."""

import contextlib
import os
import shutil
import sys
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, NamedTuple

import numpy as np

from data_prep import store
from data_prep.compute import Key, Measured, Result
from data_prep.features import Features
from data_prep.files import naming, row_of, row_text, write_bytes

_OWNER = 'raw_dir'  # file with the folder of the recordings


class Done(NamedTuple):
  """A clip's array and the state of its recording when the array was computed.

  Attributes:
    rows: file of arrays.
    offset: of the first array in the file, in bytes.
    row: position of the clip's array in the file.
    size, mtime_ns, sha256: of the recording.
    measured: see `Measured`.
  """

  rows: Path
  offset: int
  row: int
  size: int
  mtime_ns: int
  sha256: str
  measured: Measured


def folder_of(path: Path) -> Path:
  """The folder of the journal of the store at `path`."""
  return path.with_name(f'.{path.name}.partial')


def owner(folder: Path) -> str:
  """The folder of the recordings of the journal in `folder`; '' if there is no journal."""
  try:
    return os.fsdecode((folder / _OWNER).read_bytes())
  except OSError:
    return ''


class Journal:
  """Finished clips on disk, in the order in which they were finished.

  The arrays are in rows.bin; rows.jsonl has one line per clip, with checksums of the line and of
  the array. A clip whose array or line was damaged or cut off is computed again. The file raw_dir
  names the folder of the recordings, because recordings of another one may have the same names,
  sizes and times.

  Attributes:
    done: the clips that were finished when the journal was opened.
  """

  def __init__(self, folder: Path, features: Features, raw_dir: str):
    """Opens the journal in `folder`; what it holds of another folder than `raw_dir` is deleted."""
    self._row_bytes = store.DTYPE.itemsize * features.n_mels * features.frames
    if owner(folder) != raw_dir:
      shutil.rmtree(folder, ignore_errors=True)
      write_bytes(folder / _OWNER, os.fsencode(raw_dir))
    self._rows_path = folder / 'rows.bin'
    self._rows, self._lines = (
      open(self._rows_path, 'ab'),
      open(folder / 'rows.jsonl', 'a+b'),
    )
    self._lines.seek(0)
    content = self._lines.read()
    lines = content[: content.rfind(b'\n') + 1].splitlines(keepends=True)
    with open(self._rows_path, 'rb') as rows:
      whole = [clip for line in lines if (clip := self._clip(line, rows)) is not None]
    self.done = dict(whole)
    if damaged := len(lines) - len(whole):
      print(
        f'{folder}: {damaged} of {len(lines)} finished clips were damaged and are computed again',
        file=sys.stderr,
      )
    self._count = 1 + max((done.row for done in self.done.values()), default=-1)
    self._lines.truncate(sum(map(len, lines)))
    self._rows.truncate(self._count * self._row_bytes)

  def __enter__(self) -> 'Journal':
    return self

  def __exit__(
    self, kind: type | None, error: BaseException | None, trace: TracebackType | None
  ) -> None:
    for file in (self._rows, self._lines):
      with contextlib.suppress(OSError):  # what a full disk did not take was not counted as done
        file.close()

  def add(self, result: Result) -> Done:
    """Writes a finished clip to the journal."""
    done = Done(
      self._rows_path, 0, self._count, result.size, result.mtime_ns, result.sha256, result.measured
    )
    with naming(self._rows_path.parent):
      self._rows.write(result.array)
      self._rows.flush()
      self._count += 1
      line = {'key': result.key, **done._asdict(), 'array': zlib.crc32(result.array)}
      del line['rows'], line['offset']
      self._lines.write(row_text(line).encode())
      self._lines.flush()
    return done

  def _clip(self, line: bytes, rows: BinaryIO) -> tuple[Key, Done] | None:
    """The clip of a line; None if the line or the clip's array was damaged."""
    values = row_of(line)
    if values is None:
      return None
    key, crc, measured = (values.pop(name) for name in ('key', 'array', 'measured'))
    rows.seek(values['row'] * self._row_bytes)
    if zlib.crc32(rows.read(self._row_bytes)) != crc:
      return None
    path, start, gain = key
    return (path, start, gain), Done(self._rows_path, 0, **values, measured=Measured(*measured))


def blocks(sources: Sequence[Done], features: Features, rows: int = 1024) -> Iterator[np.ndarray]:
  """Yields the clips' arrays in order, in blocks [up to `rows`, n_mels, frames].

  Only one block is in memory at a time.
  """
  size = features.n_mels * features.frames
  for first in range(0, len(sources), rows):
    block = sources[first : first + rows]
    # The files are mapped again for each block, so that earlier pages do not stay in memory.
    maps = {done.rows: np.memmap(done.rows, store.DTYPE, 'r', done.offset) for done in block}
    yield np.stack(
      [maps[done.rows][done.row * size : (done.row + 1) * size] for done in block]
    ).reshape(-1, *features.shape)
