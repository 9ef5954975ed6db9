"""Every file of a study, a store and a bundle, damaged from a seed: named, or the same answer."""

import json
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from data_prep import files
from data_prep.errors import UserError
from m3net_jax import api
from m3net_jax.deploy import bundle
from m3net_jax.inference import best_lane
from m3net_jax.inference.detector import Settings
from m3net_jax.study import arrays_file, metrics, noise_bank, teacher, workdir
from tests import small_study
from tests.benchmarks import mutations

DIGITS = Path(__file__).parents[2] / 'models' / 'digits'


@pytest.fixture
def study(trained, tmp_path):
  """A copy of a finished study."""
  path = tmp_path / 'a_study'
  shutil.copytree(trained.path, path)
  return path


@pytest.fixture
def with_all_files(study, trained):
  """A study with every file that a study can have, as far as readers look into them."""
  path = study
  rng = np.random.default_rng(0)
  noise = rng.normal(-20, 5, (3, 4, 5)).astype(np.float16)
  names, hashes = np.array(['a.wav', 'white']), np.array(['0' * 64, ''])
  noise_bank.write(path, noise_bank.NoiseBank(noise, names, hashes))
  logits = rng.normal(size=(60, 1, 3)).astype(np.float32)
  teacher.write(path, teacher.Answers(logits, np.array(['random'])))
  mean = {'mean': 0.75, 'ci95': [0.7, 0.8]}
  classes = trained.results()['corpus']['classes']
  condition = {'kind': 'clean', 'level': None, 'noise': '', 'text': 'clean', 'variants': {}}
  files.write_json(
    path / 'robustness.json',
    {
      'conditions': [condition | {'variants': {'full': mean}}],
      'noise': [],
      'noise_heard_in_training': [],
      'generated_noise_heard_in_training': False,
      'clips': 12,
    },
  )
  stream = {'every_window_hit_rate': 0.5, 'every_window_per_hour': 300.0, 'median_delay': 0.25}
  stream |= {'hit_rate': mean, 'wrong': mean, 'per_hour': mean}
  chosen = Settings(2, 3, 1, 4, (20000, 30000, 0)).to_json(classes)
  files.write_json(
    path / 'detection.json',
    {
      'split': 'random',
      'per_hour': 6.0,
      'noise': {'validation': ['a.wav'], 'test': ['b.wav']},
      'streams': [{'side': 'test', 'snr_db': 0.0, 'words': 12, 'hours': 0.1}],
      'lanes': [{'variant': 'full', 'seed': seed, 'settings': chosen} for seed in (0, 1)],
      'variants': {'full': [stream]},
    },
  )
  row = {'runtime': 'JAX', 'kind': 'float32', 'accuracy': 0.9, 'agreement': 1.0, 'lost': 0}
  row |= {'won': 0, 'largest_logit_difference': 0.0, 'change_by_class': {'low': None}}
  files.write_json(
    path / 'export.json',
    {
      'name': 'full, seed 0',
      'runtimes': [row, row | {'runtime': 'TFLite Micro', 'kind': 'int8'}],
      'files': {'int8': {'bytes': 58224, 'arena': {'total': 52304}}},
      'arenas': {'full': 52304},
    },
  )
  return path


@pytest.fixture
def exported(tmp_path):
  """A bundle of which programs read three files and a build the others."""
  pytest.importorskip('ai_edge_litert')
  path = tmp_path / 'a_bundle'
  shutil.copytree(DIGITS, path)
  (path / 'src').mkdir()
  for name in ('labels.h', 'golden.cc', 'model_data.cc'):
    (path / 'src' / name).write_text(f'// {name}\nconst int kValue = 12;\n')
  bundle.write_checksums(path)
  return path


def test_no_damage_gives_a_traceback_or_a_wrong_answer(with_all_files, exported, tones, tmp_path):
  shutil.copytree(tones.path, tmp_path / 'a_store')
  mels = np.random.default_rng(0).uniform(-80, 0, (1, 128, 32)).astype(np.float16)
  targets = [
    *(t for t in mutations.of_study(with_all_files, tones) if t.reader != 'whole report'),
    *mutations.of_store(tmp_path / 'a_store'),
    *mutations.of_journal(tmp_path / 'a_journal', tones),
    *mutations.of_bundle(exported, mels),
  ]
  assert len({target.path for target in targets}) == 22
  total: Counter = Counter()
  for target, count in mutations.run(targets, 400, seed=1):
    assert not set(count.outcomes) - {mutations.NAMED, mutations.SAME}, (target.name, count)
    total += count.outcomes
  # Clips of the journal are computed again, and some bits of an archive say nothing.
  assert total.total() >= 400 and total[mutations.NAMED] > 0.8 * total.total()


