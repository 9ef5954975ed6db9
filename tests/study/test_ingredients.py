"""Noise and teacher of a study: where they come from, that they are kept, and what is refused."""

import dataclasses
import shutil

import numpy as np
import pytest
import soundfile

from data_prep import background, mel
from data_prep.errors import UserError
from m3net_jax import api
from m3net_jax.study import (
  arrays_file,
  augment,
  devices,
  ingredients,
  noise_bank,
  splits,
  teacher,
  workdir,
)
from m3net_jax.study.config import Config
from m3net_jax.study.hyper import Hyper
from tests import small_study

pytestmark = pytest.mark.usefixtures('programs_once')

NOISY = dataclasses.replace(small_study.QUICK, num_epochs=2, noise=1.0, snr_low_db=5.0)


@pytest.fixture
def folder(tmp_path):
  rng = np.random.default_rng(0)
  (tmp_path / 'noise').mkdir()
  for name, seconds in (('long', 2.0), ('short', 0.1)):
    samples = 0.1 * rng.standard_normal(round(8000 * seconds))
    soundfile.write(tmp_path / 'noise' / f'{name}.wav', samples, 8000)
  return tmp_path / 'noise'


def test_windows_of_noise_have_the_level_of_their_samples_and_no_floor_of_their_own(tones, folder):
  features = tones.features
  bank = noise_bank.make(background.recordings([folder], features), features)
  # A window begins every quarter of a clip of 0.25 s: 29 in 2 s, and the short file is repeated.
  assert bank.decibels.shape == (30, *features.shape)
  levels = (bank.powers * mel.level_weights(features)[:, None]).sum(1).mean(1)
  assert levels.mean() == pytest.approx(1, abs=0.1)  # white noise
  hum = np.sin(np.arange(2000) * 2 * np.pi * 5 / 8000)  # 5 Hz, below all filters but the edges
  tone = noise_bank.make([background.Noise('hum', hum.astype(np.float32), '')], features)
  assert (tone.powers * mel.level_weights(features)[:, None]).sum(1).mean(1) < 0.5
  quiet = np.concatenate([np.full(4000, 1e-5), np.ones(10)]).astype(np.float32)
  quiet *= np.random.default_rng(1).standard_normal(4010).astype(np.float32)
  window = noise_bank.make([background.Noise('step', quiet[-2000:], '')], features)
  assert window.decibels.max() - window.decibels.min() > features.top_db


def test_a_large_bank_is_spread_over_all_recordings(tones, monkeypatch):
  monkeypatch.setattr(noise_bank, 'MAX_WINDOWS', 9)
  noises = background.coloured(tones.features, seconds=5.0)
  bank = noise_bank.make(noises, tones.features)
  whole = [noise_bank.make([noise], tones.features).decibels for noise in noises]
  assert len(bank.decibels) == 9
  for i, windows in enumerate(whole):
    matches = [(windows == chosen).all((1, 2)).any() for chosen in bank.decibels[3 * i : 3 * i + 3]]
    assert any(matches)


def test_silent_parts_of_a_recording_are_left_out(tones):
  samples = np.zeros(8000, np.float32)
  noise = background.Noise('half', samples, '')
  with pytest.raises(UserError, match='every window of a clip is silent'):
    noise_bank.make([noise], tones.features)
  samples[:2000] = np.random.default_rng(0).standard_normal(2000)
  assert len(noise_bank.make([noise], tones.features).decibels) == 4


@pytest.mark.parametrize('own_folder', ['_noise_', '_background_noise_'])
def test_the_noise_is_of_the_folder_or_of_the_corpus_or_generated(
  tones, folder, tmp_path, own_folder
):
  names = lambda bank: [name.rpartition('/')[2] for name in map(str, bank.names)]
  assert names(noise_bank.of(tones, [str(folder)], {})) == ['long.wav', 'short.wav']
  assert names(noise_bank.of(tones, [], {})) == ['white', 'pink', 'brown']
  shutil.copytree(folder, tmp_path / 'corpus' / own_folder)
  own = tones._replace(manifest={**tones.manifest, 'raw_dir': str(tmp_path / 'corpus')})
  bank = noise_bank.of(own, [], {})
  assert names(bank) == ['long.wav', 'short.wav'] and all(len(hash) == 64 for hash in bank.sha256)


