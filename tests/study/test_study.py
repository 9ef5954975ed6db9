"""Complete studies of tones: trained, stopped, continued, extended; a user's own module."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
from flax import linen as nn

from data_prep import files
from data_prep.errors import UserError
from m3net_jax.reporting import summary
from m3net_jax.study import (
  checkpoint,
  cohorts,
  devices,
  packages,
  results,
  splits,
  trainer,
  workdir,
)
from m3net_jax.study.cohorts import LaneName
from tests import small_study

CONFIG = dataclasses.replace(
  small_study.CONFIG, variants=('full', 'plain'), num_seeds=3, num_epochs=4
)


def run(tones, path, config=CONFIG):
  """A study as the main command runs it; returns its results.json, metrics and predictions."""
  study = small_study.opened(path, config, tones)
  study_splits = study.splits(tones)
  finished = trainer.train(config, study.seed_ranges, tones, study_splits, study.path)
  rows = [row for cohort in finished for row in cohort.rows]
  compilations = sum(cohort.compilations for cohort in finished)
  content = results.build(
    config,
    tones,
    study_splits,
    rows,
    trainer.predictions_by_key(finished, study_splits),
    environments=[devices.environment(config)],
    compilations=compilations,
    seconds=1,
  )
  predicted = {
    name: classes for cohort in finished for name, classes in zip(cohort.names, cohort.predictions)
  }
  return json.loads(json.dumps(content)), study.metrics(), predicted


@pytest.fixture(scope='module')
def complete(tones, tmp_path_factory):
  """A finished study: its folder, results.json, metrics and predictions."""
  path = tmp_path_factory.mktemp('complete') / 'study'
  return path, *run(tones, path)


def without_times(metrics):
  return [{name: value for name, value in row.items() if name != 'seconds'} for row in metrics]


def test_results_follow_the_contract(complete, tones):
  _, content, metrics, predicted = complete
  assert content['corpus']['num_clips'] == 60
  assert content['corpus']['classes'] == list(tones.classes)
  assert content['corpus']['split_sizes'] == {'train': 36, 'validation': 12, 'test': 12}
  assert set(content['variants']) == {'full', 'plain'}
  full = content['variants']['full']
  # 28,973 has three input channels and 10 classes; this network has one channel and 3 classes.
  assert full['parameters'] == {
    'total': 28973 - 2 * 9 * 32 - 7 * 65,
    'trainable': 28973 - 2 * 9 * 32 - 7 * 65 - 704,
  }
  assert [lane['seed'] for lane in full['lanes']] == [0, 1, 2]
  accuracies = [lane['test_accuracy'] for lane in full['lanes']]
  assert full['mean'] == pytest.approx(np.mean(accuracies)) and full['std'] == pytest.approx(
    np.std(accuracies, ddof=1)
  )
  assert {(row['variant'], row['seed'], row['epoch']) for row in metrics} == {
    (variant, seed, epoch)
    for variant in ('full', 'plain')
    for seed in range(3)
    for epoch in range(1, 5)
  }
  (test,) = content['tests']
  assert test['variant'] == 'plain' and test['n'] <= 3
  assert test['p_value'] is None and 'cannot reach 0.05' in test['note']


def test_accuracies_are_those_of_the_predictions_and_rows(complete, tones):
  _, content, metrics, predicted = complete
  (split,) = splits.make(tones, 'random')
  for variant in ('full', 'plain'):
    for lane in content['variants'][variant]['lanes']:
      classes = predicted[LaneName(variant, lane['seed'], 0)]
      assert lane['test_accuracy'] == (classes == tones.labels[split.test]).mean()
      epochs = [
        row['validation_accuracy']
        for row in metrics
        if (row['variant'], row['seed']) == (variant, lane['seed'])
      ]
      assert lane['validation_accuracy'] == max(epochs)
      assert lane['best_epoch'] == 1 + int(np.argmax(epochs))


def test_variants_that_differ_in_switches_share_their_compilations(complete):
  _, content, _, _ = complete
  assert content['compilations'] == 4  # init, train, evaluate, finish_epoch: for both variants


def test_the_summary_fits_a_terminal(complete):
  text = summary.text(complete[1])
  assert max(map(len, text.splitlines())) < 80
  assert 'full' in text and 'random 6:2:2' in text and '4 programs compiled' in text
  tested = next(
    line
    for line in text.splitlines()
    if line.startswith('plain') and line.split()[1] == '3' and line.endswith('none found')
  )
  # Three lanes give no p-value.
  assert tested.split()[-5:-3] == ['-', '-'] and 'cannot reach 0.05' in text


def test_a_stopped_study_continues_to_the_same_result(complete, tones, tmp_path, monkeypatch):
  """Stopped by Ctrl-C in the second epoch, after the first one's checkpoint."""
  _, content, metrics, predicted = complete
  end_epoch, calls = trainer._Trainer._end_epoch, []

  def interrupted(self, *arguments):
    calls.append(1)
    if len(calls) == 3:
      raise KeyboardInterrupt
    return end_epoch(self, *arguments)

  monkeypatch.setattr(trainer._Trainer, '_end_epoch', interrupted)
  with pytest.raises(KeyboardInterrupt):
    run(tones, tmp_path / 'study')
  monkeypatch.undo()
  # A killed run can leave an incomplete checkpoint.
  shutil.copytree(
    tmp_path / 'study/checkpoints/full+plain_seeds_0-2/8',  # two epochs of three steps
    tmp_path / 'study/checkpoints/full+plain_seeds_0-2/12.orbax-checkpoint-tmp',
  )
  again, again_metrics, again_predicted = run(tones, tmp_path / 'study')
  assert len(calls) == 3
  assert again['variants'] == content['variants']
  assert without_times(again_metrics) == without_times(metrics)
  assert all(np.array_equal(again_predicted[name], predicted[name]) for name in predicted)


