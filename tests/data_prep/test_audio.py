import io
import os
import struct

import librosa
import numpy as np
import pytest
import soundfile

from data_prep import audio
from data_prep.audio import Unreadable
from tests.data_prep import encoders


def encode(samples: np.ndarray, rate: int, **options) -> bytes:
  file = io.BytesIO()
  soundfile.write(file, samples, rate, **options)
  return file.getvalue()


def noise(seconds: float = 0.3, rate: int = 16000, channels: int = 1) -> np.ndarray:
  rng = np.random.default_rng(3)
  samples = 0.2 * rng.standard_normal((round(seconds * rate), channels)).cumsum(0) / 30
  return np.clip(samples, -0.9, 0.9)


WAV = encode(noise(), 16000, format='WAV', subtype='PCM_16')


@pytest.mark.parametrize('rate', [8000, 11025, 16000, 22050, 44100, 48000, 96000, 192000])
@pytest.mark.parametrize('subtype', ['PCM_16', 'PCM_24', 'PCM_32', 'FLOAT'])
@pytest.mark.parametrize('channels', [1, 2])
def test_read_equals_librosa_load(rate, subtype, channels):
  data = encode(noise(0.11, rate, channels), rate, format='WAV', subtype=subtype)
  ours = audio.read(io.BytesIO(data), 16000)
  theirs, _ = librosa.load(io.BytesIO(data), sr=16000)
  assert ours.dtype == np.float32 and ours.shape == theirs.shape
  np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
  'options',
  [
    {'format': 'OGG', 'subtype': 'VORBIS'},
    {'format': 'FLAC'},
    {'format': 'AIFF'},
    {'format': 'W64'},
    {'format': 'WAVEX', 'subtype': 'PCM_24'},
    {'format': 'RF64'},
    {'format': 'WAV', 'subtype': 'PCM_U8'},
    {'format': 'WAV', 'subtype': 'ULAW'},
    {'format': 'WAV', 'subtype': 'DOUBLE'},
  ],
  ids=str,
)
def test_other_formats_equal_librosa_load(options):
  data = encode(noise(0.5, 44100), 44100, **options)
  theirs, _ = librosa.load(io.BytesIO(data), sr=16000)
  np.testing.assert_allclose(audio.read(io.BytesIO(data), 16000), theirs, rtol=0, atol=1e-6)


def test_many_channels_in_blocks_equal_the_mean(monkeypatch):
  monkeypatch.setattr(audio, '_BLOCK', 1000)
  samples = noise(0.3, 16000, 6)
  data = encode(samples, 16000, format='WAV', subtype='DOUBLE')
  np.testing.assert_allclose(
    audio.read(io.BytesIO(data), 16000), samples.mean(1), rtol=0, atol=1e-6
  )


def patched(marker: bytes, offset: int, layout: str, value: int) -> bytes:
  """WAV with a number replaced, `offset` bytes after the marker."""
  data = bytearray(WAV)
  struct.pack_into(layout, data, data.index(marker) + offset, value)
  return bytes(data)


def with_sample(value: float) -> bytes:
  samples = noise()
  samples[100] = value
  return encode(samples, 16000, format='WAV', subtype='FLOAT')


