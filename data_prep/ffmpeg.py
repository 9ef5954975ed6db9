"""Decodes with FFmpeg, by the package `av` that brings it along: what libsndfile cannot read.

That is AAC in MPEG-4 (.m4a, .3gp), Opus in WebM, AMR, WMA, MP2, IMA4 in CAF, FLAC in Ogg, FLAC and
WAV whose header has no length, and MP3, whose length libsndfile guesses. `av` was taken and not the
program of `imageio-ffmpeg`: 36 MB instead of 68 (173 unpacked), no process for each recording, and
m4a files keep the samples after their nominal end, as with FFmpeg 5 to 8. Both are BSD; the FFmpeg
inside `av` is LGPL, with x264 and x265 (GPL) beside it, which nothing here calls.
"""

import re
from collections.abc import Iterator
from typing import Any, BinaryIO

import av
import numpy as np

from data_prep import headers
from data_prep.errors import Unreadable

_ERRORS = (av.error.FFmpegError, ValueError, TypeError, OSError, OverflowError, MemoryError)

# Their headers say how long they are; that of MP3 only if it has a frame for it.
_WITH_LENGTH = ('mov', 'matroska', 'flac', 'aiff', 'au', 'wv', 'tta')
_MP3_LENGTHS = (b'Xing', b'Info', b'VBRI')
_FRAMES = 64  # in a block
_TOLERANCE = 0.1  # seconds by which a header may promise more: codecs add and cut their delay


def blocks(file: BinaryIO, name: str) -> tuple[int, Iterator[np.ndarray]]:
  """Opens a recording.

  Args:
    file: open for reading; can seek.
    name: of its format, see `headers.format_of`.

  Returns:
    Its rate in Hz, and the mean of its channels in blocks [some samples] float32.

  Raises:
    Unreadable: FFmpeg cannot open it, or it has no sound. The iterator raises it for a recording
      that is damaged or truncated.
  """
  file.seek(0)
  try:
    container = av.open(
      file,
      format=name,
      metadata_errors='ignore',
      # No format may open other files or addresses.
      options={'protocol_whitelist': '', 'enable_drefs': '0'},
    )
  except _ERRORS as error:
    raise Unreadable(f'a damaged or truncated {name.upper()} file') from error
  stream = container.streams.best('audio')
  if stream is None:
    raise Unreadable(f'{container.format.long_name} without sound, or truncated')
  codec = stream.codec_context
  if codec is None or not codec.rate:
    raise Unreadable(f'{container.format.long_name} whose sound FFmpeg cannot decode')
  codec.thread_count = 1
  kind = re.sub(r' \(.*?\)', '', f'{codec.codec.long_name} in {container.format.long_name}')
  promised = _promised(file, container, stream)
  return codec.rate, _joined(_decoded(container, stream, kind, promised))


def _joined(frames: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
  """Joins frames, of about a thousand samples each, to blocks."""
  held: list[np.ndarray] = []
  for frame in frames:
    held.append(frame)
    if len(held) == _FRAMES:
      yield np.concatenate(held)
      held = []
  if held:
    yield np.concatenate(held)


def _promised(file: BinaryIO, container: Any, stream: Any) -> float:
  """Seconds of sound by the header; 0 if it says nothing, or guesses."""
  name = container.format.name
  if name == 'mp3':
    place = file.tell()
    file.seek(headers.id3_bytes(file))
    first_frame = file.read(256)
    file.seek(place)
    if not any(mark in first_frame for mark in _MP3_LENGTHS):
      return 0.0
  elif name not in _WITH_LENGTH:
    return 0.0
  if stream.duration:
    return float(stream.duration * stream.time_base)
  return (container.duration or 0) / 1e6


def _decoded(container: Any, stream: Any, kind: str, promised: float) -> Iterator[np.ndarray]:
  """Yields the mean of the channels, [some] float32 each."""
  rate, count, unwanted = stream.codec_context.rate, 0, _priming(container, stream)
  with container:
    try:
      for packet in container.demux(stream):
        try:
          frames = packet.decode()
        except _ERRORS:
          if count:
            raise
          continue  # the first frames of a cut MP3 lack what they refer to
        for frame in frames:
          if frame.sample_rate != rate:
            raise Unreadable(f'{kind}: the rate changes from {rate} to {frame.sample_rate} Hz')
          mono = _mono(frame)[unwanted:]
          unwanted = max(0, unwanted - frame.samples)
          count += len(mono)
          yield mono
    except _ERRORS as error:
      raise Unreadable(f'{kind}: damaged or truncated after {count / rate:.2f} s') from error
  if count / rate < promised - _TOLERANCE:
    raise Unreadable(
      f'truncated: the header promises {promised:.2f} s, the file has {count / rate:.2f}'
    )


def _priming(container: Any, stream: Any) -> int:
  """Samples before the start that FFmpeg would leave in.

  For Opus in WebM it counts the delay (RFC 7845, Section 4.2) at the rate of the original sound
  and not at 48 kHz.
  """
  codec = stream.codec_context
  header = codec.extradata or b''
  if codec.name not in ('opus', 'libopus') or container.format.name != 'matroska':
    return 0
  delay = int.from_bytes(header[10:12], 'little') if header[:8] == b'OpusHead' else 0
  return max(0, delay - codec.delay)


def _mono(frame: Any) -> np.ndarray:
  """The mean of the channels of a frame, [samples] float32 in -1..1."""
  samples = frame.to_ndarray()
  if not frame.format.is_planar:
    samples = samples.reshape(frame.samples, -1).T
  if samples.dtype == np.uint8:
    samples = (samples.astype(np.float32) - 128) / 128
  elif samples.dtype.kind == 'i':
    samples = samples * np.float32(1 / 2 ** (8 * samples.dtype.itemsize - 1))
  samples = samples.astype(np.float32, copy=False)
  return samples[0] if len(samples) == 1 else np.ascontiguousarray(samples.T).mean(axis=1)
