"""Any recording as mono float32 samples at one rate, or the reason why not.

`read` gives what `librosa.load` gives (mean of the channels, soxr at quality HQ) and is
made for files that nobody has looked at: it never hangs, never trusts a header with an
allocation, and turns every fault into `Unreadable`.
"""
import contextlib
import hashlib
import io
import math
import os
import stat
import struct
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np
import soundfile
import soxr

from data_prep.mel import MAX_SAMPLES

SUFFIXES = ('.wav', '.flac', '.ogg', '.oga', '.opus', '.mp3', '.aif', '.aiff', '.au', '.w64', '.caf')
MAX_BYTES = 2**30
RATES = (1000, 768000)  # Hz; outside lies no microphone but a broken header
_BLOCK = 2**18
_SILENT_FORMATS = (b'RIFF', b'OggS', b'fLaC', b'FORM')
_LOUDEST = 2.0**31  # full scale of a 32-bit integer stored as floats


class Unreadable(Exception):
  """The recording cannot be used; the message is the reason."""


def load(source: str | os.PathLike[str] | BinaryIO) -> bytes:
  """The bytes of a regular file (or of an open binary file).

  Raises:
    Unreadable: absent, forbidden, empty, no regular file, or over 1 GiB.
  """
  if hasattr(source, 'read'):
    data = source.read(MAX_BYTES + 1)
  else:
    try:
      # A pipe or a device would block for ever, so only a regular file is opened.
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
  return hashlib.sha256(data).hexdigest()


def decode(data: bytes) -> tuple[np.ndarray, int]:
  """Samples [any length] float32 of the recording's own rate, mean of its channels, and that rate in Hz.

  Raises:
    Unreadable: no known format, truncated, no samples, samples that are no numbers or absurdly large.
  """
  _whole_wave(data)
  quiet = contextlib.nullcontext() if data[:4] in _SILENT_FORMATS else _quiet_libraries()
  try:
    with quiet, np.errstate(all='ignore'), soundfile.SoundFile(_Bytes(data)) as file:
      rate, channels, promised = file.samplerate, file.channels, file.frames
      if not RATES[0] <= rate <= RATES[1]:
        raise Unreadable(f'sample rate of {rate} Hz is outside {RATES[0]} to {RATES[1]}')
      # The header's number of samples is a claim: blocks are read until there are no more.
      mono, length = [], 0
      while len(block := file.read(max(1, _BLOCK // channels), dtype='float32', always_2d=True)):
        length += len(block)
        if length > MAX_SAMPLES:
          raise Unreadable(f'more than {MAX_SAMPLES} samples: cut it into shorter recordings')
        mono.append(block[:, 0] if channels == 1 else block.mean(axis=1))
  except soundfile.SoundFileError as error:
    raise Unreadable(_one_line(error)) from error
  except (RuntimeError, ValueError, TypeError, OverflowError, MemoryError) as error:
    raise Unreadable(f'{type(error).__name__}: {_one_line(error)}') from error
  if not length:
    raise Unreadable('no samples')
  if length < promised < 2**62:
    raise Unreadable(f'truncated: the header promises {promised} samples, {length} are there')
  samples = mono[0] if len(mono) == 1 else np.concatenate(mono)
  # min and max make no array of the samples' length; a NaN among the samples makes both NaN.
  if not (samples.min() >= -_LOUDEST and samples.max() <= _LOUDEST):
    raise Unreadable('samples that are no numbers, infinite or absurdly large')
  return samples, rate


def resample(samples: np.ndarray, rate: int, sample_rate: int) -> np.ndarray:
  """Samples at `rate` Hz as ceil(len * sample_rate / rate) samples at `sample_rate` Hz, as librosa does.

  Raises:
    Unreadable: the result would be too long.
  """
  if rate == sample_rate:
    return samples
  length = math.ceil(len(samples) * sample_rate / rate)
  if length > MAX_SAMPLES:
    raise Unreadable(f'more than {MAX_SAMPLES} samples at {sample_rate} Hz: cut it into shorter recordings')
  out = soxr.resample(samples, rate, sample_rate, quality='HQ')
  return np.pad(out[:length], (0, max(0, length - len(out))))


def read(source: str | os.PathLike[str] | BinaryIO, sample_rate: int) -> np.ndarray:
  """A recording as mono float32 samples at `sample_rate` Hz, equal to `librosa.load(source, sr=sample_rate)`.

  Raises:
    Unreadable: with the reason, whatever is wrong with the recording.
  """
  return resample(*decode(load(source)), sample_rate)


class _Bytes(io.BytesIO):
  """For libsndfile, which a damaged header sends to places before the start; Python would print a trace of it."""

  def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
    base = {os.SEEK_SET: 0, os.SEEK_CUR: self.tell(), os.SEEK_END: len(self.getbuffer())}[whence]
    return super().seek(max(0, base + offset))


@contextlib.contextmanager
def _quiet_libraries() -> Iterator[None]:
  """Without what the MP3 decoder writes to standard error, of whole recordings too."""
  kept = os.dup(2)
  with open(os.devnull, 'wb') as nothing:
    os.dup2(nothing.fileno(), 2)
  try:
    yield
  finally:
    os.dup2(kept, 2)
    os.close(kept)


def _whole_wave(data: bytes) -> None:
  """Raises where a WAV file ends before its samples do: libsndfile would shorten it in silence."""
  if data[:4] != b'RIFF' or data[8:12] != b'WAVE':
    return
  at = 12
  while at + 8 <= len(data):
    size = struct.unpack_from('<I', data, at + 4)[0]
    if data[at:at + 4] == b'data':
      # Programs that write to a pipe leave 0 or the largest number, meaning "to the end".
      if size > len(data) - at - 8 and size < 2**32 - 2**16:
        raise Unreadable(f'truncated: the header promises {size} bytes of samples, {len(data) - at - 8} are there')
      return
    at += 8 + size + size % 2


def _one_line(error: Exception) -> str:
  # soundfile says "Error opening <... object at 0x..>: reason".
  return ' '.join(str(error).split()).rpartition('>: ')[2] or type(error).__name__
