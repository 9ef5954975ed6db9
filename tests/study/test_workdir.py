"""A workdir holds one study: it continues or gets more seeds; other settings are refused."""

import dataclasses
import json

import numpy as np
import pytest

from data_prep import files
from data_prep.errors import UserError
from data_prep.features import Features
from m3net_jax.study import splits, workdir
from m3net_jax.study.config import Config
from tests.example_store import store_of

CONFIG = Config(num_seeds=3)
FEATURES = Features()


def store(path, features=FEATURES, sha='abc', clips=12):
  return store_of(
    [0, 1] * clips, [f'{i}' for i in range(2 * clips)], features=features, path=path, sha256=sha
  )


def opened(path, config=CONFIG, features=FEATURES, sha='abc', **changes):
  return workdir.open_for(path / 'study', config, store(path / 'store', features, sha, **changes))


def test_reads_a_workdir_that_was_opened(tmp_path):
  assert workdir.read(opened(tmp_path).path) == opened(tmp_path)
  assert not opened(tmp_path).finished
  with pytest.raises(UserError, match='not finished'):
    opened(tmp_path).results()


@pytest.mark.parametrize(
  'change, message',
  [
    (
      {'config': dataclasses.replace(CONFIG, batch_size=32)},
      'holds a study with batch_size=64, this one has 32',
    ),
    (
      {'config': dataclasses.replace(CONFIG, input_shape=(64, 64, 1))},
      'input_shape=256,256,3, this one has 64,64,1',
    ),
    ({'config': dataclasses.replace(CONFIG, num_seeds=2)}, '--num_seeds=2: the study in .* has 3'),
    (
      {'config': dataclasses.replace(CONFIG, plateau_factor=0.1)},
      'plateau_factor=0.5, this one has 0.1',
    ),
    ({'features': Features(n_mels=64)}, 'n_mels=128, this one has 64'),
    ({'sha': 'other'}, 'store_sha256'),
  ],
)
def test_refuses_another_study(tmp_path, change, message):
  opened(tmp_path)
  with pytest.raises(UserError, match=message) as caught:
    opened(tmp_path, **change)
  assert '\n' not in str(caught.value)


def test_more_seeds_are_added_after_the_existing_seeds(tmp_path):
  first = opened(tmp_path)
  files.write_json(first.path / 'results.json', {})
  more = opened(tmp_path, dataclasses.replace(CONFIG, num_seeds=5))
  assert more.seed_ranges == [range(0, 3), range(3, 5)] and not more.finished
  assert opened(tmp_path, dataclasses.replace(CONFIG, num_seeds=5)) == more


def test_lacking_seeds_of_a_finished_study_with_the_same_settings(tmp_path):
  lacking = lambda config, sha='abc': workdir.lacking(tmp_path / 'study', config, Features(), sha)
  more = dataclasses.replace(CONFIG, num_seeds=5)
  assert lacking(more) == [range(0, 5)]
  first = opened(tmp_path)
  assert lacking(more) == [range(0, 5)]  # not finished
  files.write_json(first.path / 'results.json', {})
  assert lacking(more) == [range(3, 5)] and lacking(CONFIG) == [range(0, 3)]
  assert lacking(dataclasses.replace(more, batch_size=9)) == lacking(more, 'other') == [range(0, 5)]
  assert workdir.read(first.path) == first  # unchanged


def test_refuses_a_folder_of_something_else(tmp_path):
  (tmp_path / 'study').mkdir()
  (tmp_path / 'study' / 'thesis.tex').write_text('mine')
  with pytest.raises(UserError, match='is not empty and holds no study'):
    opened(tmp_path)
  with pytest.raises(UserError, match='holds no study'):
    workdir.read(tmp_path / 'nowhere')


def test_a_damaged_config_is_named(tmp_path):
  path = opened(tmp_path).path / 'config.json'
  path.write_text(path.read_text()[:50])
  with pytest.raises(UserError, match='config.json: cannot be read'):
    workdir.read(path.parent)


def test_a_study_of_another_version_is_named(tmp_path):
  path = opened(tmp_path).path / 'config.json'
  content = json.loads(path.read_text())
  del content['plateau_tolerance']
  path.write_text(json.dumps(content))
  with pytest.raises(UserError, match="config.json: has no 'plateau_tolerance': another version"):
    workdir.read(path.parent)


def test_predictions_are_read_as_written(tmp_path):
  study = opened(tmp_path)
  study.write_predictions({'full/random/0': np.arange(4)})
  np.testing.assert_array_equal(study.predictions()['full/random/0'], np.arange(4))


