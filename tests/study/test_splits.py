"""Splits: disjoint sides of the documented sizes; what the sides share, against counts by hand."""

import hashlib

import numpy as np
import pytest

from data_prep.errors import UserError
from m3net_jax.study import splits
from tests.example_store import store_of


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


def test_grouped_keeps_clips_of_one_recording_together_if_no_speakers_are_named():
  """As silence that is cut from a few noise recordings."""
  paths = [f'{i}.wav' for i in range(80)] + [f'noise {i % 6}.wav' for i in range(30)]
  store = store_of([0] * 40 + [1] * 40 + [2] * 30, paths=paths)
  (split,) = splits.make(store, 'grouped')
  noise = [{paths[i] for i in side if i >= 80} for side in sides(split)]
  assert sum(map(len, noise)) == 6 and all(noise)


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


@pytest.mark.parametrize('clips', range(3, 40))
def test_three_clips_of_a_class_are_one_on_each_side(clips):
  (split,) = splits.make(store_of([0] * 30 + [1] * clips), 'random')
  labels = store_of([0] * 30 + [1] * clips).labels
  counts = [int((labels[side] == 1).sum()) for side in sides(split)]
  assert min(counts) >= 1 and sum(counts) == clips
  if clips == 3:
    assert counts == [1, 1, 1]
  if clips > 3:  # as numpy rounds 6:2:2
    assert counts == [round(0.6 * clips), round(0.8 * clips) - round(0.6 * clips)] + [
      clips - round(0.8 * clips)
    ]


@pytest.mark.parametrize('clips, counts', [(1, [1, 0, 0]), (2, [1, 0, 1])])
def test_fewer_clips_train_and_test(clips, counts):
  store = store_of([0] * 30 + [1] * clips)
  (split,) = splits.make(store, 'random')
  assert [int((store.labels[side] == 1).sum()) for side in sides(split)] == counts


def golden_store(classes=4):
  """40 speakers with 3 to 14 clips, from arithmetic alone: 4 equal classes, or unequal ones."""
  labels, groups = [], []
  for speaker in range(40):
    for clip in range(3 + speaker * 7 % 12):
      label = speaker * 3 + clip * 5
      labels.append(label % 4 if classes == 4 else min(label % 17 // 3 % 6, label % 5))
      groups.append(f'speaker {speaker}')
  return store_of(labels, groups)


# The splits of existing studies of 'grouped' must never change: neither by a library nor by us.
@pytest.mark.parametrize(
  'seeds, name, digest',
  [
    (None, 'grouped', 'fe703c42cf4041a1'),
    ([0], 'grouped 0', '0d8e702f5a190033'),
    ([13], 'grouped 13', '9b59f15f7f6a1a36'),
  ],
)
def test_a_grouped_split_is_the_same_for_ever(seeds, name, digest):
  (split,) = splits.make(golden_store(), 'grouped', seeds)
  content = ';'.join(','.join(map(str, side)) for side in sides(split))
  assert split.name == name
  assert hashlib.sha256(content.encode()).hexdigest()[:16] == digest


def test_a_grouped_split_of_unequal_classes_is_the_same_for_ever():
  store = golden_store(classes=5)
  counts = np.bincount(store.labels)
  assert counts.max() > 3 * counts.min()
  for seeds, digest in ((None, '7a0bcfcba0f925d7'), ([4], '38ceea96aa591e97')):
    (split,) = splits.make(store, 'grouped', seeds)
    content = ';'.join(','.join(map(str, side)) for side in sides(split))
    assert hashlib.sha256(content.encode()).hexdigest()[:16] == digest


@pytest.mark.parametrize('seeds', [None, [0], [1], [2]])
def test_a_grouped_split_is_near_6_2_2_in_every_class(seeds):
  store = golden_store()
  (split,) = splits.make(store, 'grouped', seeds)
  for label in range(4):
    counts = np.array([(store.labels[side] == label).sum() for side in sides(split)])
    np.testing.assert_allclose(counts / counts.sum(), splits.SHARES, atol=0.04)
  groups = [set(store.groups[side]) for side in sides(split)]
  assert sum(map(len, groups)) == 40 == len(set.union(*groups))


@pytest.mark.parametrize('scheme', splits.SCHEMES)
def test_a_scheme_read_from_a_file_is_the_same(scheme):
  """An equal text, not the same object."""
  store = golden_store()
  lists = np.array(['train', 'train', 'train', 'validation', 'test'])
  position = np.arange(len(store.labels)) % 5
  store = store._replace(parts=lists[position], folds=position.astype(np.int32) + 1)
  for one, other in zip(splits.make(store, scheme), splits.make(store, ''.join(list(scheme)))):
    assert one.name == other.name
    assert all(np.array_equal(a, b) for a, b in zip(sides(one), sides(other)))


@pytest.mark.parametrize('scheme', splits.DRAWN)
def test_every_seed_draws_its_own_split(scheme):
  store = golden_store()
  drawn = splits.make(store, scheme, range(5))
  assert [split.name for split in drawn] == [f'{scheme} {seed}' for seed in range(5)]
  tests = {tuple(split.test) for split in (*drawn, *splits.make(store, scheme))}
  assert len(tests) == 6
  (alone,) = splits.make(store, scheme, [3])
  assert all(np.array_equal(a, b) for a, b in zip(sides(alone), sides(drawn[3])))


def test_one_speaker_with_most_clips_is_no_split():
  groups = ['a'] * 900 + [f'speaker {i}' for i in range(100)]
  with pytest.raises(UserError, match='largest has 900 of 1000 clips') as caught:
    splits.make(store_of([0, 1] * 500, groups), 'grouped')
  assert '\n' not in str(caught.value)


@pytest.mark.parametrize('speakers', [1, 2, 3])
def test_too_few_speakers(speakers):
  groups = [f'speaker {i % speakers}' for i in range(60)]
  with pytest.raises(UserError, match='cannot be dealt out near 6:2:2|no (validation|test) clips'):
    splits.make(store_of([0, 1, 2] * 20, groups), 'grouped')


def test_a_class_without_training_clips_is_refused():
  parts = ['train', 'validation', 'test'] * 4 + ['test', 'validation', 'test']
  store = store_of([0, 0, 0, 1, 1, 1] * 2 + [2, 2, 2], parts=parts)
  with pytest.raises(UserError, match='--split=official: no training clips of 2 in store'):
    splits.make(store, 'official')
  folds = [1, 2, 3] * 4 + [1, 1, 1]
  with pytest.raises(UserError, match='--split=folds: no training clips of fold 1 of 2 in store'):
    splits.make(store_of([0, 0, 0, 1, 1, 1] * 2 + [2, 2, 2], folds=folds), 'folds')


@pytest.mark.parametrize(
  'classes, told', [(5, '1, 2, 3, 4, 5 in store'), (6, '5 and 1 more in'), (7, '5 and 2 more in')]
)
def test_many_classes_without_training_clips_are_counted(classes, told):
  labels = [0, 0, 0, *range(1, classes + 1)]
  parts = ['train', 'validation', 'test', *['test'] * classes]
  with pytest.raises(UserError, match=f'{told}.* of these classes'):
    splits.make(store_of(labels, parts=parts), 'official')


def test_classes_without_test_clips_are_named():
  parts = ['train', 'validation', 'test'] * 4 + ['train', 'validation', 'train']
  store = store_of([0, 0, 0, 1, 1, 1] * 2 + [2, 2, 2], parts=parts)
  (split,) = splits.make(store, 'official')
  assert splits.absent(store, split) == {'validation': [], 'test': ['2']}
