"""A workdir holds one study: it continues or gets more seeds; other settings are refused."""

import dataclasses

import numpy as np
import pytest

from data_prep import files
from data_prep.errors import UserError
from data_prep.features import Features
from m3net_jax.study import workdir
from m3net_jax.study.config import Config

CONFIG = Config(num_seeds=3)
FEATURES = Features()


def opened(path, config=CONFIG, features=FEATURES, sha='abc'):
  return workdir.open_for(path / 'study', config, features, path / 'store', sha)


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
