"""The content of results.json from rows and predictions: measures, named intervals, tests."""

import numpy as np
import pytest
from scipy import stats

from m3net_jax.stats import crossed, holm, resampled
from m3net_jax.study import packages, results, splits
from m3net_jax.study.config import Config
from m3net_jax.study.workdir import prediction_key
from tests.example_store import store_of

SEEDS = 6


def store(groups=True, **lists):
  labels = [0, 1, 2] * 40
  names = [f'speaker {i // 3 % 20}' for i in range(120)] if groups else None
  made = store_of(labels, names, **lists)
  return made._replace(manifest={**made.manifest, 'skipped': [], 'versions': {'librosa': '0.11'}})


def built(store, config, study_splits, wrong=0.2):
  """The content of a study whose lanes answer at random, `wrong` of the clips falsely."""
  rng = np.random.default_rng(0)
  rows, predictions = [], {}
  # New objects for every variant and split, as from a file: large ones are equal, not identical.
  seeds_of = lambda i: [config.seeds[i]] if config.split_seeds else config.seeds
  for variant in config.variants:
    for i, split in enumerate(study_splits):
      for seed in seeds_of(i):
        labels = store.labels[split.test]
        shifted = (labels + 1) % len(store.classes)
        predicted = np.where(rng.random(len(labels)) < wrong, shifted, labels)
        predictions[prediction_key(variant, split.name, seed)] = predicted
        rows.append(
          {
            'variant': variant,
            'seed': seed,
            'split': split.name,
            'status': 'finished',
            'test_accuracy': float((predicted == labels).mean()),
            'balanced_accuracy': 0.7 + 0.01 * seed,
            'macro_f1': 0.6 + 0.01 * seed,
            'validation_accuracy': 0.5,
            'best_epoch': 1,
          }
        )
  return results.build(
    config,
    store,
    study_splits,
    rows,
    predictions,
    environments=[{'device': 'cpu'}],
    compilations=4,
    seconds=1.26,
  )


def config_of(**settings):
  return Config(
    **{'variants': ('full', 'plain'), 'num_seeds': SEEDS, 'input_shape': (16, 16, 1), **settings}
  )


def by_name(variant):
  """The intervals by name; the widest is always first."""
  widths = [row['ci95'][1] - row['ci95'][0] for row in variant['intervals']]
  assert widths == sorted(widths, reverse=True)
  return {row['over']: row for row in variant['intervals']}


def test_one_split_has_intervals_over_seeds_clips_and_groups():
  made, config = store(), config_of()
  (split,) = splits.make(made, 'random')
  content = built(made, config, [split])
  full = content['variants']['full']
  accuracies = [lane['test_accuracy'] for lane in full['lanes']]
  named = by_name(full)
  assert set(named) == {'seeds', 'seeds and clips', 'seeds and groups'}
  expected = stats.t.interval(0.95, SEEDS - 1, np.mean(accuracies), stats.sem(accuracies))
  assert named['seeds']['ci95'] == full['ci95'] == pytest.approx(expected)
  assert (full['mean'], full['std']) == pytest.approx(
    (np.mean(accuracies), np.std(accuracies, ddof=1))
  )
  assert full['balanced_accuracy'] == pytest.approx(0.725)
  assert full['macro_f1'] == pytest.approx(0.625)
  assert full['one_answer'] == 0 and results.ratio(content) is None
  # All speakers are on both sides of this split.
  assert 'training has heard' in named['seeds and groups']['about']
  assert content['corpus']['largest_class'] == {'name': '0', 'accuracy': pytest.approx(1 / 3)}
  assert content['seconds'] == 1.3 and content['store_versions'] == {'librosa': '0.11'}
  assert {'jax', 'jaxlib', 'optax', 'numpy', 'scipy', 'python'} <= set(content['versions'])
  assert content['versions']['numpy'] == np.__version__ and content['select'] == 'accuracy'
  assert packages.versions(['no-such-package'])['no-such-package'] == 'not installed'