def test_recordings_of_the_noise_are_named_without_its_windows(tones, folder, tmp_path):
  assert noise_bank.recorded(tmp_path, Config()) == []
  noises = [*background.recordings([folder], tones.features), *background.coloured(tones.features)]
  noise_bank.write(tmp_path, noise_bank.make(noises, tones.features))
  expected = [(noise.name, noise.sha256) for noise in noises[:2]]
  assert noise_bank.recorded(tmp_path, NOISY) == expected and len(noises) == 5


def test_a_study_continues_with_the_noise_that_it_began_with(tones, folder, tmp_path, monkeypatch):
  read, reads = arrays_file.read, []
  counted = lambda path, *names: (reads.append(path.name), read(path, *names))[1]
  monkeypatch.setattr(arrays_file, 'read', counted)
  config = dataclasses.replace(NOISY, noise_dir=(str(folder),))
  whole = api.train(tones, workdir=tmp_path / 'whole', config=config)
  begun = api.create(tones, tmp_path / 'begun', config)
  shutil.rmtree(folder)
  assert not begun.finished and 'noise.npz' not in reads  # what was just made is not read
  api.train(tones, workdir=tmp_path / 'begun', config=config)
  assert reads.count('noise.npz') == 1
  strip = lambda row: {**row, 'seconds': 0}
  assert list(map(strip, begun.metrics())) == list(map(strip, whole.metrics()))
  other = api.train(tones, workdir=tmp_path / 'other', config=NOISY)
  assert other.metrics()[0]['train_loss'] != whole.metrics()[0]['train_loss']
  # A damaged file is named, with what to do.
  (tmp_path / 'begun' / 'results.json').unlink()
  (tmp_path / 'begun' / 'noise.npz').write_bytes(b'PK')
  with pytest.raises(UserError, match=r'noise.npz: cannot be read .*: restore it from a copy'):
    api.create(tones, tmp_path / 'begun', config)
  # One that is gone is not made again: it would be another one.
  (tmp_path / 'begun' / 'noise.npz').unlink()
  for command in (api.create, api.plan):
    with pytest.raises(UserError, match=r'noise.npz: is missing: restore it from a copy'):
      command(tones, tmp_path / 'begun', config)
  (tmp_path / 'whole' / 'noise.npz').unlink()
  with pytest.raises(UserError, match=r'noise.npz: is missing: restore it from a copy'):
    whole.robustness()
  # Other settings are refused before their noise is read.
  with pytest.raises(UserError, match='holds a study with noise_dir='):
    api.train(
      tones, workdir=tmp_path / 'whole', config=dataclasses.replace(NOISY, noise_dir=('other',))
    )


def test_what_a_kill_left_of_a_study_that_was_not_begun_is_not_taken_over(tones, folder, tmp_path):
  """Killed before config.json was written, and run again with other noise."""
  path = tmp_path / 'study'
  first = api.create(tones, path, dataclasses.replace(NOISY, noise_dir=(str(folder),)))
  recordings = noise_bank.read(path).names.tolist()
  (path / 'config.json').rename(path / '.config.json.new')
  (path / '.noise.npz.new').write_bytes(b'PK')
  assert not first.path.joinpath('config.json').exists() and recordings
  api.create(tones, path, NOISY)
  assert noise_bank.read(path).names.tolist() == ['white', 'pink', 'brown']


