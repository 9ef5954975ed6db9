"""Headers of WAV, AIFF, AU, CAF, WMA and Ogg: where the samples are, and whether all are there.

libsndfile reports neither a truncated file nor a header with a wrong size.
"""

import os
import struct
from typing import BinaryIO, NamedTuple

import numpy as np

# Programs that write to a pipe, or lose power, leave one of these sizes, less what they take for
# their header. They mean "to the end".
_UNKNOWN_SIZES = (range(2**31 - 2**16, 2**31 + 64), range(2**32 - 2**16, 2**32))
_HEADERS = range(8, 45, 4)  # bytes of a header that some programs count as samples
_MOST_CHUNKS = 1000
_AFTER_THE_SAMPLES = (b'LIST', b'bext', b'cue ', b'smpl', b'id3 ', b'ID3 ', b'JUNK', b'fact')
_ASF = bytes.fromhex('3026b2758e66cf11a6d900aa0062ce6c')
_ASF_FILE = bytes.fromhex('a1dcab8c47a9cf118ee400c00c205365')  # the object of the file's properties
_ASF_HEADER = 8192
# How a file begins, and FFmpeg's name of its format. FFmpeg itself would take noise for MP3.
_STARTS = (
  (0, b'RIFF', 'wav'),
  (0, b'RF64', 'wav'),
  (0, b'BW64', 'wav'),
  (4, b'ftyp', 'mov'),
  (4, b'moov', 'mov'),
  (4, b'mdat', 'mov'),
  (4, b'wide', 'mov'),
  (4, b'free', 'mov'),
  (0, b'\x1aE\xdf\xa3', 'matroska'),
  (0, b'OggS', 'ogg'),
  (0, b'fLaC', 'flac'),
  (0, b'caff', 'caf'),
  (0, b'FORM', 'aiff'),
  (0, b'.snd', 'au'),
  (0, b'#!AMR', 'amr'),
  (0, b'0&\xb2u\x8ef\xcf\x11', 'asf'),
  (0, b'\x0bw', 'ac3'),
  (0, b'wvpk', 'wv'),
  (0, b'TTA1', 'tta'),
  (0, b'MAC ', 'ape'),
  (0, b'FLV', 'flv'),
)
_LONGEST_PAGE = 27 + 255 * 256  # of Ogg, bytes


class Header(NamedTuple):
  """What a header says of the samples.

  Attributes:
    first: offset of the samples, bytes.
    size: of the samples, bytes.
    present: bytes of samples that the file can have.
    layout: content of a WAV file's format chunk.
  """

  first: int
  size: int
  present: int
  layout: bytes = b''

  @property
  def is_sound(self) -> bool:
    """Whether all samples of the header are there."""
    return 0 < self.size <= self.present

  @property
  def has_mp3(self) -> bool:
    """Whether a WAV file holds MP3, of which libsndfile prints warnings."""
    return self.layout[:2] == b'U\0'

  @property
  def is_truncated(self) -> bool:
    """Whether the file ends before its samples do, by a size that can be true."""
    return self.size > self.present and not (
      any(self.size in sizes for sizes in _UNKNOWN_SIZES)
      or self.size - self.present in _HEADERS
      or (self.layout and self.size // 2 == self.present)  # WAV whose size was counted twice
    )


def read(file: BinaryIO) -> Header | None:
  """The header of a WAV, AIFF, AU, CAF or WMA file; None for another, or without samples."""
  file.seek(0)
  start = file.read(12)
  end = file.seek(0, os.SEEK_END)
  if start[:4] == b'RIFF' and start[8:] == b'WAVE':
    return _chunks(file, end, 12, '<4sI', b'data')
  if start[:4] == b'FORM' and start[8:] in (b'AIFF', b'AIFC'):
    return _chunks(file, end, 12, '>4sI', b'SSND')
  if start[:4] == b'caff':
    return _chunks(file, end, 8, '>4sq', b'data')
  if start[:4] == b'.snd' and len(start) == 12:
    first, size = struct.unpack('>II', start[4:])
    return Header(first, size, max(0, end - first))
  if start[:4] == _ASF[:4]:
    file.seek(0)
    found = file.read(_ASF_HEADER).partition(_ASF_FILE)[2]
    # After the object's size and the file's identity: the size of the file.
    return Header(0, *struct.unpack('<Q', found[24:32]), end) if len(found) > 32 else None
  return None


def _chunks(file: BinaryIO, end: int, offset: int, form: str, samples: bytes) -> Header | None:
  """Finds the chunk `samples`; `form` is that of a chunk's name and size."""
  layout, length = b'', struct.calcsize(form)
  for _ in range(_MOST_CHUNKS):
    file.seek(offset)
    head = file.read(length)
    if len(head) < length:
      break
    name, size = struct.unpack(form, head)
    offset += length
    if name == b'fmt ':
      layout = file.read(min(size, 64))
    elif name == samples:
      is_empty = not size and file.read(4) in _AFTER_THE_SAMPLES
      return Header(offset, size, 0 if is_empty else end - offset, layout)
    offset += max(0, size) + (size % 2 if length == 8 else 0)
  return None


def format_of(file: BinaryIO) -> str | None:
  """FFmpeg's name of a file's format, by its first bytes after an ID3 tag."""
  offset = id3_bytes(file)
  file.seek(offset)
  start = file.read(12)
  if start[:4] == b'RIFF' and start[8:] == b'AVI ':
    return 'avi'
  for place, first, name in _STARTS:
    if start[place:].startswith(first):
      return name
  # The header of an MPEG frame: 11 ones, version, layer, rates; layer 0 is that of AAC.
  if len(start) > 3 and start[0] == 0xFF and start[1] >= 0xE0:
    if start[1] & 0xF6 == 0xF0:
      return 'aac'
    if start[1] & 0x06 and start[1] & 0x18 != 0x08 and start[2] < 0xF0 and start[2] & 0x0C != 0x0C:
      return 'mp3'
  return 'mp3' if offset else None


def id3_bytes(file: BinaryIO) -> int:
  """Bytes of the ID3 tag at the start of a file."""
  file.seek(0)
  start = file.read(10)
  if len(start) < 10 or start[:3] != b'ID3':
    return 0
  # The size is in 7 bits of 4 bytes.
  return 10 + sum(byte << shift for byte, shift in zip(start[6:], (21, 14, 7, 0)))


def ends_within_a_page(file: BinaryIO) -> bool:
  """Whether an Ogg file ends before its last page does (RFC 3533, Section 6)."""
  end = file.seek(0, os.SEEK_END)
  file.seek(max(0, end - _LONGEST_PAGE))
  rest = file.read()
  page = rest[rest.rfind(b'OggS') :]
  if len(page) < 27 or page[:4] != b'OggS':
    return True
  sizes = page[27 : 27 + page[26]]
  return len(sizes) < page[26] or len(page) < 27 + page[26] + sum(sizes)


def plain(data: bytes, header: Header) -> tuple[np.ndarray, int] | None:
  """Decodes 16-bit PCM in WAV, the format of most corpora, faster than libsndfile.

  Returns:
    Mean of the channels [any] float32, and the rate in Hz; None if the file is unusual in any way.
  """
  if len(header.layout) < 16 or not header.is_sound:
    return None
  tag, channels, rate, _, align, bits = struct.unpack_from('<HHIIHH', header.layout)
  if not channels or (tag, bits, align) != (1, 16, 2 * channels) or header.size % align:
    return None
  samples = np.frombuffer(data, '<i2', header.size // 2, header.first) * np.float32(1 / 32768)
  return samples if channels == 1 else samples.reshape(-1, channels).mean(axis=1), rate