def test_a_write_that_fails_leaves_the_old_file(tmp_path):
  path = tmp_path / 'results.json'
  files.write_json(path, {'a': 1})
  with pytest.raises(ValueError):
    files.write_json(path, {'a': float('nan')})
  with pytest.raises(KeyboardInterrupt):
    with files.replacing(path) as fresh:
      fresh.write_text('half')
      raise KeyboardInterrupt
  assert path.read_text() == '{\n "a": 1\n}\n' and list(tmp_path.iterdir()) == [path]


def test_a_study_keeps_the_splits_it_was_made_with(tmp_path, monkeypatch):
  """As if a library, or a later version of this project, drew other splits."""
  grouped = dataclasses.replace(CONFIG, split='grouped')
  first = opened(tmp_path, grouped)
  (expected,) = first.splits(store(tmp_path / 'store'))
  monkeypatch.setattr(splits, '_SEED', 1)
  (drawn,) = splits.make(store(tmp_path / 'store'), 'grouped')
  assert drawn.test.tolist() != expected.test.tolist()
  (kept,) = opened(tmp_path, grouped).splits(store(tmp_path / 'store'))
  for side in ('train', 'validation', 'test'):
    np.testing.assert_array_equal(getattr(kept, side), getattr(expected, side))


def test_added_seeds_draw_their_splits_and_the_others_keep_theirs(tmp_path, monkeypatch):
  config = dataclasses.replace(CONFIG, split_seeds=True)
  before = opened(tmp_path, config).splits(store(tmp_path / 'store'))
  assert [split.name for split in before] == ['random 0', 'random 1', 'random 2']
  monkeypatch.setattr(splits, '_SEED', 1)
  more = dataclasses.replace(config, num_seeds=5)
  after = opened(tmp_path, more).splits(store(tmp_path / 'store'))
  assert [split.name for split in after] == [f'random {seed}' for seed in range(5)]
  for one, other in zip(before, after):
    np.testing.assert_array_equal(one.test, other.test)
  again = opened(tmp_path, more).splits(store(tmp_path / 'store'))
  np.testing.assert_array_equal(again[4].train, after[4].train)


def test_splits_that_are_absent_damaged_or_of_other_clips_are_named(tmp_path):
  study = opened(tmp_path)
  with pytest.raises(UserError, match='has other clips than the study'):
    study.splits(store(tmp_path / 'store', clips=13))
  path = study.path / 'splits.npz'
  content = path.read_bytes()
  path.write_bytes(content[:-30])
  with pytest.raises(UserError, match='splits.npz: cannot be read'):
    opened(tmp_path)
  path.unlink()
  with pytest.raises(UserError, match='splits.npz: is missing'):
    opened(tmp_path)


def test_a_study_stopped_before_its_settings_were_written_starts_anew(tmp_path):
  study = opened(tmp_path)
  (study.path / 'config.json').unlink()
  assert opened(tmp_path) == study


def test_a_study_continued_under_another_environment_says_so_and_keeps_both(tmp_path):
  begun = {'versions': {'jax': '0.10.2', 'python': '3.11'}, 'lowering': 'shift', 'devices': 2}
  study, changes = workdir.compute_under(opened(tmp_path), begun)
  assert changes == [] and workdir.compute_under(study, begun) == (study, [])
  later = {**begun, 'versions': {'jax': '0.11.2', 'python': '3.11'}, 'lowering': 'conv'}
  study, changes = workdir.compute_under(study, later)
  assert changes == ['jax 0.10.2, now 0.11.2', 'lowering shift, now conv']
  assert workdir.read(study.path).environments == (begun, later)
  assert opened(tmp_path) == study


def test_other_constants_of_the_network_are_another_study(tmp_path, monkeypatch):
  opened(tmp_path)
  monkeypatch.setitem(workdir._CONSTANTS, 'batch_norm_momentum', 0.99)
  with pytest.raises(UserError, match='batch_norm_momentum=0.9, this one has 0.99'):
    opened(tmp_path)


def test_settings_that_decide_no_lane_are_those_of_the_last_command(tmp_path):
  study = opened(tmp_path)
  changed = dataclasses.replace(CONFIG, margin=0.5, lanes_at_once=3)
  assert opened(tmp_path, changed).config == changed == workdir.read(study.path).config
  files.write_json(study.path / 'results.json', {})
  # Nothing is computed any more, so what computed it stays on record.
  assert opened(tmp_path).config == dataclasses.replace(changed, margin=CONFIG.margin)