def test_no_noise_holds_a_clip_of_validation_or_test(tones, tones_dir, capsys):
  """A noise folder that is a class of the corpus; later parts of a long recording are free."""
  split = splits.make(tones, 'random')[0]
  bank = noise_bank.of(tones, [str(tones_dir / 'high')], noise_bank.held_out(tones, [split]))
  high = tones.labels == tones.classes.index('high')
  trained = {tones.hashes[i] for i in split.train if high[i]}
  assert len(bank.decibels) == len(trained) == 12
  assert 'noise: 8 of 20 windows overlap validation or test clips' in capsys.readouterr().err
  everything = noise_bank.held_out(tones, None)
  with pytest.raises(UserError, match='every window of the noise is a validation or test clip'):
    noise_bank.of(tones, [str(tones_dir / 'high')], everything)
  long = background.Noise('long', background.coloured(tones.features)[0].samples[:8000], 'a')
  # Windows begin every 500 samples; a clip at 0.5 s overlaps those of 2001 to 5999.
  assert len(noise_bank.make([long], tones.features, {'a': [0.5]}).decibels) == 13 - 7
  silence = tones._replace(classes=('_silence_', *tones.classes[1:]))
  assert len(noise_bank.held_out(silence, None)) == 40


def test_silence_of_validation_and_test_is_kept_out_of_the_noise_if_training_has_other(tones):
  """Of recording a all clips are tested, b is on all sides."""
  silence = tones.classes.index('low')
  low = np.flatnonzero(tones.labels == silence)
  hashes, starts = tones.hashes.copy(), tones.starts.copy()
  hashes[low[:4]], hashes[low[4:]], starts[low] = 'a', 'b', np.arange(20)
  changed = tones._replace(hashes=hashes, starts=starts, classes=('high', '_silence_', 'middle'))
  parts = low[4:10], low[10:15], np.r_[low[:4], low[15:]]
  held_out = noise_bank.held_out(changed, [splits.Split('official', *parts)])
  assert held_out == {'a': [0.0, 1.0, 2.0, 3.0]}
  # A recording that another split trains on is free, as the noise is the same for all splits.
  both = [splits.Split('x', *parts), splits.Split('y', low[:2], low[2:3], low[3:4])]
  assert noise_bank.held_out(changed, both) == {}


def test_the_noise_of_a_corpus_that_is_gone_is_asked_for(tones):
  gone = tones._replace(manifest={**tones.manifest, 'raw_dir': '/nowhere/tones'})
  with pytest.raises(UserError, match='/nowhere/tones, where .* were, is not there.*--noise_dir'):
    noise_bank.of(gone, [], {})


def test_shifts_are_of_a_frame_at_least_and_less_than_a_clip(tones):
  early = lambda value: [Hyper(shift_early_ms=value)]
  augment.check([*early(8.1), *early(249.0), Hyper()], tones.features)  # frames of 16 ms
  for value in (7.9, 250.0):
    with pytest.raises(UserError, match=r'--shift_early_ms=.*whole frames of 16 ms .*give 16'):
      augment.check(early(value), tones.features)
  with pytest.raises(UserError, match='shift_early_ms=7.9'):
    ingredients.obtain(None, Config(shift_early_ms=7.9), tones, [])


def test_added_seeds_learn_from_the_teacher_of_their_own_split(tones, tmp_path, monkeypatch):
  """With splits of their own, the lanes that are added equal those of a study at once."""
  teach = dataclasses.replace(small_study.QUICK, split_seeds=True, num_epochs=1)
  api.train(tones, workdir=tmp_path / 'teacher', config=teach)
  one = dataclasses.replace(
    teach, num_seeds=1, teacher=str(tmp_path / 'teacher'), teacher_weight=0.5
  )
  two = dataclasses.replace(one, num_seeds=2)
  order = []

  def record(module, name):
    function = getattr(module, name)
    monkeypatch.setattr(
      module, name, lambda *arguments: (order.append(name), function(*arguments))[1]
    )

  record(devices, 'use_all_cores')
  record(teacher, 'logits_of')
  api.train(tones, workdir=tmp_path / 'grown', config=one)
  # A teacher computes, and JAX cannot change its devices after that.
  assert order == ['use_all_cores', 'logits_of']
  read, reads = arrays_file.read, []
  counted = lambda path, *names: (reads.append(path.name), read(path, *names))[1]
  monkeypatch.setattr(arrays_file, 'read', counted)
  grown = api.train(tones, workdir=tmp_path / 'grown', config=two)
  assert reads.count('teacher.npz') == 1
  whole = api.train(tones, workdir=tmp_path / 'whole', config=two)
  for name in ('logits', 'splits'):
    saved = [np.load(study.path / 'teacher.npz')[name] for study in (grown, whole)]
    np.testing.assert_array_equal(*saved)
  losses = lambda study: {row['seed']: row['train_loss'] for row in study.metrics()}
  assert losses(grown) == losses(whole)
  # A teacher without a split of the third seed is refused, and nothing finished is lost.
  with pytest.raises(UserError, match='was trained on other clips in split random 2'):
    api.create(tones, grown.path, dataclasses.replace(two, num_seeds=3))
  assert grown.finished


