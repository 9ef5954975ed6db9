"""Splits into train, validation and test clips, and counts of what these sides share.

Pure functions on the labels, groups, folds and parts of a store. The variants of a study share its
splits, so that their lanes are paired. A study writes its splits down when it is made
(`recorded_splits`) and never computes them again.
"""

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from data_prep.errors import UserError
from data_prep.store import Store

SCHEMES = ('random', 'official', 'grouped', 'folds')
DRAWN = ('random', 'grouped')  # schemes that draw a split from a seed
PARTS = ('train', 'validation', 'test')
SHARES = (0.6, 0.2, 0.2)  # of train, validation and test clips (paper, Section 3.1)
_SEED = 622  # of the one split of a study; the seeds of lanes are separate
_ORDERS = 16  # orders of the groups that a grouped split tries


class Split(NamedTuple):
  """Positions of clips in the store, ascending on each side.

  `name` is the scheme, or for example 'fold 3' if fold 3 is tested, or 'random 3' for the split
  that seed 3 draws.
  """

  name: str
  train: np.ndarray
  validation: np.ndarray
  test: np.ndarray

  @property
  def sizes(self) -> dict[str, int]:
    """Number of clips on each side."""
    return {side: len(getattr(self, side)) for side in PARTS}


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


def make(store: Store, scheme: str, seeds: Sequence[int] | None = None) -> list[Split]:
  """Makes the splits of a study: one, or one per fold or seed.

  Args:
    scheme: 'random': 6:2:2 in every class (paper, Section 3.1); 'official': the lists of the
      corpus; 'grouped': about 6:2:2, no speaker or recording on two sides; 'folds': each official
      fold is tested in turn, and the next one validates.
    seeds: draw one split per seed; the scheme is one of DRAWN.

  Raises:
    UserError: the corpus lacks what the scheme needs; a side has no clip; a class has no training
      clip; or a grouped split is far from 6:2:2.
  """
  if scheme in DRAWN:
    draw = _random if scheme == 'random' else _grouped
    splits = (
      [draw(store, None)]
      if seeds is None
      else [draw(store, seed)._replace(name=f'{scheme} {seed}') for seed in seeds]
    )
  else:
    splits = (_official if scheme == 'official' else _folds)(store)
  for split in splits:
    _check(store, scheme, split)
  return splits


def absent(store: Store, split: Split) -> dict[str, list[str]]:
  """The classes without a clip in validation and in test; for these sides only."""
  return {
    side: [
      store.classes[label]
      for label in sorted(set(range(len(store.classes))) - set(store.labels[clips].tolist()))
    ]
    for side, clips in (('validation', split.validation), ('test', split.test))
  }


def _check(store: Store, scheme: str, split: Split) -> None:
  """Raises UserError if a split is none: a side or the training clips of a class are missing."""
  of_fold = f' of {split.name}' if split.name != scheme else ''
  for side, count in split.sizes.items():
    if not count:
      raise UserError(
        f'--split={scheme}: no {side} clips{of_fold} in {store.path.name} ({len(store.labels)} '
        'clips): give --split=random, or more recordings'
      )
  untrained = sorted(set(range(len(store.classes))) - set(store.labels[split.train].tolist()))
  if untrained:
    names = ', '.join(store.classes[label] for label in untrained[:5])
    raise UserError(
      f'--split={scheme}: no training clips{of_fold} of {names}'
      + (f' and {len(untrained) - 5} more' if len(untrained) > 5 else '')
      + f' in {store.path.name}, so no lane can learn them: give --split=random, or recordings of '
      + ('these classes' if len(untrained) > 1 else 'this class')
    )


def leak(store: Store, split: Split) -> Leak:
  """Counts what test shares with train; a recording without a known group is a group itself."""
  groups = np.array(groups_of(store))
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


def groups_of(store: Store) -> list[str]:
  """The group of every clip; clips without a known one are grouped by their recording."""
  return [
    group or f'recording {path}' for group, path in zip(store.groups.tolist(), store.paths.tolist())
  ]


