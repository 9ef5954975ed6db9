"""Keeps the finished rows of an incomplete store, so that an interrupted preparation continues."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

import numpy as np

from data_prep import store
from data_prep.compute import Key, Measured, Result
from data_prep.features import Features


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


class Journal:
  """Finished clips on disk, in the order in which they were finished.

  The arrays are in rows.bin; rows.jsonl has one line per clip.

  Attributes:
    done: the clips that were finished when the journal was opened.
  """

  def __init__(self, folder: Path, features: Features):
    self._row_bytes = store.DTYPE.itemsize * features.n_mels * features.frames
    self.done: dict[Key, Done] = {}
    folder.mkdir(parents=True, exist_ok=True)
    self._rows_path = folder / 'rows.bin'
    self._rows, self._lines = (
      open(self._rows_path, 'ab'),
      open(folder / 'rows.jsonl', 'a+', encoding='utf-8'),
    )
    num_rows = self._rows.tell() // self._row_bytes
    self._lines.seek(0)
    valid = 0  # bytes: the lines are ASCII
    for line in self._lines.read().splitlines(keepends=True):
      # A line is written after its row; a clip whose row or line was cut off is computed again.
      if not line.endswith('\n') or len(self.done) >= num_rows:
        break
      try:
        key, *rest, measured = json.loads(line)
      except ValueError:
        break
      self.done[tuple(key)] = Done(self._rows_path, 0, *rest, Measured(*measured))
      valid += len(line)
    self._count = 1 + max((done.row for done in self.done.values()), default=-1)
    self._lines.seek(valid)
    self._lines.truncate()
    self._rows.truncate(self._count * self._row_bytes)

  def __enter__(self) -> 'Journal':
    return self

  def __exit__(
    self, kind: type | None, error: BaseException | None, trace: TracebackType | None
  ) -> None:
    self._rows.close()
    self._lines.close()

  def add(self, result: Result) -> Done:
    """Writes a finished clip to the journal."""
    self._rows.write(result.array)
    self._rows.flush()
    done = Done(
      self._rows_path, 0, self._count, result.size, result.mtime_ns, result.sha256, result.measured
    )
    self._count += 1
    self._lines.write(json.dumps([result.key, *done[2:]]) + '\n')
    self._lines.flush()
    return done


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