def test_the_answers_of_a_teacher_are_not_asked_for_twice(tones, tmp_path):
  config = Config(teacher='studies/other', teacher_weight=0.5)
  with pytest.raises(UserError, match='teacher.npz: is missing: restore it from a copy'):
    ingredients.obtain(tmp_path, config, tones, splits.make(tones, 'random'))


def test_a_teacher_without_checkpoints_is_named_and_stays_as_it_is(tones, trained, tmp_path):
  shutil.copytree(trained.path, tmp_path / 'teacher')
  shutil.rmtree(tmp_path / 'teacher' / 'checkpoints')
  config = dataclasses.replace(
    small_study.QUICK, teacher=str(tmp_path / 'teacher'), teacher_weight=0.5
  )
  with pytest.raises(UserError, match='checkpoints/.*: holds no checkpoint: restore it'):
    api.train(tones, workdir=tmp_path / 'study', config=config)
  assert not (tmp_path / 'teacher' / 'checkpoints').exists()
  assert not (tmp_path / 'study').exists()


def test_a_folder_without_noise_makes_no_workdir(tones, tmp_path):
  config = dataclasses.replace(NOISY, noise_dir=(str(tmp_path / 'absent'),))
  with pytest.raises(UserError, match=r'--noise_dir=.*absent: is not a folder'):
    api.train(tones, workdir=tmp_path / 'study', config=config)
  assert not (tmp_path / 'study').exists()


def test_a_teacher_of_other_clips_is_refused_before_the_workdir_is_made(tones, trained, tmp_path):
  config = dataclasses.replace(
    small_study.QUICK, teacher=str(trained.path), teacher_weight=0.5, num_epochs=1
  )
  other_store = tones._replace(
    manifest={**tones.manifest, 'files': {'mels.npy': {'sha256': 'other'}}}
  )
  grouped = dataclasses.replace(config, split='grouped')
  groups = np.array([f'speaker {i % 10}' for i in range(60)])
  (tmp_path / 'empty').mkdir()
  for store, settings, message in (
    (other_store, config, 'was trained on another store'),
    (tones._replace(groups=groups), grouped, 'was trained on other clips in split grouped'),
    (tones, dataclasses.replace(config, teacher=str(tmp_path / 'empty')), 'holds no study'),
  ):
    with pytest.raises(UserError, match=message) as raised:
      api.train(store, workdir=tmp_path / 'study', config=settings)
    assert '\n' not in str(raised.value)
    assert not (tmp_path / 'study').exists()


def test_what_a_teacher_answers_is_what_its_lanes_predict(tones, trained, tmp_path):
  """Mean logits of both lanes, against `Classifier`, for the training clips alone."""
  config = dataclasses.replace(
    small_study.QUICK, teacher=str(trained.path), teacher_weight=1.0, num_epochs=1
  )
  study = api.train(tones, workdir=tmp_path / 'study', config=config)
  with np.load(study.path / 'teacher.npz') as saved:
    logits = saved['logits'][:, 0]
  split = workdir.read(study.path).splits(tones)[0]
  lanes = [api.load_model(trained.path, seed=seed) for seed in (0, 1)]
  expected = np.mean([lane.logits(np.asarray(tones.mels[split.train])) for lane in lanes], 0)
  np.testing.assert_allclose(logits[split.train], expected, rtol=1e-4, atol=1e-4)
  assert not logits[split.test].any()