def _random(store: Store, seed: int | None) -> Split:
  sides: tuple[list[np.ndarray], ...] = ([], [], [])
  for label in range(len(store.classes)):
    # numpy takes [a, b, 0] for [a, b]: the third number is never 0.
    stream = [_SEED, label] if seed is None else [_SEED, label, 1 + seed]
    clips = np.random.default_rng(stream).permutation(np.flatnonzero(store.labels == label))
    for side, part in zip(sides, np.split(clips, _cuts(len(clips)))):
      side.append(part)
  return Split('random', *(np.sort(np.concatenate(side)) for side in sides))


def _cuts(clips: int) -> tuple[int, int]:
  """Where 6:2:2 cuts the clips of a class: three clips or more have one on each side."""
  train = max(1, min(round(0.6 * clips), clips - 2))
  return train, max(train, min(max(round(0.8 * clips), train + 1), clips - 1))


def has_parts(store: Store) -> bool:
  """Whether the corpus itself says which clips are for train, validation and test."""
  return all((store.parts == part).any() for part in PARTS)


def _official(store: Store) -> list[Split]:
  sides = [np.flatnonzero(store.parts == part) for part in PARTS]
  if not has_parts(store):
    raise UserError(
      f'--split=official: the store of {store.manifest["corpus"]} has no official train, '
      'validation and test lists with clips in each: give --split=random or --split=grouped'
      + (', or --split=folds' if store.folds.any() else '')
    )
  return [Split('official', *sides)]


def _grouped(store: Store, seed: int | None) -> Split:
  """Deals whole groups to the sides, each to the side that lacks its classes most.

  The groups come in an order drawn from the seed by SHA-256, and of 16 such orders the one with the
  most even classes is taken. All arithmetic is on integers, so the split depends on no library: it
  is the same for ever.
  """
  names, group = np.unique(np.array(groups_of(store)), return_inverse=True)
  if not (store.groups != '').any() and len(names) == len(group):
    raise UserError(
      f'--split=grouped: {store.manifest["corpus"]} names no speakers or recordings: '
      'give --split=random'
    )
  counts = np.zeros((len(names), len(store.classes)), np.int64)
  np.add.at(counts, (group, store.labels), 1)
  drawn = str(_SEED) if seed is None else f'{_SEED} {seed}'
  dealt = [_dealt(counts, _hash_order(names, f'{drawn} {order}')) for order in range(_ORDERS)]
  _, side_of_group = min(dealt, key=lambda entry: entry[0])  # the first of equal ones
  split = Split('grouped', *(np.flatnonzero(side_of_group[group] == side) for side in range(3)))
  shares = np.array([*split.sizes.values()]) / len(group)
  if (np.abs(shares / SHARES - 1) > 1 / 3).any():
    raise UserError(
      f'--split=grouped: {len(names)} speakers or recordings cannot be dealt out near 6:2:2 (the '
      f'largest has {np.bincount(group).max()} of {len(group)} clips; the best is train '
      '{train}, validation {validation}, test {test}): give --split=random, or recordings of '
      'others'.format(**split.sizes)
    )
  return split


def _hash_order(names: np.ndarray, seed: str) -> list[int]:
  """The positions of `names` in an order that looks random: by SHA-256 of seed and name."""
  text = lambda i: f'{seed} {names[i]}'.encode(errors='surrogateescape')
  digest = lambda i: hashlib.sha256(text(i)).digest()
  return sorted(range(len(names)), key=digest)


def _dealt(counts: np.ndarray, order: Sequence[int]) -> tuple[int, np.ndarray]:
  """Deals groups to train, validation and test in the given order.

  Args:
    counts: [groups, classes] clips.

  Returns:
    How uneven the classes are, lowest if each is in 6:2:2, and the side (0, 1, 2) of each group.
  """
  # Uneven: the sum over sides and classes of clips² / (share x clips of the class²). 1/0.6 and
  # 1/0.2 are as 1 and 3; the classes' weights are integers below 2**40.
  weight = 2**40 // np.maximum(counts.sum(0), 1) ** 2
  per_share = (1, 3, 3)
  held = np.zeros((3, counts.shape[1]), np.int64)
  side_of_group = np.zeros(len(counts), np.int64)
  for group in order:
    added = (weight * counts[group] * (2 * held + counts[group])).sum(1)
    side = min(range(3), key=lambda side: per_share[side] * int(added[side]))
    held[side] += counts[group]
    side_of_group[group] = side
  uneven = (weight * held**2).sum(1)
  return sum(factor * int(value) for factor, value in zip(per_share, uneven)), side_of_group


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