FLAC = encode(noise(2.0), 16000, format='FLAC')
DAMAGED = {
  'empty': (b'', 'empty'),
  'no audio': (b'<html>404</html>' * 50, 'an HTML page, not a recording'),
  'header alone': (WAV[:44], 'truncated'),
  'half a header': (WAV[:20], ''),
  'truncated': (
    WAV[: len(WAV) // 2],
    'truncated: the header promises 9600 bytes of samples, the file has 4778',
  ),
  'truncated flac': (FLAC[: len(FLAC) // 2], ''),
  'no samples': (encode(np.zeros(0), 16000, format='WAV'), 'no samples'),
  'rate 0': (patched(b'fmt ', 12, '<I', 0), ''),
  'rate 4 GHz': (patched(b'fmt ', 12, '<I', 2**32 - 1), ''),
  'rate 3 Hz': (patched(b'fmt ', 12, '<I', 3), 'sample rate of 3 Hz'),
  'channels 0': (patched(b'fmt ', 10, '<H', 0), ''),
  'a great promise': (patched(b'data', 4, '<I', 2**30), 'truncated'),
  'NaN': (with_sample(np.nan), 'not numbers'),
  'infinite': (with_sample(-np.inf), 'infinite'),
  'absurd': (with_sample(1e30), 'absurdly large'),
  'zeros': (bytes(5000), ''),
}


@pytest.mark.parametrize('name', DAMAGED)
def test_damaged_recordings_give_a_reason(name):
  data, reason = DAMAGED[name]
  with pytest.raises(Unreadable, match=reason or '.') as error:
    audio.read(io.BytesIO(data), 16000)
  assert str(error.value) and '\n' not in str(error.value) and 'BytesIO' not in str(error.value)


@pytest.mark.parametrize('size', [0, 2**32 - 1])
def test_a_wave_written_to_a_pipe_is_whole(size):
  data = patched(b'data', 4, '<I', size) if size else patched(b'data', 4, '<I', 2**32 - 1)
  np.testing.assert_array_equal(
    audio.read(io.BytesIO(data), 16000), audio.read(io.BytesIO(WAV), 16000)
  )


def test_what_is_no_readable_file(tmp_path):
  (tmp_path / 'folder.wav').mkdir()
  (tmp_path / 'dangling.wav').symlink_to(tmp_path / 'nothing')
  os.mkfifo(tmp_path / 'pipe.wav')
  (tmp_path / 'locked.wav').write_bytes(WAV)
  (tmp_path / 'locked.wav').chmod(0)
  for name, reason in {
    'folder.wav': 'not a regular file',
    'pipe.wav': 'not a regular file',
    'dangling.wav': 'No such file',
    'absent.wav': 'No such file',
    'a\0b.wav': 'null',
    'locked.wav': 'Permission denied',
  }.items():
    if name == 'locked.wav' and os.geteuid() == 0:
      continue  # root may read everything
    with pytest.raises(Unreadable, match=reason):
      audio.read(tmp_path / name, 16000)


def test_wrong_ending_and_strange_names_are_read(tmp_path):
  expected = audio.read(io.BytesIO(WAV), 16000)
  for name in (
    'a.ogg',
    'no ending',
    'mit Leerzeichen.wav',
    'Öl.wav',
    '音声.wav',
    'звук.wav',
    os.fsdecode(b'\xff\xfe.wav'),
  ):
    (tmp_path / name).write_bytes(WAV)
    np.testing.assert_array_equal(audio.read(tmp_path / name, 16000), expected)


def test_long_recordings_are_refused_before_they_fill_the_memory(monkeypatch):
  monkeypatch.setattr(audio, 'MAX_SAMPLES', 5000)
  with pytest.raises(Unreadable, match='more than 5000 samples$'):
    audio.read(io.BytesIO(encode(noise(1.0), 16000, format='FLAC')), 16000)
  with pytest.raises(Unreadable, match='more than 5000 samples at 48000 Hz'):
    audio.read(io.BytesIO(WAV), 48000)
  monkeypatch.setattr(audio, 'MAX_BYTES', 1000)
  with pytest.raises(Unreadable, match='MiB'):
    audio.read(io.BytesIO(WAV), 16000)


def mutated(rng: np.random.Generator, originals: list[bytes]) -> bytes:
  """Damages one of the recordings in one of six ways, both drawn with `rng`."""
  data = bytearray(originals[rng.integers(len(originals))])
  kind = rng.integers(6)
  if kind == 0:
    return bytes(data[: rng.integers(len(data))])
  if kind == 1:  # anything in the header
    for _ in range(rng.integers(1, 6)):
      data[rng.integers(min(100, len(data)))] = rng.integers(256)
  elif kind == 2:  # a number in the header becomes an absurd one
    struct.pack_into(
      '<I', data, rng.integers(4, 60), int(rng.choice([0, 1, 2**31 - 1, 2**31, 2**32 - 1]))
    )
  elif kind == 3:  # anything anywhere
    for _ in range(rng.integers(1, 200)):
      data[rng.integers(len(data))] = rng.integers(256)
  elif kind == 4:  # a piece is missing
    first = rng.integers(len(data))
    del data[first : first + rng.integers(1, 2000)]
  else:  # a piece of another recording
    other = originals[rng.integers(len(originals))]
    first = rng.integers(len(data))
    data[first : first + 500] = other[:500]
  return bytes(data)


def originals() -> list[bytes]:
  """Undamaged recordings of many formats."""
  by_ffmpeg = [encoders.of_kind(kind, noise(0.2, 48000)[:, 0], 48000) for kind in encoders.KINDS]
  return by_ffmpeg + [
    encode(noise(0.2, rate, channels), rate, **options)
    for rate, channels, options in (
      (16000, 1, {'format': 'WAV', 'subtype': 'PCM_16'}),
      (44100, 2, {'format': 'WAV', 'subtype': 'PCM_24'}),
      (48000, 2, {'format': 'WAV', 'subtype': 'FLOAT'}),
      (192000, 1, {'format': 'WAVEX', 'subtype': 'PCM_32'}),
      (8000, 1, {'format': 'WAV', 'subtype': 'IMA_ADPCM'}),
      (44100, 1, {'format': 'OGG', 'subtype': 'VORBIS'}),
      (16000, 1, {'format': 'FLAC'}),
      (22050, 1, {'format': 'MP3'}),
      (16000, 1, {'format': 'AIFF'}),
    )
  ]


def test_damaged_at_random(capfd):
  rng, recordings, refused = np.random.default_rng(11), originals(), 0
  for _ in range(1500):
    data = mutated(rng, recordings)
    try:
      samples = audio.read(io.BytesIO(data), 16000)
    except Unreadable as error:
      assert str(error)
      refused += 1
      with pytest.raises(Unreadable):
        list(audio.blocks(io.BytesIO(data), 16000))
    else:
      blocks = list(audio.blocks(io.BytesIO(data), 16000))
      np.testing.assert_array_equal(np.concatenate(blocks), samples)
      assert (
        samples.dtype == np.float32
        and samples.ndim == 1
        and len(samples)
        and np.isfinite(samples).all()
      )
  assert 300 < refused < 1400
  assert not capfd.readouterr().err