def test_the_corpus_and_its_splits_are_described():
  made = store(groups=True, hashes=['same', 'same', *map(str, range(118))])
  made = made._replace(
    groups=np.where(np.arange(120) < 6, '', made.groups),
    manifest={'corpus': 'synthetic_example', 'skipped': ['a', 'b', 'c'], 'versions': {}},
  )
  (split,) = splits.make(made, 'random')
  corpus = built(made, config_of(), [split])['corpus']
  leak = splits.leak(made, split)
  sizes = {'train': 72, 'validation': 24, 'test': 24}
  assert corpus == {
    'name': 'synthetic_example',
    'synthetic': True,
    'num_clips': 120,
    'num_classes': 3,
    'classes': ['0', '1', '2'],
    'largest_class': {'name': '0', 'accuracy': 1 / 3},
    'skipped_recordings': 3,
    'silence_clips': None,
    'num_groups': len(set(made.groups[6:])),
    'split': 'random',
    'split_seeds': False,
    'protocol': 'random 6:2:2 split of clips',
    'split_sizes': sizes,
    'shared_groups': leak.shared_groups,
    'test_clips_in_shared_groups': leak.test_clips_in_shared_groups,
    'test_clips_identical_to_train': leak.test_clips_identical,
    'splits': [
      {
        'name': 'random',
        'sizes': sizes,
        **leak._asdict(),
        'absent_classes': {'validation': [], 'test': []},
      }
    ],
  }
  folds = store(folds=[1, 2, 3, 4, 5] * 24)
  fold_splits = splits.make(folds, 'folds')
  corpus = built(folds, config_of(split='folds', num_seeds=2), fold_splits)['corpus']
  leaks = [splits.leak(folds, split) for split in fold_splits]
  assert corpus['shared_groups'] == max(leak.shared_groups for leak in leaks) > 0
  assert corpus['test_clips_in_shared_groups'] == 120 and corpus['synthetic'] is False
  assert corpus['num_groups'] == 20 and len(corpus['splits']) == 5


def test_the_largest_class_is_that_of_training():
  """Fold 1 tests class 1 only; class 0 has most training clips."""
  made = store_of([0] * 30 + [1] * 21, folds=[2, 3, 4] * 10 + [1] * 12 + [2, 3, 4] * 3)
  made = made._replace(manifest={**made.manifest, 'skipped': []})
  config = config_of(split='folds', num_seeds=2, variants=('full',))
  largest = built(made, config, splits.make(made, 'folds'))['corpus']['largest_class']
  assert largest == {
    'name': '0',
    'accuracy': pytest.approx(np.mean([0, 10 / 13, 10 / 13, 10 / 13])),
  }


@pytest.mark.parametrize('unknown', [0, 50])
def test_the_interval_over_groups_is_that_of_the_speakers_of_the_test_clips(unknown):
  """A clip of an unknown speaker is a group with the other clips of its recording."""
  made, config = store(), config_of(variants=('full',))
  made = made._replace(groups=np.where(np.arange(120) < unknown, '', made.groups))
  (split,) = splits.make(made, 'random')
  content = built(made, config, [split])
  right = []
  rng = np.random.default_rng(0)
  for _ in range(SEEDS):
    right.append(rng.random(len(split.test)) >= 0.2)
  names = [group or f'recording {path}' for group, path in zip(made.groups, made.paths)]
  speakers = np.unique(names, return_inverse=True)[1][split.test]
  expected = crossed.interval(*crossed.by_group(right, [speakers] * SEEDS), range(SEEDS))
  named = by_name(content['variants']['full'])
  assert named['seeds and groups']['ci95'] == list(expected)
  clips = [np.arange(len(split.test))] * SEEDS
  expected = crossed.interval(*crossed.by_group(right, clips), range(SEEDS))
  assert named['seeds and clips']['ci95'] == list(expected)


def test_speakers_of_a_grouped_split_are_new():
  made = store()
  content = built(made, config_of(), splits.make(made, 'grouped'))
  about = by_name(content['variants']['full'])['seeds and groups']['about']
  assert 'other speakers' in about and 'training' not in about


def test_a_corpus_without_groups_has_no_interval_over_them():
  made = store(groups=False)
  content = built(made, config_of(), splits.make(made, 'random'))
  assert set(by_name(content['variants']['full'])) == {'seeds', 'seeds and clips'}


