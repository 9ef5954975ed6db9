"""Splits: disjoint sides of the documented sizes; what the sides share, against counts by hand."""

from pathlib import Path

import numpy as np
import pytest

from data_prep.errors import UserError
from data_prep.features import Features
from data_prep.store import Store
from m3net_jax.study import splits


def store_of(labels, groups=None, folds=None, parts=None, hashes=None, paths=None):
  n = len(labels)
  text = lambda values: np.array(values if values is not None else [''] * n)
  return Store(
    path=Path('store'),
    mels=np.zeros((n, 2, 2), np.float16),
    labels=np.array(labels, np.int32),
    groups=text(groups),
    folds=np.array(folds if folds is not None else [0] * n, np.int32),
    parts=text(parts),
    paths=np.array(paths if paths is not None else [f'{i}.wav' for i in range(n)]),
    hashes=np.array(hashes if hashes is not None else [str(i) for i in range(n)]),
    entropies=np.zeros(n),
    crossings=np.zeros(n),
    classes=tuple(map(str, range(max(labels) + 1))),
    features=Features(),
    manifest={'corpus': 'example'},
  )


def sides(split):
  return split.train, split.validation, split.test


def test_random_is_6_2_2_in_every_class_and_covers_all():
  store = store_of([0] * 50 + [1] * 20 + [2] * 7)
  (split,) = splits.make(store, 'random')
  assert sorted(np.concatenate(sides(split))) == list(range(77))
  for label, counts in ((0, (30, 10, 10)), (1, (12, 4, 4)), (2, (4, 2, 1))):
    assert tuple((store.labels[side] == label).sum() for side in sides(split)) == counts
  (again,) = splits.make(store, 'random')
  assert all(np.array_equal(a, b) for a, b in zip(sides(split), sides(again)))


def test_grouped_has_no_group_on_two_sides():
  rng = np.random.default_rng(0)
  groups = [f'speaker {i}' if i else '' for i in rng.integers(0, 30, 400)]
  store = store_of(rng.integers(0, 3, 400).tolist(), groups)
  (split,) = splits.make(store, 'grouped')
  named = [{groups[i] for i in side} - {''} for side in sides(split)]
  assert not (named[0] & named[1] or named[0] & named[2] or named[1] & named[2])
  assert sorted(np.concatenate(sides(split))) == list(range(400))
  assert 0.5 < len(split.train) / 400 < 0.7
  assert splits.leak(store, split).shared_groups == 0


def test_official_follows_the_lists():
  store = store_of([0, 1, 0, 1, 0, 1], parts=['train', 'test', 'validation', 'train', 'test', ''])
  (split,) = splits.make(store, 'official')
  assert [side.tolist() for side in sides(split)] == [[0, 3], [2], [1, 4]]


def test_every_fold_is_tested_once_and_never_trained_on():
  folds = [1, 2, 3, 4, 5] * 4 + [0]
  fold_splits = splits.make(store_of([0, 1, 0] * 7, folds=folds), 'folds')
  assert [split.name for split in fold_splits] == [f'fold {k}' for k in range(1, 6)]
  for k, split in enumerate(fold_splits, 1):
    tested = {folds[i] for i in split.test}
    assert tested == {k}
    assert {folds[i] for i in split.validation} == {k % 5 + 1}
    assert {folds[i] for i in split.train} == {1, 2, 3, 4, 5} - {k, k % 5 + 1}


def test_leaks_by_hand():
  #        train          validation  test
  store = store_of(
    [0] * 7,
    groups=['a', 'b', '', 'c', 'a', 'd', 'a'],
    hashes=['x', 'y', 'z', 'v', 'x', 'z', 'w'],
    paths=['0', '1', 'noise', '3', '4', 'noise', '6'],
  )
  split = splits.Split('example', np.array([0, 1, 2]), np.array([3]), np.array([4, 5, 6]))
  # Group a is on both sides with test clips 4 and 6. Clip 4 is a copy of 0; clip 5 is another
  # segment of the recording 'noise', not a copy.
  assert splits.leak(store, split) == (1, 2, 1)
  # Without a known group, the recording is a group itself.
  assert splits.leak(store._replace(groups=np.array(['a', 'b', '', 'c', 'a', '', 'a'])), split) == (
    2,
    3,
    1,
  )


@pytest.mark.parametrize(
  'scheme, message',
  [
    ('official', '--split=official: the store of example has no official'),
    ('grouped', '--split=grouped: example names no speakers'),
    ('folds', '--split=folds: example has no official folds'),
  ],
)
def test_a_corpus_without_what_the_scheme_needs(scheme, message):
  with pytest.raises(UserError, match=message):
    splits.make(store_of([0, 1] * 10), scheme)


def test_too_few_clips_for_a_side():
  with pytest.raises(UserError, match='--split=random: no validation clips'):
    splits.make(store_of([0, 1]), 'random')
