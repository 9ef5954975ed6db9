"""Background noise: recordings of a folder, coloured noise, and its level in a clip."""

import numpy as np
import pytest
import soundfile

from data_prep import background
from data_prep.errors import UserError
from data_prep.features import Features

FEATURES = Features(clip_seconds=0.5)


def write(path, samples, rate=16000):
  path.parent.mkdir(parents=True, exist_ok=True)
  soundfile.write(path, samples, rate)


@pytest.fixture
def folder(tmp_path):
  rng = np.random.default_rng(0)
  write(tmp_path / 'sub' / 'sea.wav', 0.1 * rng.standard_normal(16000), 8000)
  write(tmp_path / 'tick.wav', 0.1 * rng.standard_normal(3000))
  (tmp_path / 'README.txt').write_text('no audio')
  return tmp_path


def test_recordings_are_read_at_the_rate_of_the_features_and_short_ones_repeated(folder, capsys):
  tick, sea = background.recordings([folder], FEATURES)
  assert (sea.name, len(sea.samples)) == (f'{folder.name}/sub/sea.wav', 32000)
  assert len(tick.samples) == FEATURES.num_samples
  np.testing.assert_array_equal(tick.samples[:3000], tick.samples[3000:6000])
  assert len(sea.sha256) == 64 and sea.sha256 != tick.sha256
  said = capsys.readouterr().err
  assert said == (
    '--noise_dir: 1 of 2 recordings are shorter than a clip of 0.5 s and are repeated: tick.wav\n'
  )


@pytest.mark.parametrize(
  ('make', 'message'),
  [
    (lambda path: None, 'absent: is not a folder: give a folder of noise recordings'),
    (lambda path: path.mkdir(), 'absent: holds no recordings: give a folder of noise recordings'),
    (lambda path: write(path / 'a.wav', np.zeros(9000)), 'absent: a.wav is silent: remove it'),
    (
      lambda path: (path.mkdir(), (path / 'a.wav').write_bytes(b'RIFF')),
      'absent: a.wav cannot be decoded (',
    ),
  ],
)
def test_a_folder_without_noise_is_named_in_one_line(tmp_path, make, message):
  make(tmp_path / 'absent')
  with pytest.raises(UserError) as raised:
    background.recordings([tmp_path / 'absent'], FEATURES)
  assert f'--noise_dir={tmp_path}/{message}' in str(raised.value)
  assert '\n' not in str(raised.value)


def test_every_folder_of_noise_is_named_once(tmp_path):
  """A comma at the end would read all that lies below the current folder."""
  for folders in ([tmp_path, ''], [tmp_path, f'{tmp_path}/.']):
    with pytest.raises(UserError, match='--noise_dir=.*: a name is empty or given twice'):
      background.recordings(folders, FEATURES)


def test_colours_have_their_slope_and_are_the_same_in_every_call():
  made = background.coloured(FEATURES)
  assert [noise.name for noise in made] == ['white', 'pink', 'brown']
  for noise, again, slope in zip(made, background.coloured(FEATURES), (0, -1, -2)):
    np.testing.assert_array_equal(noise.samples, again.samples)
    assert background.level(noise.samples) == pytest.approx(1.0, rel=1e-5)
    power = np.abs(np.fft.rfft(noise.samples)) ** 2
    low, high = power[100:1000].mean(), power[10000:100000].mean()
    centre = np.log10(np.mean(1.0 / np.arange(100, 1000) ** -slope))
    other = np.log10(np.mean(1.0 / np.arange(10000, 100000) ** -slope))
    assert np.log10(high / low) == pytest.approx(other - centre, abs=0.1)


def test_every_colour_has_random_numbers_of_its_own():
  phases = [
    np.exp(1j * np.angle(np.fft.rfft(noise.samples)))[1:-1]
    for noise in background.coloured(FEATURES)
  ]
  for i, j in ((0, 1), (0, 2), (1, 2)):
    assert abs(np.mean(phases[i] * phases[j].conj())) < 0.01


@pytest.mark.parametrize('snr', [20.0, 0.0, -5.0])
def test_mixed_noise_has_its_signal_to_noise_ratio(snr):
  rng = np.random.default_rng(1)
  samples, noise = rng.standard_normal((2, 8000)).astype(np.float32) * [[0.1], [3.0]]
  added = background.mixed(samples, noise, snr) - samples
  ratio = 20 * np.log10(background.level(samples) / background.level(added))
  assert ratio == pytest.approx(snr, abs=1e-3)
  np.testing.assert_array_equal(background.mixed(np.zeros(8000), noise, snr), np.zeros(8000))
