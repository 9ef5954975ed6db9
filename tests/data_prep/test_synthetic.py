import errno
import hashlib
from pathlib import Path

import numpy as np
import pytest
import soundfile

from data_prep import corpora, espeak, noises, synthetic
from data_prep.corpora.speech_commands import WORDS
from tests import faults


def digest(root: Path) -> str:
  content = hashlib.sha256()
  for path in sorted(root.rglob('*')):
    content.update(
      str(path.relative_to(root)).encode() + (path.read_bytes() if path.is_file() else b'')
    )
  return content.hexdigest()


@pytest.fixture(scope='module')
def corpus_dir(tmp_path_factory) -> Path:
  root = tmp_path_factory.mktemp('raw') / 'synthetic_commands'
  synthetic.make(root, 1, num_speakers=5, takes=2)
  return root


def test_the_layout_is_that_of_speech_commands(corpus_dir):
  corpus = corpora.get('synthetic_commands').read(corpus_dir)
  assert corpus.classes == WORDS and len(corpus.clips) == 35 * 5 * 2
  parts = {}
  for clip in corpus.clips:
    samples, rate = soundfile.read(corpus_dir / clip.path, dtype='int16')
    assert rate == 16000 and samples.shape == (16000,)
    assert soundfile.info(corpus_dir / clip.path).subtype == 'PCM_16'
    assert np.abs(samples.astype(int)).max() >= 0.1 * 32767  # no clip is silent
    parts.setdefault(clip.part, set()).add(clip.group)
  assert [len(parts[part]) for part in ('train', 'validation', 'test')] == [3, 1, 1]
  assert not parts['train'] & parts['test'] and not parts['train'] & parts['validation']
  assert 'SYNTHETIC' in (corpus_dir / 'README.txt').read_text()
  assert len(list((corpus_dir / '_background_noise_').glob('*.wav'))) == 5


def test_the_same_bytes_from_a_seed_whatever_the_processes(corpus_dir, tmp_path):
  synthetic.make(tmp_path / 'again', 2, num_speakers=5, takes=2)
  assert digest(tmp_path / 'again') == digest(corpus_dir)
  synthetic.make(tmp_path / 'other', 1, seed=1, num_speakers=5, takes=2)
  assert digest(tmp_path / 'other') != digest(corpus_dir)
  assert not [path for path in tmp_path.iterdir() if path.name.startswith('.')]


def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path):
  with faults.full_disk(10_000), pytest.raises(OSError) as error:
    synthetic.make(tmp_path / 'corpus', 1, num_speakers=5, takes=2)
  assert (error.value.errno, error.value.filename) == (errno.EFBIG, str(tmp_path / 'corpus'))
  assert not any(tmp_path.iterdir())


def test_clips_of_a_word_differ(corpus_dir):
  clips = [soundfile.read(path)[0] for path in sorted((corpus_dir / 'seven').glob('*.wav'))]
  assert len(clips) == 10 and len({clip.tobytes() for clip in clips}) == 10


def test_words_can_be_told_apart():
  voice = synthetic.voices(1, 0)[0]
  with espeak.Speaker(voice.accent, voice.variant, 1) as speaker:
    spoken = {word: speaker.say(word, 160, 50, 50) for word in WORDS}
  assert len({samples.tobytes() for samples in spoken.values()}) == 35
  lengths = {
    word: len(synthetic.trim(samples.astype(float))) / speaker.rate
    for word, samples in spoken.items()
  }
  assert all(0.15 < length < 1.0 for length in lengths.values())
  assert lengths['backward'] > lengths['up']


def test_every_voice_speaks():
  voices = synthetic.voices(len(synthetic.VARIANTS), 0)
  assert {voice.variant for voice in voices} == set(synthetic.VARIANTS)
  assert {voice.accent for voice in voices} == set(synthetic.ACCENTS)
  heard = set()
  for voice in voices:
    with espeak.Speaker(voice.accent, voice.variant, 1) as speaker:
      samples = speaker.say('seven', 160, 50, 50)
    assert np.abs(samples.astype(int)).max() > 1000
    heard.add(samples.tobytes())
  assert len(heard) == len(voices)


def test_an_unknown_voice_is_an_error():
  with pytest.raises(ValueError, match='nobody'):
    espeak.Speaker('en-us', 'nobody', 1)
  with pytest.raises(ValueError, match='zz'):
    espeak.Speaker('zz', 'm1', 1)


def test_a_clip_has_the_requested_snr_and_level(monkeypatch):
  monkeypatch.setattr(synthetic, 'SNR', (10.0, 10.0))
  monkeypatch.setattr(synthetic, 'LEVEL', (-12.0, -12.0))
  rng = np.random.default_rng(0)
  word, background = np.sin(np.arange(8000) / 3), rng.standard_normal(16000)
  clip = synthetic.clip(word, background, rng) / 32767.0
  assert abs(20 * np.log10(np.abs(clip).max()) + 12) < 0.1
  noise = np.concatenate([clip[:3000], clip[-3000:]]).std()
  both = clip[5000:11000].std()
  assert abs(10 * np.log10(both**2 / noise**2 - 1) - 10) < 1


@pytest.mark.parametrize('name, slope', [('white', 0), ('pink', -3), ('brown', -6)])
def test_the_colour_of_noise(name, slope):
  samples = noises.BACKGROUNDS[name](np.random.default_rng(0), 2**16)
  power = np.abs(np.fft.rfft(samples)) ** 2
  octaves = [10 * np.log10(power[2**k : 2 ** (k + 1)].mean()) for k in range(6, 15)]
  assert abs(np.polyfit(range(len(octaves)), octaves, 1)[0] - slope) < 0.3