def test_folds_are_the_observations():
  made = store(folds=[1, 1, 2, 3, 3, 4, 5, 5] * 15)
  config = config_of(split='folds', num_seeds=3, first_seed=1000)
  study_splits = splits.make(made, 'folds')
  content = built(made, config, study_splits)
  full = content['variants']['full']
  lanes = results.accuracies(full)
  assert len(lanes) == 15
  means = [np.mean([lanes[seed, f'fold {fold}'] for seed in config.seeds]) for fold in range(1, 6)]
  assert list(full['folds'].values()) == pytest.approx(means)
  ratio = np.mean([len(split.test) / len(split.train) for split in study_splits])
  assert results.ratio(content) == pytest.approx(ratio)
  half = stats.t.ppf(0.975, 4) * np.std(means, ddof=1) * np.sqrt(1 / 5 + ratio)
  named = by_name(full)
  assert set(named) == {'splits', 'seeds', 'seeds and clips', 'seeds and groups'}
  assert named['splits']['ci95'] == pytest.approx([np.mean(means) - half, np.mean(means) + half])
  assert full['ci95'] == named['splits']['ci95']
  seeds = [np.mean([lanes[seed, f'fold {fold}'] for fold in range(1, 6)]) for seed in config.seeds]
  assert named['seeds']['ci95'] == pytest.approx(
    stats.t.interval(0.95, 2, np.mean(seeds), stats.sem(seeds))
  )
  assert content['tests'] == holm.tests_table(
    {name: results.accuracies(variant) for name, variant in content['variants'].items()},
    ratio=results.ratio(content),
  )
  assert content['tests'][0]['n'] == 5


def test_split_seeds_have_an_interval_over_splits_and_none_over_seeds_alone():
  made, config = store(), config_of(split_seeds=True)
  study_splits = splits.make(made, 'random', config.split_seeds_of(config.seeds))
  content = built(made, config, study_splits)
  full = content['variants']['full']
  assert set(by_name(full)) == {'splits', 'seeds and clips', 'seeds and groups'}
  expected = resampled.interval(list(results.accuracies(full).values()), 24 / 72)
  assert full['ci95'] == pytest.approx(expected)
  assert 'folds' not in full and content['corpus']['protocol'].endswith('drawn by every seed')
  assert len(content['corpus']['splits']) == SEEDS


def test_the_margin_is_in_points():
  made = store()
  for margin in (0.5, 20.0):
    content = built(made, config_of(margin=margin), splits.make(made, 'random'))
    assert content['tests'][0]['margin'] == margin / 100
    assert content['tests'] == results.tests(content, margin)
  assert content['tests'][0]['equivalence_p'] < 0.05


def test_the_baseline_is_full_or_the_first():
  named = lambda *names: {'variants': dict.fromkeys(names)}
  assert results.baseline(named('plain', 'full')) == 'full'
  assert results.baseline(named('plain', 'eca')) == 'plain'
  made = store()
  content = built(made, config_of(variants=('plain', 'eca')), splits.make(made, 'random'))
  assert [(test['variant'], test['against']) for test in content['tests']] == [('eca', 'plain')]
  assert built(made, config_of(variants=('eca',)), splits.make(made, 'random'))['tests'] == []


def test_a_class_without_test_clips_has_no_recall_and_is_named():
  parts = (['train'] * 6 + ['validation'] * 3 + ['test'] * 3) * 10
  made = store(parts=parts)
  labels = made.labels.copy()
  labels[(labels == 2) & (made.parts == 'test')] = 1
  made = made._replace(labels=labels)
  content = built(made, config_of(split='official'), splits.make(made, 'official'))
  recall = content['variants']['full']['recall']
  assert recall['2'] is None and 0.5 < recall['0'] < 1 and 0.5 < recall['1'] < 1
  assert content['corpus']['splits'][0]['absent_classes'] == {'validation': [], 'test': ['2']}


def test_lanes_with_one_answer_are_counted():
  made = store()
  (split,) = splits.make(made, 'random')
  one_class = split._replace(test=split.test[made.labels[split.test] == 1])
  content = built(made, config_of(), [one_class], wrong=0.0)
  assert content['variants']['full']['one_answer'] == SEEDS
