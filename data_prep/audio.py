"""Decodes recordings to mono float32 samples at one rate, or says why it cannot.

`read` returns what `librosa.load` returns (mean of the channels, soxr at quality HQ) and is safe
for untrusted files: it never hangs, never allocates memory because a header claims a size, and
raises `Unreadable` for every fault. libsndfile decodes what it reads right, FFmpeg the rest.
"""

import contextlib
import hashlib
import io
import math
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np
import soundfile
import soxr

from data_prep import headers, kinds, stderr
from data_prep.errors import Unreadable
from data_prep.features import MAX_SAMPLES
from data_prep.files import one_line

SUFFIXES = (
  *('.wav', '.wave', '.flac', '.ogg', '.oga', '.opus', '.mp3', '.aif', '.aiff', '.aifc', '.au'),
  *('.snd', '.w64', '.rf64', '.caf', '.voc', '.sph', '.nist'),
  # By FFmpeg.
  *('.m4a', '.m4b', '.mp4', '.mov', '.aac', '.3gp', '.3gpp', '.3g2', '.webm', '.weba', '.mka'),
  *('.mkv', '.amr', '.awb', '.wma', '.mp2', '.mpga', '.ac3', '.wv', '.tta', '.ape', '.flv', '.avi'),
)
MAX_BYTES = 2**30  # of a file that is held in memory
RATES = (1000, 768000)  # Hz; a rate outside means a damaged header
_BLOCK = 2**18
_START = 4096  # bytes that tell what a file is
_SILENT_FORMATS = (b'RIFF', b'OggS', b'fLaC', b'FORM')
_LOUDEST = 2.0**31  # full scale of a 32-bit integer stored as floats
_UNKNOWN_LENGTH = 2**62
_CONVERT = 'convert it, for example with "ffmpeg -i FILE NEW.wav"'


def load(source: str | os.PathLike[str] | BinaryIO) -> bytes:
  """Reads the bytes of a regular file, or of an open binary file.

  Raises:
    Unreadable: the file is absent, forbidden, empty, not a regular file, or larger than 1 GiB.
  """
  with _opened(source) as file:
    data = file.read(MAX_BYTES + 1)
  if not data:
    raise Unreadable('empty file')
  if len(data) > MAX_BYTES:
    raise Unreadable(f'more than {MAX_BYTES >> 20} MiB', 'cut it into shorter recordings')
  return data


def digest(data: bytes) -> str:
  """The SHA-256 of the bytes, hexadecimal."""
  return hashlib.sha256(data).hexdigest()


def decode(data: bytes) -> tuple[np.ndarray, int]:
  """Decodes the bytes of a recording.

  Returns:
    Samples [any length] float32, the mean of the channels, and their rate in Hz.

  Raises:
    Unreadable: unknown format, truncated, no samples, or samples that are not numbers or are
      absurdly large.
  """
  file = io.BytesIO(data)
  header = headers.read(file)
  if plain := header and headers.plain(data, header):
    samples, rate = plain
    _check(rate, len(samples))
  else:
    rate, parts = _decoders(_Source(file), header)
    mono, length = [np.zeros(0, np.float32)], 0
    for part in parts:
      length += len(part)
      _check(rate, length)
      mono.append(part)
    samples = np.concatenate(mono)
  _check_samples(samples)
  return samples, rate


def blocks(source: str | os.PathLike[str] | BinaryIO, sample_rate: int) -> Iterator[np.ndarray]:
  """Reads a recording of any length in bounded memory.

  Yields:
    Mono samples [some] float32 at `sample_rate` Hz: together those of `read`.

  Raises:
    Unreadable: see `read`; but a recording may be of any length, and a fault that shows at its end
      is raised there.
  """
  with _seekable(source) as file:
    rate, parts = _decoders(file, headers.read(file))
    _check(rate, 0)
    stream = (
      None if rate == sample_rate else soxr.ResampleStream(rate, sample_rate, 1, quality='HQ')
    )
    taken = given = 0
    for part in parts:
      if len(part):
        _check_samples(part)
        taken += len(part)
        part = part if stream is None else stream.resample_chunk(part)
        given += len(part)
        yield part
    if not taken:
      raise Unreadable('no samples')
    if stream is not None:
      rest = stream.resample_chunk(np.zeros(0, np.float32), last=True)
      missing = math.ceil(taken * sample_rate / rate) - given
      yield np.pad(rest[:missing], (0, max(0, missing - len(rest))))


