"""Robustness: what a copy is, that all lanes hear the same ones, and what is refused."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
import soundfile
from absl import flags

from data_prep import background, files, store
from data_prep.errors import UserError
from data_prep.features import Features
from data_prep.prepare import prepare
from m3net_jax import api
from m3net_jax import robustness as command
from m3net_jax.reporting import robustness as pictures
from m3net_jax.study import robustness
from m3net_jax.study.robustness import Condition
from tests import small_study
from tests.conftest import FEATURES

CONFIG = dataclasses.replace(
  small_study.CONFIG, variants=('full', 'plain'), noise=0.1, sweep=('mixup=0,0.3',)
)


@pytest.fixture(scope='module')
def recordings(tones_dir, tmp_path_factory):
  """A copy of the recordings, and a folder of noise."""
  folder = tmp_path_factory.mktemp('copy')
  shutil.copytree(tones_dir, folder / 'tones')
  (folder / 'noise').mkdir()
  sea = 0.1 * np.random.default_rng(0).standard_normal(16000)
  soundfile.write(folder / 'noise' / 'sea.wav', sea, 8000)
  return folder


@pytest.fixture(scope='module')
def study(recordings):
  """A finished sweep of two variants, whose training heard the noise."""
  path = prepare('folder', recordings / 'tones', recordings / 'stores', FEATURES, num_processes=1)
  config = dataclasses.replace(CONFIG, noise_dir=(str(recordings / 'noise'),))
  return api.train(store.load(path), workdir=recordings / 'study', config=config)


@pytest.fixture(scope='module')
def measured(study, recordings):
  return study.robustness([recordings / 'noise'])


def test_a_copy_is_what_its_condition_says():
  features = Features(clip_seconds=0.1)
  rng = np.random.default_rng(0)
  samples = (0.4 * rng.standard_normal(1600)).clip(-0.9, 0.9).astype(np.float32)
  noise = {'white': rng.standard_normal(1600).astype(np.float32)}
  copy = lambda *condition, of=features: robustness.changed(
    samples, Condition(*condition), noise, of
  )
  np.testing.assert_array_equal(copy('clean', '', 0.0), samples)
  np.testing.assert_array_equal(copy('gain', '', 0.0), samples)
  np.testing.assert_allclose(copy('gain', '', -20.0), 0.1 * samples, rtol=1e-6)
  louder = copy('gain', '', 6.0)
  assert np.abs(louder).max() == 1.0 and (np.abs(louder) == 1.0).mean() > 0.1
  added = copy('noise', 'white', 5.0) - samples
  ratio = 20 * np.log10(background.level(samples) / background.level(added))
  assert ratio == pytest.approx(5.0, abs=1e-3)
  later, earlier = copy('shift', '', 25.0), copy('shift', '', -25.0)
  np.testing.assert_array_equal(later, np.r_[np.zeros(400), samples[:-400]])
  np.testing.assert_array_equal(earlier, np.r_[samples[400:], np.zeros(400)])
  gone = robustness.changed(samples[:300], Condition('shift', '', -25.0), {}, features)
  assert not gone.any()  # moved by 400 samples, less than twice its length
  assert all(
    abs(tried.level) < 100 for tried in robustness.conditions(False, 0.1) if tried.kind == 'shift'
  )
  repeated = dataclasses.replace(features, fit='repeat')
  np.testing.assert_array_equal(copy('shift', '', 25.0, of=repeated), np.roll(samples, 400))


def test_clean_copies_give_the_results_of_the_study(study, measured, capsys):
  results = study.results()
  by_text = {row['text']: row['variants'] for row in measured['conditions']}
  assert len(by_text) == 1 + 3 * 4 + 5 + 6
  for variant, content in results['variants'].items():
    expected = [lane['test_accuracy'] for lane in content['lanes']]
    for same in ('clean', 'level +0 dB'):
      lanes = [lane['test_accuracy'] for lane in by_text[same][variant]['lanes']]
      assert lanes == expected, same
      assert by_text[same][variant]['mean'] == pytest.approx(content['mean'])
    noisy = by_text['white noise, 0 dB'][variant]['mean']
    assert noisy < content['mean']


def test_noise_that_training_heard_is_said(measured, recordings):
  name = 'noise/sea.wav'
  assert measured['noise'] == measured['noise_heard_in_training'] == [name]
  assert 'heard before' in ' '.join(pictures.notes(measured))


def test_it_is_written_with_picture_and_report(study, measured, recordings):
  written = files.read_json(study.path / 'robustness.json', 'fix')
  assert written == json.loads(json.dumps(measured))
  assert (study.path / 'figures' / 'robustness.png').stat().st_size > 10000
  assert 'id="robustness"' in (study.path / 'report.html').read_text()
  assert '100 ms earlier' in (study.path / 'tables' / 'robustness.csv').read_text()
  lines = pictures.text(measured).splitlines()
  assert max(map(len, lines)) <= 79
  # Again: the same numbers, byte for byte, from blocks of another size.
  before = (study.path / 'robustness.json').read_bytes()
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(robustness, 'BLOCK', 7)
    study.robustness([recordings / 'noise'])
  assert (study.path / 'robustness.json').read_bytes() == before


def values(**settings):
  made = flags.FlagValues()
  command.define(made)
  made(['robustness', *(f'--{name}={value}' for name, value in settings.items())])
  return made


def test_the_noise_of_a_clip_is_the_same_at_every_ratio_and_another_in_every_clip():
  features = Features(clip_seconds=0.1)
  noises = background.coloured(features, ('white',), 2.0)
  window = lambda clip, kind=0: robustness._window(noises, clip, kind, features)
  np.testing.assert_array_equal(window(3), window(3))
  assert (window(3) != window(4)).any() and (window(3) != window(3, 1)).any()


def test_mistakes_are_one_line(study, recordings, tmp_path):
  (tmp_path / 'empty').mkdir()
  unfinished = api.create(store.load(study._workdir.store), tmp_path / 'new', study.config)
  for arguments, settings, message in (
    ([], {}, 'which study'),
    ([str(tmp_path / 'empty')], {}, 'holds no study'),
    ([str(unfinished.path)], {}, 'this study is not finished'),
    ([str(study.path)], {'noise_dir': tmp_path / 'empty'}, 'empty: holds no recordings'),
    ([str(study.path)], {'raw_dir': tmp_path}, 'lacks 12 recordings of test clips, such as'),
  ):
    with pytest.raises(UserError, match=message) as raised:
      command.main(arguments, values(**settings))
    assert '\n' not in str(raised.value)


def test_a_changed_recording_is_named(study, recordings, tmp_path):
  shutil.copytree(recordings / 'tones', tmp_path / 'tones')
  split = study._workdir.splits(store.load(study._workdir.store))[0]
  changed = store.load(study._workdir.store).paths[split.test[3]]
  soundfile.write(tmp_path / 'tones' / changed, np.zeros(2000) + 0.1, 8000)
  with pytest.raises(UserError, match=f'{changed}: has changed since the store was made'):
    study.robustness(raw_dir=tmp_path / 'tones')
