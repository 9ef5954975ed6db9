"""A workdir holds one study: it continues or gets more seeds; other settings are refused."""

import dataclasses
import json
import shutil
import threading
import time

import numpy as np
import pytest

from data_prep import files
from data_prep.errors import UserError
from data_prep.features import Features
from m3net_jax.study import locks, opening, splits, workdir
from m3net_jax.study.config import Config
from tests import small_study
from tests.example_store import store_of

CONFIG = Config(num_seeds=3)
FEATURES = Features()


def store(path, features=FEATURES, sha='abc', clips=12):
  return store_of(
    [0, 1] * clips, [f'{i}' for i in range(2 * clips)], features=features, path=path, sha256=sha
  )


def opened(path, config=CONFIG, features=FEATURES, sha='abc', **changes):
  return small_study.opened(path / 'study', config, store(path / 'store', features, sha, **changes))


def finish(study, seeds=None):
  """Writes a results.json with a row for every lane of the study, or of some of its seeds."""
  rows = [{'seed': seed, 'split': 'random'} for seed in seeds or study.config.seeds]
  variants = {name: {'lanes': rows} for name in study.config.variants}
  content = {'corpus': {'splits': [{'name': 'random'}]}, 'variants': variants}
  files.write_json(study.path / 'results.json', content)


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
  finish(first)
  assert opened(tmp_path).finished
  before = {path: path.read_bytes() for path in first.path.iterdir()}
  more = opened(tmp_path, dataclasses.replace(CONFIG, num_seeds=5))
  assert more.seed_ranges == [range(0, 3), range(3, 5)] and not more.finished
  assert opened(tmp_path, dataclasses.replace(CONFIG, num_seeds=5)) == more
  # What is finished is read as before, and an addition can be given up.
  assert more.finished_part() == first
  with pytest.raises(UserError, match='has 5: give as many or more, or 3 to give up those that'):
    opened(tmp_path, dataclasses.replace(CONFIG, num_seeds=4))
  assert opened(tmp_path) == first and opened(tmp_path).finished
  assert before == {path: path.read_bytes() for path in first.path.iterdir()}


def test_finished_is_every_lane_of_the_settings(tmp_path):
  """As a second command with more seeds left it once: results without its lanes."""
  study = opened(tmp_path, dataclasses.replace(CONFIG, variants=('full', 'plain')))
  finish(study, [0, 1])
  assert not study.finished
  with pytest.raises(UserError, match='results.json: lacks lanes of config.json'):
    study.finished_part()
  finish(study)
  assert study.finished
  content = study.results()
  content['variants']['plain']['lanes'] = content['variants']['plain']['lanes'][:2]
  files.write_json(study.path / 'results.json', content)
  assert not study.finished


def test_rows_and_predictions_of_seeds_that_were_given_up_are_not_read(tmp_path):
  config = dataclasses.replace(CONFIG, num_epochs=1)
  study = opened(tmp_path, config)
  finish(study)
  more = opened(tmp_path, dataclasses.replace(config, num_seeds=5))
  row = {'variant': 'full', 'split': 'random', 'epoch': 1}
  files.write_rows(study.path / 'metrics.jsonl', [row | {'seed': seed} for seed in (0, 1, 2, 3)])
  more.write_predictions({f'full/random/{seed}': np.arange(4) for seed in (2, 3)})
  assert len(more.metrics()) == 4 and len(more.predictions()) == 2
  given_up = opened(tmp_path, config)
  assert [row['seed'] for row in given_up.metrics()] == [0, 1, 2]
  assert list(given_up.predictions()) == ['full/random/2']


def test_a_store_is_found_where_it_moved_with_the_study(tmp_path):
  def make(folder, sha):
    content = {'raw_dir': '', 'files': {'mels.npy': {'sha256': sha}}}
    files.write_json(folder / 'stores/s/manifest.json', content)

  make(tmp_path / 'a', 'abc')
  study = small_study.opened(tmp_path / 'a/studies/s', CONFIG, store(tmp_path / 'a/stores/s'))
  shutil.copytree(tmp_path / 'a', tmp_path / 'b')
  place = lambda folder: workdir.read(tmp_path / folder / 'studies/s').store
  assert place('a') == tmp_path / 'a/stores/s' and place('b') == tmp_path / 'b/stores/s'
  shutil.copytree(tmp_path / 'a', tmp_path / 'c')
  study_of_c = small_study.opened(tmp_path / 'c/studies/s', CONFIG, store(tmp_path / 'c/stores/s'))
  shutil.move(study_of_c.path, tmp_path / 'study')  # without its store, whose place is recorded
  assert workdir.read(tmp_path / 'study').store == tmp_path / 'c/stores/s'
  make(tmp_path / 'b', 'other')  # not the store of the study
  assert place('b') == tmp_path / 'a/stores/s'
  shutil.move(tmp_path / 'a/stores/s', tmp_path / 'elsewhere')
  with pytest.raises(UserError, match='a/stores/s: the store of .* is not there: run the command'):
    workdir.read(study.path).load_store()
  # The command of the study records the new place.
  small_study.opened(study.path, CONFIG, store(tmp_path / 'elsewhere'))
  assert place('a') == tmp_path / 'elsewhere'
  recorded = json.loads((study.path / 'config.json').read_text())
  assert recorded['store'] == str(tmp_path / 'elsewhere')


