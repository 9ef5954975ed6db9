"""Decodes recordings to mono float32 samples at one rate, or says why it cannot.

`read` returns what `librosa.load` returns (mean of the channels, soxr at quality HQ) and is safe
for untrusted files: it never hangs, never allocates memory because a header claims a size, and
raises `Unreadable` for every fault.
"""

import contextlib
import hashlib
import io
import math
import os
import stat
import struct
from typing import BinaryIO

import numpy as np
import soundfile
import soxr

from data_prep import stderr
from data_prep.features import MAX_SAMPLES

SUFFIXES = (
  '.wav',
  '.flac',
  '.ogg',
  '.oga',
  '.opus',
  '.mp3',
  '.aif',
  '.aiff',
  '.au',
  '.w64',
  '.caf',
)
MAX_BYTES = 2**30
RATES = (1000, 768000)  # Hz; a rate outside means a damaged header
_BLOCK = 2**18
_SILENT_FORMATS = (b'RIFF', b'OggS', b'fLaC', b'FORM')
_LOUDEST = 2.0**31  # full scale of a 32-bit integer stored as floats


class Unreadable(Exception):
  """A recording cannot be used; the message is the reason."""


def load(source: str | os.PathLike[str] | BinaryIO) -> bytes:
  """Reads the bytes of a regular file, or of an open binary file.

  Raises:
    Unreadable: the file is absent, forbidden, empty, not a regular file, or larger than 1 GiB.
  """
  if hasattr(source, 'read'):
    data = source.read(MAX_BYTES + 1)
  else:
    try:
      # Opening a pipe or a device would block.
      if not stat.S_ISREG(os.stat(source).st_mode):
        raise Unreadable('not a regular file')
      with open(source, 'rb') as file:
        data = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
      raise Unreadable(getattr(error, 'strerror', None) or str(error)) from error
  if not data:
    raise Unreadable('empty file')
  if len(data) > MAX_BYTES:
    raise Unreadable(f'more than {MAX_BYTES >> 20} MiB')
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
  wave = _wave_chunks(data)
  if wave:
    _, first, size = wave
    # libsndfile would not report the truncation. Programs that write to a pipe leave 0 or the
    # largest number, which means "to the end".
    if len(data) - first < size < 2**32 - 2**16:
      raise Unreadable(
        f'truncated: the header promises {size} bytes of samples, the file has {len(data) - first}'
      )
  samples, rate, promised = (wave and _plain(data, *wave)) or _libsndfile(data)
  if not len(samples):
    raise Unreadable('no samples')
  if len(samples) < promised < 2**62:
    raise Unreadable(
      f'truncated: the header promises {promised} samples, the file has {len(samples)}'
    )
  # min and max need no array of the samples' length; a NaN among the samples makes both NaN.
  if not (samples.min() >= -_LOUDEST and samples.max() <= _LOUDEST):
    raise Unreadable('samples that are not numbers, infinite or absurdly large')
  return samples, rate


def _check(rate: int, length: int) -> None:
  if not RATES[0] <= rate <= RATES[1]:
    raise Unreadable(f'sample rate of {rate} Hz is outside {RATES[0]} to {RATES[1]}')
  if length > MAX_SAMPLES:
    raise Unreadable(f'more than {MAX_SAMPLES} samples: cut it into shorter recordings')


def _libsndfile(data: bytes) -> tuple[np.ndarray, int, int]:
  """Decodes with libsndfile.

  Returns:
    Mean of the channels [any] float32, the rate in Hz, and the header's number of samples.
  """
  # The MP3 decoder prints warnings about complete recordings too.
  quiet = contextlib.nullcontext() if data[:4] in _SILENT_FORMATS else stderr.captured()
  try:
    with quiet, np.errstate(all='ignore'), soundfile.SoundFile(_Bytes(data)) as file:
      _check(file.samplerate, 0)
      # The header's number of samples may be wrong: read blocks until there are no more.
      mono, length = [np.zeros(0, np.float32)], 0
      while len(
        block := file.read(max(1, _BLOCK // file.channels), dtype='float32', always_2d=True)
      ):
        length += len(block)
        _check(file.samplerate, length)
        mono.append(block[:, 0] if file.channels == 1 else block.mean(axis=1))
      return np.concatenate(mono), file.samplerate, file.frames
  except soundfile.SoundFileError as error:
    raise Unreadable(_one_line(error)) from error
  except (RuntimeError, ValueError, TypeError, OverflowError, MemoryError) as error:
    raise Unreadable(f'{type(error).__name__}: {_one_line(error)}') from error


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
      f'more than {MAX_SAMPLES} samples at {sample_rate} Hz: cut it into shorter recordings'
    )
  out = soxr.resample(samples, rate, sample_rate, quality='HQ')[:length]
  return out if len(out) == length else np.pad(out, (0, length - len(out)))


def read(source: str | os.PathLike[str] | BinaryIO, sample_rate: int) -> np.ndarray:
  """Reads a recording as mono float32 samples at `sample_rate` Hz.

  The samples equal those of `librosa.load(source, sr=sample_rate)`.

  Raises:
    Unreadable: the recording cannot be used, for any reason.
  """
  return resample(*decode(load(source)), sample_rate)


class _Bytes(io.BytesIO):
  """A file in memory for libsndfile.

  A damaged header makes libsndfile seek to places before the start, for which Python would print
  a traceback.
  """

  def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
    base = {os.SEEK_SET: 0, os.SEEK_CUR: self.tell(), os.SEEK_END: len(self.getbuffer())}[whence]
    return super().seek(max(0, base + offset))


def _wave_chunks(data: bytes) -> tuple[bytes, int, int] | None:
  """Finds the samples of a WAV file.

  Returns:
    The format chunk, the offset of the samples, and the header's size of the samples in bytes;
    None if `data` is not a WAV file with samples.
  """
  if data[:4] != b'RIFF' or data[8:12] != b'WAVE':
    return None
  offset, layout = 12, b''
  while offset + 8 <= len(data):
    kind, size = struct.unpack_from('<4sI', data, offset)
    if kind == b'data':
      return layout, offset + 8, size
    if kind == b'fmt ':
      layout = data[offset + 8 : offset + 8 + size]
    offset += 8 + size + size % 2
  return None


def _plain(data: bytes, layout: bytes, first: int, size: int) -> tuple[np.ndarray, int, int] | None:
  """Decodes 16-bit PCM, the format of most corpora, faster than `_libsndfile`.

  Returns:
    What `_libsndfile` returns; None if the file is unusual in any way.
  """
  if len(layout) < 16:
    return None
  tag, channels, rate, _, align, bits = struct.unpack_from('<HHIIHH', layout)
  if not channels or (tag, bits, align) != (1, 16, 2 * channels):
    return None
  if not 0 < size <= len(data) - first or size % align:
    return None
  _check(rate, size // align)
  samples = np.frombuffer(data, '<i2', size // 2, first) * np.float32(1 / 32768)
  return (
    samples if channels == 1 else samples.reshape(-1, channels).mean(axis=1),
    rate,
    size // align,
  )


def _one_line(error: Exception) -> str:
  # soundfile says "Error opening <... object at 0x..>: reason".
  return ' '.join(str(error).split()).rpartition('>: ')[2].rstrip('.') or type(error).__name__
