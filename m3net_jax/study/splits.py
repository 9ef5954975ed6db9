"""Splits into train, validation and test clips, and counts of what these sides share.

Pure functions on the labels, groups, folds and parts of a store. A split does not depend on the
seed of a lane, so that the lanes of one study are paired.
"""

from typing import NamedTuple

import numpy as np

from data_prep.errors import UserError
from data_prep.store import Store

SCHEMES = ('random', 'official', 'grouped', 'folds')
_SEED = 622  # of the shuffles of splits; the seeds of lanes are separate


class Split(NamedTuple):
  """Positions of clips in the store, ascending on each side.

  `name` is the scheme, or for example 'fold 3' if fold 3 is tested.
  """

  name: str
  train: np.ndarray
  validation: np.ndarray
  test: np.ndarray

  @property
  def sizes(self) -> dict[str, int]:
    """Number of clips on each side."""
    return {side: len(getattr(self, side)) for side in ('train', 'validation', 'test')}


class Leak(NamedTuple):
  """Counts of what test shares with train.

  Attributes:
    shared_groups: groups (speakers or recordings) on both sides.
    test_clips_in_shared_groups: test clips of these groups.
    test_clips_identical: test clips whose recording is byte-identical to one in train.
  """

  shared_groups: int
  test_clips_in_shared_groups: int
  test_clips_identical: int


def make(store: Store, scheme: str) -> list[Split]:
  """Makes the splits of a study: one, or one per fold.

  Args:
    scheme: 'random': 6:2:2 in every class (paper, Section 3.1); 'official': the lists of the
      corpus; 'grouped': about 6:2:2, no speaker or recording on two sides; 'folds': each official
      fold is tested in turn, and the next one validates.

  Raises:
    UserError: the corpus lacks what the scheme needs, or a side has no clip.
  """
  splits = {'random': _random, 'official': _official, 'grouped': _grouped, 'folds': _folds}[scheme](
    store
  )
  for split in splits:
    for side, count in split.sizes.items():
      if not count:
        raise UserError(
          f'--split={scheme}: no {side} clips in {store.path.name} ({len(store.labels)} clips): '
          'give --split=random, or more recordings'
        )
  return splits


def leak(store: Store, split: Split) -> Leak:
  """Counts what test shares with train; a recording without a known group is a group itself."""
  groups = np.array(_groups(store))
  shared = set(groups[split.train]) & set(groups[split.test])
  train_hashes = set(store.hashes[split.train])
  # Segments of one recording have the same hash but are not the same clip; a copy has another path.
  paths = {}
  for index in split.train:
    paths.setdefault(store.hashes[index], set()).add(store.paths[index])
  identical = sum(
    bool(paths.get(store.hashes[i], set()) - {store.paths[i]})
    for i in split.test
    if store.hashes[i] in train_hashes
  )
  return Leak(len(shared), sum(group in shared for group in groups[split.test]), identical)


def _groups(store: Store) -> list[str]:
  return [
    group or f'recording {path}' for group, path in zip(store.groups.tolist(), store.paths.tolist())
  ]


def _random(store: Store) -> list[Split]:
  sides: tuple[list[np.ndarray], ...] = ([], [], [])
  for label in range(len(store.classes)):
    clips = np.random.default_rng([_SEED, label]).permutation(np.flatnonzero(store.labels == label))
    first, second = round(0.6 * len(clips)), round(0.8 * len(clips))
    for side, part in zip(sides, np.split(clips, [first, second])):
      side.append(part)
  return [Split('random', *(np.sort(np.concatenate(side)) for side in sides))]


def _official(store: Store) -> list[Split]:
  sides = [np.flatnonzero(store.parts == part) for part in ('train', 'validation', 'test')]
  if any(len(side) == 0 for side in sides):
    raise UserError(
      f'--split=official: the store of {store.manifest["corpus"]} has no official train, '
      'validation and test lists with clips in each: give --split=random or --split=grouped'
      + (', or --split=folds' if store.folds.any() else '')
    )
  return [Split('official', *sides)]


def _grouped(store: Store) -> list[Split]:
  from sklearn.model_selection import StratifiedGroupKFold  # slow to import

  if not (store.groups != '').any():
    raise UserError(
      f'--split=grouped: {store.manifest["corpus"]} names no speakers or recordings: '
      'give --split=random'
    )
  groups = _groups(store)
  if len(set(groups)) < 5:
    raise UserError(
      f'--split=grouped: {len(set(groups))} speakers or recordings, at least 5 are needed for '
      '6:2:2: give --split=random'
    )
  fifths = [
    test
    for _, test in StratifiedGroupKFold(5, shuffle=True, random_state=_SEED).split(
      np.zeros(len(groups)), store.labels, groups
    )
  ]
  return [Split('grouped', np.sort(np.concatenate(fifths[2:])), fifths[1], fifths[0])]


def _folds(store: Store) -> list[Split]:
  folds = sorted(set(store.folds.tolist()) - {0})
  if len(folds) < 3:
    raise UserError(
      f'--split=folds: {store.manifest["corpus"]} has no official folds: give --split=random'
    )
  splits = []
  for position, tested in enumerate(folds):
    validated = folds[(position + 1) % len(folds)]
    test, validation = store.folds == tested, store.folds == validated
    splits.append(
      Split(
        f'fold {tested}',
        np.flatnonzero(~test & ~validation & (store.folds > 0)),
        np.flatnonzero(validation),
        np.flatnonzero(test),
      )
    )
  return splits
