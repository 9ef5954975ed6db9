"""Finished rows of a store that is not whole yet, kept so that an interrupted preparation continues."""

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
  """A clip's array (row `row` of a file of rows) and the recording it came from, as it was then."""

  rows: Path
  offset: int
  row: int
  size: int
  mtime_ns: int
  sha256: str
  measured: Measured


class Journal:
  """Finished clips on disk in the order they came: arrays in rows.bin, one JSON line each in rows.jsonl."""

  def __init__(self, folder: Path, features: Features):
    self._row_bytes = store.DTYPE.itemsize * features.n_mels * features.frames
    self.done: dict[Key, Done] = {}
    folder.mkdir(parents=True, exist_ok=True)
    self._rows_path = folder / 'rows.bin'
    self._rows, self._lines = (
      open(self._rows_path, 'ab'),
      open(folder / 'rows.jsonl', 'a+', encoding='utf-8'),
    )
    whole = self._rows.tell() // self._row_bytes
    self._lines.seek(0)
    good = 0
    for line in self._lines.read().splitlines(keepends=True):
      # A line is written after its row; what an abrupt end cut short is computed again.
      if not line.endswith('\n') or len(self.done) >= whole:
        break
      try:
        key, *rest, measured = json.loads(line)
      except ValueError:
        break
      self.done[tuple(key)] = Done(self._rows_path, 0, *rest, Measured(*measured))
      good += len(line)
    self._count = 1 + max((each.row for each in self.done.values()), default=-1)
    self._lines.seek(good)
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
  """The clips' arrays in order, [up to `rows`, n_mels, frames] at a time.

  The files are mapped anew for each block, so that what was read does not stay in memory.
  """
  size = features.n_mels * features.frames
  for first in range(0, len(sources), rows):
    block = sources[first : first + rows]
    maps = {each.rows: np.memmap(each.rows, store.DTYPE, 'r', each.offset) for each in block}
    yield np.stack(
      [maps[each.rows][each.row * size : (each.row + 1) * size] for each in block]
    ).reshape(-1, *features.shape)
