import dataclasses
import warnings

import librosa
import numpy as np
import pytest

from data_prep import mel
from data_prep.errors import UserError
from data_prep.features import FITS, PRESETS, Features

SETTINGS = [
  *(Features(**preset) for preset in PRESETS.values()),
  Features(
    sample_rate=22050,
    clip_seconds=0.7,
    n_fft=1024,
    hop_length=160,
    n_mels=40,
    fmin=50.0,
    fmax=8000.0,
  ),
  Features(n_fft=1024, win_length=400, hop_length=300, n_mels=64, htk=True, top_db=60.0, ref=2.0),
  Features(center=False, window='hamming', power=1.0, n_mels=20),
]


def golden(samples: np.ndarray, features: Features) -> np.ndarray:
  """The reference: librosa with every parameter passed."""
  with warnings.catch_warnings():
    warnings.simplefilter('ignore')  # 128 filters over 257 bins
    power = librosa.feature.melspectrogram(
      y=samples,
      sr=features.sample_rate,
      n_fft=features.n_fft,
      hop_length=features.hop_length,
      win_length=features.win_length,
      window=features.window,
      center=features.center,
      pad_mode=features.pad_mode,
      power=features.power,
      n_mels=features.n_mels,
      fmin=features.fmin,
      fmax=features.fmax,
      htk=features.htk,
      norm=features.norm,
    )
  return librosa.power_to_db(
    power, ref=features.ref, amin=features.amin, top_db=features.top_db or None
  )


@pytest.mark.parametrize('features', SETTINGS, ids=lambda features: features.digest())
def test_equals_librosa(features):
  rng = np.random.default_rng(0)
  times = np.arange(features.num_samples) / features.sample_rate
  for samples in (
    0.3 * rng.standard_normal(features.num_samples),
    np.sin(2 * np.pi * 1000 * times**2),
    np.zeros(features.num_samples),
    1e-6 * rng.standard_normal(features.num_samples),
  ):
    samples = samples.astype(np.float32)
    ours = mel.log_mel(samples, features)
    assert ours.dtype == np.float32 and ours.shape == features.shape
    # Far below the loudest value, where a range would end, a float32 transform is rounding.
    atol = 5e-3 if features.top_db else 2e-2
    np.testing.assert_allclose(ours, golden(samples, features), rtol=0, atol=atol)


def test_section_2_1_is_librosas_default_in_all_but_rate_fft_and_hop():
  features = Features(**PRESETS['section_2.1'])
  samples = np.random.default_rng(1).standard_normal(16000).astype(np.float32)
  with warnings.catch_warnings():
    warnings.simplefilter('ignore')
    power = librosa.feature.melspectrogram(y=samples, sr=16000, n_fft=512, hop_length=512)
  np.testing.assert_allclose(
    mel.log_mel(samples, features), librosa.power_to_db(power), rtol=0, atol=5e-3
  )
  assert features.shape == (128, 32)


def test_a_tone_is_loudest_in_the_filter_around_it():
  features = Features(n_mels=64)
  centres = librosa.mel_frequencies(n_mels=66, fmin=0.0, fmax=8000.0)[1:-1]
  samples = np.sin(2 * np.pi * 2000 * np.arange(16000) / 16000).astype(np.float32)
  loudest = mel.log_mel(samples, features)[:, 10].argmax()
  assert abs(centres[loudest] - 2000) < 80


def test_fit_length_pads_repeats_and_cuts():
  pad, repeat = (
    Features(sample_rate=1000, clip_seconds=0.6, n_fft=16, hop_length=16, n_mels=4, fit=fit)
    for fit in FITS
  )
  short, long = np.arange(1.0, 251.0), np.arange(700.0)
  np.testing.assert_array_equal(mel.fit_length(short, pad), [*short, *[0] * 350])
  np.testing.assert_array_equal(mel.fit_length(short, repeat), [*short, *short, *short[:100]])
  np.testing.assert_array_equal(mel.fit_length(long, repeat), long[:600])


def test_frames_of_a_stream_are_those_of_its_windows():
  features = Features(**PRESETS['stream'])
  assert features.streams and features.shape == (64, 64)
  assert not Features().streams
  assert not dataclasses.replace(features, center=True).streams
  assert not dataclasses.replace(features, top_db=80.0).streams
  rng = np.random.default_rng(0)
  # A loud second, then a quiet one: a range below the loudest value would hide the quiet one.
  samples = (rng.standard_normal(32000) * np.repeat([0.3, 1e-3], 16000)).astype(np.float32)
  hop = features.hop_length
  long = dataclasses.replace(features, clip_seconds=2.0)
  stream = mel.log_mel(samples, long)
  for first in (0, 7, 40):
    window = samples[first * hop : first * hop + features.num_samples]
    np.testing.assert_array_equal(mel.log_mel(window, features), stream[:, first : first + 64])


def test_digest_tells_every_setting_apart_and_survives_json():
  changed = {
    'sample_rate': 8000,
    'clip_seconds': 2.0,
    'n_fft': 1024,
    'hop_length': 256,
    'n_mels': 64,
    'fit': 'repeat',
    'win_length': 400,
    'window': 'hamming',
    'center': False,
    'pad_mode': 'reflect',
    'power': 1.0,
    'fmin': 20.0,
    'fmax': 7000.0,
    'htk': True,
    'norm': 'x',
    'ref': 2.0,
    'amin': 1e-5,
    'top_db': 60.0,
  }
  assert set(changed) == {field.name for field in dataclasses.fields(Features)}
  digests = {
    dataclasses.replace(Features(), **{name: value}).digest() for name, value in changed.items()
  }
  assert len(digests | {Features().digest()}) == len(changed) + 1
  features = Features(sample_rate=44100, clip_seconds=4)
  assert Features.from_json(features.to_json()) == features


@pytest.mark.parametrize(
  'flag, settings',
  [
    ('--sample_rate=0', {'sample_rate': 0}),
    ('--n_fft=-512', {'n_fft': -512}),
    ('--n_mels=0', {'n_mels': 0}),
    ('--hop_length=0', {'hop_length': 0}),
    ('--hop_length=1024', {'hop_length': 1024}),
    ('--clip_seconds=0.001', {'clip_seconds': 0.001}),
    ('--clip_seconds=nan', {'clip_seconds': float('nan')}),
    ('--clip_seconds=1000000', {'clip_seconds': 1000000}),
    ('--n_mels=600', {'n_mels': 600}),
    ('fit', {'fit': 'loop'}),
  ],
)
def test_bad_settings_name_their_flag(flag, settings):
  with pytest.raises(UserError, match=flag):
    Features(**settings)


def test_wrong_length_is_refused():
  with pytest.raises(ValueError, match='15999'):
    mel.log_mel(np.zeros(15999, np.float32), Features())
