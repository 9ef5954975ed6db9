"""Every kind of recording is read whole, or refused for the true reason; also block by block."""

import io
import shutil
import struct
import subprocess
import sys

import numpy as np
import pytest
import scipy.signal

from data_prep import audio
from data_prep.audio import Unreadable
from tests.data_prep import encoders

RATE = 48000
LONGEST_DELAY = 2200  # samples that a codec may put before the sound
FFMPEG = shutil.which('ffmpeg')


def sound(seconds=0.5, rate=RATE, seed=0):
  """A tone that is never the same, in noise: [samples] of 16 bits."""
  rng, times = np.random.default_rng(seed), np.arange(round(seconds * rate)) / rate
  tone = 0.3 * np.sin(2 * np.pi * (300 + 400 * times) * times)
  return np.round((tone + 0.01 * rng.standard_normal(len(times))) * 32767) / 32767


def stored(samples):
  return np.float32(np.round(samples * 32767) / 32768)


@pytest.mark.parametrize('kind', encoders.KINDS)
def test_every_kind_is_read_whole(kind, tmp_path):
  codec, _, is_exact = encoders.KINDS[kind]
  original = sound()
  data = encoders.of_kind(kind, original, RATE)
  samples, rate = audio.decode(data)
  assert rate == RATE and samples.dtype == np.float32
  if is_exact:
    np.testing.assert_array_equal(samples, stored(original))
  else:
    # FFmpeg drops the first frame of WMA, 2,048 samples at this rate.
    early = 2048 if kind == 'wma' else 0
    assert -early <= len(samples) - len(original) <= LONGEST_DELAY
    products = scipy.signal.correlate(np.pad(samples, (early, 0)), original[:12000], 'valid')
    delay = int(products[: LONGEST_DELAY + 1].argmax()) - early
    heard = samples[max(0, delay) :][: len(original)]
    expected = original[max(0, -delay) :][: len(heard)]
    assert np.corrcoef(heard[: len(expected)], expected)[0, 1] > 0.97
  path = tmp_path / f'a.{kind}'
  path.write_bytes(data)
  assert path.name.endswith(audio.SUFFIXES)
  for wanted in (RATE, 16000):
    blocks = list(audio.blocks(path, wanted))
    np.testing.assert_array_equal(np.concatenate(blocks), audio.read(path, wanted))
  if FFMPEG:
    said = subprocess.run(
      [FFMPEG, '-v', 'error', '-i', path, '-f', 'f32le', '-'], capture_output=True, check=True
    )
    np.testing.assert_allclose(np.frombuffer(said.stdout, '<f4'), samples, rtol=0, atol=1e-6)


def test_the_delay_of_opus_in_webm_is_left_out_at_every_rate_of_the_original():
  original = sound(rate=16000)
  samples, rate = audio.decode(encoders.of_kind('webm', original, 16000))
  assert rate == 48000 and len(samples) == 3 * len(original)
  heard = audio.resample(samples, rate, 16000)
  assert np.corrcoef(heard, original)[0, 1] > 0.97


