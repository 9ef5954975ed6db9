"""Finished studies compared; their lanes are written by hand, so nothing is trained."""

import copy
import dataclasses
import shutil

import numpy as np
import pytest
from absl.flags import FlagValues
from scipy import stats

from data_prep import files
from data_prep import store as stores
from data_prep.errors import UserError
from data_prep.prepare import prepare
from m3net_jax import report as report_command
from m3net_jax.reporting import compare
from m3net_jax.study import results, workdir
from m3net_jax.study.config import Config
from tests import small_study
from tests.conftest import FEATURES

CONFIG = dataclasses.replace(small_study.CONFIG, variants=('full', 'plain', 'eca'), num_epochs=2)


def finished(path, store, *, config=CONFIG, seeds=range(8), shift=0.0, variants=('full',)):
  """A finished study on `store`; accuracies 0.8 + 0.01 seed + shift, more for later variants."""
  config = dataclasses.replace(config, variants=variants, num_seeds=len(seeds))
  study_splits = small_study.opened(path, config, store).splits(store)
  rows = [
    {
      'variant': variant,
      'seed': seed,
      'split': split.name,
      'status': 'finished',
      'validation_accuracy': 0.5,
      'test_accuracy': 0.8 + 0.01 * seed + (shift + 0.1 * i) * (1 + 0.1 * seed),
      'balanced_accuracy': 0.8,
      'macro_f1': 0.8,
      'best_epoch': 1,
    }
    for i, variant in enumerate(variants)
    for position, split in enumerate(study_splits)
    for seed in ([position] if config.split_seeds else seeds)
  ]
  content = results.build(
    config,
    store,
    study_splits,
    rows,
    {
      workdir.prediction_key(row['variant'], row['split'], row['seed']): store.labels[split.test]
      for split in study_splits
      for row in rows
      if row['split'] == split.name
    },
    environments=[],
    compilations=1,
    seconds=1,
  )
  files.write_json(path / 'results.json', content)
  return workdir.read(path)


def test_splits_of_every_seed_are_paired_and_corrected(tones, tmp_path):
  """Two studies with --split_seeds and other numbers of seeds share the splits of five of them."""
  config = Config(**{**vars(CONFIG), 'split_seeds': True, 'num_seeds': 5, 'margin': 2.0})
  first = finished(tmp_path / 'a', tones, config=config, seeds=range(5))
  more = dataclasses.replace(config, num_seeds=7)
  other = finished(tmp_path / 'b', tones, config=more, seeds=range(7), shift=-0.03)
  (test,) = compare.compare([first, other]).tests
  assert (test['n'], test['estimator'], test['margin']) == (5, 'mean', 0.02)
  assert '2 lanes without a partner' in test['note']
  differences = -0.03 * (1 + 0.1 * np.arange(5))
  error = differences.std(ddof=1) * np.sqrt(1 / 5 + 12 / 36)
  assert test['p_value'] == pytest.approx(2 * stats.t.sf(abs(differences.mean()) / error, 4))


def test_studies_are_paired_by_seed_and_tested_as_scipy_does(tones, tmp_path):
  first = finished(tmp_path / 'a', tones, variants=('full', 'no_ma'))
  other = finished(
    tmp_path / 'b',
    tones,
    config=Config(**{**vars(CONFIG), 'num_epochs': 9}),
    seeds=range(2, 12),
    shift=-0.03,
  )
  comparison = compare.compare([first, other])
  assert comparison.differing == ['num_epochs: a 2, b 9']
  assert [(test['variant'], test['against'], test['n']) for test in comparison.tests] == [
    ('a:no_ma', 'a:full', 8),
    ('b:full', 'a:full', 6),
  ]
  seeds = np.arange(2, 8)
  expected = stats.wilcoxon(
    (0.8 + 0.01 * seeds - 0.03 * (1 + 0.1 * seeds)) - (0.8 + 0.01 * seeds), method='exact'
  )
  assert comparison.tests[1]['p_value'] == pytest.approx(expected.pvalue)
  assert '6 lanes without a partner' in comparison.tests[1]['note']
  text = compare.text(comparison)
  assert max(map(len, text.splitlines())) < 80 and '6 lanes without a partner' in text
  # By hand: b is lower in every pair, so the smaller rank sum is 0.
  tests = text[text.index('against a:full') :]
  line = next(line for line in tests.splitlines() if line.startswith('b:full')).split()
  assert line[1] == '6' and line[-4:] == [f'{expected.pvalue:.3f}'] * 2 + ['0%', 'lower']
  # The same warning as in the report.
  assert 'Leakage is unknown: the corpus names no speakers' in ' '.join(text.split())
  altered = other.results()
  altered['corpus']['test_clips_identical_to_train'] = 2
  files.write_json(other.path / 'results.json', altered)
  warnings = compare.compare([first, other]).warnings
  assert warnings[0].startswith('Leakage is unknown') and warnings[1].startswith('b: 2 of ')


def test_the_same_recordings_with_other_features_are_paired(tones, tones_dir, tmp_path):
  finer = stores.load(
    prepare(
      'folder',
      tones_dir,
      tmp_path / 'stores',
      dataclasses.replace(FEATURES, n_mels=8),
      num_processes=1,
    )
  )
  comparison = compare.compare(
    [finished(tmp_path / 'a', tones), finished(tmp_path / 'b', finer, shift=0.02)]
  )
  assert comparison.differing == ['n_mels: a 16, b 8'] and comparison.tests[0]['n'] == 8


def test_studies_that_cannot_be_paired_are_refused_with_the_reason(tones, tones_dir, tmp_path):
  first = finished(tmp_path / 'a', tones)
  fewer = tmp_path / 'fewer'
  shutil.copytree(tones_dir, fewer)
  for path in fewer.glob('*/1*.wav'):
    path.unlink()
  other_clips = stores.load(
    prepare('folder', fewer, tmp_path / 'stores', FEATURES, num_processes=1)
  )
  for other, reason in (
    (finished(tmp_path / 'clips', other_clips), 'test clips are not the same recordings'),
    (
      finished(tmp_path / 'seeds', tones, seeds=range(20, 28)),
      r'shares no seed with a \(seeds 20 to 27 against seeds 0 to 7',
    ),
    (first, 'is named twice'),
  ):
    with pytest.raises(UserError, match=reason):
      compare.compare([first, other])
  renamed = finished(tmp_path / 'corpus', tones)
  content = renamed.results()
  for field, value, reason in (
    ('name', 'esc10', 'its corpus is esc10, not folder'),
    ('split', 'grouped', 'its --split is grouped, not random'),
    ('classes', ['a', 'b'], r'its classes differ \(2 against 3\)'),
  ):
    altered = copy.deepcopy(content)
    altered['corpus'][field] = value
    files.write_json(renamed.path / 'results.json', altered)
    with pytest.raises(UserError, match=reason):
      compare.compare([first, renamed])
  (renamed.path / 'results.json').unlink()
  with pytest.raises(UserError, match='not finished'):
    compare.compare([first, renamed])


def test_the_command_compares_several_studies(tones, tmp_path, capsys):
  finished(tmp_path / 'a', tones)
  finished(tmp_path / 'b', tones, shift=0.02)
  report_command.main([str(tmp_path / 'a'), str(tmp_path / 'b')], FlagValues())
  assert 'against a:full' in capsys.readouterr().out
