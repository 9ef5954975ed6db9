"""Which clips are train, validation and test; and what the sides share, which every result must say.

Pure functions on a store's labels, groups, folds and parts; a split does not depend on a lane's seed, so that
lanes of one study are paired.
"""

from typing import NamedTuple

import numpy as np

from data_prep.errors import UserError
from data_prep.store import Store

SCHEMES = ('random', 'official', 'grouped', 'folds')
_SEED = 622  # of the shuffles here; the lanes' seeds are their own


class Split(NamedTuple):
  """Positions of clips in the store, each ascending; `name` is the scheme, or 'fold 3' by the fold tested."""

  name: str
  train: np.ndarray
  validation: np.ndarray
  test: np.ndarray

  @property
  def sizes(self) -> dict[str, int]:
    return {side: len(getattr(self, side)) for side in ('train', 'validation', 'test')}


class Leak(NamedTuple):
  """What test shares with train.

  Attributes:
    shared_groups: groups (speakers or recordings) on both sides.
    test_clips_in_shared_groups: test clips of those groups.
    test_clips_identical: test clips whose recording is byte-identical to one in train.
  """

  shared_groups: int
  test_clips_in_shared_groups: int
  test_clips_identical: int


def make(store: Store, scheme: str) -> list[Split]:
  """The splits of a study: one, or one a fold.

  Args:
    scheme: 'random', 6:2:2 in every class (paper, Section 3.1); 'official', the corpus's own lists; 'grouped', about
      6:2:2 with no speaker or recording on two sides; 'folds', test on each official fold in turn, validate on the next.

  Raises:
    UserError: the corpus has not what the scheme needs, or a side would have no clip.
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
  """Counts what the test side shares with the training side; where no group is known, a recording is one."""
  groups = np.array(_groups(store))
  shared = set(groups[split.train]) & set(groups[split.test])
  train_hashes = set(store.hashes[split.train])
  # Two segments of one recording share its hash and are not the same clip; a copy has another path.
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
      f'--split=official: {store.manifest["corpus"]} here has no official train, validation and test '
      'lists with clips in each: give --split=random or --split=grouped'
      + (', or --split=folds' if store.folds.any() else '')
    )
  return [Split('official', *sides)]


def _grouped(store: Store) -> list[Split]:
  from sklearn.model_selection import StratifiedGroupKFold  # slow to import, and only needed here

  if not (store.groups != '').any():
    raise UserError(
      f'--split=grouped: {store.manifest["corpus"]} names no speakers or recordings: give --split=random'
    )
  groups = _groups(store)
  if len(set(groups)) < 5:
    raise UserError(
      f'--split=grouped: {len(set(groups))} speakers or recordings, at least 5 are needed for 6:2:2: '
      'give --split=random'
    )
  fifths = [
    test
    for _, test in StratifiedGroupKFold(5, shuffle=True, random_state=_SEED).split(
      np.zeros(len(groups)), store.labels, groups
    )
  ]
  return [Split('grouped', np.sort(np.concatenate(fifths[2:])), fifths[1], fifths[0])]


def _folds(store: Store) -> list[Split]:
  names = sorted(set(store.folds.tolist()) - {0})
  if len(names) < 3:
    raise UserError(
      f'--split=folds: {store.manifest["corpus"]} has no official folds: give --split=random'
    )
  splits = []
  for position, tested in enumerate(names):
    validated = names[(position + 1) % len(names)]
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