def test_an_mp3_without_its_length_keeps_its_tail():
  rng, times = np.random.default_rng(0), np.arange(3 * RATE) / RATE
  quiet_after_noise = np.concatenate(
    [0.5 * rng.uniform(-1, 1, RATE), 0.3 * np.sin(2 * np.pi * 440 * times)]
  )
  data = encoders.encode(
    quiet_after_noise, RATE, 'libmp3lame', 'mp3', write_xing='0', id3v2_version='0'
  )
  assert b'Xing' not in data and b'Info' not in data[:500]
  for start in (b'', b'ID3\x04\0\0\0\0\x01\0' + bytes(128)):  # a tag of 128 bytes
    samples, rate = audio.decode(start + data)
    assert rate == RATE and 4 * RATE <= len(samples) <= 4 * RATE + 3 * 1152
    assert np.abs(samples[-RATE // 2 : -3000]).max() > 0.25


def wave(subtype):
  samples = sound(rate=16000)
  options = {'format': 'WAV', 'subtype': subtype}
  return samples, bytearray(encoders.by_libsndfile(samples, 16000, **options))


@pytest.mark.parametrize('subtype', ['PCM_16', 'PCM_24', 'PCM_U8', 'FLOAT', 'ULAW', 'IMA_ADPCM'])
def test_a_wave_whose_size_was_never_right_is_whole(subtype):
  _, data = wave(subtype)
  whole, _ = audio.decode(bytes(data))
  first = data.index(b'data') + 8
  true = len(data) - first
  sizes = [0, 0x7FFFF000, 0x7FFFFFFF, 2**31, 2**31 - 36, 2**32 - 1, 2**32 - 37]
  for size in [*sizes, *range(true + 8, true + 45, 4), 2 * true]:
    struct.pack_into('<I', data, first - 4, size)
    samples, rate = audio.decode(bytes(data))
    assert rate == 16000
    np.testing.assert_allclose(samples, whole, rtol=0, atol=1e-6)


@pytest.mark.parametrize('size', [2**20, 2**30, 3 * 2**30])
def test_a_wave_that_lost_its_end_is_refused(size):
  _, data = wave('PCM_16')
  struct.pack_into('<I', data, data.index(b'data') + 4, size)
  with pytest.raises(Unreadable, match=f'truncated: the header promises {size} bytes'):
    audio.decode(bytes(data))


def test_a_wave_without_samples_has_none_even_if_another_chunk_follows():
  _, data = wave('PCM_16')
  first = data.index(b'data') + 8
  struct.pack_into('<I', data, first - 4, 0)
  with pytest.raises(Unreadable, match='no samples'):
    audio.decode(bytes(data[:first]) + b'LIST\x04\0\0\0INFO')


def test_flac_of_unknown_length():
  samples = sound(rate=16000)
  data = bytearray(encoders.by_libsndfile(stored(samples), 16000, format='FLAC'))
  data[21] &= 0xF0  # the upper 4 of 36 bits, RFC 9639, Section 8.2
  data[22:26] = bytes(4)
  np.testing.assert_array_equal(audio.decode(bytes(data))[0], stored(samples))
  with pytest.raises(Unreadable):
    audio.decode(bytes(data[: len(data) // 2]))


TRUNCATED = sorted({*encoders.KINDS} - {'mp2', 'mp3.wav', 'ac3', 'avi'})


@pytest.mark.parametrize('kind', TRUNCATED)
def test_the_first_half_of_a_recording_is_refused(kind):
  """MP2, AC-3 and MP3 without a frame of its length do not say how long they are."""
  data = encoders.of_kind(kind, sound(2.0), RATE)
  with pytest.raises(Unreadable, match='truncated'):
    audio.decode(data[: len(data) // 2])


@pytest.mark.parametrize('form', ['AIFF', 'AU', 'CAF', 'OGG'])
def test_the_first_half_of_what_libsndfile_would_read_is_refused(form):
  data = encoders.by_libsndfile(sound(2.0), RATE, format=form)
  assert len(audio.decode(data)[0]) == 2 * RATE
  with pytest.raises(Unreadable, match='truncated'):
    audio.decode(data[: len(data) // 2])


def test_what_is_no_recording_is_named_with_its_fix(tmp_path):
  cases = {
    b'<!DOCTYPE html><html><body>404</body></html>': ('an HTML page', 'download it again'),
    b'version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n': (
      'a git-lfs pointer',
      'git lfs pull',
    ),
    b'/annex/objects/SHA256E-s9--0.wav\n': ('a git-annex pointer', 'git annex get'),
    b'PK\x03\x04' + bytes(range(60)): ('a ZIP archive', 'unpack it first'),
    b'\0\x05\x16\x07\0\x02\0\0Mac OS X        ': ('a resource fork', 'remove it'),
    bytes(5000): ('zeros and nothing else', 'copy it again'),
    b'hello, this is no recording\n': ('text, not a recording', 'give a recording'),
    bytes(np.random.default_rng(1).integers(1, 255, 900, np.uint8)): ('known format', 'ffmpeg -i'),
    b'': ('empty file', 'again'),
  }
  for number, (data, (reason, fix)) in enumerate(cases.items()):
    path = tmp_path / f'{number}.wav'
    path.write_bytes(data)
    for read in (audio.read, lambda path, rate: list(audio.blocks(path, rate))):
      with pytest.raises(Unreadable) as error:
        read(path, 16000)
      assert reason in str(error.value) and fix in error.value.fix


def test_blocks_of_a_pipe_are_those_of_the_file(tmp_path):
  data = encoders.by_libsndfile(sound(3.0, 16000), 16000, format='WAV')
  (tmp_path / 'a.wav').write_bytes(data)
  with subprocess.Popen(['cat', tmp_path / 'a.wav'], stdout=subprocess.PIPE) as writer:
    blocks = list(audio.blocks(writer.stdout, 8000))
  np.testing.assert_array_equal(np.concatenate(blocks), audio.read(io.BytesIO(data), 8000))


def test_the_length_is_that_of_the_samples(tmp_path):
  for kind in ('mp3', 'm4a', 'flac.ogg'):
    path = tmp_path / f'a.{kind}'
    path.write_bytes(encoders.of_kind(kind, sound(1.0), RATE))
    assert audio.seconds(path) == len(audio.decode(audio.load(path))[0]) / RATE
  path.write_bytes(b'')
  with pytest.raises(Unreadable):
    audio.seconds(path)


@pytest.mark.parametrize('form', ['WAV', 'FLAC', 'OGG', 'AIFF'])
def test_the_length_in_a_header_is_read_without_decoding(form, monkeypatch):
  data = encoders.by_libsndfile(sound(1.0), RATE, format=form)
  monkeypatch.setattr(audio, '_read', None)
  assert audio.seconds(io.BytesIO(data)) == 1.0


@pytest.mark.skipif(not sys.platform.startswith('linux'), reason='needs /proc')
@pytest.mark.parametrize('read', [audio.load, audio.seconds, lambda path: audio.read(path, RATE)])
def test_a_file_that_the_disk_refuses_to_read_is_unreadable(read):
  with pytest.raises(Unreadable, match='Input/output error'):
    read('/proc/self/mem')


def test_blocks_of_a_damaged_recording_end_with_the_reason():
  data = encoders.by_libsndfile(sound(8.0), RATE, format='FLAC')
  taken = []
  with pytest.raises(Unreadable):
    for block in audio.blocks(io.BytesIO(data[:-2000]), RATE):
      taken.append(len(block))
  assert sum(taken) > 4 * RATE
  samples = stored(sound())
  samples[5000] = np.nan
  data = encoders.by_libsndfile(samples, RATE, format='WAV', subtype='FLOAT')
  with pytest.raises(Unreadable, match='not numbers'):
    list(audio.blocks(io.BytesIO(data), 16000))


def test_no_recording_opens_another_file(tmp_path):
  """A playlist or a reference in a file would let a recording read what it should not."""
  (tmp_path / 'secret.wav').write_bytes(encoders.by_libsndfile(sound(), RATE, format='WAV'))
  for name, text in (
    ('a.wav', f'#EXTM3U\n#EXTINF:1,\n{tmp_path}/secret.wav\n#EXT-X-ENDLIST\n'),
    ('b.wav', f"ffconcat version 1.0\nfile '{tmp_path}/secret.wav'\n"),
  ):
    (tmp_path / name).write_text(text)
    with pytest.raises(Unreadable, match='text, not a recording'):
      audio.read(tmp_path / name, RATE)