def seconds(source: str | os.PathLike[str] | BinaryIO) -> float:
  """Length of a recording: by its header if that knows it, else by decoding it.

  Raises:
    Unreadable: as in `read`.
  """
  with _seekable(source) as file:
    sound = _sound(file, headers.read(file))
    if isinstance(sound, soundfile.SoundFile):
      with sound:
        return sound.frames / sound.samplerate
    rate, parts = _by_ffmpeg(file, sound)
    return sum(map(len, parts)) / rate


@contextlib.contextmanager
def _opened(source: str | os.PathLike[str] | BinaryIO) -> Iterator[BinaryIO]:
  """Opens a regular file, or takes an open one; what the disk refuses is `Unreadable`."""
  if hasattr(source, 'read'):
    yield source
    return
  try:
    # Opening a pipe or a device would block.
    is_regular = stat.S_ISREG(os.stat(source).st_mode)
  except (OSError, ValueError) as error:
    raise _refused(error) from error
  if not is_regular:
    raise Unreadable('not a regular file', 'give a file')
  try:
    with open(source, 'rb') as file:
      yield file
  except OSError as error:
    raise _refused(error) from error


def _refused(error: Exception) -> Unreadable:
  reason = getattr(error, 'strerror', None) or str(error)
  return Unreadable(reason, 'correct the path or its rights')


@contextlib.contextmanager
def _seekable(source: str | os.PathLike[str] | BinaryIO) -> Iterator['_Source']:
  """Opens a recording for the decoders; what comes through a pipe is copied to disk first."""
  with contextlib.ExitStack() as stack:
    file = stack.enter_context(_opened(source))
    if not file.seekable():
      copy = stack.enter_context(tempfile.SpooledTemporaryFile(max_size=_BLOCK))
      shutil.copyfileobj(file, copy)
      file = copy
    yield _Source(file)


def _check(rate: int, length: int) -> None:
  if not RATES[0] <= rate <= RATES[1]:
    raise Unreadable(f'sample rate of {rate} Hz is outside {RATES[0]} to {RATES[1]}')
  if length > MAX_SAMPLES:
    raise Unreadable(f'more than {MAX_SAMPLES} samples', 'cut it into shorter recordings')


def _check_samples(samples: np.ndarray) -> None:
  if not len(samples):
    raise Unreadable('no samples')
  # min and max need no array of the samples' length; a NaN among the samples makes both NaN.
  if not (samples.min() >= -_LOUDEST and samples.max() <= _LOUDEST):
    raise Unreadable('samples that are not numbers, infinite or absurdly large')


def _decoders(file: '_Source', header: headers.Header | None) -> tuple[int, Iterator[np.ndarray]]:
  """Opens a recording with the decoder that reads it right.

  Args:
    header: `headers.read` of the file.

  Returns:
    Its rate in Hz, and the mean of its channels in blocks [some] float32.

  Raises:
    Unreadable: no decoder knows it; the iterator raises it for a damaged recording.
  """
  sound = _sound(file, header)
  if isinstance(sound, soundfile.SoundFile):
    return sound.samplerate, _read(sound)
  return _by_ffmpeg(file, sound)


def _by_ffmpeg(file: '_Source', name: str) -> tuple[int, Iterator[np.ndarray]]:
  from data_prep import ffmpeg  # most corpora do without

  return ffmpeg.blocks(file, name)


def _sound(file: '_Source', header: headers.Header | None) -> soundfile.SoundFile | str:
  """A recording opened by libsndfile, or FFmpeg's name of its format if FFmpeg must read it.

  Raises:
    Unreadable: it is truncated or empty, or libsndfile cannot open it and FFmpeg does not know it.
  """
  if not file.seek(0, os.SEEK_END):
    raise Unreadable('empty file')
  if header and (header.is_truncated or header.size > header.present == 0):
    raise Unreadable(
      f'truncated: the header promises {header.size} bytes of samples, '
      f'the file has {header.present}'
    )
  if header and not header.present:
    raise Unreadable('no samples')
  name = headers.format_of(file)
  if name == 'ogg' and headers.ends_within_a_page(file):
    raise Unreadable('truncated: the file ends within a page of Ogg')
  if name == 'mp3' or (header and (header.has_mp3 or not header.is_sound)):
    return name
  try:
    sound = _libsndfile(file)
  except Unreadable:
    if name is None:
      raise
    return name
  if sound.frames < _UNKNOWN_LENGTH and not sound.subtype.startswith('MPEG'):
    return sound
  if name is None:
    raise Unreadable('damaged at its start')
  return name


