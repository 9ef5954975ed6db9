"""Labelled streams: their words, level and noise, measured in the stream itself."""

import numpy as np
import pytest
import soundfile

from data_prep import audio, background
from data_prep.background import Noise
from data_prep.errors import UserError
from data_prep.features import Features
from m3net_jax.study import streams

FEATURES = Features(sample_rate=8000, clip_seconds=0.25, n_fft=256, hop_length=128, n_mels=16)
RATE = FEATURES.sample_rate


def tone(pitch, seconds, level=0.3):
  return (level * np.sin(2 * np.pi * pitch * np.arange(round(seconds * RATE)) / RATE)).astype('f')


CLIPS = [
  ('low', lambda: tone(300, 0.25)),
  ('high', lambda: tone(1800, 0.15, 0.01)),  # quiet and shorter than a clip
  ('none', lambda: np.zeros(1000, np.float32)),
]
NOISE = [
  Noise(str(seed), level * np.random.default_rng(seed).standard_normal(length).astype('f'), '')
  for seed, level, length in ((0, 0.2, 5000), (1, 3.0, 20000))
]


def stream(snr_db, seed=(0,), noises=NOISE, seconds=60.0):
  return streams.compose(CLIPS, noises, FEATURES, seconds=seconds, snr_db=snr_db, seed=seed)


def test_words_stand_where_the_table_says():
  samples, words = stream(40.0)
  assert len(samples) == 60 * RATE
  assert len(words) > 10
  assert {word.label for word in words} == {'low', 'high'}  # a silent clip is no word
  ends = [0.0]
  for word in words:
    part = samples[round(word.start * RATE) : round(word.end * RATE)]
    pitch = np.abs(np.fft.rfft(part)).argmax() * RATE / len(part)
    assert abs(pitch - {'low': 300, 'high': 1800}[word.label]) < 10
    assert word.start - ends[-1] >= streams.GAPS[0] - 1 / RATE
    ends.append(word.end)
  loud = np.sqrt(np.mean(np.square(samples)))
  outside = np.ones(len(samples), bool)
  for word in words:
    outside[round(word.start * RATE) : round(word.end * RATE)] = False
  assert np.sqrt(np.mean(np.square(samples[outside]))) < 0.1 * loud


@pytest.mark.parametrize('snr_db', [20.0, 0.0])
def test_the_ratio_is_that_of_windows(snr_db):
  noisy, words = stream(snr_db)
  clean, same = stream(90.0)
  assert words == same
  noise = noisy - clean  # the noise at 90 dB is below a thousandth
  level = background.level(noise)
  assert 20 * np.log10(streams.SPEECH_LEVEL / level) == pytest.approx(snr_db, abs=0.2)
  for word in words:
    start = round(word.start * RATE)
    window = clean[start : start + FEATURES.num_samples]
    assert background.level(window) == pytest.approx(streams.SPEECH_LEVEL, rel=0.02)


def test_the_same_seed_gives_the_same_stream():
  assert np.array_equal(stream(10.0)[0], stream(10.0)[0])
  assert stream(10.0, (1,))[1] != stream(10.0)[1]


def test_all_clips_come_before_one_comes_again():
  labels = [word.label for word in stream(10.0)[1]]
  for first in range(0, len(labels) - 1, 2):
    assert len(set(labels[first : first + 2])) == 2


def test_sides_share_no_noise():
  noises = [Noise(str(i), NOISE[0].samples, f'{i:064d}') for i in range(5)]
  sides = streams.sides_of(noises[::-1])
  names = {side: {noise.name for noise in sides[side]} for side in streams.SIDES}
  assert names == {'validation': {'0', '2', '4'}, 'test': {'1', '3'}}
  with pytest.raises(UserError, match='one recording'):
    streams.sides_of(noises[:1])


def test_file_and_table(tmp_path):
  samples, words = stream(20.0, seconds=5.0)
  streams.write(tmp_path / 's.flac', samples, words, FEATURES)
  np.testing.assert_allclose(audio.read(tmp_path / 's.flac', RATE), samples, atol=1 / 32768)
  assert soundfile.info(tmp_path / 's.flac').subtype == 'PCM_16'
  read = streams.read_words(tmp_path / 's.csv')
  assert [word.label for word in read] == [word.label for word in words]
  np.testing.assert_allclose([w.start for w in read], [w.start for w in words], atol=1e-4)


def test_labels_of_audacity_and_of_spreadsheets(tmp_path):
  path = tmp_path / 'labels.txt'
  path.write_text('2.5\t3.0\tyes\n0.5\t1.0\tno\n')
  assert streams.read_words(path) == [(0.5, 1.0, 'no'), (2.5, 3.0, 'yes')]
  path.write_bytes(b'\xef\xbb\xbfStart,End,Label\r\n0.5,1,"a, b"\r\n\r\n')
  assert streams.read_words(path) == [(0.5, 1.0, 'a, b')]


@pytest.mark.parametrize(
  ('text', 'said'),
  [
    ('word,begin\n', 'its first line'),
    ('start,end,label\n1,2\n', 'row 1'),
    ('start,end,label\n1,2,a\n2,one,a\n', 'row 2'),
    ('start,end,label\n2,1,a\n', 'row 1'),
    ('start,end,label\nnan,1,a\n', 'row 1'),
  ],
)
def test_a_table_that_is_none(tmp_path, text, said):
  path = tmp_path / 'labels.csv'
  path.write_text(text)
  with pytest.raises(UserError, match=said) as error:
    streams.read_words(path)
  assert '\n' not in str(error.value)


def test_no_table(tmp_path):
  with pytest.raises(UserError, match='No such file'):
    streams.read_words(tmp_path / 'none.csv')