def test_a_folder_that_becomes_no_study_keeps_no_lock(tmp_path):
  (tmp_path / 'mine').mkdir()
  (tmp_path / 'mine' / 'thesis.tex').write_text('mine')
  for name in ('mine', 'new/study'):
    with pytest.raises(ZeroDivisionError), locks.owned(tmp_path / name):
      assert (tmp_path / name / '.study.lock').exists()
      raise ZeroDivisionError
  assert sorted(path.name for path in tmp_path.rglob('*')) == ['mine', 'new', 'thesis.tex']
  with pytest.raises(UserError, match='is a file'), locks.owned(tmp_path / 'mine/thesis.tex'):
    pass


def test_who_waits_for_a_folder_that_becomes_no_study_gets_it(tmp_path):
  """The first command fails, for example because it has no noise, and deletes the folder."""
  path, reached = tmp_path / 'new/study', []

  def second():
    with locks.owned(path):
      reached.append((path / '.study.lock').exists())

  waiting = threading.Thread(target=second)
  with pytest.raises(ZeroDivisionError), locks.owned(path):
    waiting.start()
    time.sleep(0.3)  # until it waits
    raise ZeroDivisionError
  waiting.join(10)
  assert reached == [True] and not path.exists()


def test_lacking_seeds_of_a_finished_study_with_the_same_settings(tmp_path):
  lacking = lambda config, sha='abc': opening.lacking(
    opening.begun(tmp_path / 'study', config, store(tmp_path / 'store', sha=sha)), config
  )
  more = dataclasses.replace(CONFIG, num_seeds=5)
  assert lacking(more) == [range(0, 5)]
  first = opened(tmp_path)
  assert lacking(more) == [range(0, 5)]  # not finished
  finish(first)
  assert lacking(more) == [range(3, 5)] and lacking(CONFIG) == []
  assert lacking(dataclasses.replace(more, batch_size=9)) == lacking(more, 'other') == [range(0, 5)]
  assert workdir.read(first.path) == first  # unchanged
  opened(tmp_path, more)
  assert lacking(more) == [range(3, 5)]  # begun
  most = dataclasses.replace(CONFIG, num_seeds=8)
  assert lacking(most) == [range(3, 5), range(5, 8)]


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
  files.write_json(path, content)
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
  assert files.read_json(path, 'fix') == {'a': 1} and list(tmp_path.iterdir()) == [path]


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
  study, changes = opening.compute_under(opened(tmp_path), begun)
  assert changes == [] and opening.compute_under(study, begun) == (study, [])
  later = {**begun, 'versions': {'jax': '0.11.2', 'python': '3.11'}, 'lowering': 'conv'}
  study, changes = opening.compute_under(study, later)
  assert changes == ['jax 0.10.2, now 0.11.2', 'lowering shift, now conv']
  assert workdir.read(study.path).environments == (begun, later)
  assert opened(tmp_path) == study


def test_other_constants_of_the_network_are_another_study(tmp_path, monkeypatch):
  opened(tmp_path)
  monkeypatch.setitem(workdir._CONSTANTS, 'batch_norm_momentum', 0.99)
  with pytest.raises(UserError, match='batch_norm_momentum=0.9, this one has 0.99'):
    opened(tmp_path)


def test_a_study_with_the_order_of_earlier_versions_is_another_one(tmp_path, monkeypatch):
  with monkeypatch.context() as earlier:
    earlier.delitem(workdir._CONSTANTS, 'order_of_clips')
    opened(tmp_path)
  with pytest.raises(UserError, match='order_of_clips=None, this one has grain index shuffle'):
    opened(tmp_path)


def test_settings_that_decide_no_lane_are_those_of_the_last_command(tmp_path):
  study = opened(tmp_path)
  changed = dataclasses.replace(CONFIG, margin=0.5, lanes_at_once=3)
  assert opened(tmp_path, changed).config == changed == workdir.read(study.path).config
  finish(study)
  # Nothing is computed any more, so what computed it stays on record.
  assert opened(tmp_path).config == dataclasses.replace(changed, margin=CONFIG.margin)