def test_a_changed_digit_is_not_reported(study):
  """As somebody would change them: the file is well formed, its figures are other ones."""
  path = study / 'results.json'
  content = json.loads(path.read_text())
  content['variants']['full']['lanes'][0]['test_accuracy'] = 0.99
  path.write_text(json.dumps(content, indent=1))
  message = r'a_study/results\.json: was altered .*: delete results.json and run the command of'
  for read in (
    lambda: api.open_study(study).results(),
    api.Study(study).report,
    lambda: best_lane.load(workdir.read(study)),
  ):
    with pytest.raises(UserError, match=message):
      read()


def test_predictions_of_another_hand_are_not_reported(study):
  arrays = dict(np.load(study / 'predictions.npz'))
  arrays['full/random/0'] = 1 - arrays['full/random/0']
  np.savez_compressed(study / 'predictions.npz', **arrays)
  with pytest.raises(UserError, match=r'predictions\.npz: was altered .* delete results\.json'):
    api.open_study(study).report()
  del arrays['digest']
  np.savez_compressed(study / 'predictions.npz', **arrays)
  with pytest.raises(UserError, match=r'predictions\.npz: has no checksum: .* another version'):
    workdir.read(study).predictions()


def test_results_that_were_deleted_are_made_again(study, tones, capsys):
  """The fix that the message of a damaged results.json names."""
  before = workdir.read(study).results()
  (study / 'results.json').unlink()
  (study / 'predictions.npz').write_bytes(b'PK')
  again = api.train(tones, workdir=study, config=small_study.CONFIG)
  assert again.results()['variants'] == before['variants']
  assert '1/8' not in capsys.readouterr().err  # no epoch is trained again


def test_a_study_does_not_continue_with_metrics_that_lack_a_row(study, tones):
  (study / 'results.json').unlink()
  path = study / 'metrics.jsonl'
  lines = path.read_bytes().splitlines(keepends=True)
  rows_of = r'a_study/metrics\.jsonl: the rows of full, seed {}, random split are not those of'
  for damaged, reason in (
    (lines[:3] + lines[4:], r'no checkpoint can be used \(32: metrics\.jsonl lacks rows before it'),
    ([*lines[:4], *lines[3:]], rows_of.format(1)),
    ([*lines[4:6], *lines[:4], *lines[6:]], rows_of.format(0)),
    ([*lines[:2], lines[2].replace(b'0.', b'1.', 1), *lines[3:]], 'line 3 was altered'),
  ):
    path.write_bytes(b''.join(damaged))
    with pytest.raises(UserError, match=f'{reason}.*: restore it from a'):
      api.train(tones, workdir=study, config=small_study.CONFIG)


def test_rows_are_those_written_and_half_a_line_is_none(tmp_path):
  rows = [{'variant': 'a "quoted" name', 'epoch': i, 'loss': 0.1 * i} for i in range(3)]
  path = tmp_path / metrics.NAME
  assert metrics.read(tmp_path) == []
  files.write_rows(path, rows)
  assert metrics.read(tmp_path) == rows
  # Other programs read it as JSON lines.
  assert [json.loads(line)['loss'] for line in path.read_text().splitlines()] == [0.0, 0.1, 0.2]
  path.write_bytes(path.read_bytes()[:-1])
  assert metrics.read(tmp_path) == rows[:2]


def test_an_empty_file_of_metrics_is_refused_and_an_absent_one_is_not(
  study,
):
  (study / 'metrics.jsonl').unlink()
  assert workdir.read(study).metrics() == []
  (study / 'metrics.jsonl').touch()
  with pytest.raises(UserError, match='metrics.jsonl: the rows of full, seed 0, random split are'):
    workdir.read(study).metrics()


def test_arrays_of_any_order_and_layout_have_their_digest(tmp_path):
  arrays = {'b': np.arange(12).reshape(3, 4).T, 'a': np.array('text'), 'c': np.zeros((0, 3))}
  arrays_file.write(tmp_path / 'x.npz', **arrays)
  found = arrays_file.read(tmp_path / 'x.npz')
  assert found.keys() == arrays.keys()
  for name, array in arrays.items():
    np.testing.assert_array_equal(found[name], array)


def test_a_study_whose_checkpoint_is_damaged_still_has_a_report(study):
  last = max((study / 'checkpoints').glob('*/*'), key=lambda path: int(path.name))
  for path in last.rglob('*'):
    if path.is_file():
      path.write_bytes(path.read_bytes()[:10])
  with pytest.raises(UserError, match='checkpoints/full_seeds_0-1.*: restore it from a') as caught:
    api.load_model(study)
  assert '\n' not in str(caught.value)
  api.open_study(study).report()
  assert str(caught.value)[:60] in (study / 'report.md').read_text()
