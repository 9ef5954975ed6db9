"""splits.npz: the clips of a study and the side of each, written when the study is made.

A library that shuffles otherwise, or a store prepared again, cannot change the splits of a study:
they are read from this file by every step after the first.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from data_prep.errors import UserError
from data_prep.store import Store
from m3net_jax.study import arrays_file
from m3net_jax.study.splits import PARTS, Split

NAME = 'splits.npz'


class Recorded(NamedTuple):
  """The content of splits.npz.

  Attributes:
    splits: of the study, in order.
    paths: [clips] str, recordings, in the order of the store.
    starts: [clips] float64, start of the clip in its recording, seconds.
    hashes: [clips] str, SHA-256 of the recording.
  """

  splits: list[Split]
  paths: np.ndarray
  starts: np.ndarray
  hashes: np.ndarray

  @property
  def tested(self) -> set[tuple[str, str, float]]:
    """(split, SHA-256 of the recording, start) of every test clip."""
    return {
      (split.name, self.hashes[i], float(self.starts[i]))
      for split in self.splits
      for i in split.test
    }


def write(folder: Path, splits: list[Split], store: Store) -> None:
  """Writes the splits of a study on `store` into its folder."""
  sides = np.zeros((len(splits), len(store.labels)), np.uint8)
  for row, split in zip(sides, splits):
    for side, clips in enumerate((split.train, split.validation, split.test), 1):
      row[clips] = side
  arrays_file.write(
    folder / NAME,
    names=np.array([split.name for split in splits]),
    sides=sides,
    paths=store.paths,
    starts=store.starts,
    hashes=store.hashes,
  )


def read(folder: Path) -> Recorded:
  """Reads the splits of the study in `folder`; UserError if they are absent or damaged."""
  saved = arrays_file.read(folder / NAME)
  splits = [
    # 1, 2 and 3 in the file; 0: on no side
    Split(str(name), *(np.flatnonzero(row == side) for side in range(1, 1 + len(PARTS))))
    for name, row in zip(saved['names'], saved['sides'])
  ]
  return Recorded(splits, saved['paths'], saved['starts'], saved['hashes'])


def read_for(folder: Path, store: Store) -> list[Split]:
  """Reads the splits of the study in `folder`, as positions in `store`.

  Raises:
    UserError: the file is absent or damaged, or the clips of `store` are not those of the study.
  """
  recorded = read(folder)
  same = len(recorded.paths) == len(store.paths) and all(
    np.array_equal(getattr(recorded, field), getattr(store, field))
    for field in ('paths', 'starts', 'hashes')
  )
  if not same:
    raise UserError(
      f'{store.path}: has other clips than the study in {folder}: prepare the store again with the '
      'same recordings and settings, or give another --workdir'
    )
  return recorded.splits