def _libsndfile(file: '_Source') -> soundfile.SoundFile:
  """Opens a recording with libsndfile; what it does not recognise is named."""
  file.seek(0)
  start = file.read(_START)
  file.seek(0)
  # Some of its decoders print warnings while it looks for one that knows the format.
  quiet = contextlib.nullcontext() if start[:4] in _SILENT_FORMATS else stderr.captured()
  with _reasons(start), quiet:
    return soundfile.SoundFile(file)


def _read(sound: soundfile.SoundFile) -> Iterator[np.ndarray]:
  """Yields the mean of the channels in blocks [some] float32."""
  length, size = 0, max(1, _BLOCK // sound.channels)
  # The header's number of samples may be wrong: read blocks until there are no more.
  with _reasons(), np.errstate(all='ignore'), sound:
    while len(block := sound.read(size, dtype='float32', always_2d=True)):
      length += len(block)
      yield block[:, 0] if sound.channels == 1 else block.mean(axis=1)
    promised = sound.frames
  if length < promised:
    raise Unreadable(f'truncated: the header promises {promised} samples, the file has {length}')


@contextlib.contextmanager
def _reasons(start: bytes = b'') -> Iterator[None]:
  """Errors of libsndfile as `Unreadable`; what is no recording by its `start` is named."""
  try:
    yield
  except soundfile.SoundFileError as error:
    # soundfile says "Error opening <... object at 0x..>: reason".
    reason = one_line(error).rpartition('>: ')[2].rstrip('.')
    if 'not recognised' not in reason:
      raise Unreadable(reason) from error
    if kind := kinds.of(start):
      raise Unreadable(f'{kind.name}, not a recording', kind.fix) from error
    raise Unreadable('not a recording in a known format', _CONVERT) from error
  except (RuntimeError, ValueError, TypeError, OverflowError, MemoryError) as error:
    raise Unreadable(one_line(error)) from error


def resample(samples: np.ndarray, rate: int, sample_rate: int) -> np.ndarray:
  """Resamples from `rate` Hz to `sample_rate` Hz, as librosa does.

  Returns:
    ceil(len(samples) * sample_rate / rate) samples.

  Raises:
    Unreadable: the result would be too long.
  """
  if rate == sample_rate:
    return samples
  length = math.ceil(len(samples) * sample_rate / rate)
  if length > MAX_SAMPLES:
    raise Unreadable(
      f'more than {MAX_SAMPLES} samples at {sample_rate} Hz', 'cut it into shorter recordings'
    )
  out = soxr.resample(samples, rate, sample_rate, quality='HQ')[:length]
  return out if len(out) == length else np.pad(out, (0, length - len(out)))


def read(source: str | os.PathLike[str] | BinaryIO, sample_rate: int) -> np.ndarray:
  """Reads a recording as mono float32 samples at `sample_rate` Hz.

  The samples equal those of `librosa.load(source, sr=sample_rate)`, where that reads all of them.

  Raises:
    Unreadable: the recording cannot be used, for any reason.
  """
  return resample(*decode(load(source)), sample_rate)


def wave(samples: np.ndarray, sample_rate: int) -> bytes:
  """Samples [any] as the bytes of a WAV file of 16 bits.

  libsndfile does not say why it cannot write a file itself, such as that the disk is full.
  """
  content = io.BytesIO()
  soundfile.write(content, samples, sample_rate, subtype='PCM_16', format='WAV')
  return content.getvalue()


class _Source:
  """A file for the decoders.

  A damaged header makes libsndfile seek to places before the start, for which Python would print
  a traceback.
  """

  def __init__(self, file: BinaryIO):
    self._file = file
    self.read, self.readinto, self.tell = file.read, file.readinto, file.tell

  def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
    if whence != os.SEEK_SET:
      self._file.seek(0, whence)
      offset += self._file.tell()
    self._file.seek(max(0, offset))
    return self._file.tell()
