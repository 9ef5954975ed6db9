"""Stores in memory: of labels, groups, folds and lists without features; parts of a real one."""

from pathlib import Path

import numpy as np

from data_prep.features import Features
from data_prep.store import Store

_FEATURES = Features()


def store_of(
  labels,
  groups=None,
  folds=None,
  parts=None,
  hashes=None,
  paths=None,
  features=_FEATURES,
  path='store',
  sha256='abc',
):
  """A store whose clips have the given labels; every other list is [clips] or its default."""
  n = len(labels)
  text = lambda values: np.array(values if values is not None else [''] * n)
  return Store(
    path=Path(path),
    mels=np.zeros((n, 2, 2), np.float16),
    labels=np.array(labels, np.int32),
    groups=text(groups),
    folds=np.array(folds if folds is not None else [0] * n, np.int32),
    parts=text(parts),
    paths=np.array(paths if paths is not None else [f'{i}.wav' for i in range(n)]),
    starts=np.zeros(n),
    hashes=np.array(hashes if hashes is not None else [str(i) for i in range(n)]),
    entropies=np.zeros(n),
    crossings=np.zeros(n),
    classes=tuple(map(str, range(max(labels) + 1))),
    features=features,
    manifest={'corpus': 'example', 'files': {'mels.npy': {'sha256': sha256}}},
  )


def part_of(store, clips):
  """The store with some of its clips only."""
  arrays = ('mels', 'labels', 'groups', 'folds', 'parts', 'paths', 'starts', 'hashes', 'entropies')
  return store._replace(
    **{name: np.asarray(getattr(store, name))[clips] for name in arrays},
    crossings=store.crossings[clips],
  )