def lanes_in(path, tones):
  """A function that reads the checkpoints of a study, and the lines that it notes."""
  study, lines = workdir.read(path), []
  (cohort,) = cohorts.make(study.config, study.seed_ranges, 1)
  like = checkpoint.restore_cohort(study.config, cohort, len(tones.classes), path)
  return like, lambda folder: checkpoint.last(folder, like, lambda state: True, lines.append), lines


DAMAGES = {
  'emptied': lambda folder: (folder / 'default/manifest.ocdbt').write_bytes(b''),
  'truncated': lambda folder: truncate(max(folder.glob('default/**/d/*'), key=size_of)),
  'without its item': lambda folder: shutil.rmtree(folder / 'default'),
  'without its position': lambda folder: shutil.rmtree(folder / 'position'),
  'with a changed number': lambda folder: change(folder / 'position/metadata'),
  'an empty folder': lambda folder: [shutil.rmtree(folder), folder.mkdir()],
}
size_of = lambda path: path.stat().st_size


def truncate(path):
  path.write_bytes(path.read_bytes()[: size_of(path) // 2])


def change(path):
  """Changes a digit of the checksum, as a disk may."""
  text = path.read_text()
  place = text.index('sha256') + 20
  path.write_text(text[:place] + ('1' if text[place] == '0' else '0') + text[place + 1 :])


def test_a_damaged_checkpoint_is_noticed_and_the_one_before_is_read(complete, tones, tmp_path):
  path = complete[0]
  like, last, lines = lanes_in(path, tones)
  for damage, apply in DAMAGES.items():
    folder = tmp_path / damage
    shutil.copytree(path / 'checkpoints/full+plain_seeds_0-2', folder)
    assert checkpoint.numbers(folder) == [16, 12]  # after four and three epochs of three steps
    apply(folder / '16')
    saved = last(folder)
    assert saved.number == 12 and saved.state.epoch.tolist() == [3] * 6, damage
    assert checkpoint.numbers(folder) == [12]
    line = lines.pop()
    assert line.startswith(f'{folder}/16: is damaged (') and '\n' not in line and not lines
    apply(folder / '12')
    with pytest.raises(UserError, match=r'no checkpoint can be used \(12: .*delete it'):
      last(folder)
    assert checkpoint.numbers(folder) == [12]


def test_a_study_with_a_damaged_checkpoint_ends_as_the_others(complete, tones, tmp_path, capsys):
  path, content, metrics, predicted = complete
  shutil.copytree(path, tmp_path / 'study')
  folder = tmp_path / 'study/checkpoints/full+plain_seeds_0-2'
  DAMAGES['truncated'](folder / '16')
  before = sorted((file, file.stat().st_mtime_ns) for file in tmp_path.rglob('*'))
  with pytest.raises(UserError, match='16: is damaged .*restore it from a copy, or delete it and'):
    restored(tmp_path / 'study', tones)
  assert before == sorted((file, file.stat().st_mtime_ns) for file in tmp_path.rglob('*'))
  shutil.copytree(folder, tmp_path / 'without')
  shutil.rmtree(folder / '16')
  with pytest.raises(UserError, match='lacks the checkpoint of the last epoch: .*results.json'):
    restored(tmp_path / 'study', tones)  # that of the epoch before is whole
  shutil.copytree(tmp_path / 'without/16', folder / '16')
  with open(tmp_path / 'study/metrics.jsonl', 'a') as file:
    file.write('{"variant": "fu')  # as a full disk or a kill leaves it
  again, again_metrics, again_predicted = run(tones, tmp_path / 'study')
  assert again['variants'] == content['variants']
  assert without_times(again_metrics) == without_times(metrics)
  assert all(np.array_equal(again_predicted[name], predicted[name]) for name in predicted)
  (line,) = [line for line in capsys.readouterr().err.splitlines() if 'is damaged' in line]
  assert '16: is damaged (' in line and line.endswith('going on from the one before')


def test_a_checkpoint_without_its_rows_is_not_used(complete, tones, tmp_path):
  """As a power cut may leave metrics.jsonl: the rows of the last two epochs are lost."""
  shutil.copytree(complete[0], tmp_path / 'study')
  rows = workdir.read(tmp_path / 'study').metrics()
  files.write_rows(tmp_path / 'study/metrics.jsonl', [row for row in rows if row['epoch'] < 3])
  with pytest.raises(UserError, match='16: metrics.jsonl lacks rows before it; 12: metrics'):
    run(tones, tmp_path / 'study')


def test_seeds_added_later_equal_seeds_requested_at_once(complete, tones, tmp_path):
  path, content, old_metrics, _ = complete
  shutil.copytree(path, tmp_path / 'study')
  more, metrics, _ = run(tones, tmp_path / 'study', dataclasses.replace(CONFIG, num_seeds=4))
  assert more['variants']['full']['lanes'][:3] == content['variants']['full']['lanes']
  # Finished lanes are not trained again: their rows are the old ones with their times.
  assert [row for row in metrics if row['seed'] < 3] == old_metrics
  assert len(metrics) == len(old_metrics) * 4 // 3
  assert [lane['seed'] for lane in more['variants']['plain']['lanes']] == [0, 1, 2, 3]
  alone, *_ = run(
    tones,
    tmp_path / 'alone',
    dataclasses.replace(CONFIG, variants=('plain',), num_seeds=1, first_seed=3),
  )
  assert more['variants']['plain']['lanes'][3] == alone['variants']['plain']['lanes'][0]


def restored(path, tones):
  study = workdir.read(path)
  return checkpoint.restore_lane(
    study.config, study.seed_ranges, len(tones.classes), 1, path, LaneName('plain', 2, 0)
  )


def test_restore_gives_the_best_of_a_lane(complete, tones):
  path, content, *_ = complete
  lane = restored(path, tones)
  expected = content['variants']['plain']['lanes'][2]
  assert int(lane.best.epoch) == expected['best_epoch']
  assert float(lane.best.score) == pytest.approx(expected['validation_accuracy'])
  assert lane.best.variables['params']['head']['kernel'].shape == (64, 3)


class OneConv(nn.Module):
  """A user's own module in place of Mirror Attention."""

  @nn.compact
  def __call__(self, x, train):
    return nn.relu(nn.BatchNorm(use_running_average=not train)(nn.Conv(8, (1, 1))(x)))


def test_a_users_own_variant_is_studied(tones, tmp_path):
  name = f'{__name__}:OneConv'
  content, *_ = run(
    tones,
    tmp_path / 'study',
    dataclasses.replace(CONFIG, variants=(name,), num_seeds=1, num_epochs=1),
  )
  assert content['variants'][name]['lanes'][0]['status'] == 'finished'
  assert max(map(len, summary.text(content).splitlines())) < 80


def test_a_package_without_metadata_does_not_cost_the_results():
  """This project has none if it runs from its folder."""
  versions = packages.versions(['numpy', 'no-such-package'])
  assert versions['numpy'] == np.__version__ and versions['no-such-package'] == 'not installed'
